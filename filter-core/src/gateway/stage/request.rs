//! Requests that are complete.

use opentracy_translate::error::ApiError;

use super::state::{GatewayStage, State};
use crate::gateway::answer::ClientAnswer;
use crate::gateway::call::ClientCall;
use crate::gateway::dispatch::{self, DispatchOutcome};
use crate::gateway::gateway_endpoint::GatewayEndpoint;
use crate::gateway::{count_tokens, explain, own_attempts};
use crate::headers;
use crate::host::{Action, Host};

impl GatewayStage {
    /// Handles a complete request.
    pub(super) fn on_request(&mut self, host: &impl Host) -> Action {
        let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) else {
            return Action::Continue;
        };
        #[cfg(feature = "trap-for-tests")]
        crate::traps::in_gateway(&request);
        let body = host.request_body(0);
        match endpoint {
            GatewayEndpoint::Completion(api) => {
                let call = ClientCall::new(host, api, caller, &request, body);
                self.settle(host, dispatch::start(host, Box::new(call), request))
            }
            GatewayEndpoint::CountTokens => {
                match count_tokens::answer(host, &caller, &request, &body) {
                    Some(errand) => {
                        self.state = State::Counting(errand);
                        Action::Continue
                    }
                    None => {
                        self.state = State::Answered;
                        Action::Pause
                    }
                }
            }
            // Unreachable: these endpoints are handled before the whole request is received.
            GatewayEndpoint::Passthrough(_) | GatewayEndpoint::Models => Action::Continue,
            GatewayEndpoint::Route => {
                self.state = match explain::ask(host, body) {
                    Some(asked) => State::Explaining(asked),
                    None => State::Answered,
                };
                Action::Pause
            }
        }
    }

    /// Returns whether the next attempt waits for Envoy's pass for it.
    pub(super) fn is_restarting(&self) -> bool {
        let State::Sent(sent) = &self.state else {
            return false;
        };
        let own = sent.0.own_attempts.as_ref();
        own.is_some_and(|own| own.is_restarting())
    }

    /// Makes the next attempt of a plan, once Envoy has nothing of the attempt before.
    pub(super) fn send_again(&mut self, host: &impl Host, end_of_stream: bool) -> Action {
        let State::Sent(sent) = &mut self.state else {
            return Action::Continue;
        };
        if !end_of_stream {
            return Action::Pause;
        }
        let (call, answer) = sent.as_mut();
        match own_attempts::resume(host, call) {
            Ok(()) => {
                *answer = ClientAnswer::awaited(host, call);
                Action::Continue
            }
            Err(error) => {
                *answer = ClientAnswer::refuse(host, call, &error);
                Action::Pause
            }
        }
    }

    pub(super) fn refuse(&mut self, host: &impl Host, error: ApiError) {
        if let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) {
            match endpoint {
                GatewayEndpoint::Route => {
                    self.reply_error(host, &error);
                    return;
                }
                // A count leaves no trace.
                GatewayEndpoint::CountTokens => {
                    let body = endpoint.api().error_json(&error, &[]);
                    host.reply(error.status, &headers::json(), &body);
                    self.state = State::Answered;
                    return;
                }
                _ => {}
            }
            let call = ClientCall::new(host, endpoint.api(), caller, &request, Vec::new());
            self.settle(host, DispatchOutcome::Refused(Box::new(call), error));
        }
    }

    pub(super) fn settle(&mut self, host: &impl Host, outcome: DispatchOutcome) -> Action {
        match outcome {
            DispatchOutcome::Sent(mut call) => {
                if call.own_attempts.is_none() {
                    call.release_body();
                }
                let answer = ClientAnswer::awaited(host, &call);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Continue
            }
            DispatchOutcome::Waiting(waiting) => {
                self.state = State::Waiting(waiting);
                Action::Pause
            }
            DispatchOutcome::Known(mut call, cached) => {
                let answer = ClientAnswer::repeat(host, &mut call, cached);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Pause
            }
            DispatchOutcome::Refused(call, error) => {
                let answer = ClientAnswer::refuse(host, &call, &error);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Pause
            }
        }
    }
}
