//! The state of a call in the gateway stage, and the trace that it becomes.

use std::rc::Rc;
use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::client::Api;
use opentracy_translate::cost::Cost;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::exchange::Origin;
use opentracy_translate::openai::response::{Decision, Extras, Routing, Summary};
use opentracy_translate::redact::KeyMask;
use opentracy_translate::trace_context::TraceContext;

use crate::clock::{self, Moment};
use crate::delivery;
use crate::events;
use crate::gateway::access::Caller;
use crate::gateway::cache;
use crate::gateway::leases::Charge;
use crate::gateway::limits;
use crate::gateway::planner::Candidate;
use crate::gateway::privacy::{self, Policy};
use crate::gateway::session;
use crate::headers::{self, HeaderList};
use crate::health;
use crate::host::Host;
use crate::ids;
use crate::metrics;
use crate::plan::LoggedAttempt;
use crate::snapshot::{self, Snapshot};
use crate::upstream::{self, RequestContext};

pub struct Call {
    /// The API that the client uses.
    pub api: Api,
    pub trace_id: String,
    pub started: Moment,
    pub snapshot: Option<Rc<Snapshot>>,
    pub caller: Caller,
    /// The charges against limits.
    pub charges: Vec<Charge>,
    /// The charges of a call that a limit refused.
    pub refused_charges: Vec<Charge>,
    /// The estimated tokens of the request and its answer.
    pub estimated_tokens: u64,
    /// The cache key, if the answer may be cached.
    pub cache_key: Option<cache::Key>,
    /// Set if the answer came from the cache.
    pub is_cached: bool,
    /// W3C Trace Context, as the client sent it.
    traceparent: String,
    is_opted_out: bool,
    pub budget: v1::Budget,
    /// The client's body, as the client sent it.
    pub body: Rc<Vec<u8>>,
    pub requested_model: String,
    pub alias: Option<String>,
    pub stream: bool,
    pub include_usage: bool,
    pub has_tools: bool,
    /// The session that the client sent or was given.
    pub session: Option<String>,
    /// One candidate for each attempt, in order.
    pub plan: Vec<Candidate>,
    /// Set if this stage calls the provider itself, without a provider stage.
    pub is_direct: bool,
    /// The longest silence of the provider that this stage allows; `None` if the provider stage
    /// watches it.
    pub timeout: Option<Duration>,
    /// Set once content was left out of the record for lack of memory.
    pub is_cut: bool,
    pub routing_micros: u64,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    /// The control plane's decision; `None` if it was not asked.
    pub decision: Option<v1::Decision>,
    pub user: String,
    pub metadata: std::collections::BTreeMap<String, String>,
    /// The attempts so far, as far as they are known.
    pub attempts: Vec<AttemptSummary>,
    /// The indices of attempts that no other stage reports.
    unreported_attempts: Vec<usize>,
    /// The candidate that answered, or the last one that failed.
    pub selected: Option<(String, String)>,
    pub time_to_first_token_micros: Option<u64>,
    is_health_told: bool,
}

/// The end of a call.
pub struct End {
    pub outcome: v1::Outcome,
    pub status: u16,
    pub error: Option<ApiError>,
    pub summary: Summary,
    /// The bytes that the client received.
    pub response: Vec<u8>,
    pub is_event_stream: bool,
}

