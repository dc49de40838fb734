//! Envoy's callbacks.

use opentracy_translate::agent_paths;
use opentracy_translate::client::Api;
use opentracy_translate::endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::internal_hosts;
use opentracy_translate::management_paths::is_on_gateway;

use super::state::{GatewayStage, State};
use crate::deadline::Deadline;
use crate::gateway::access::{self, AdmittedCaller};
use crate::gateway::answer::ClientAnswer;
use crate::gateway::envoys_reply::{self, EnvoysReply};
use crate::gateway::gateway_endpoint::GatewayEndpoint;
use crate::gateway::passthrough::Passthrough;
use crate::gateway::{dispatch, explain, management, models, probes};
use crate::headers::{self, HeaderList};
use crate::host::{Action, CallId, Host};
use crate::stream::Stage;
use crate::{access_log, memory, snapshot};

impl<H: Host> Stage<H> for GatewayStage {
    fn on_request_headers(&mut self, host: &H, end_of_stream: bool) -> Action {
        if self.is_restarting() {
            return self.send_again(host, end_of_stream);
        }
        let request = host.request_headers();
        let path = request.path();
        if internal_hosts::is_internal(request.get(":authority").unwrap_or_default()) {
            // Only this filter sends requests to these hosts, and Envoy doesn't run it again for
            // those.
            return self.reply_error(host, &envoys_reply::unknown_path(path));
        }
        access_log::keep_request(host, path, request.get("user-agent"));
        if let Some(endpoint) = GatewayEndpoint::at(path) {
            let method = request.get(":method").unwrap_or_default();
            let is_post = method == "POST";
            let words = format!("{path} takes POST requests only");
            let admitted = match snapshot::current() {
                Some(snapshot) => access::admit(host, &snapshot, &request, method, path),
                None => Ok(AdmittedCaller::default()),
            };
            let caller = match admitted {
                Ok(caller) => caller,
                Err(error) => return self.deny(host, endpoint.api(), &error),
            };
            let length = match endpoint {
                // Files are streamed, not buffered.
                GatewayEndpoint::Passthrough(_) => None,
                _ => request.get("content-length"),
            };
            let length = length.and_then(|length| length.parse().ok());
            if !memory::has_room_for(host, length.unwrap_or(0)) {
                return self.refuse_for_memory(host, endpoint.api());
            }
            if endpoint == GatewayEndpoint::Models {
                models::reply(host, &caller, method, path);
                self.state = State::Answered;
                return Action::Pause;
            }
            if let GatewayEndpoint::Passthrough(endpoint) = endpoint {
                let (passage, action) =
                    Passthrough::begin(host, endpoint, caller, request, end_of_stream);
                self.state = State::Passthrough(Box::new(passage));
                return action;
            }
            self.state = State::Receiving(endpoint, caller, request);
            if !is_post {
                self.refuse(host, ApiError::new(405, words));
            } else if end_of_stream {
                self.on_request(host);
            }
            return Action::Pause;
        }
        if probes::answer(host, path, &request) {
            self.state = State::Answered;
            return Action::Pause;
        }
        if is_on_gateway(path) {
            return self.pass_to_management(host, request);
        }
        if path.starts_with("/v1/") || path.starts_with(endpoint::PROXY) {
            return self.reply_error(host, &envoys_reply::unknown_path(path));
        }
        path.clone_into(&mut self.path);
        strip_internal_headers(host, request);
        Action::Continue
    }

    fn on_request_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action {
        if self.is_restarting() {
            // Envoy has kept the body, because the attempt before did not get it.
            return self.send_again(host, end_of_stream);
        }
        match &mut self.state {
            State::Passthrough(passage) => passage.on_body(host, size, end_of_stream),
            State::Receiving(endpoint, ..) if !memory::has_room_for(host, size) => {
                let api = endpoint.api();
                self.refuse_for_memory(host, api)
            }
            State::Receiving(..) if end_of_stream => self.on_request(host),
            State::Receiving(..) | State::Waiting(_) | State::Explaining(_) => Action::Pause,
            State::Other
            | State::Answered
            | State::Forwarded
            | State::Counting(_)
            | State::Sent(_) => Action::Continue,
        }
    }

    fn on_request_trailers(&mut self, host: &H) -> Action {
        match &mut self.state {
            State::Receiving(..) => {
                host.drop_request_trailers();
                self.on_request(host)
            }
            State::Passthrough(passage) => {
                host.drop_request_trailers();
                passage.on_body(host, 0, true)
            }
            _ => Action::Continue,
        }
    }

