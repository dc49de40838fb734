//! The part of a call that every endpoint has, and the trace that it becomes.

use std::rc::Rc;

use opentracy_proto::v1::{self, Owner};
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::cost::{CostBreakdown, Usage};
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::model;
use opentracy_translate::trace_context::TraceContext;

use crate::clock::Moment;
use crate::gateway::access::AdmittedCaller;
use crate::gateway::charge::{self, Charge, Consumption};
use crate::gateway::limits;
use crate::gateway::privacy::{self, Policy};
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::snapshot::{self, Snapshot};
use crate::{delivery, events, health, ids, metrics};

/// A call from its first byte to its trace: its identity, its caller and its charges.
pub struct TraceBuilder {
    endpoint: Endpoint,
    pub id: String,
    pub started: Moment,
    /// W3C Trace Context, as the client sent it.
    traceparent: String,
    /// The client's SDK and version.
    sdk: String,
    is_opted_out: bool,
    /// The configuration that the call began with.
    pub snapshot: Option<Rc<Snapshot>>,
    pub caller: AdmittedCaller,
    pub requested_model: String,
    pub alias: Option<String>,
    /// The charges that were taken, which the end of the call settles.
    pub charges: Vec<Charge>,
    /// The charges against the caller's limits, until they are taken.
    pub intended_charges: Vec<Charge>,
    /// The time from the start to the first byte of the answer.
    pub first_byte_micros: Option<u64>,
}

/// The end of a call, as its endpoint knows it.
pub struct Ending {
    /// The fields of the trace that depend on the endpoint. The builder sets the others.
    pub trace: v1::Trace,
    /// The attempts that no other stage reports.
    pub attempts: Vec<v1::Attempt>,
    /// The quantities that count against limits.
    pub consumption: Consumption,
    pub error: Option<ApiError>,
    /// The content to record, as far as the policy allows.
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    /// Set if content was left out for another reason than its length.
    pub is_cut: bool,
}

impl TraceBuilder {
    pub fn new(
        host: &impl Host,
        endpoint: Endpoint,
        caller: AdmittedCaller,
        request: &HeaderList<'_>,
    ) -> Self {
        Self {
            endpoint,
            id: ids::new(host).to_string(),
            started: Moment::now(host),
            traceparent: request
                .get(headers::TRACEPARENT)
                .filter(|header| TraceContext::parse(header).is_some())
                .unwrap_or_default()
                .to_owned(),
            sdk: headers::client(request).to_owned(),
            is_opted_out: privacy::is_opted_out(request),
            snapshot: snapshot::current(),
            caller,
            requested_model: String::new(),
            alias: None,
            charges: Vec::new(),
            intended_charges: Vec::new(),
            first_byte_micros: None,
        }
    }

    /// Returns the caller's key, if it has one.
    pub fn client(&self) -> Option<&v1::ClientKey> {
        self.caller.client.as_ref().map(|client| &client.wire)
    }

    /// Returns the name of the caller's key; empty if it has none.
    pub fn key_name(&self) -> &str {
        self.client().map_or("", |client| &client.name)
    }

    /// Returns the configuration; an error before there is one.
    pub fn configuration(&self) -> Result<Rc<Snapshot>, ApiError> {
        self.snapshot.clone().ok_or_else(snapshot::missing)
    }

    /// Returns the alias that the client asked for.
    pub fn alias<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s v1::Alias> {
        snapshot.aliases.get(self.alias.as_ref()?)
    }

    /// Records that the intended charges were taken.
    pub fn on_admitted(&mut self) {
        self.charges = std::mem::take(&mut self.intended_charges);
    }

    /// Sets the intended charges against the limits of the caller's key and of the alias.
    pub fn charge_caller(&mut self, snapshot: &Snapshot, estimate: &Consumption) {
        let of_key = self.client().map(|client| {
            let own = client.limits.unwrap_or_default();
            charge::charges(Owner::Key, &client.name, &own, estimate)
        });
        let of_alias = self.alias(snapshot).map(|alias| {
            let own = alias.limits.unwrap_or_default();
            charge::charges(Owner::Alias, &alias.name, &own, estimate)
        });
        self.intended_charges = [of_key, of_alias].into_iter().flatten().flatten().collect();
    }

    /// Records that the answer has begun.
    pub fn note_first_byte(&mut self, host: &impl Host) {
        let started = self.started;
        self.first_byte_micros
            .get_or_insert_with(|| started.elapsed_micros(host));
    }

    /// Returns the bytes of an answer that the trace can hold, plus one to detect truncation.
    pub fn recorded_bytes(&self) -> usize {
        privacy::recorded_bytes(self.snapshot.as_deref())
    }