impl Call {
    pub fn new(
        host: &impl Host,
        api: Api,
        caller: Caller,
        request: &HeaderList<'_>,
        body: Vec<u8>,
    ) -> Self {
        Self {
            api,
            trace_id: ids::new(host).to_string(),
            started: Moment::now(host),
            charges: Vec::new(),
            refused_charges: Vec::new(),
            estimated_tokens: 0,
            cache_key: None,
            is_cached: false,
            traceparent: request
                .get(headers::TRACEPARENT)
                .filter(|header| TraceContext::parse(header).is_some())
                .unwrap_or_default()
                .to_owned(),
            is_opted_out: privacy::is_opted_out(request),
            budget: v1::Budget::Within,
            snapshot: snapshot::current(),
            body: Rc::new(body),
            requested_model: String::new(),
            alias: None,
            stream: false,
            include_usage: false,
            has_tools: false,
            session: request
                .get(headers::SESSION_ID)
                .filter(|id| session::model_of(id).is_some())
                .map(str::to_owned),
            plan: Vec::new(),
            is_direct: false,
            timeout: None,
            is_cut: false,
            routing_micros: 0,
            cluster_id: None,
            expected_error: None,
            decision: None,
            user: caller.subject.clone(),
            caller,
            is_health_told: false,
            metadata: std::collections::BTreeMap::new(),
            attempts: Vec::new(),
            unreported_attempts: Vec::new(),
            selected: None,
            time_to_first_token_micros: None,
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

    /// Reports the results of the attempts to the models' health, once they are known.
    pub fn tell_health(&mut self, host: &impl Host) {
        let Some(snapshot) = self.snapshot.as_ref().filter(|_| !self.is_health_told) else {
            return;
        };
        self.is_health_told = true;
        for attempt in &self.attempts {
            let model = format!("{}/{}", attempt.provider, attempt.model);
            let latency_micros = attempt.latency_ms.map(|ms| ms.saturating_mul(1000));
            health::tell(
                host,
                &model,
                attempt.error,
                latency_micros,
                attempt.retry_after,
                &snapshot.circuit_breaker,
            );
            events::on_attempt(host, attempt);
        }
    }

    /// Returns the model that answered, as `provider/model`.
    pub fn selected_model(&self) -> String {
        match &self.selected {
            Some((provider, model)) => format!("{provider}/{model}"),
            None => String::new(),
        }
    }

    /// Returns the mask for the credentials of the provider that answered.
    pub fn key_mask(&self) -> KeyMask {
        let selected = self.selected.as_ref();
        selected
            .and_then(|(name, _)| self.snapshot.as_ref()?.providers.get(name))
            .map(|provider| provider.key_mask.clone())
            .unwrap_or_default()
    }

    /// Sets the attempts; the last is the one that this answer comes from.
    pub fn note_attempts(&mut self, attempts: Vec<AttemptSummary>) {
        if let Some(last) = attempts.last() {
            self.selected = Some((last.provider.clone(), last.model.clone()));
        }
        self.attempts = attempts;
    }

    /// Records the provider stage's log of attempts. An attempt that the log lacks went down with
    /// its VM.
    pub fn note_log(&mut self, host: &impl Host, log: Vec<LoggedAttempt>) {
        let mut attempts = Vec::with_capacity(log.len());
        for logged in log {
            while attempts.len() + 1 < logged.number as usize && attempts.len() < self.plan.len() {
                let number = attempts.len();
                attempts.extend(self.failed_attempt(host, number, AttemptError::TranslatorFailed));
                self.unreported_attempts.push(number);
            }
            attempts.push(logged.summary);
        }
        self.note_attempts(attempts);
    }

    /// Records the attempts without a log, because Envoy itself gave up on the last one. All of
    /// them were made, or there would be an answer.
    pub fn note_silence(&mut self, host: &impl Host, reason: AttemptError) {
        let last = self.plan.len().saturating_sub(1);
        let attempts = (0..self.plan.len())
            .filter_map(|index| {
                self.failed_attempt(
                    host,
                    index,
                    if index == last {
                        reason
                    } else {
                        AttemptError::Failed
                    },
                )
            })
            .collect();
        self.note_attempts(attempts);
    }

    fn failed_attempt(
        &self,
        host: &impl Host,
        index: usize,
        reason: AttemptError,
    ) -> Option<AttemptSummary> {
        let candidate = self.plan.get(index)?;
        Some(AttemptSummary {
            provider: candidate.provider.name.clone(),
            model: candidate.model.clone(),
            status: None,
            error: Some(reason),
            latency_ms: (self.plan.len() == 1).then(|| self.started.elapsed_micros(host) / 1000),
            retry_after: None,
        })
    }

    /// Returns the client's request, for the translation of an answer.
    pub fn asked(&self) -> RequestContext<'_> {
        RequestContext {
            api: self.api,
            id: &self.trace_id,
            body: &self.body,
        }
    }

    /// Returns the origin of the answer of the only candidate.
    pub fn origin(&self) -> Option<Origin<'_>> {
        let candidate = self.plan.first()?;
        let provider = &candidate.provider;
        Some(upstream::origin(
            &self.asked(),
            provider,
            &candidate.model,
            self.started,
        ))
    }

