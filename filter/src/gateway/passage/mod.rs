//! Calls that pass to a provider as they are, or nearly: every endpoint that is not about a conversation.
//!
//! [`target`] says where one goes, [`send`] makes its request, [`record`] becomes its trace. What is streamed is not held: a
//! file goes up, and speech comes down, piece by piece.

mod ownership;
mod record;
mod send;
mod target;

use opentracy_proto::v1::Owner;
use opentracy_translate::client::Api;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::multipart::{self, ModelSearch};
use opentracy_translate::redact::EventMask;
use opentracy_translate::resources;
use proxy_wasm::types::Action;

use crate::gateway::access::Caller;
use crate::gateway::envoys_reply::EnvoysReply;
use crate::gateway::leases::Charge;
use crate::gateway::limits::{self, Admission};
use crate::gateway::owners::ResourceOwner;
use crate::gateway::{budget, json_headers, privacy, strategy};
use crate::headers::{self, HeaderList};
use crate::upstream::MAX_ERROR_BYTES;
use crate::{failure, host, metrics, snapshot};
use ownership::{HeldAnswer, Ownership, Progress};
use record::Record;
use target::Target;

/// How much of a form is looked through for the model.
const FORM_BYTES: usize = 64 << 10;

pub struct Passage {
    endpoint: Endpoint,
    request: HeaderList<'static>,
    has_body: bool,
    /// The beginning of a form, until the model that it names is known.
    form: Option<ModelSearch>,
    state: State,
    charges: Vec<Charge>,
    record: Record,
    /// What the call does with objects that the provider stores.
    ownership: Option<Ownership>,
}

enum State {
    /// What is needed of the body is not there yet.
    Receiving,
    /// The control plane is asked what limits leave.
    Waiting(Box<Target>, limits::Asked),
    /// The control plane is asked whether the objects that the request names are the caller's.
    Checking(Box<Target>, u32),
    /// At the provider.
    Sent(Box<Target>),
    /// Envoy answered in the provider's place.
    EnvoysReply(EnvoysReply),
    /// A whole answer is held, to be translated.
    Holding(Box<Target>, HeaderList<'static>),
    /// The client was told of an error that goes on.
    Discarding,
    /// A stream of events, in which an error is looked for.
    Streaming(EventMask),
    /// A whole answer is held until it is known whose the objects in it are.
    Resolving(Box<Target>, HeaderList<'static>, HeldAnswer),
    /// Answered here.
    Over,
}

impl Passage {
    /// Takes the headers of a request.
    pub fn begin(
        endpoint: Endpoint,
        caller: Caller,
        request: HeaderList<'static>,
        end_of_stream: bool,
    ) -> (Self, Action) {
        let mut passage = Self {
            endpoint,
            record: Record::new(endpoint, caller, &request),
            request,
            has_body: !end_of_stream,
            form: None,
            state: State::Receiving,
            charges: Vec::new(),
            ownership: None,
        };
        let action = passage.advance(end_of_stream);
        (passage, action)
    }

    pub fn on_body(&mut self, end_of_stream: bool) -> Action {
        match self.state {
            State::Receiving => self.advance(end_of_stream),
            State::Waiting(..) | State::Checking(..) => Action::Pause,
            State::Sent(_)
            | State::EnvoysReply(_)
            | State::Holding(..)
            | State::Resolving(..)
            | State::Discarding
            | State::Streaming(..)
            | State::Over => Action::Continue,
        }
    }

    pub fn is_waiting_for(&self, grpc_call: u32) -> bool {
        match &self.state {
            State::Waiting(_, asked) => asked.grpc_call == grpc_call,
            State::Checking(_, asked) => *asked == grpc_call,
            State::Resolving(_, _, held) => held.waits_for_grpc(grpc_call),
            _ => false,
        }
    }

    /// Goes on with what the control plane has answered. Whether the request is on its way.
    pub fn resume(&mut self, status: u32, size: usize) -> Action {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(target, asked) => {
                let Some(snapshot) = snapshot::current() else {
                    return Action::Pause;
                };
                let admission = limits::resume(&self.charges, &asked, &snapshot, status, size);
                self.on_admission(target, admission)
            }
            State::Checking(target, _) => {
                let checked = self.ownership.as_ref().map(|own| own.check(status, size));
                match checked.unwrap_or(Ok(())) {
                    Ok(()) => self.send(target),
                    Err(error) => self.refuse(&error),
                }
            }
            State::Resolving(target, response, held) => {
                if let Some(own) = &self.ownership {
                    let progress = held.on_owners(own, &target, status, size);
                    self.resume_answer(target, response, progress);
                }
                Action::Pause
            }
            _ => Action::Continue,
        }
    }

    pub fn is_waiting_for_page(&self, http_call: u32) -> bool {
        matches!(&self.state, State::Resolving(_, _, held) if held.waits_for_http(http_call))
    }

    /// Goes on with a list's next page.
    pub fn on_next_page(&mut self, size: usize) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let (State::Resolving(target, response, held), Some(own)) = (state, &self.ownership) {
            let progress = held.on_next_page(own, &target, size);
            self.resume_answer(target, response, progress);
        }
    }