    /// Returns whether content is masked and recorded.
    pub fn masks_content(&self) -> bool {
        let snapshot = self.snapshot.as_deref();
        snapshot.is_some_and(|snapshot| {
            let policy = self.policy(snapshot);
            policy.content && policy.redact
        })
    }

    fn policy(&self, snapshot: &Snapshot) -> Policy {
        // A conversation that can't be read may be for any alias.
        let is_unread =
            self.requested_model.is_empty() && matches!(self.endpoint, Endpoint::Completion(_));
        if is_unread {
            return Policy::of_unknown_alias(snapshot, self.client(), self.is_opted_out);
        }
        let alias = self.alias.as_deref();
        Policy::of(snapshot, alias, self.client(), self.is_opted_out)
    }

    /// Adds the headers that describe the call to the client. `selected` is the model that
    /// answered, or its provider.
    pub fn add_headers(&self, host: &impl Host, selected: &str, response: &mut HeaderList<'_>) {
        let charges = if self.charges.is_empty() {
            &self.intended_charges
        } else {
            &self.charges
        };
        limits::add_headers(host, charges, response);
        response.push(headers::TRACE_ID, self.id.clone());
        if !selected.is_empty() {
            response.push(headers::SELECTED_MODEL, selected.to_owned());
        }
    }

    /// Reports an attempt to the health of its model, which may be unknown, and to the faults of
    /// its provider.
    pub fn report_health(&self, host: &impl Host, attempt: &AttemptSummary) {
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| !attempt.model.is_empty()) {
            health::tell(
                host,
                &model::id_of(&attempt.provider, &attempt.model),
                attempt.error,
                attempt.latency_ms.map(|ms| ms.saturating_mul(1000)),
                attempt.retry_after,
                &snapshot.circuit_breaker,
            );
        }
        events::on_attempt(host, attempt);
    }

    /// Returns the record of an attempt that this stage made itself.
    pub fn attempt(&self, host: &impl Host, number: u32, made: &AttemptSummary) -> v1::Attempt {
        v1::Attempt {
            trace_id: self.id.clone(),
            number,
            provider: made.provider.clone(),
            model: made.model.clone(),
            status: u32::from(made.status.unwrap_or(0)),
            error: made.error.map_or("", AttemptError::as_str).to_owned(),
            latency_micros: self.started.elapsed_micros(host),
            start_unix_micros: self.started.unix_micros(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// Settles the charges and queues the trace for the control plane.
    pub fn finish(mut self, host: &impl Host, ending: Ending) {
        let since = self.started.instant();
        limits::settle(host, &self.charges, &ending.consumption, since);
        let snapshot = self.snapshot.take().unwrap_or_default();
        let policy = self.policy(&snapshot);
        let masked = |text: String| policy.mask(&snapshot, text);
        let content = policy.keep(&snapshot, ending.request, ending.response);
        let endings = ending.trace;
        let key = self.key_name().to_owned();
        let trace = v1::Trace {
            id: self.id,
            start_unix_micros: self.started.unix_micros(),
            requested_model: self.requested_model,
            alias: self.alias.unwrap_or_default(),
            error: ending.error.map(|error| v1::TraceError {
                r#type: error.kind.as_str().to_owned(),
                code: error.code.unwrap_or_default().into_owned(),
                message: masked(error.message),
            }),
            latency_micros: self.started.elapsed_micros(host),
            time_to_first_token_micros: self.first_byte_micros,
            request: content.request,
            response: content.response,
            content_truncated: content.is_cut || ending.is_cut,
            key,
            traceparent: self.traceparent,
            client: self.sdk,
            user: masked(endings.user),
            metadata: endings
                .metadata
                .into_iter()
                .map(|(name, value)| (masked(name), masked(value)))
                .collect(),
            api: self.endpoint.number(),
            ..endings
        };
        metrics::count(host, &trace);
        delivery::record(
            host,
            v1::IngestRequest {
                traces: vec![trace],
                attempts: ending.attempts,
            },
        );
    }
}

/// Returns the usage in the form of the trace.
pub fn wire_usage(usage: Usage) -> v1::Usage {
    v1::Usage {
        input: usage.input,
        output: usage.output,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        reasoning: usage.reasoning,
    }
}

/// Returns the cost in the form of the trace.
pub fn wire_cost(cost: CostBreakdown) -> v1::Cost {
    v1::Cost {
        input: cost.input.0,
        output: cost.output.0,
        cache_read: cost.cache_read.0,
        cache_write: cost.cache_write.0,
        total: cost.total.0,
    }
}
