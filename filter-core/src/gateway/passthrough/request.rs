//! The request of a passthrough call: its target, its admission, and its waits.

use std::time::Duration;

use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::multipart::{self, ModelSearch};
use opentracy_translate::resources;

use super::ownership::Ownership;
use super::record::PassthroughRecord;
use super::state::{Passthrough, State};
use super::target::PassthroughTarget;
use super::{resolve, send};
use crate::deadline::Deadline;
use crate::gateway::access::AdmittedCaller;
use crate::gateway::charge::Consumption;
use crate::gateway::limits::{self, Admission};
use crate::gateway::owners::ResourceOwner;
use crate::gateway::{budget, charge, privacy, strategy};
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::memory;

/// The maximum number of bytes of a form that are searched for the model.
const FORM_BYTES: usize = 64 << 10;

impl Passthrough {
    /// Handles the headers of a request.
    pub fn begin(
        host: &impl Host,
        endpoint: Endpoint,
        caller: AdmittedCaller,
        request: HeaderList<'static>,
        end_of_stream: bool,
    ) -> (Self, Action) {
        let mut passage = Self {
            endpoint,
            record: PassthroughRecord::new(host, endpoint, caller, &request),
            request,
            has_body: !end_of_stream,
            form: None,
            state: State::Receiving,
            ownership: None,
            timeout: Duration::default(),
            deadline: Deadline::default(),
            buffered: 0,
        };
        let action = passage.advance(host, end_of_stream);
        (passage, action)
    }