    /// Lets a held answer go on, unless it has to wait for more.
    fn resume_answer(
        &mut self,
        target: Box<Target>,
        response: HeaderList<'static>,
        progress: Progress,
    ) {
        if self.on_progress(target, response, progress) == Action::Continue {
            host::complain("resume", proxy_wasm::hostcalls::resume_http_response());
        }
    }

    fn on_progress(
        &mut self,
        target: Box<Target>,
        response: HeaderList<'static>,
        progress: Progress,
    ) -> Action {
        let body = match progress {
            Progress::Held(held) => {
                self.state = State::Resolving(target, response, held);
                return Action::Pause;
            }
            Progress::Done(body) => Ok(body),
            Progress::Failed(error) => Err(error),
        };
        self.release(target, response, body);
        Action::Continue
    }

    /// Goes as far as what is there allows.
    fn advance(&mut self, end_of_stream: bool) -> Action {
        match self.find_target(end_of_stream) {
            Ok(None) => Action::Pause,
            Ok(Some(target)) => self.admit(Box::new(target)),
            Err(error) => self.refuse(&error),
        }
    }

    /// Where the request goes; `None` where more of it is needed to know.
    fn find_target(&mut self, end_of_stream: bool) -> Result<Option<Target>, ApiError> {
        let Some(snapshot) = snapshot::current() else {
            let words = "The gateway has no configuration yet: its control plane is starting or out of reach. Try again";
            return Err(ApiError::new(503, words).with_code("gateway_starting"));
        };
        let path = self.request.get(":path").unwrap_or_default();
        let caller = &self.record.caller;
        match self.endpoint {
            Endpoint::Proxy => {
                let target = target::of_proxy(&snapshot, caller, path)?;
                let owner = ResourceOwner::of(&snapshot, caller);
                if !owner.sees_all {
                    let method = self.request.get(":method").unwrap_or_default();
                    resources::path::check_stateless(method, target.own_path())?;
                    if self.may_name_objects() {
                        if !end_of_stream {
                            return Ok(None);
                        }
                        let body = host::request_body();
                        self.ownership = Some(Ownership::of_proxied(owner, &body)?);
                    }
                }
                // What is signed is signed with all of its body.
                let is_whole = target.provider.aws.is_none() || end_of_stream;
                Ok(is_whole.then_some(target))
            }
            Endpoint::Files | Endpoint::Batches => {
                let wanted = self.request.get(headers::PROVIDER);
                let target = target::of_resource(&snapshot, caller, self.endpoint, wanted, path)?;
                let owner = ResourceOwner::of(&snapshot, caller);
                let method = self.request.get(":method").unwrap_or_default();
                let body = end_of_stream.then(host::request_body);
                let body = body.as_deref();
                self.ownership = Ownership::of_resource(self.endpoint, owner, method, path, body)?;
                Ok(self.ownership.is_some().then_some(target))
            }
            Endpoint::Transcriptions | Endpoint::Translations => {
                let content_type = self.request.get("content-type").unwrap_or_default();
                let Some(boundary) = multipart::boundary(content_type) else {
                    let words = "Send the audio as a form: `Content-Type: multipart/form-data` with `file` and `model`";
                    return Err(ApiError::new(400, words).with_code("invalid_form"));
                };
                let form = self.form.get_or_insert_with(|| ModelSearch::new(boundary));
                let model = form.push(&host::request_body_from(form.body().len()));
                let body = form.body();
                self.record.held_bytes = body.len();
                let is_enough = end_of_stream || body.len() >= FORM_BYTES;
                match model {
                    multipart::Model::Unknown if !is_enough => Ok(None),
                    multipart::Model::Named(range) => {
                        target::of_form(&snapshot, caller, self.endpoint, body, range).map(Some)
                    }
                    multipart::Model::Unknown | multipart::Model::NotFirst => {
                        target::of_default(&snapshot, caller, self.endpoint).map(Some)
                    }
                }
            }
            _ if !end_of_stream => Ok(None),
            _ => {
                let body = host::request_body();
                let target = target::of_json(&snapshot, caller, self.endpoint, &body)?;
                self.record.asked(body);
                Ok(Some(target))
            }
        }
    }

