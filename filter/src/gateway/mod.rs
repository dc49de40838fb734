//! The gateway stage: one context for each request of a client.
//!
//! Read in the order in which a request meets them: [`planner`] says where it goes, [`dispatch`] sends it there,
//! [`answer`] handles what comes back, [`call`] is what is remembered and becomes the trace. [`count_tokens`] and [`explain`] are
//! errands beside it.

mod answer;
mod budget;
mod call;
mod count_tokens;
mod dispatch;
mod explain;
mod planner;
mod privacy;
mod router;
mod session;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use opentracy_translate::client::Api;
use opentracy_translate::client::messages::count;
use opentracy_translate::error::ApiError;

use crate::gateway::answer::Answer;
use crate::gateway::call::Call;
use crate::headers::{self, HeaderList};
use crate::{host, snapshot};

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
    Receiving(Endpoint, HeaderList<'static>),
    /// The control plane was asked to order the candidates.
    Routing(Box<router::Pending>),
    /// The control plane was asked what it would decide.
    Explaining(u32),
    /// An errand that a provider runs: its answer passes as it is.
    Forwarded,
    /// Under way, or answered.
    Sent(Box<(Call, Answer)>),
}

impl HttpContext for Gateway {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let mut request = host::request_headers();
        let path = request.get(":path").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if let Some(endpoint) = Endpoint::at(path) {
            let is_post = request.get(":method") == Some("POST");
            let words = format!("{path} takes POST requests only");
            self.state = State::Receiving(endpoint, request);
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
        if request.names().any(headers::is_internal) {
            request.retain(|name| !headers::is_internal(name));
            host::set_request_headers(&request);
            host::clear_route_cache();
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, _: usize, end_of_stream: bool) -> Action {
        match self.state {
            State::Receiving(..) if end_of_stream => self.on_request(),
            State::Receiving(..) | State::Routing(_) | State::Explaining(_) => Action::Pause,
            State::Other | State::Forwarded | State::Sent(_) => Action::Continue,
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if matches!(self.state, State::Receiving(..)) {
            host::drop_request_trailers();
            return self.on_request();
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_headers(call, end_of_stream)
            }
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
            _ => Action::Continue,
        }
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        match &mut self.state {
            State::Sent(sent) => {
                let (call, answer) = sent.as_mut();
                answer.on_trailers(call)
            }
            _ => Action::Continue,
        }
    }

    fn on_log(&mut self) {
        match std::mem::take(&mut self.state) {
            State::Sent(sent) => {
                let (call, answer) = *sent;
                answer.finish(call);
            }
            State::Routing(pending) => Answer::default().finish(pending.into_call()),
            State::Other | State::Forwarded | State::Explaining(_) | State::Receiving(..) => {}
        }
    }
}

impl Context for Gateway {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        match std::mem::take(&mut self.state) {
            State::Routing(pending) if pending.is_call(call) => {
                let outcome = router::read_answer(*pending, status, size);
                if self.settle(outcome) == Action::Continue {
                    host::complain("resume", proxy_wasm::hostcalls::resume_http_request());
                }
            }
            State::Explaining(asked) if asked == call => explain::answer(status, size),
            other => self.state = other,
        }
    }
}

impl Gateway {
    /// The whole request is there.
    fn on_request(&mut self) -> Action {
        let State::Receiving(endpoint, request) = std::mem::take(&mut self.state) else {
            return Action::Continue;
        };
        let body = host::request_body();
        match endpoint {
            Endpoint::Completion(api) => self.settle(dispatch::start(api, request, body)),
            Endpoint::CountTokens => {
                let action = count_tokens::answer(&request, &body);
                if action == Action::Continue {
                    self.state = State::Forwarded;
                }
                action
            }
            Endpoint::Route => {
                if let Some(asked) = explain::ask(body) {
                    self.state = State::Explaining(asked);
                }
                Action::Pause
            }
        }
    }

    fn refuse(&mut self, error: ApiError) {
        if let State::Receiving(endpoint, request) = std::mem::take(&mut self.state) {
            if endpoint == Endpoint::Route {
                explain::reply_error(&error);
                return;
            }
            let call = Call::new(endpoint.api(), &request, Vec::new());
            self.settle(dispatch::Outcome::Refused(Box::new(call), error));
        }
    }

    fn settle(&mut self, outcome: dispatch::Outcome) -> Action {
        match outcome {
            dispatch::Outcome::Sent(call) => {
                self.state = State::Sent(Box::new((*call, Answer::default())));
                Action::Continue
            }
            dispatch::Outcome::Asked(pending) => {
                self.state = State::Routing(pending);
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

/// What is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    /// A call of a model.
    Completion(Api),
    /// How long a request of Anthropic's API is.
    CountTokens,
    /// What the control plane would decide.
    Route,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        if path == count::PATH {
            return Some(Self::CountTokens);
        }
        if path == explain::PATH {
            return Some(Self::Route);
        }
        Api::at(path).map(Self::Completion)
    }

    fn api(self) -> Api {
        match self {
            Self::Completion(api) => api,
            Self::CountTokens => Api::Messages,
            Self::Route => Api::ChatCompletions,
        }
    }
}

/// The headers of a JSON reply that the stage makes itself.
fn json_headers() -> HeaderList<'static> {
    let mut headers = HeaderList::default();
    headers.push("content-type", "application/json");
    headers
}
