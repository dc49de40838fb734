//! The gateway stage: one context for each request of a client.
//!
//! The modules in the order in which a request meets them: [`planner`] resolves the model,
//! [`dispatch`] sends the request, [`answer`] handles the response, and [`call`] holds the state
//! and becomes the trace. [`count_tokens`] and [`explain`] are separate endpoints.

mod access;
mod answer;
mod budget;
mod cache;
mod call;
mod context;
mod count_tokens;
mod dispatch;
mod envoys_reply;
mod explain;
mod gateway_endpoint;
mod leases;
pub mod limits;
mod management;
mod models;
mod named_files;
mod owners;
mod passthrough;
mod planner;
mod privacy;
mod probes;
mod router;
mod session;
mod strategy;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use opentracy_translate::agent_paths;
use opentracy_translate::client::Api;
use opentracy_translate::endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::internal_hosts;

use crate::deadline::{Deadline, Timed};
use crate::gateway::access::Caller;
use crate::gateway::answer::Answer;
use crate::gateway::call::Call;
use crate::gateway::envoys_reply::EnvoysReply;
use crate::gateway::gateway_endpoint::GatewayEndpoint;
use crate::gateway::passthrough::Passthrough;
use crate::headers::{self, HeaderList};
use crate::{access_log, host, memory, metrics, snapshot};

/// The context of a client's request.
#[derive(Default)]
pub struct Gateway {
    state: State,
    /// Envoy's own reply to a request that was not sent upstream.
    envoys_reply: Option<EnvoysReply>,
    /// The path of a request that is not for the gateway.
    path: String,
}

#[derive(Default)]
enum State {
    /// Not for the gateway: handled by Envoy's other routes.
    #[default]
    Other,
    /// Answered here, before a call was made.
    Answered,
    /// The headers have arrived, the body has not.
    Receiving(GatewayEndpoint, Caller, HeaderList<'static>),
    /// The request waits for the control plane.
    Waiting(Box<dispatch::Waiting>),
    /// The control plane was asked for a routing decision.
    Explaining(u32),
    /// A passthrough call to a provider.
    Passthrough(Box<Passthrough>),
    /// Forwarded to the control plane, whose answer is passed on.
    Forwarded,
    /// A count that was requested from a provider.
    Counting(count_tokens::Errand),
    /// In flight, or answered.
    Sent(Box<(Call, Answer)>),
}

impl HttpContext for Gateway {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let request = host::request_headers();
        let path = request.get(":path").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if internal_hosts::is_internal(request.get(":authority").unwrap_or_default()) {
            // Only this filter sends requests to these hosts, and Envoy doesn't run it again for
            // those.
            return self.reply_error(&envoys_reply::unknown_path(path));
        }
        access_log::keep_request(path, request.get("user-agent"));
        if let Some(endpoint) = GatewayEndpoint::at(path) {
            let method = request.get(":method").unwrap_or_default();
            let is_post = method == "POST";
            let words = format!("{path} takes POST requests only");
            let admitted = match snapshot::current() {
                Some(snapshot) => access::admit(&snapshot, &request, method, path),
                None => Ok(Caller::default()),
            };
            let caller = match admitted {
                Ok(caller) => caller,
                Err(error) => return self.deny(endpoint.api(), &error),
            };
            let length = match endpoint {
                // Files are streamed, not buffered.
                GatewayEndpoint::Passthrough(_) => None,
                _ => request.get("content-length"),
            };
            let length = length.and_then(|length| length.parse().ok());
            if !memory::has_room_for(length.unwrap_or(0)) {
                return self.refuse_for_memory(endpoint.api());
            }
            if endpoint == GatewayEndpoint::Models {
                models::reply(&caller, method, path);
                self.state = State::Answered;
                return Action::Pause;
            }
            if let GatewayEndpoint::Passthrough(endpoint) = endpoint {
                let (passage, action) =
                    Passthrough::begin(endpoint, caller, request, end_of_stream);
                self.state = State::Passthrough(Box::new(passage));
                return action;
            }
            self.state = State::Receiving(endpoint, caller, request);
            if !is_post {
                self.refuse(ApiError::new(405, words));
            } else if end_of_stream {
                self.on_request();
            }
            return Action::Pause;
        }
        if probes::answer(path, &request) {
            self.state = State::Answered;
            return Action::Pause;
        }
        if management::serves(path) {
            return self.pass_to_management(request);
        }
        if path.starts_with("/v1/") || path.starts_with(endpoint::PROXY) {
            return self.reply_error(&envoys_reply::unknown_path(path));
        }
        path.clone_into(&mut self.path);
        strip_internal_headers(request);
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Passthrough(passage) => passage.on_body(size, end_of_stream),
            State::Receiving(endpoint, ..) if !memory::has_room_for(size) => {
                let api = endpoint.api();
                self.refuse_for_memory(api)
            }
            State::Receiving(..) if end_of_stream => self.on_request(),
            State::Receiving(..) | State::Waiting(_) | State::Explaining(_) => Action::Pause,
            State::Other
            | State::Answered
            | State::Forwarded
            | State::Counting(_)
            | State::Sent(_) => Action::Continue,
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match &mut self.state {
            State::Receiving(..) => {
                host::drop_request_trailers();
                self.on_request()
            }
            State::Passthrough(passage) => {
                host::drop_request_trailers();
                passage.on_body(0, true)
            }
            _ => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_headers(call, end_of_stream)
            }
            State::Passthrough(passage) if passage.is_sent() => {
                passage.on_response_headers(end_of_stream)
            }
            State::Counting(errand) if !host::is_envoys_reply(host::response_status()) => {
                errand.on_response_headers(end_of_stream)
            }
            State::Answered => Action::Continue,
            _ => self.on_other_response(end_of_stream),
        }
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if let Some(reply) = &mut self.envoys_reply {
            reply.on_body();
            return Action::Continue;
        }
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_body(call, size, end_of_stream)
            }
            State::Passthrough(passage) => passage.on_response_body(size, end_of_stream),
            State::Counting(errand) => errand.on_response_body(size, end_of_stream),
            _ => Action::Continue,
        }
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if !matches!(self.state, State::Other) {
            host::drop_response_trailers();
        }
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_trailers(call)
            }
            State::Passthrough(passage) => passage.on_response_body(0, true),
            State::Counting(errand) => errand.on_response_body(0, true),
            _ => Action::Continue,
        }
    }

    fn on_log(&mut self) {
        match std::mem::take(&mut self.state) {
            State::Sent(sent) => {
                let (call, answer) = *sent;
                answer.finish(call);
            }
            State::Waiting(waiting) => Answer::default().finish(waiting.into_call()),
            State::Passthrough(passage) => passage.finish(),
            State::Other
            | State::Answered
            | State::Forwarded
            | State::Counting(_)
            | State::Explaining(_)
            | State::Receiving(..) => {}
        }
    }
}