    fn admit(&mut self, target: Box<Target>) -> Action {
        let Some(snapshot) = snapshot::current() else {
            return Action::Pause;
        };
        self.record.aim(&target);
        let alias = target
            .alias
            .as_ref()
            .and_then(|name| snapshot.aliases.get(name));
        let client = self
            .record
            .caller
            .client
            .as_ref()
            .map(|client| &client.wire);
        let checked = privacy::check(&self.request).and_then(|()| budget::check(client, alias));
        if let Err(error) = checked {
            return self.refuse(&error);
        }
        let tokens = limits::estimate_tokens(self.record.request.len(), Some(0));
        if let Some(client) = &self.record.caller.client {
            let own = client.wire.limits.unwrap_or_default();
            self.charges = limits::charges(Owner::Key, &client.wire.name, &own, tokens);
        }
        if let Some(alias) = alias {
            let own = alias.limits.unwrap_or_default();
            self.charges
                .extend(limits::charges(Owner::Alias, &alias.name, &own, tokens));
        }
        if !target.model.is_empty() {
            let own = snapshot.model(&target.provider.name, &target.model).limits;
            self.charges
                .extend(limits::charges(Owner::Model, &target.id(), &own, tokens));
        }
        let admission = limits::admit(&self.charges, &snapshot);
        self.on_admission(target, admission)
    }

    fn on_admission(&mut self, target: Box<Target>, admission: Admission) -> Action {
        match admission {
            Admission::Asked(asked) => {
                self.state = State::Waiting(target, asked);
                Action::Pause
            }
            Admission::Refused(error) => {
                metrics::count_limited(error.code.as_deref().unwrap_or_default());
                self.record.refused_charges = std::mem::take(&mut self.charges);
                self.refuse(&error)
            }
            Admission::Admitted => {
                if !target.model.is_empty()
                    && let Some(seconds) = strategy::wait_for(&target.id())
                {
                    return self.refuse(&strategy::circuit_open(&target.id(), seconds));
                }
                let own = self.ownership.as_ref().filter(|own| own.asks_first());
                match own.map(|own| own.ask(&target.provider.name)) {
                    None => self.send(target),
                    Some(Ok(call)) => {
                        self.state = State::Checking(target, call);
                        Action::Pause
                    }
                    Some(Err(error)) => self.refuse(&error),
                }
            }
        }
    }

    fn send(&mut self, target: Box<Target>) -> Action {
        send::send(&target, &self.request, self.has_body, &self.record);
        self.state = State::Sent(target);
        Action::Continue
    }

    /// Whether a proxied body may be one that names objects: a form or a recording is none.
    fn may_name_objects(&self) -> bool {
        const STREAMED: [&str; 4] = ["multipart/", "audio/", "image/", "video/"];
        let kind = self.request.get("content-type").unwrap_or_default();
        let kind = kind.trim_start().to_ascii_lowercase();
        self.has_body && !STREAMED.iter().any(|streamed| kind.starts_with(streamed))
    }

    fn refuse(&mut self, error: &ApiError) -> Action {
        let mut reply = json_headers();
        self.record.add_headers(&self.charges, &mut reply);
        if let Some(seconds) = error.retry_after {
            reply.set("retry-after", seconds.to_string());
        }
        host::reply(error.status, &reply, &error.to_json());
        self.record.fail(error);
        self.state = State::Over;
        Action::Pause
    }

    /// Returns whether the request was sent, or answered here.
    pub fn is_sent(&self) -> bool {
        !matches!(
            self.state,
            State::Receiving | State::Waiting(..) | State::Checking(..)
        )
    }

