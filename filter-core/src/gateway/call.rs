//! The state of a call in the gateway stage, and the trace that it becomes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::client::Api;
use opentracy_translate::cost::CostBreakdown;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::exchange::Origin;
use opentracy_translate::model;
use opentracy_translate::openai::response::{self, Extras, Summary};
use opentracy_translate::redact::KeyMask;

use crate::clock::{self, Moment};
use crate::events;
use crate::gateway::access::AdmittedCaller;
use crate::gateway::cache::CacheKey;
use crate::gateway::charge::Consumption;
use crate::gateway::own_attempts::{self, OwnAttempts};
use crate::gateway::planner::ProviderModel;
use crate::gateway::session;
use crate::gateway::trace_builder::{Ending, TraceBuilder, wire_cost, wire_usage};
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::plan::LoggedAttempt;
use crate::upstream::{self, RequestContext};

pub struct ClientCall {
    pub trace: TraceBuilder,
    /// The API that the client uses.
    pub api: Api,
    /// The client's body, as the client sent it.
    pub body: Rc<Vec<u8>>,
    pub stream: bool,
    pub include_usage: bool,
    pub has_tools: bool,
    pub user: String,
    pub metadata: BTreeMap<String, String>,
    /// The estimate of the request and its answer.
    pub estimate: Consumption,
    pub budget: v1::Budget,
    /// The cache key, if the answer may be cached.
    pub cache_key: Option<CacheKey>,
    /// Set if the answer came from the cache.
    pub is_cached: bool,
    /// The session that the client sent or was given.
    pub session: Option<String>,
    pub routing: RoutingResult,
    /// One candidate for each attempt, in order.
    pub plan: Vec<ProviderModel>,
    /// Set if this stage calls the provider itself, without a provider stage.
    pub is_direct: bool,
    /// Set if this stage makes the attempts of a longer plan itself.
    pub own_attempts: Option<Box<OwnAttempts>>,
    /// The longest silence of the provider that this stage allows; `None` if the provider stage
    /// watches it.
    pub timeout: Option<Duration>,
    /// The attempts so far, as far as they are known.
    pub attempts: Vec<AttemptSummary>,
    /// The indices of attempts that no other stage reports.
    unreported_attempts: Vec<usize>,
    /// The candidate that answered, or the last one that failed.
    pub selected: Option<(String, String)>,
    is_health_reported: bool,
    /// Set once content was left out of the record for lack of memory.
    pub is_cut: bool,
}

/// The control plane's choice of a candidate.
#[derive(Default)]
pub struct RoutingResult {
    /// The time that it took.
    pub micros: u64,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    /// `None` if the control plane was not asked.
    pub decision: Option<v1::Decision>,
}

/// The end of a call.
pub struct CallResult {
    pub outcome: v1::Outcome,
    pub status: u16,
    pub error: Option<ApiError>,
    pub summary: Summary,
    /// The bytes that the client received.
    pub response: Vec<u8>,
    pub is_event_stream: bool,
}

impl ClientCall {
    pub fn new(
        host: &impl Host,
        api: Api,
        caller: AdmittedCaller,
        request: &HeaderList<'_>,
        body: Vec<u8>,
    ) -> Self {
        Self {
            session: request
                .get(headers::SESSION_ID)
                .filter(|id| session::model_of(id).is_some())
                .map(str::to_owned),
            user: caller.subject.clone(),
            trace: TraceBuilder::new(host, Endpoint::Completion(api), caller, request),
            api,
            body: Rc::new(body),
            stream: false,
            include_usage: false,
            has_tools: false,
            metadata: BTreeMap::new(),
            estimate: Consumption::default(),
            budget: v1::Budget::Within,
            cache_key: None,
            is_cached: false,
            routing: RoutingResult::default(),
            plan: Vec::new(),
            is_direct: false,
            own_attempts: None,
            timeout: None,
            attempts: Vec::new(),
            unreported_attempts: Vec::new(),
            selected: None,
            is_health_reported: false,
            is_cut: false,
        }
    }

    /// Reports the results of the attempts to the models' health, once they are known.
    pub fn report_health(&mut self, host: &impl Host) {
        if std::mem::replace(&mut self.is_health_reported, true) {
            return;
        }
        for attempt in &self.attempts {
            self.trace.report_health(host, attempt);
        }
    }

    /// Returns the model that answered, as `provider/model`.
    pub fn selected_model(&self) -> String {
        match &self.selected {
            Some((provider, name)) => model::id_of(provider, name),
            None => String::new(),
        }
    }

    /// Returns the mask for the credentials of the provider that answered.
    pub fn key_mask(&self) -> KeyMask {
        let selected = self.selected.as_ref();
        selected
            .and_then(|(name, _)| self.trace.snapshot.as_ref()?.providers.get(name))
            .map(|provider| provider.key_mask.clone())
            .unwrap_or_default()
    }