    fn on_response_headers(&mut self, host: &H, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.guard(host, call, |answer, call| {
                    answer.on_headers(host, call, end_of_stream)
                })
            }
            State::Passthrough(passage) if passage.is_sent() => {
                passage.on_response_headers(host, end_of_stream)
            }
            State::Counting(errand) if !host.is_envoys_reply(host.response_status()) => {
                errand.on_response_headers(host, end_of_stream)
            }
            State::Answered => Action::Continue,
            _ => self.on_other_response(host, end_of_stream),
        }
    }

    fn on_response_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action {
        if let Some(reply) = &mut self.envoys_reply {
            reply.on_body(host);
            return Action::Continue;
        }
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.guard(host, call, |answer, call| {
                    answer.on_body(host, call, size, end_of_stream)
                })
            }
            State::Passthrough(passage) => passage.on_response_body(host, size, end_of_stream),
            State::Counting(errand) => errand.on_response_body(host, size, end_of_stream),
            _ => Action::Continue,
        }
    }

    fn on_response_trailers(&mut self, host: &H) -> Action {
        if !matches!(self.state, State::Other) {
            host.drop_response_trailers();
        }
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.guard(host, call, |answer, call| answer.on_trailers(host, call))
            }
            State::Passthrough(passage) => passage.on_response_body(host, 0, true),
            State::Counting(errand) => errand.on_response_body(host, 0, true),
            _ => Action::Continue,
        }
    }

    fn on_log(&mut self, host: &H) {
        match std::mem::take(&mut self.state) {
            State::Sent(sent) => {
                let (call, answer) = *sent;
                answer.finish(host, call);
            }
            State::Waiting(waiting) => ClientAnswer::default().finish(host, waiting.into_call()),
            State::Passthrough(passage) => passage.finish(host),
            State::Other
            | State::Answered
            | State::Forwarded
            | State::Counting(_)
            | State::Explaining(_)
            | State::Receiving(..) => {}
        }
    }

    fn on_http_answer(&mut self, host: &H, call: CallId, size: usize) {
        if let State::Passthrough(passage) = &mut self.state
            && passage.is_waiting_for_page(call)
        {
            passage.on_next_page(host, size);
        }
    }

    fn on_grpc_answer(&mut self, host: &H, call: CallId, status: u32, size: usize) {
        match std::mem::take(&mut self.state) {
            State::Waiting(waiting) if waiting.is_call(call) => {
                let outcome = dispatch::resume(host, *waiting, status, size);
                if self.settle(host, outcome) == Action::Continue {
                    host.resume_request();
                }
            }
            State::Passthrough(mut passage) if passage.is_waiting_for(call) => {
                let action = passage.resume(host, status, size);
                self.state = State::Passthrough(passage);
                if action == Action::Continue {
                    host.resume_request();
                }
            }
            State::Explaining(asked) if asked == call => {
                self.state = State::Answered;
                explain::answer(host, status, size);
            }
            other => self.state = other,
        }
    }

    fn deadline(&mut self) -> Option<&mut Deadline> {
        match &mut self.state {
            State::Sent(sent) => Some(sent.1.deadline()),
            State::Passthrough(passage) => Some(passage.deadline()),
            State::Counting(errand) => Some(errand.deadline()),
            State::Other
            | State::Answered
            | State::Receiving(..)
            | State::Waiting(_)
            | State::Explaining(_)
            | State::Forwarded => None,
        }
    }

    fn on_deadline(&mut self, host: &H) {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_deadline(host, call);
            }
            State::Passthrough(passage) => passage.on_deadline(host),
            State::Counting(errand) => {
                errand.on_deadline(host);
                self.state = State::Answered;
            }
            State::Other
            | State::Answered
            | State::Receiving(..)
            | State::Waiting(_)
            | State::Explaining(_)
            | State::Forwarded => {}
        }
    }
}

impl GatewayStage {
    /// Forwards a request to the control plane, if the caller has the right to it.
    fn pass_to_management(&mut self, host: &impl Host, request: HeaderList<'static>) -> Action {
        let path = request.path();
        let snapshot = snapshot::current().filter(|_| !agent_paths::is_card(path));
        let mut caller = AdmittedCaller::default();
        if let Some(snapshot) = &snapshot {
            let method = request.get(":method").unwrap_or_default();
            match access::admit(host, snapshot, &request, method, path) {
                Ok(admitted) => caller = admitted,
                Err(error) => return self.deny(host, Api::CHAT_COMPLETIONS, &error),
            }
        }
        management::send(host, snapshot.as_deref(), &caller, request);
        self.state = State::Forwarded;
        Action::Continue
    }

    /// Handles a response to a request that isn't a call: from another route, the control plane, or
    /// Envoy.
    fn on_other_response(&mut self, host: &impl Host, end_of_stream: bool) -> Action {
        let status = host.response_status();
        if host.is_envoys_reply(status) {
            let error = envoys_reply::error_of(host, status, &self.path);
            let api = match &self.state {
                State::Receiving(endpoint, ..) => endpoint.api(),
                State::Counting(_) => Api::MESSAGES,
                _ => Api::CHAT_COMPLETIONS,
            };
            let headers = envoys_reply::headers_of(&error);
            self.envoys_reply = Some(EnvoysReply::replace(
                host,
                api,
                &error,
                headers,
                end_of_stream,
            ));
            return Action::Continue;
        }
        if matches!(self.state, State::Forwarded) {
            let mut response = host.response_headers();
            response.retain(headers::is_passed_on);
            host.set_response_headers(&response);
        }
        Action::Continue
    }
}

/// Removes headers that control Envoy or the stages from requests to Envoy's other routes.
fn strip_internal_headers(host: &impl Host, mut request: HeaderList<'static>) {
    let is_stages_own = |name: &str| name.starts_with("x-opentracy-");
    if request.names().any(is_stages_own) {
        request.retain(|name| !is_stages_own(name));
        host.set_request_headers(&request);
    }
}