    pub fn on_response_headers(&mut self, end_of_stream: bool) -> Action {
        let State::Sent(target) = std::mem::replace(&mut self.state, State::Over) else {
            return Action::Continue;
        };
        let mut response = host::response_headers();
        let is_envoys = host::is_envoys_reply(response.status());
        self.record
            .began(&response, is_envoys, &host::response_details());
        response.retain(|name| name == "content-length" || !headers::is_providers_own(name));
        if is_envoys {
            self.record.add_headers(&self.charges, &mut response);
            let failure = failure::of_envoy_reply(&target.provider.name, &host::response_details());
            let reply =
                EnvoysReply::replace(Api::ChatCompletions, &failure.0, response, end_of_stream);
            self.state = State::EnvoysReply(reply);
            self.record.is_complete = true;
            return Action::Continue;
        }
        // A provider's error is told in our words, or as it is but for the keys that it may quote.
        let is_error = response.status() >= 400;
        let keys = &target.provider.key_mask;
        response.mask(keys, is_error);
        self.record.add_headers(&self.charges, &mut response);
        let own = self.ownership.as_ref();
        let names_objects = response.status() < 300 && own.is_some_and(Ownership::reads_answer);
        let is_looked_at = target.translation.is_some() || is_error || names_objects;
        let is_held = is_looked_at && !end_of_stream;
        if is_held {
            response.retain(|name| name != "content-length");
            self.state = State::Holding(target, response);
            return Action::Pause;
        }
        if response.is_event_stream() {
            // An error in it may become shorter.
            response.retain(|name| name != "content-length");
            let mask = EventMask::new(keys.clone());
            self.state = State::Streaming(mask);
        } else {
            self.state = State::Sent(target);
        }
        host::set_response_headers(&response);
        Action::Continue
    }

    /// `size` bytes of the answer are there.
    pub fn on_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::EnvoysReply(reply) => {
                reply.on_body();
                Action::Continue
            }
            State::Streaming(mask) => {
                let chunk = host::response_body(0);
                let masked = mask.push(&chunk, end_of_stream);
                if let Some(masked) = &masked {
                    host::set_response_body(masked);
                }
                if self.record.wants_more() {
                    self.record.answered(masked.as_deref().unwrap_or(&chunk));
                }
                self.record.is_complete |= end_of_stream;
                Action::Continue
            }
            State::Discarding => {
                host::set_response_body(&[]);
                Action::Continue
            }
            State::Sent(_) => {
                if self.record.wants_more() {
                    let chunk = host::response_body(0);
                    self.record.answered(&chunk);
                }
                if end_of_stream {
                    self.record.is_complete = true;
                }
                Action::Continue
            }
            State::Holding(_, response) => {
                let is_too_long = response.status() >= 400 && size > MAX_ERROR_BYTES;
                if !end_of_stream && !is_too_long {
                    return Action::Pause;
                }
                let action = self.translate();
                if !end_of_stream {
                    self.state = State::Discarding;
                }
                action
            }
            State::Resolving(..) => Action::Pause,
            State::Receiving | State::Waiting(..) | State::Checking(..) | State::Over => {
                Action::Continue
            }
        }
    }

    /// The whole answer of a provider with a format of its own is there.
    fn translate(&mut self) -> Action {
        let State::Holding(target, response) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Action::Continue;
        };
        let body = host::response_body(0);
        let status = response.status();
        let own = self.ownership.as_ref().filter(|own| own.reads_answer());
        if let Some(own) = own.filter(|_| status < 300) {
            let progress = own.read_answer(&target, body);
            return self.on_progress(target, response, progress);
        }
        let read = if target.is_proxied {
            match response.get("content-encoding") {
                None | Some("identity") => Ok(target.provider.key_mask.mask_body(&body)),
                // A key can't be seen in it.
                Some(_) => Err(ApiError::from_provider(&target.provider.name, status, "")),
            }
        } else {
            target.read_answer(status, &body, &self.record.request)
        };
        self.release(
            target,
            response,
            read.map(|translated| translated.unwrap_or(body)),
        );
        Action::Continue
    }

    /// Gives the client the whole of an answer, or the error that takes its place.
    fn release(
        &mut self,
        target: Box<Target>,
        mut response: HeaderList<'static>,
        body: Result<Vec<u8>, ApiError>,
    ) {
        let body = match body {
            Ok(body) => body,
            Err(mut error) => {
                target.provider.key_mask.mask_error(&mut error);
                response.retain(|name| name != "content-encoding");
                response.set(":status", error.status.to_string());
                response.set("content-type", "application/json");
                self.record.fail(&error);
                error.to_json()
            }
        };
        response.set("content-length", body.len().to_string());
        host::set_response_headers(&response);
        host::set_response_body(&body);
        self.record.answered(&body);
        self.record.is_complete = true;
        self.state = State::Sent(target);
    }

    /// The stream of the client is over, one way or another.
    pub fn finish(self) {
        let details = if self.record.is_complete {
            String::new()
        } else {
            host::response_details()
        };
        self.record.finish(&self.charges, &details);
    }
}
