//! The trace of a passthrough call.

use std::rc::Rc;

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::cost::Usage;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::{ApiError, AttemptSummary, ErrorType};
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::redact;
use opentracy_translate::trace_context::{TraceContext, span_id};
use opentracy_translate::usage;

use crate::clock::Moment;
use crate::delivery;
use crate::gateway::access::Caller;
use crate::gateway::leases::Charge;
use crate::gateway::limits;
use crate::gateway::passthrough::target::Target;
use crate::gateway::privacy::{self, Policy, RecordedContent};
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::ids;
use crate::snapshot::{self, Snapshot};
use crate::{events, failure, health, metrics};

/// The maximum number of bytes of an answer that are searched for its usage.
const MAX_BYTES: usize = 1 << 20;
/// The prefix of an event in a stream.
const DATA: &[u8] = b"data:";

pub struct Record {
    endpoint: Endpoint,
    pub caller: Caller,
    trace_id: String,
    started: Moment,
    traceparent: String,
    is_opted_out: bool,
    snapshot: Option<Rc<Snapshot>>,
    /// The client's body, if it is JSON and was buffered.
    pub request: Vec<u8>,
    /// The length of the body when the target was resolved.
    pub held_bytes: usize,
    pub refused_charges: Vec<Charge>,
    provider: String,
    model: String,
    requested: String,
    alias: String,
    status: u16,
    is_text: bool,
    is_event_stream: bool,
    response: Vec<u8>,
    error: Option<v1::TraceError>,
    /// The failed attempt's reason, if neither Envoy nor the provider gave one.
    failure: Option<AttemptError>,
    first_byte_micros: Option<u64>,
    pub is_complete: bool,
}

impl Record {
    pub fn new(
        host: &impl Host,
        endpoint: Endpoint,
        caller: Caller,
        request: &HeaderList<'_>,
    ) -> Self {
        Self {
            endpoint,
            caller,
            trace_id: ids::new(host).to_string(),
            started: Moment::now(host),
            traceparent: request
                .get(headers::TRACEPARENT)
                .filter(|header| TraceContext::parse(header).is_some())
                .unwrap_or_default()
                .to_owned(),
            is_opted_out: privacy::is_opted_out(request),
            snapshot: snapshot::current(),
            request: Vec::new(),
            held_bytes: 0,
            refused_charges: Vec::new(),
            provider: String::new(),
            model: String::new(),
            requested: String::new(),
            alias: String::new(),
            status: 0,
            is_text: false,
            is_event_stream: false,
            response: Vec::new(),
            error: None,
            failure: None,
            first_byte_micros: None,
            is_complete: false,
        }
    }

    /// Records the complete request.
    pub fn asked(&mut self, body: Vec<u8>) {
        self.held_bytes = body.len();
        self.request = body;
    }

    /// Records the target.
    pub fn aim(&mut self, target: &Target) {
        self.provider.clone_from(&target.provider.name);
        self.model.clone_from(&target.model);
        self.requested.clone_from(&target.requested);
        self.alias = target.alias.clone().unwrap_or_default();
    }

