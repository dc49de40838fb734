//! The provider stage: one context for each attempt at a provider.
//!
//! It takes the attempt's candidate from the plan, builds the request for that provider, and
//! translates the response to the client's API. The answer is held until its first event or its
//! complete body has arrived: until then another candidate can take over, and a failed attempt is
//! marked for Envoy to retry.

mod attempt;
pub mod attempt_log;
mod inbound;

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;

use crate::configuration;
use crate::deadline::Deadline;
use crate::failure;
use crate::headers::{self, HeaderList};
use crate::host::{Action, CallId, Host};
use crate::memory;
use crate::plan::Plan;
use crate::provider::attempt::ActiveAttempt;
use crate::provider::inbound::Inbound;
use crate::stream::Stage;

#[derive(Default)]
pub struct ProviderStage {
    state: State,
}

#[derive(Default)]
enum State {
    /// The request is not for this stage.
    #[default]
    Passive,
    /// The headers have arrived, the body has not.
    Receiving(HeaderList<'static>),
    /// The plan names a provider of a newer configuration, which the control plane was asked for.
    Waiting(u32, HeaderList<'static>),
    Attempting(Box<(ActiveAttempt, Inbound)>),
}

impl ProviderStage {
    /// Starts the attempt once the request is complete.
    fn on_request(&mut self, host: &impl Host, body_size: usize) -> Action {
        let State::Receiving(request) = std::mem::take(&mut self.state) else {
            return Action::Continue;
        };
        #[cfg(feature = "trap-for-tests")]
        crate::traps::in_attempt(&request);
        let Some(mut attempt) = attempt_of(host, &request) else {
            refuse(
                host,
                &ApiError::new(500, "The gateway's plan can't be read"),
                None,
            );
            return Action::Pause;
        };
        if !memory::has_room_for(host, body_size) {
            let log = attempt.log(host, None, Some(AttemptError::RefusedByGateway), None);
            attempt.is_retried = refuse(host, &memory::refusal(host), Some(&log));
            self.state = State::Attempting(Box::new((attempt, Inbound::over())));
            return Action::Pause;
        }
        if attempt.provider.is_none()
            && let Some(call) = configuration::ask_for_newer(host)
        {
            self.state = State::Waiting(call, request);
            return Action::Pause;
        }
        self.send(host, attempt, &request)
    }

    /// Sends the request of an attempt.
    fn send(
        &mut self,
        host: &impl Host,
        mut attempt: ActiveAttempt,
        request: &HeaderList<'static>,
    ) -> Action {
        let (inbound, action) = match attempt.send(host, request, host.request_body(0)) {
            Ok(()) => (Inbound::awaited(host, &attempt), Action::Continue),
            Err(error) => {
                let log = attempt.log(host, None, Some(AttemptError::RefusedByGateway), None);
                attempt.is_retried = refuse(host, &error, Some(&log));
                (Inbound::over(), Action::Pause)
            }
        };
        self.state = State::Attempting(Box::new((attempt, inbound)));
        action
    }
}

/// Returns the attempt that a request's plan has reached; `None` if the plan can't be parsed.
fn attempt_of(host: &impl Host, request: &HeaderList<'_>) -> Option<ActiveAttempt> {
    let number = request
        .get(headers::ATTEMPT_COUNT)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let plan = request.get(headers::PLAN)?;
    let plan = serde_json::from_str::<Plan<'_>>(plan).ok()?;
    Some(ActiveAttempt::new(host, &plan, number))
}

/// Answers an attempt that can't be made. Returns whether the answer is marked for a retry.
fn refuse(host: &impl Host, error: &ApiError, log: Option<&str>) -> bool {
    let mut reply = HeaderList::default();
    reply.push("content-type", "application/json");
    if let Some(log) = log {
        reply.push(headers::ATTEMPT_LOG, log);
    }
    // Another model may support what this one doesn't.
    let is_retried = failure::is_retriable(error.status) || error.is_unsupported();
    if is_retried {
        reply.push(headers::RETRY, "1");
    }
    host.reply(error.status, &reply, &error.to_json());
    is_retried
}

impl<H: Host> Stage<H> for ProviderStage {
    fn on_request_headers(&mut self, host: &H, end_of_stream: bool) -> Action {
        let request = host.request_headers();
        if request.get(headers::PLAN).is_none() {
            return Action::Continue;
        }
        self.state = State::Receiving(request);
        if end_of_stream {
            return self.on_request(host, 0);
        }
        Action::Pause
    }

    fn on_request_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action {
        match self.state {
            State::Receiving(_) if end_of_stream => self.on_request(host, size),
            State::Receiving(_) | State::Waiting(..) => Action::Pause,
            State::Passive | State::Attempting(_) => Action::Continue,
        }
    }

    fn on_request_trailers(&mut self, host: &H) -> Action {
        if matches!(self.state, State::Receiving(_)) {
            host.drop_request_trailers();
            return self.on_request(host, 0);
        }
        Action::Continue
    }

    fn on_response_headers(&mut self, host: &H, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Attempting(attempting) => {
                let (attempt, inbound) = attempting.as_mut();
                inbound.on_headers(host, attempt, end_of_stream)
            }
            State::Passive | State::Receiving(_) | State::Waiting(..) => Action::Continue,
        }
    }

    fn on_response_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Attempting(attempting) => {
                let (attempt, inbound) = attempting.as_mut();
                inbound.on_body(host, attempt, size, end_of_stream)
            }
            State::Passive | State::Receiving(_) | State::Waiting(..) => Action::Continue,
        }
    }

    fn on_response_trailers(&mut self, host: &H) -> Action {
        match &mut self.state {
            State::Attempting(attempting) => {
                let (attempt, inbound) = attempting.as_mut();
                inbound.on_trailers(host, attempt)
            }
            State::Passive | State::Receiving(_) | State::Waiting(..) => Action::Continue,
        }
    }

    fn on_log(&mut self, host: &H) {
        if let State::Attempting(attempting) = std::mem::take(&mut self.state) {
            let (mut attempt, inbound) = *attempting;
            inbound.finish(host, &mut attempt);
            attempt.record(host);
        }
    }

    fn on_grpc_answer(&mut self, host: &H, call: CallId, status: u32, size: usize) {
        match std::mem::take(&mut self.state) {
            State::Waiting(asked, request) if asked == call => {
                configuration::on_answer(host, status, size);
                if let Some(attempt) = attempt_of(host, &request)
                    && self.send(host, attempt, &request) == Action::Continue
                {
                    host.resume_request();
                }
            }
            other => self.state = other,
        }
    }

    fn deadline(&mut self) -> Option<&mut Deadline> {
        match &mut self.state {
            State::Attempting(attempting) => Some(attempting.1.deadline()),
            State::Passive | State::Receiving(_) | State::Waiting(..) => None,
        }
    }

    fn on_deadline(&mut self, host: &H) {
        if let State::Attempting(attempting) = &mut self.state {
            let (attempt, inbound) = attempting.as_mut();
            inbound.on_deadline(host, attempt);
        }
    }
}