impl Timed for Gateway {
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

    fn on_deadline(&mut self) {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_deadline(call);
            }
            State::Passthrough(passage) => passage.on_deadline(),
            State::Counting(errand) => {
                errand.on_deadline();
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

impl Context for Gateway {
    fn on_http_call_response(&mut self, call: u32, _: usize, size: usize, _: usize) {
        if let State::Passthrough(passage) = &mut self.state
            && passage.is_waiting_for_page(call)
        {
            passage.on_next_page(size);
        }
    }

    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        match std::mem::take(&mut self.state) {
            State::Waiting(waiting) if waiting.is_call(call) => {
                let outcome = dispatch::resume(*waiting, status, size);
                if self.settle(outcome) == Action::Continue {
                    host::complain("resume", proxy_wasm::hostcalls::resume_http_request());
                }
            }
            State::Passthrough(mut passage) if passage.is_waiting_for(call) => {
                let action = passage.resume(status, size);
                self.state = State::Passthrough(passage);
                if action == Action::Continue {
                    host::complain("resume", proxy_wasm::hostcalls::resume_http_request());
                }
            }
            State::Explaining(asked) if asked == call => {
                self.state = State::Answered;
                explain::answer(status, size);
            }
            other => self.state = other,
        }
    }
}

impl Gateway {
    /// Forwards a request to the control plane, if the caller has the right to it.
    fn pass_to_management(&mut self, request: HeaderList<'static>) -> Action {
        let path = request.get(":path").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let snapshot = snapshot::current().filter(|_| !agent_paths::is_card(path));
        let mut caller = Caller::default();
        if let Some(snapshot) = &snapshot {
            let method = request.get(":method").unwrap_or_default();
            match access::admit(snapshot, &request, method, path) {
                Ok(admitted) => caller = admitted,
                Err(error) => return self.deny(Api::ChatCompletions, &error),
            }
        }
        management::send(snapshot.as_deref(), &caller, request);
        self.state = State::Forwarded;
        Action::Continue
    }