    /// Puts the call in a session, because the model has called tools or may call them.
    pub fn session_for_tools(&mut self, host: &impl Host) -> &str {
        let model = self.selected_model();
        self.session
            .get_or_insert_with(|| session::issue(host, &model))
    }

    pub fn cost(&self, summary: &Summary) -> Option<Cost> {
        let (provider, model) = self.selected.as_ref()?;
        let pricing = self.snapshot.as_ref()?.model(provider, model).pricing?;
        if self.is_cached {
            return Some(Cost::default());
        }
        pricing.cost(summary.usage.as_ref()?)
    }

    /// Returns the members to add to the answer.
    pub fn extras(&self, host: &impl Host, summary: &Summary) -> Vec<u8> {
        let selected_model = self.selected_model();
        Extras {
            cost: self.cost(summary).map(|cost| cost.total),
            latency_ms: clock::millis(self.started.elapsed_micros(host)),
            routing: Routing {
                alias: self.alias.as_deref(),
                requested_model: &self.requested_model,
                selected_model: &selected_model,
                attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
                routing_ms: clock::millis(self.routing_micros),
                cluster_id: self.cluster_id,
                expected_error: self.expected_error,
                decision: self.decision.as_ref().map(|decision| Decision {
                    outcome: &decision.outcome,
                    pack: &decision.pack,
                    score: decision.score,
                    cost_weight: decision.cost_weight,
                    reason: &decision.reason,
                }),
                session_id: self.session.as_deref(),
                trace_id: &self.trace_id,
            },
        }
        .members()
    }

    /// Adds the headers that describe the call to the client.
    pub fn add_headers(&self, host: &impl Host, response: &mut HeaderList<'_>) {
        let charges = if self.charges.is_empty() {
            &self.refused_charges
        } else {
            &self.charges
        };
        limits::add_headers(host, charges, response);
        if self.is_cached {
            response.push(headers::CACHE, "hit");
        } else if self.cache_key.is_some() {
            response.push(headers::CACHE, "miss");
        }
        response.push(headers::TRACE_ID, self.trace_id.clone());
        response.push(
            headers::ROUTING_MS,
            clock::millis(self.routing_micros).to_string(),
        );
        response.push(headers::ATTEMPTS, self.attempts.len().to_string());
        if self.selected.is_some() {
            response.push(headers::SELECTED_MODEL, self.selected_model());
        }
        if let Some(cluster) = self.cluster_id {
            response.push(headers::CLUSTER_ID, cluster.to_string());
        }
        if let Some(error) = self.expected_error {
            response.push(headers::EXPECTED_ERROR, error.to_string());
        }
        if let Some(decision) = &self.decision {
            response.push(headers::ROUTING, decision.outcome.clone());
        }
        if self.budget == v1::Budget::SoftLimit {
            response.push(headers::BUDGET, "soft_limit");
        }
        if let Some(session) = &self.session {
            response.push(headers::SESSION_ID, session.clone());
        }
    }

    /// Returns the bytes of an answer that its trace can hold, plus one to detect truncation.
    pub fn recorded_bytes(&self) -> usize {
        privacy::recorded_bytes(self.snapshot.as_deref())
    }

    /// Truncates the body of a request that was sent to what its trace can hold. The Responses API
    /// needs the whole body, because its answers repeat parts of the request.
    pub fn release_body(&mut self) {
        let limit = self.recorded_bytes();
        if self.api != Api::Responses
            && let Some(body) = Rc::get_mut(&mut self.body)
        {
            body.truncate(limit);
            body.shrink_to(limit);
        }
    }