    /// Handles more of the body; `size` bytes of it are buffered.
    pub fn on_body(&mut self, host: &impl Host, size: usize, end_of_stream: bool) -> Action {
        match self.state {
            State::Receiving if !memory::has_room_for(host, size) => {
                self.refuse(host, &memory::refusal(host))
            }
            State::Receiving => self.advance(host, end_of_stream),
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

    /// Resumes with the control plane's answer. Returns `Continue` if the request was sent.
    pub fn resume(&mut self, host: &impl Host, status: u32, size: usize) -> Action {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(target, asked) => {
                let Ok(snapshot) = self.record.trace.configuration() else {
                    return Action::Pause;
                };
                let admission = limits::resume(
                    host,
                    &self.record.trace.intended_charges,
                    asked,
                    &snapshot,
                    status,
                    size,
                );
                self.on_admission(host, target, admission)
            }
            State::Checking(target, _) => {
                let checked = self
                    .ownership
                    .as_ref()
                    .map(|own| own.check(host, status, size));
                match checked.unwrap_or(Ok(())) {
                    Ok(()) => self.send(host, target),
                    Err(error) => self.refuse(host, &error),
                }
            }
            State::Resolving(target, response, held) => {
                if let Some(own) = &self.ownership {
                    let progress = held.on_owners(host, own, &target, status, size);
                    self.resume_answer(host, target, response, progress);
                }
                Action::Pause
            }
            _ => Action::Continue,
        }
    }

    /// Proceeds as far as the received data allows.
    fn advance(&mut self, host: &impl Host, end_of_stream: bool) -> Action {
        match self.find_target(host, end_of_stream) {
            Ok(None) => Action::Pause,
            Ok(Some(target)) => self.admit(host, Box::new(target)),
            Err(error) => self.refuse(host, &error),
        }
    }

    /// Resolves the target; `None` if more of the request is needed.
    fn find_target(
        &mut self,
        host: &impl Host,
        end_of_stream: bool,
    ) -> Result<Option<PassthroughTarget>, ApiError> {
        let snapshot = self.record.trace.configuration()?;
        let path = self.request.get(":path").unwrap_or_default();
        let caller = &self.record.trace.caller;
        match self.endpoint {
            Endpoint::Proxy => {
                let target = resolve::of_proxy(&snapshot, caller, path)?;
                let owner = ResourceOwner::of(&snapshot, caller);
                if !owner.sees_all {
                    let method = self.request.get(":method").unwrap_or_default();
                    resources::path::check_stateless(method, target.own_path())?;
                    if self.may_name_objects() {
                        if !end_of_stream {
                            return Ok(None);
                        }
                        let body = host.request_body(0);
                        self.ownership = Some(Ownership::of_proxied(owner, &body)?);
                    }
                }
                // A signature covers the whole body.
                let is_whole = target.provider.aws.is_none() || end_of_stream;
                Ok(is_whole.then_some(target))
            }
            Endpoint::Files | Endpoint::Batches => {
                let wanted = self.request.get(headers::PROVIDER);
                let target = resolve::of_resource(&snapshot, caller, self.endpoint, wanted, path)?;
                let owner = ResourceOwner::of(&snapshot, caller);
                let method = self.request.get(":method").unwrap_or_default();
                let body = end_of_stream.then(|| host.request_body(0));
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
                let model = form.push(&host.request_body(form.body().len()));
                let body = form.body();
                self.record.held_bytes = body.len();
                let is_enough = end_of_stream || body.len() >= FORM_BYTES;
                match model {
                    multipart::ModelField::Unknown if !is_enough => Ok(None),
                    multipart::ModelField::Named(range) => {
                        resolve::of_form(&snapshot, caller, self.endpoint, body, range).map(Some)
                    }
                    multipart::ModelField::Unknown | multipart::ModelField::NotFirst => {
                        resolve::of_default(&snapshot, caller, self.endpoint).map(Some)
                    }
                }
            }
            _ if !end_of_stream => Ok(None),
            _ => {
                let body = host.request_body(0);
                let target = resolve::of_json(&snapshot, caller, self.endpoint, &body)?;
                self.record.asked(body);
                Ok(Some(target))
            }
        }
    }

    fn admit(&mut self, host: &impl Host, target: Box<PassthroughTarget>) -> Action {
        let record = &mut self.record;
        record.aim(&target);
        let Ok(snapshot) = record.trace.configuration() else {
            return Action::Pause;
        };
        let alias = record.trace.alias(&snapshot);
        let checked = privacy::check(&self.request)
            .and_then(|()| budget::check(record.trace.client(), alias));
        if let Err(error) = checked {
            return self.refuse(host, &error);
        }
        let estimate = Consumption::estimate(record.request.len(), Some(0));
        record.trace.charge_caller(&snapshot, &estimate);
        if !target.model.is_empty() {
            let (provider, model) = (&target.provider.name, &target.model);
            let charges = charge::charges_of_model(&snapshot, provider, model, &estimate);
            record.trace.intended_charges.extend(charges);
        }
        let admission = limits::admit(host, &record.trace.intended_charges, &snapshot);
        self.on_admission(host, target, admission)
    }

    fn on_admission(
        &mut self,
        host: &impl Host,
        target: Box<PassthroughTarget>,
        admission: Admission,
    ) -> Action {
        match admission {
            Admission::Pending(asked) => {
                self.state = State::Waiting(target, asked);
                Action::Pause
            }
            Admission::Refused(error) => {
                limits::count_refusal(host, &error);
                self.refuse(host, &error)
            }
            Admission::Admitted => {
                self.record.trace.on_admitted();
                if !target.model.is_empty()
                    && let Some(seconds) = strategy::wait_for(host, &target.id())
                {
                    return self.refuse(host, &strategy::circuit_open(&target.id(), seconds));
                }
                let own = self.ownership.as_ref().filter(|own| own.asks_first());
                match own.map(|own| own.ask(host, &target.provider.name)) {
                    None => self.send(host, target),
                    Some(Ok(call)) => {
                        self.state = State::Checking(target, call);
                        Action::Pause
                    }
                    Some(Err(error)) => self.refuse(host, &error),
                }
            }
        }
    }

    fn send(&mut self, host: &impl Host, target: Box<PassthroughTarget>) -> Action {
        send::send(host, &target, &self.request, self.has_body, &self.record);
        self.timeout = Duration::from_millis(target.provider.timeout_ms.into());
        if target.translation.is_none() {
            self.record.release_request();
        }
        self.state = State::Sent(target);
        Action::Continue
    }

    /// Returns whether a proxied body may name objects: forms and media don't.
    fn may_name_objects(&self) -> bool {
        const STREAMED: [&str; 4] = ["multipart/", "audio/", "image/", "video/"];
        let kind = self.request.get("content-type").unwrap_or_default();
        let kind = kind.trim_start().to_ascii_lowercase();
        self.has_body && !STREAMED.iter().any(|streamed| kind.starts_with(streamed))
    }
}