    /// Adds the trace context that becomes the parent of the provider's own spans.
    pub fn add_traceparent<'a>(&self, request: &'a HeaderList<'_>, onward: &mut HeaderList<'a>) {
        if let Some(context) = TraceContext::parse(&self.traceparent) {
            onward.set(
                headers::TRACEPARENT,
                context.header(span_id(&self.trace_id, 1)),
            );
            if onward.get("tracestate").is_none() {
                onward.copy(request, "tracestate");
            }
        }
    }

    /// Adds the headers that describe the call to the client.
    pub fn add_headers(&self, host: &impl Host, charges: &[Charge], response: &mut HeaderList<'_>) {
        let charges = if charges.is_empty() {
            &self.refused_charges
        } else {
            charges
        };
        limits::add_headers(host, charges, response);
        response.push(headers::TRACE_ID, self.trace_id.clone());
        if !self.provider.is_empty() {
            let selected = match self.model.as_str() {
                "" => self.provider.clone(),
                model => format!("{}/{model}", self.provider),
            };
            response.push(headers::SELECTED_MODEL, selected);
        }
    }

    /// Records that the answer has begun. `envoys_details` is set if Envoy generated the answer;
    /// then returns the error for the client.
    pub fn began(
        &mut self,
        host: &impl Host,
        response: &HeaderList<'_>,
        envoys_details: Option<&str>,
    ) -> Option<ApiError> {
        self.status = response.status();
        self.first_byte_micros = Some(self.started.elapsed_micros(host));
        self.is_event_stream = response.is_event_stream();
        let kind = response.get("content-type").unwrap_or_default();
        self.is_text = self.is_event_stream || kind.contains("json") || kind.starts_with("text/");
        let error = envoys_details.map(|details| {
            let (error, reason) = failure::of_envoy_reply(&self.provider, details);
            self.failure = Some(reason);
            self.fail(&error);
            error
        });
        if error.is_none() && self.status >= 400 {
            self.failure = Some(AttemptError::of_status(self.status));
        }
        self.tell_health(host, response.retry_after());
        error
    }

    fn tell_health(&self, host: &impl Host, retry_after: Option<u64>) {
        if !self.provider.is_empty() {
            events::on_attempt(
                host,
                &AttemptSummary {
                    provider: self.provider.clone(),
                    model: self.model.clone(),
                    // The status of Envoy's own reply isn't the provider's.
                    status: (self.error.is_none()).then_some(self.status),
                    error: self.failure,
                    latency_ms: None,
                    retry_after,
                },
            );
        }
        let Some(snapshot) = self.snapshot.as_ref().filter(|_| !self.model.is_empty()) else {
            return;
        };
        health::tell(
            host,
            &format!("{}/{}", self.provider, self.model),
            self.failure,
            self.first_byte_micros,
            retry_after,
            &snapshot.circuit_breaker,
        );
    }

    /// Truncates the body of a request that was sent to what its trace can hold.
    pub fn release_request(&mut self) {
        let limit = privacy::recorded_bytes(self.snapshot.as_deref());
        self.request.truncate(limit);
        self.request.shrink_to(limit);
    }

    /// Records that the provider stopped sending; returns the error for the client.
    pub fn time_out(&mut self) -> ApiError {
        let (error, reason) = failure::timeout(&self.provider);
        self.failure = Some(reason);
        self.error = Some(trace_error(&error));
        error
    }

    /// Returns whether more of the answer should be recorded.
    pub fn wants_more(&self) -> bool {
        self.is_text && self.response.len() < MAX_BYTES
    }

    pub fn answered(&mut self, bytes: &[u8]) {
        self.response.extend_from_slice(bytes);
    }

    pub fn fail(&mut self, error: &ApiError) {
        self.status = error.status;
        self.is_complete = true;
        self.error = Some(trace_error(error));
    }

    /// Returns the usage that the provider reports.
    fn usage(&self) -> Option<Usage> {
        let of = |bytes: &[u8]| {
            let (input, output) = usage::read(bytes)?;
            Some(Usage {
                input,
                output,
                ..Usage::default()
            })
        };
        if !self.is_event_stream {
            return of(&self.response);
        }
        // The last event that reports usage.
        let lines = self.response.split(|&byte| byte == b'\n');
        let events: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(DATA)).collect();
        events.iter().rev().find_map(|event| of(event.trim_ascii()))
    }

    /// Queues the trace for the control plane.
    pub fn finish(mut self, host: &impl Host, charges: &[Charge], details: &str) {
        let usage = self.usage();
        let tokens = usage.map_or(0, |usage| usage.input.saturating_add(usage.output));
        limits::settle(host, charges, tokens, self.started.instant());
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        let pricing = snapshot.model(&self.provider, &self.model).pricing;
        let cost = usage.and_then(|usage| pricing?.cost(&usage));
        let outcome = failure::outcome(self.is_complete, details);
        if self.error.is_none() && self.status >= 400 {
            self.error = Some(v1::TraceError {
                r#type: ErrorType::of_status(self.status).as_str().to_owned(),
                code: String::new(),
                message: redact::mask_keys(&openai_error::read(&self.response).message)
                    .into_owned(),
            });
        }
        let alias = Some(self.alias.as_str());
        let client = self.caller.client.as_ref().map(|client| &client.wire);
        let policy = Policy::of(&snapshot, alias, client, self.is_opted_out);
        let key = client.map_or_else(String::new, |client| client.name.clone());
        if let Some(error) = &mut self.error {
            error.message = policy.mask(&snapshot, std::mem::take(&mut error.message));
        }
        let said = self.said(&snapshot, policy);
        let attempt = v1::Attempt {
            trace_id: self.trace_id.clone(),
            number: 1,
            provider: self.provider.clone(),
            model: self.model.clone(),
            status: u32::from(self.status),
            error: self.failure.map_or("", AttemptError::as_str).to_owned(),
            latency_micros: self.started.elapsed_micros(host),
            start_unix_micros: self.started.unix_micros(),
            traceparent: self.traceparent.clone(),
        };
        let was_sent = self.first_byte_micros.is_some();
        let trace = v1::Trace {
            id: self.trace_id,
            start_unix_micros: self.started.unix_micros(),
            requested_model: self.requested,
            alias: self.alias,
            provider: self.provider,
            model: self.model,
            stream: self.is_event_stream,
            status: u32::from(self.status),
            error: self.error,
            outcome: outcome.into(),
            latency_micros: self.started.elapsed_micros(host),
            time_to_first_token_micros: self.first_byte_micros,
            usage: usage.map(|usage| v1::Usage {
                input: usage.input,
                output: usage.output,
                ..v1::Usage::default()
            }),
            cost: cost.map(|cost| v1::Cost {
                input: cost.input.0,
                output: cost.output.0,
                total: cost.total.0,
                ..v1::Cost::default()
            }),
            request: said.request,
            response: said.response,
            content_truncated: said.is_cut,
            user: policy.mask(&snapshot, self.caller.subject),
            api: self.endpoint.number(),
            key,
            traceparent: self.traceparent,
            ..v1::Trace::default()
        };
        metrics::count(host, &trace);
        delivery::record(
            host,
            v1::IngestRequest {
                traces: vec![trace],
                attempts: was_sent.then_some(attempt).into_iter().collect(),
            },
        );
    }

    /// Returns the content to record under the policy.
    fn said(&mut self, snapshot: &Snapshot, policy: Policy) -> RecordedContent {
        let mut request = std::mem::take(&mut self.request);
        let mut response = std::mem::take(&mut self.response);
        match self.endpoint {
            // Vectors aren't readable, and content of a provider's own API is never recorded.
            Endpoint::Embeddings => response.clear(),
            Endpoint::Proxy | Endpoint::Files | Endpoint::Batches => {
                request.clear();
                response.clear();
            }
            // A secret split across chunks of a stream can't be recognized.
            _ if policy.redact && self.is_event_stream => response.clear(),
            _ => {}
        }
        policy.keep(snapshot, request, response)
    }
}

fn trace_error(error: &ApiError) -> v1::TraceError {
    v1::TraceError {
        r#type: error.kind.as_str().to_owned(),
        code: error.code.clone().unwrap_or_default().into_owned(),
        message: error.message.clone(),
    }
}