    /// Returns the candidate that is being called, if this stage calls it itself.
    pub fn candidate(&self) -> Option<&ProviderModel> {
        let own = self.own_attempts.as_ref();
        let current = own.map_or(0, |own| own.current());
        self.plan.get(current).filter(|_| self.is_direct)
    }

    /// Returns the name of the provider that is being called, or that was called last.
    pub fn provider_name(&self) -> &str {
        let called = self.candidate();
        let called = called.map(|candidate| &candidate.provider.name);
        let last = self.selected.as_ref().map(|(name, _)| name);
        called.or(last).map_or("The provider", String::as_str)
    }

    /// Returns when the provider was called, if this stage calls it itself.
    pub fn attempt_started(&self) -> Moment {
        let own = self.own_attempts.as_ref();
        own.map_or(self.trace.started, |own| own.started())
    }

    /// Adds the result of an attempt that this stage made itself.
    pub fn note_attempt(&mut self, attempt: AttemptSummary) {
        self.selected = Some((attempt.provider.clone(), attempt.model.clone()));
        self.attempts.push(attempt);
    }

    /// Sets the attempts. The answer comes from the one that succeeded, or else from the last:
    /// attempts of a hedged call overlap.
    fn note_attempts(&mut self, attempts: Vec<AttemptSummary>) {
        let succeeded = attempts.iter().rfind(|attempt| attempt.error.is_none());
        if let Some(answering) = succeeded.or(attempts.last()) {
            self.selected = Some((answering.provider.clone(), answering.model.clone()));
        }
        self.attempts = attempts;
    }

    /// Records the provider stage's log of attempts. An attempt that the log lacks went down with
    /// its VM, or is still in flight if the call is hedged.
    pub fn note_log(&mut self, host: &impl Host, log: Vec<LoggedAttempt>) {
        let is_hedged = self.is_hedged();
        let reason = if is_hedged {
            AttemptError::Abandoned
        } else {
            AttemptError::TranslatorFailed
        };
        let mut attempts = Vec::with_capacity(log.len());
        for logged in log {
            while attempts.len() + 1 < logged.number as usize && attempts.len() < self.plan.len() {
                let number = attempts.len();
                attempts.extend(self.failed_attempt(host, number, reason));
                if !is_hedged {
                    self.unreported_attempts.push(number);
                }
            }
            attempts.push(logged.summary);
        }
        self.note_attempts(attempts);
    }

    /// Returns whether Envoy may try the next candidate while an earlier one may still answer.
    fn is_hedged(&self) -> bool {
        let snapshot = self.trace.snapshot.as_ref();
        let alias = snapshot.and_then(|snapshot| self.trace.alias(snapshot));
        alias.is_some_and(|alias| alias.hedge_after_ms.is_some())
    }