    /// Handles a response to a request that isn't a call: from another route, the control plane, or
    /// Envoy.
    fn on_other_response(&mut self, end_of_stream: bool) -> Action {
        let status = host::response_status();
        if host::is_envoys_reply(status) {
            let error = envoys_reply::error_of(status, &self.path);
            let api = match &self.state {
                State::Receiving(endpoint, ..) => endpoint.api(),
                State::Counting(_) => Api::Messages,
                _ => Api::ChatCompletions,
            };
            let headers = envoys_reply::headers_of(&error);
            self.envoys_reply = Some(EnvoysReply::replace(api, &error, headers, end_of_stream));
            return Action::Continue;
        }
        if matches!(self.state, State::Forwarded) {
            let mut response = host::response_headers();
            response.retain(|name| name == "content-length" || !headers::is_providers_own(name));
            host::set_response_headers(&response);
        }
        Action::Continue
    }

    fn reply_error(&mut self, error: &ApiError) -> Action {
        host::reply(error.status, &headers::json(), &error.to_json());
        self.state = State::Answered;
        Action::Pause
    }

    /// Refuses a request that doesn't fit in memory.
    fn refuse_for_memory(&mut self, api: Api) -> Action {
        let error = memory::refusal();
        let headers = envoys_reply::headers_of(&error);
        host::reply(error.status, &headers, &api.error_json(&error, &[]));
        self.state = State::Answered;
        Action::Pause
    }

    /// Denies a caller. Leaves no trace, so that outsiders can't fill the store.
    fn deny(&mut self, api: Api, error: &ApiError) -> Action {
        metrics::count_denied(error.code.as_deref().unwrap_or_default());
        let mut headers = headers::json();
        if error.status == 401 {
            headers.push("www-authenticate", "Bearer");
        }
        host::reply(error.status, &headers, &api.error_json(error, &[]));
        self.state = State::Answered;
        Action::Pause
    }

    /// Handles a complete request.
    fn on_request(&mut self) -> Action {
        let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) else {
            return Action::Continue;
        };
        let body = host::request_body();
        match endpoint {
            GatewayEndpoint::Completion(api) => {
                let call = Call::new(api, caller, &request, body);
                self.settle(dispatch::start(Box::new(call), request))
            }
            GatewayEndpoint::CountTokens => match count_tokens::answer(&caller, &request, &body) {
                Some(errand) => {
                    self.state = State::Counting(errand);
                    Action::Continue
                }
                None => {
                    self.state = State::Answered;
                    Action::Pause
                }
            },
            // Unreachable: these endpoints are handled before the whole request is received.
            GatewayEndpoint::Passthrough(_) | GatewayEndpoint::Models => Action::Continue,
            GatewayEndpoint::Route => {
                self.state = match explain::ask(body) {
                    Some(asked) => State::Explaining(asked),
                    None => State::Answered,
                };
                Action::Pause
            }
        }
    }

    fn refuse(&mut self, error: ApiError) {
        if let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) {
            if endpoint == GatewayEndpoint::Route {
                self.reply_error(&error);
                return;
            }
            let call = Call::new(endpoint.api(), caller, &request, Vec::new());
            self.settle(dispatch::Outcome::Refused(Box::new(call), error));
        }
    }

    fn settle(&mut self, outcome: dispatch::Outcome) -> Action {
        match outcome {
            dispatch::Outcome::Sent(mut call) => {
                call.release_body();
                let answer = Answer::awaited(&call);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Continue
            }
            dispatch::Outcome::Waiting(waiting) => {
                self.state = State::Waiting(waiting);
                Action::Pause
            }
            dispatch::Outcome::Known(mut call, cached) => {
                let answer = Answer::repeat(&mut call, cached);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Pause
            }
            dispatch::Outcome::Refused(call, error) => {
                let answer = Answer::refuse(&call, &error);
                self.state = State::Sent(Box::new((*call, answer)));
                Action::Pause
            }
        }
    }
}

/// Removes headers that control Envoy or the stages from requests to Envoy's other routes.
fn strip_internal_headers(mut request: HeaderList<'static>) {
    let is_stages_own = |name: &str| name.starts_with("x-opentracy-");
    if request.names().any(is_stages_own) {
        request.retain(|name| !is_stages_own(name));
        host::set_request_headers(&request);
    }
}