    /// Queues the trace for the control plane.
    pub fn record(mut self, host: &impl Host, end: End) {
        self.tell_health(host);
        if end.outcome == v1::Outcome::UpstreamBrokeOff
            && let Some(attempt) = self
                .attempts
                .last()
                .filter(|attempt| attempt.error.is_none())
        {
            events::on_attempt(
                host,
                &AttemptSummary {
                    error: Some(AttemptError::BrokeOff),
                    ..attempt.clone()
                },
            );
        }
        let usage = end.summary.usage.filter(|_| !self.is_cached);
        let tokens = usage.map_or(0, |usage| usage.input.saturating_add(usage.output));
        limits::settle(host, &self.charges, tokens, self.started.instant());
        let cost = self.cost(&end.summary);
        let snapshot = self.snapshot.take().unwrap_or_default();
        let alias = self.alias.as_deref();
        let policy = Policy::of(&snapshot, alias, self.client(), self.is_opted_out);
        let masked = |text: String| policy.mask(&snapshot, text);
        let request = Rc::unwrap_or_clone(std::mem::take(&mut self.body));
        let mut response = end.response;
        if policy.content && policy.redact && end.is_event_stream {
            // A secret split across chunks of a stream can't be recognized, so the stream is
            // aggregated.
            response = serde_json::to_vec(&self.api.aggregate(&response)).unwrap_or_default();
        }
        let said = policy.keep(&snapshot, request, response);
        if self.is_direct {
            self.unreported_attempts = vec![0];
        }
        let attempts = self
            .unreported_attempts
            .iter()
            .filter_map(|&index| {
                let made = self.attempts.get(index)?;
                Some(v1::Attempt {
                    trace_id: self.trace_id.clone(),
                    number: u32::try_from(index).ok()?.saturating_add(1),
                    provider: made.provider.clone(),
                    model: made.model.clone(),
                    status: u32::from(made.status.unwrap_or(0)),
                    error: made.error.map_or("", AttemptError::as_str).to_owned(),
                    latency_micros: self.started.elapsed_micros(host),
                    start_unix_micros: self.started.unix_micros(),
                    traceparent: self.traceparent.clone(),
                })
            })
            .collect();
        let key = self.key_name().to_owned();
        let (provider, model) = self.selected.unwrap_or_default();
        let trace = v1::Trace {
            id: self.trace_id,
            start_unix_micros: self.started.unix_micros(),
            requested_model: self.requested_model,
            alias: self.alias.unwrap_or_default(),
            provider,
            model,
            stream: self.stream,
            status: u32::from(end.status),
            error: end.error.map(|error| v1::TraceError {
                r#type: error.kind.as_str().to_owned(),
                code: error.code.unwrap_or_default().into_owned(),
                message: masked(error.message),
            }),
            outcome: end.outcome.into(),
            latency_micros: self.started.elapsed_micros(host),
            time_to_first_token_micros: self.time_to_first_token_micros,
            routing_micros: self.routing_micros,
            usage: end.summary.usage.map(|usage| v1::Usage {
                input: usage.input,
                output: usage.output,
                cache_read: usage.cache_read,
                cache_write: usage.cache_write,
                reasoning: usage.reasoning,
            }),
            cost: cost.map(|cost| v1::Cost {
                input: cost.input.0,
                output: cost.output.0,
                cache_read: cost.cache_read.0,
                cache_write: cost.cache_write.0,
                total: cost.total.0,
            }),
            request: said.request,
            response: said.response,
            content_truncated: said.is_cut || self.is_cut,
            key,
            traceparent: self.traceparent,
            session_id: self.session.unwrap_or_default(),
            cluster_id: self.cluster_id,
            expected_error: self.expected_error,
            decision: self.decision,
            metadata: self
                .metadata
                .into_iter()
                .map(|(name, value)| (masked(name), masked(value)))
                .collect(),
            user: masked(self.user),
            api: Endpoint::Completion(self.api).number(),
        };
        metrics::count(host, &trace);
        delivery::record(
            host,
            v1::IngestRequest {
                traces: vec![trace],
                attempts,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_the_numbers_of_the_contract() {
        for endpoint in Endpoint::ALL {
            let api = v1::Api::try_from(endpoint.number()).unwrap();
            let name = api.as_str_name().to_lowercase();
            assert_eq!(name, format!("api_{}", endpoint.name()));
        }
    }
}
