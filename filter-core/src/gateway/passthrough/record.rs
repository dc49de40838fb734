//! The answer of a passthrough call as it is recorded, and its trace.

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::cost::Usage;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::redact;
use opentracy_translate::usage;

use crate::failure;
use crate::gateway::access::AdmittedCaller;
use crate::gateway::charge::Consumption;
use crate::gateway::passthrough::target::PassthroughTarget;
use crate::gateway::trace_builder::{Ending, TraceBuilder, wire_cost, wire_usage};
use crate::headers::HeaderList;
use crate::host::Host;

/// The maximum number of bytes of an answer that are searched for its usage.
const MAX_BYTES: usize = 1 << 20;
/// The prefix of an event in a stream.
const DATA: &[u8] = b"data:";

pub struct PassthroughRecord {
    pub trace: TraceBuilder,
    endpoint: Endpoint,
    /// The client's body, if it is JSON and was buffered.
    pub request: Vec<u8>,
    /// The length of the body when the target was resolved.
    pub held_bytes: usize,
    provider: String,
    model: String,
    status: u16,
    /// Set if Envoy answered instead of the provider.
    is_envoys_reply: bool,
    is_text: bool,
    is_event_stream: bool,
    response: Vec<u8>,
    error: Option<ApiError>,
    /// The reason why the attempt failed.
    failure: Option<AttemptError>,
    pub is_complete: bool,
}

impl PassthroughRecord {
    pub fn new(
        host: &impl Host,
        endpoint: Endpoint,
        caller: AdmittedCaller,
        request: &HeaderList<'_>,
    ) -> Self {
        Self {
            trace: TraceBuilder::new(host, endpoint, caller, request),
            endpoint,
            request: Vec::new(),
            held_bytes: 0,
            provider: String::new(),
            model: String::new(),
            status: 0,
            is_envoys_reply: false,
            is_text: false,
            is_event_stream: false,
            response: Vec::new(),
            error: None,
            failure: None,
            is_complete: false,
        }
    }

    /// Records the complete request.
    pub fn asked(&mut self, body: Vec<u8>) {
        self.held_bytes = body.len();
        self.request = body;
    }

    /// Records the target.
    pub fn aim(&mut self, target: &PassthroughTarget) {
        self.provider.clone_from(&target.provider.name);
        self.model.clone_from(&target.model);
        self.trace.requested_model.clone_from(&target.requested);
        self.trace.alias.clone_from(&target.alias);
    }

    /// Adds the headers that describe the call to the client.
    pub fn add_headers(&self, host: &impl Host, response: &mut HeaderList<'_>) {
        let selected = match self.model.as_str() {
            "" => self.provider.clone(),
            model => format!("{}/{model}", self.provider),
        };
        self.trace.add_headers(host, &selected, response);
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
        self.is_envoys_reply = envoys_details.is_some();
        self.trace.note_first_byte(host);
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
        if !self.provider.is_empty() {
            let attempt = AttemptSummary {
                retry_after: response.retry_after(),
                ..self.attempt()
            };
            self.trace.report_health(host, &attempt);
        }
        error
    }

    fn attempt(&self) -> AttemptSummary {
        AttemptSummary {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status: (!self.is_envoys_reply).then_some(self.status),
            error: self.failure,
            latency_ms: self.trace.first_byte_micros.map(|micros| micros / 1000),
            retry_after: None,
        }
    }

    /// Truncates the body of a request that was sent to what its trace can hold.
    pub fn release_request(&mut self) {
        let limit = self.trace.recorded_bytes();
        self.request.truncate(limit);
        self.request.shrink_to(limit);
    }

    /// Records that the provider stopped sending; returns the error for the client.
    pub fn time_out(&mut self) -> ApiError {
        let (error, reason) = failure::timeout(&self.provider);
        self.failure = Some(reason);
        self.error = Some(error.clone());
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
        self.error = Some(error.clone());
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

    /// Queues the trace for the control plane. `details` are Envoy's response code details.
    pub fn finish(mut self, host: &impl Host, details: &str) {
        let usage = self.usage();
        let snapshot = self.trace.snapshot.as_ref();
        let model = snapshot.map(|snapshot| snapshot.model(&self.provider, &self.model));
        let pricing = model.and_then(|model| model.pricing);
        let cost = usage.and_then(|usage| pricing?.cost(&usage));
        if self.error.is_none() && self.status >= 400 {
            let message = openai_error::read(&self.response).message;
            let message = redact::mask_keys(&message).into_owned();
            self.error = Some(ApiError::new(self.status, message));
        }
        let was_sent = self.trace.first_byte_micros.is_some();
        let attempt = was_sent.then(|| self.trace.attempt(host, 1, &self.attempt()));
        let (request, response) = self.content();
        let trace = v1::Trace {
            provider: self.provider,
            model: self.model,
            stream: self.is_event_stream,
            status: u32::from(self.status),
            outcome: failure::outcome(self.is_complete, details).into(),
            usage: usage.map(wire_usage),
            cost: cost.map(wire_cost),
            user: self.trace.caller.subject.clone(),
            ..v1::Trace::default()
        };
        let ending = Ending {
            trace,
            attempts: attempt.into_iter().collect(),
            consumption: Consumption::actual(usage),
            error: self.error,
            request,
            response,
            is_cut: false,
        };
        self.trace.finish(host, ending);
    }

    /// Takes the content that may be recorded.
    fn content(&mut self) -> (Vec<u8>, Vec<u8>) {
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
            _ if self.is_event_stream && self.trace.masks_content() => response.clear(),
            _ => {}
        }
        (request, response)
    }
}
