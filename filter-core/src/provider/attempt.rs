//! One attempt at one provider: the outgoing request, and the record of its result.

use std::rc::Rc;
use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::client::Api;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::exchange::Origin;
use opentracy_translate::format;
use opentracy_translate::model::ModelId;
use opentracy_translate::trace_context::span_id;

use crate::clock::Moment;
use crate::delivery;
use crate::failure;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::plan::{LoggedAttempt, Plan};
use crate::provider::attempt_log;
use crate::snapshot::{self, Provider, Snapshot};
use crate::upstream::{RequestContext, Sending};
use crate::{access_log, provider_keys, upstream};

pub struct ActiveAttempt {
    api: Api,
    trace_id: String,
    traceparent: String,
    /// The client's body, if the answer repeats parts of it.
    body: Vec<u8>,
    number: u32,
    is_last: bool,
    id: ModelId,
    snapshot: Option<Rc<Snapshot>>,
    pub provider: Option<Rc<Provider>>,
    pub started: Moment,
    timeout_ms: u32,
    status: Option<u16>,
    error: Option<AttemptError>,
    is_logged: bool,
    /// Set if Envoy may make another attempt after this one, which then needs the log.
    pub is_retried: bool,
    /// The number of the provider's key that the request was sent with.
    key: usize,
}

impl ActiveAttempt {
    /// Creates attempt `number` of a plan, counted from 1.
    pub fn new(host: &impl Host, plan: &Plan<'_>, number: u32) -> Self {
        let id = usize::try_from(number)
            .ok()
            .and_then(|number| plan.attempts.get(number.checked_sub(1)?))
            .and_then(|text| ModelId::parse(text))
            .unwrap_or_else(|| ModelId::new("", ""));
        let snapshot = snapshot::current();
        let provider = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.planned_provider(&id.provider, host.now()))
            .map(Rc::clone);
        let timeout_ms = plan
            .per_try_timeout_ms
            .or(provider.as_ref().map(|provider| provider.timeout_ms))
            .unwrap_or_default();
        Self {
            api: plan.api,
            body: Vec::new(),
            trace_id: plan.trace_id.clone().into_owned(),
            traceparent: String::new(),
            number,
            is_last: usize::try_from(number).is_ok_and(|number| number >= plan.attempts.len()),
            id,
            snapshot,
            provider,
            started: Moment::now(host),
            timeout_ms,
            status: None,
            error: None,
            is_logged: false,
            is_retried: false,
            key: 0,
        }
    }

    /// Sends the provider's request. On an error nothing is sent.
    pub fn send(
        &mut self,
        host: &impl Host,
        request: &HeaderList<'_>,
        body: Vec<u8>,
    ) -> Result<(), ApiError> {
        let traceparent = request.get(headers::TRACEPARENT);
        traceparent
            .unwrap_or_default()
            .clone_into(&mut self.traceparent);
        let (Some(snapshot), Some(provider)) = (&self.snapshot, &self.provider) else {
            // The gateway stage had a newer configuration that this stage didn't get in time.
            return Err(ApiError::new(
                503,
                format!("{} is not known here yet. Try again", self.id),
            )
            .with_code("gateway_starting"));
        };
        let target = provider.target(&self.id.name, Some(snapshot));
        let outgoing = format::translate_accepted(self.api, &body, &target)?;
        access_log::keep_attempt(host, &self.trace_id, &self.id);
        self.key = upstream::send(
            host,
            provider,
            &self.id.name,
            &outgoing,
            &body,
            &Sending {
                timeout_ms: self.timeout_ms,
                span: traceparent.map(|_| span_id(&self.trace_id, self.number)),
                retries_resets: self.is_last,
                // The internal listener makes an answer that breaks off a failed attempt.
                is_held: false,
            },
            request,
        );
        if self.api.facts().repeats_request {
            self.body = body;
        }
        Ok(())
    }

    /// Returns the longest silence that the provider is allowed.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// Returns the origin of the answer, for its translation; `None` if nothing was sent.
    pub fn origin(&self) -> Option<Origin<'_>> {
        let asked = RequestContext {
            api: self.api,
            id: &self.trace_id,
            body: &self.body,
        };
        let provider = self.provider.as_ref()?;
        Some(upstream::origin(
            &asked,
            provider,
            &self.id.name,
            self.started,
        ))
    }

    pub fn provider_name(&self) -> &str {
        &self.id.provider
    }

    /// Logs the attempt's result and returns the log of all attempts so far, for the gateway stage.
    pub fn log(
        &mut self,
        host: &impl Host,
        status: Option<u16>,
        error: Option<AttemptError>,
        retry_after: Option<u64>,
    ) -> String {
        self.status = status;
        self.error = error;
        self.is_logged = true;
        if let (Some(provider), Some(status)) = (&self.provider, status) {
            provider_keys::report(host, provider, self.key, status, retry_after);
        }
        let summary = AttemptSummary {
            provider: self.id.provider.clone(),
            model: self.id.name.clone(),
            status,
            error,
            latency_ms: Some(self.started.elapsed_micros(host) / 1000),
            retry_after,
        };
        let all = attempt_log::add(
            host,
            &self.trace_id,
            LoggedAttempt {
                number: self.number,
                summary,
            },
        );
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// Returns whether a status is worth another attempt.
    pub fn is_retriable(&self, status: u16) -> bool {
        match &self.provider {
            Some(provider) => provider.is_worth_another(status),
            None => failure::is_retriable(status),
        }
    }

    /// Records that a stream ended early, with the reason.
    pub fn broke_off(&mut self, reason: AttemptError) {
        self.error = Some(reason);
    }

    /// Finishes the attempt and queues its record for the control plane.
    pub fn record(mut self, host: &impl Host) {
        if !self.is_logged {
            // The edge canceled it: because the client left, or because its time was over.
            let details = host.response_details();
            let is_late = self.started.elapsed_micros(host) >= u64::from(self.timeout_ms) * 1000;
            let reason = failure::of_unanswered(&details, is_late);
            self.log(host, None, Some(reason), None);
            self.is_retried = reason != AttemptError::Abandoned;
        }
        if self.is_last || !self.is_retried {
            attempt_log::forget(&self.trace_id);
        }
        delivery::record(
            host,
            v1::IngestRequest {
                traces: Vec::new(),
                attempts: vec![v1::Attempt {
                    trace_id: self.trace_id,
                    number: self.number,
                    provider: self.id.provider,
                    model: self.id.name,
                    status: self.status.map_or(0, u32::from),
                    error: self.error.map_or("", AttemptError::as_str).to_owned(),
                    latency_micros: self.started.elapsed_micros(host),
                    start_unix_micros: self.started.unix_micros(),
                    traceparent: self.traceparent,
                }],
            },
        );
    }
}
