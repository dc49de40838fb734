//! The gateway stage: one context for each request of a client.
//!
//! Read in the order in which a request meets them: [`planner`] says where it goes, [`dispatch`] sends it there,
//! [`answer`] handles what comes back, [`call`] is what is remembered and becomes the trace. [`count_tokens`] and [`explain`] are
//! errands beside it.

mod access;
mod answer;
mod budget;
mod cache;
mod call;
mod context;
mod count_tokens;
mod dispatch;
mod explain;
mod leases;
pub mod limits;
mod passage;
mod planner;
mod privacy;
mod router;
mod session;
mod strategy;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use opentracy_translate::access::Denial;
use opentracy_translate::client::Api;
use opentracy_translate::client::messages::count;
use opentracy_translate::endpoint;
use opentracy_translate::error::ApiError;

use crate::gateway::access::Caller;
use crate::gateway::answer::Answer;
use crate::gateway::call::Call;
use crate::gateway::passage::Passage;
use crate::headers::{self, HeaderList};
use crate::{host, metrics, snapshot};

/// A client's request and what becomes of it.
#[derive(Default)]
pub struct Gateway {
    state: State,
}

#[derive(Default)]
enum State {
    /// Not a completion: Envoy's routes deal with it.
    #[default]
    Other,
    /// The headers are there, the body is not yet.
    Receiving(Endpoint, Caller, HeaderList<'static>),
    /// The control plane was asked something before the request goes on.
    Waiting(Box<dispatch::Waiting>),
    /// The control plane was asked what it would decide.
    Explaining(u32),
    /// A call that passes to a provider as it is, or nearly.
    Passing(Box<Passage>),
    /// An errand that a provider runs: its answer passes as it is.
    Forwarded,
    /// Under way, or answered.
    Sent(Box<(Call, Answer)>),
}

impl HttpContext for Gateway {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let request = host::request_headers();
        let path = request.get(":path").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if let Some(endpoint) = Endpoint::at(path) {
            let method = request.get(":method").unwrap_or_default();
            let is_post = method == "POST";
            let words = format!("{path} takes POST requests only");
            let admitted = match snapshot::current() {
                Some(snapshot) => access::admit(&snapshot, &request, method, path),
                None => Ok(Caller::default()),
            };
            let caller = match admitted {
                Ok(caller) => caller,
                Err(denial) => {
                    deny(endpoint.api(), denial);
                    return Action::Pause;
                }
            };
            if let Endpoint::Passed(endpoint) = endpoint {
                let (passage, action) = Passage::begin(endpoint, caller, request, end_of_stream);
                self.state = State::Passing(Box::new(passage));
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
        if path == "/health" && snapshot::current().is_none() {
            host::reply(503, &json_headers(), br#"{"status":"starting"}"#);
            return Action::Pause;
        }
        self.pass_to_management(request)
    }

    fn on_http_request_body(&mut self, _: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Passing(passage) => passage.on_body(end_of_stream),
            State::Receiving(..) if end_of_stream => self.on_request(),
            State::Receiving(..) | State::Waiting(_) | State::Explaining(_) => Action::Pause,
            State::Other | State::Forwarded | State::Sent(_) => Action::Continue,
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match &mut self.state {
            State::Receiving(..) => {
                host::drop_request_trailers();
                self.on_request()
            }
            State::Passing(passage) => {
                host::drop_request_trailers();
                passage.on_body(true)
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
            State::Passing(passage) => passage.on_response_headers(end_of_stream),
            State::Forwarded => {
                let mut response = host::response_headers();
                response
                    .retain(|name| name == "content-length" || !headers::is_providers_own(name));
                host::set_response_headers(&response);
                Action::Continue
            }
            _ => {
                // Envoy's own reply, to a request that went no further.
                host::remove_response_header(headers::LOCAL_REPLY);
                Action::Continue
            }
        }
    }

    fn on_http_response_body(&mut self, _: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_body(call, end_of_stream)
            }
            State::Passing(passage) => passage.on_response_body(end_of_stream),
            _ => Action::Continue,
        }
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_trailers(call)
            }
            State::Passing(passage) => passage.on_response_body(true),
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
            State::Passing(passage) => passage.finish(),
            State::Other | State::Forwarded | State::Explaining(_) | State::Receiving(..) => {}
        }
    }
}

impl Context for Gateway {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        match std::mem::take(&mut self.state) {
            State::Waiting(waiting) if waiting.is_call(call) => {
                let outcome = dispatch::resume(*waiting, status, size);
                if self.settle(outcome) == Action::Continue {
                    host::complain("resume", proxy_wasm::hostcalls::resume_http_request());
                }
            }
            State::Passing(mut passage) if passage.is_waiting_for(call) => {
                let action = passage.resume(status, size);
                self.state = State::Passing(passage);
                if action == Action::Continue {
                    host::complain("resume", proxy_wasm::hostcalls::resume_http_request());
                }
            }
            State::Explaining(asked) if asked == call => explain::answer(status, size),
            other => self.state = other,
        }
    }
}