    /// Records the attempts without a log, because the last one got no answer. All of them were
    /// made, or there would be an answer.
    pub fn note_silence(&mut self, host: &impl Host, reason: AttemptError) {
        if let Some(own) = &self.own_attempts {
            let current = own.current();
            // The answer may have begun.
            self.attempts.truncate(current);
            if let Some(attempt) = self.failed_attempt(host, current, reason) {
                self.note_attempt(attempt);
            }
            return;
        }
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
            latency_ms: self
                .is_direct
                .then(|| self.attempt_started().elapsed_micros(host) / 1000),
            retry_after: None,
        })
    }

    /// Returns the client's request, for the translation of an answer.
    pub fn asked(&self) -> RequestContext<'_> {
        RequestContext {
            api: self.api,
            id: &self.trace.id,
            body: &self.body,
        }
    }

    /// Returns the origin of the answer of a candidate that this stage calls itself.
    pub fn origin(&self) -> Option<Origin<'_>> {
        let candidate = self.candidate()?;
        let provider = &candidate.provider;
        Some(upstream::origin(
            &self.asked(),
            provider,
            &candidate.model,
            self.attempt_started(),
        ))
    }

    /// Puts the call in a session, because the model has called tools or may call them.
    pub fn session_for_tools(&mut self, host: &impl Host) -> &str {
        let model = self.selected_model();
        self.session
            .get_or_insert_with(|| session::issue(host, &model))
    }

    pub fn cost(&self, summary: &Summary) -> Option<CostBreakdown> {
        let (provider, model) = self.selected.as_ref()?;
        let pricing = self
            .trace
            .snapshot
            .as_ref()?
            .model(provider, model)
            .pricing?;
        if self.is_cached {
            return Some(CostBreakdown::default());
        }
        pricing.cost(summary.usage.as_ref()?)
    }

    /// Returns the members to add to the answer.
    pub fn extras(&self, host: &impl Host, summary: &Summary) -> Vec<u8> {
        let selected_model = self.selected_model();
        Extras {
            cost: self.cost(summary).map(|cost| cost.total),
            latency_ms: clock::millis(self.trace.started.elapsed_micros(host)),
            routing: response::RoutingSummary {
                alias: self.trace.alias.as_deref(),
                requested_model: &self.trace.requested_model,
                selected_model: &selected_model,
                attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
                routing_ms: clock::millis(self.routing.micros),
                cluster_id: self.routing.cluster_id,
                expected_error: self.routing.expected_error,
                decision: self.routing.decision.as_ref().map(|decision| {
                    response::DecisionSummary {
                        outcome: &decision.outcome,
                        pack: &decision.pack,
                        score: decision.score,
                        cost_weight: decision.cost_weight,
                        reason: &decision.reason,
                    }
                }),
                session_id: self.session.as_deref(),
                trace_id: &self.trace.id,
            },
        }
        .members()
    }

    /// Adds the headers that describe the call to the client.
    pub fn add_headers(&self, host: &impl Host, response: &mut HeaderList<'_>) {
        self.trace
            .add_headers(host, &self.selected_model(), response);
        if self.is_cached {
            response.push(headers::CACHE, "hit");
        } else if self.cache_key.is_some() {
            response.push(headers::CACHE, "miss");
        }
        let routing_ms = match self.routing.micros {
            // Of most calls. Numbers with a fraction take long to write.
            0 => "0".into(),
            micros => Cow::from(clock::millis(micros).to_string()),
        };
        response.push(headers::ROUTING_MS, routing_ms);
        response.push(headers::ATTEMPTS, self.attempts.len().to_string());
        if let Some(cluster) = self.routing.cluster_id {
            response.push(headers::CLUSTER_ID, cluster.to_string());
        }
        if let Some(error) = self.routing.expected_error {
            response.push(headers::EXPECTED_ERROR, error.to_string());
        }
        if let Some(decision) = &self.routing.decision {
            response.push(headers::ROUTING, decision.outcome.clone());
        }
        if self.budget == v1::Budget::SoftLimit {
            response.push(headers::BUDGET, "soft_limit");
        }
        if let Some(session) = &self.session {
            response.push(headers::SESSION_ID, session.clone());
        }
    }

    /// Truncates the body of a request that was sent to what its trace can hold. The Responses API
    /// needs the whole body, because its answers repeat parts of the request.
    pub fn release_body(&mut self) {
        let limit = self.trace.recorded_bytes();
        if !self.api.facts().repeats_request
            && let Some(body) = Rc::get_mut(&mut self.body)
        {
            body.truncate(limit);
            body.shrink_to(limit);
        }
    }

    /// Queues the trace for the control plane.
    pub fn record(mut self, host: &impl Host, end: CallResult) {
        self.report_health(host);
        if end.outcome == v1::Outcome::UpstreamBrokeOff
            && let Some(attempt) = self.attempts.last_mut()
            && attempt.error.is_none()
        {
            // It was reported as a success when its stream began.
            attempt.error = Some(AttemptError::BrokeOff);
            events::on_attempt(host, attempt);
        }
        let mut response = end.response;
        if end.is_event_stream && self.trace.masks_content() {
            // A secret split across chunks of a stream can't be recognized, so the stream is
            // aggregated.
            response = serde_json::to_vec(&self.api.aggregate(&response)).unwrap_or_default();
        }
        if self.is_direct {
            self.unreported_attempts = vec![0];
        }
        let unreported = self.unreported_attempts.iter();
        let attempts = unreported.filter_map(|&index| {
            let number = u32::try_from(index).ok()?.saturating_add(1);
            let made = self.attempts.get(index)?;
            Some(self.trace.attempt(host, number, made))
        });
        let mut attempts: Vec<v1::Attempt> = attempts.collect();
        if self.own_attempts.is_some() {
            attempts = own_attempts::records(host, &mut self);
        }
        let usage = end.summary.usage;
        let charged = usage.filter(|_| !self.is_cached);
        let cost = self.cost(&end.summary);
        let (provider, model) = self.selected.unwrap_or_default();
        let trace = v1::Trace {
            provider,
            model,
            stream: self.stream,
            status: u32::from(end.status),
            outcome: end.outcome.into(),
            routing_micros: self.routing.micros,
            usage: usage.map(wire_usage),
            cost: cost.map(wire_cost),
            session_id: self.session.unwrap_or_default(),
            cluster_id: self.routing.cluster_id,
            expected_error: self.routing.expected_error,
            decision: self.routing.decision,
            metadata: self.metadata.into_iter().collect(),
            user: self.user,
            ..v1::Trace::default()
        };
        let ending = Ending {
            trace,
            attempts,
            consumption: Consumption::actual(charged),
            error: end.error,
            request: Rc::unwrap_or_clone(self.body),
            response,
            is_cut: self.is_cut,
        };
        self.trace.finish(host, ending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_the_numbers_of_the_contract() {
        for endpoint in Endpoint::all() {
            let api = v1::Api::try_from(endpoint.number()).unwrap();
            let name = api.as_str_name().to_lowercase();
            assert_eq!(name, format!("api_{}", endpoint.name()));
        }
    }
}