impl Gateway {
    /// What is not for a provider is for the control plane, which trusts what the filter says of the caller.
    fn pass_to_management(&mut self, mut request: HeaderList<'static>) -> Action {
        let path = request.get(":path").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if is_nothing(path) {
            let message = format!(
                "There is nothing at {path}; the documentation lists the gateway's endpoints"
            );
            let error = ApiError::new(404, message).with_code("unknown_url");
            host::reply(404, &json_headers(), &error.to_json());
            return Action::Pause;
        }
        let mut told = Vec::new();
        if let Some(snapshot) = snapshot::current().filter(|_| !is_for_everybody(path)) {
            let method = request.get(":method").unwrap_or_default();
            match access::admit(&snapshot, &request, method, path) {
                Ok(caller) => {
                    told.push((headers::TOKEN, snapshot.internal_token().to_owned()));
                    if let Some(client) = &caller.client {
                        told.push((headers::ON_BEHALF_OF, client.wire.name.clone()));
                    }
                }
                Err(denial) => {
                    deny(Api::ChatCompletions, denial);
                    return Action::Pause;
                }
            }
        }
        let is_clean = !request.names().any(headers::is_internal);
        if !is_clean || !told.is_empty() {
            request.retain(|name| !headers::is_internal(name));
            for (name, value) in told {
                request.push(name, value);
            }
            host::set_request_headers(&request);
            host::clear_route_cache();
        }
        Action::Continue
    }

    /// The whole request is there.
    fn on_request(&mut self) -> Action {
        let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) else {
            return Action::Continue;
        };
        let body = host::request_body();
        match endpoint {
            Endpoint::Completion(api) => {
                let call = Call::new(api, caller, &request, body);
                self.settle(dispatch::start(Box::new(call), request))
            }
            Endpoint::CountTokens => {
                let action = count_tokens::answer(&caller, &request, &body);
                if action == Action::Continue {
                    self.state = State::Forwarded;
                }
                action
            }
            // They do not come here: none of them is received as a whole before it is looked at.
            Endpoint::Passed(_) => Action::Continue,
            Endpoint::Route => {
                if let Some(asked) = explain::ask(body) {
                    self.state = State::Explaining(asked);
                }
                Action::Pause
            }
        }
    }

    fn refuse(&mut self, error: ApiError) {
        if let State::Receiving(endpoint, caller, request) = std::mem::take(&mut self.state) {
            if endpoint == Endpoint::Route {
                explain::reply_error(&error);
                return;
            }
            let call = Call::new(endpoint.api(), caller, &request, Vec::new());
            self.settle(dispatch::Outcome::Refused(Box::new(call), error));
        }
    }

    fn settle(&mut self, outcome: dispatch::Outcome) -> Action {
        match outcome {
            dispatch::Outcome::Sent(call) => {
                self.state = State::Sent(Box::new((*call, Answer::default())));
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

/// Sends somebody away. There is no trace of it, so that nobody fills the store from outside.
fn deny(api: Api, denial: Denial) {
    metrics::count_denied(denial.word());
    let error = ApiError::from(denial);
    let mut headers = json_headers();
    if error.status == 401 {
        headers.push("www-authenticate", "Bearer");
    }
    host::reply(error.status, &headers, &api.error_json(&error, &[]));
}

/// Whether Envoy's routes have a path only for the sake of those that are served here.
fn is_nothing(path: &str) -> bool {
    const MANAGEMENTS: [&str; 2] = ["/v1/models", "/v1/a2a"];
    let is_managements = MANAGEMENTS.iter().any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    (path.starts_with("/v1/") || path.starts_with(endpoint::PROXY)) && !is_managements
}

/// What tells nothing that is not for all to know.
fn is_for_everybody(path: &str) -> bool {
    matches!(path, "/health" | "/healthz") || path.ends_with("/.well-known/agent-card.json")
}

/// What is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    /// A call of a model.
    Completion(Api),
    /// How long a request of Anthropic's API is.
    CountTokens,
    /// What the control plane would decide.
    Route,
    /// A provider's own.
    Passed(endpoint::Endpoint),
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        if path == count::PATH {
            return Some(Self::CountTokens);
        }
        if path == explain::PATH {
            return Some(Self::Route);
        }
        endpoint::Endpoint::at(path).map(|found| match found.api() {
            Some(api) => Self::Completion(api),
            None => Self::Passed(found),
        })
    }

    fn api(self) -> Api {
        match self {
            Self::Completion(api) => api,
            Self::CountTokens => Api::Messages,
            Self::Route | Self::Passed(_) => Api::ChatCompletions,
        }
    }
}

/// The headers of a JSON reply that the stage makes itself.
fn json_headers() -> HeaderList<'static> {
    let mut headers = HeaderList::default();
    headers.push("content-type", "application/json");
    headers
}
