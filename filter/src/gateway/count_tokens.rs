//! `POST /v1/messages/count_tokens`: Anthropic is asked where it serves the model, and for any other model it is estimated.

use std::rc::Rc;
use std::time::{Duration, Instant};

use opentracy_translate::anthropic::Host;
use opentracy_translate::client::Api;
use opentracy_translate::client::messages::{count, native};
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Outgoing;
use opentracy_translate::format;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::wire_format::Format;
use proxy_wasm::types::Action;

use crate::gateway::access::{self, Caller};
use crate::gateway::{json_headers, planner};
use crate::headers::{self, HeaderList};
use crate::snapshot::Provider;
use crate::upstream::{self, MAX_ERROR_BYTES, Sending};
use crate::{failure, host, snapshot};

/// A count that a provider was asked for.
pub struct Errand {
    provider: Rc<Provider>,
    /// The headers of the answer, whose body is held until it is whole.
    held: Option<HeaderList<'static>>,
    /// Set once the client has an error: nothing more of the provider's answer follows.
    is_over: bool,
    deadline: Instant,
}

/// Answers, or sends the request on to who knows better: then the answer is to be waited for.
pub fn answer(caller: &Caller, request: &HeaderList<'_>, body: &[u8]) -> Option<Errand> {
    match forward(caller, request, body) {
        Ok(Some(provider)) => Some(Errand {
            deadline: Instant::now() + Duration::from_millis(provider.timeout_ms.into()),
            provider,
            held: None,
            is_over: false,
        }),
        Ok(None) => {
            let tokens = count::estimate(body);
            host::reply(200, &json_headers(), &count::to_json(tokens));
            None
        }
        Err(error) => {
            let body = Api::Messages.error_json(&error, &[]);
            host::reply(error.status, &json_headers(), &body);
            None
        }
    }
}

impl Errand {
    /// Returns the time at which the whole answer has to be there.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.is_over).then_some(self.deadline)
    }

    /// Tells the client that the provider was too slow.
    pub fn on_deadline(&mut self) {
        let (error, _) = failure::of_envoy_reply(&self.provider.name, "timeout");
        let body = Api::Messages.error_json(&error, &[]);
        host::reply(error.status, &json_headers(), &body);
    }

    pub fn on_response_headers(&mut self, end_of_stream: bool) -> Action {
        let mut response = host::response_headers();
        response.retain(|name| name == "content-length" || !headers::is_providers_own(name));
        response.mask(&self.provider.key_mask, response.status() >= 400);
        if !end_of_stream {
            self.held = Some(response);
            return Action::Pause;
        }
        host::set_response_headers(&response);
        Action::Continue
    }

    pub fn on_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.held.is_none() {
            if self.is_over {
                host::set_response_body(&[]);
            }
            return Action::Continue;
        }
        if !end_of_stream && size < MAX_ERROR_BYTES {
            return Action::Pause;
        }
        if let Some(response) = self.held.take() {
            self.release(response);
        }
        Action::Continue
    }

    /// Gives the client the count, or the provider's error.
    fn release(&mut self, response: HeaderList<'static>) {
        if response.status() >= 400 {
            self.tell_error(response);
        } else {
            host::set_response_headers(&response);
        }
        self.is_over = true;
    }

    /// Tells the client of the provider's error, in the words of Anthropic's API.
    fn tell_error(&mut self, mut response: HeaderList<'static>) {
        self.is_over = true;
        let (provider, status) = (&self.provider, response.status());
        let body = host::response_body(0);
        let mut error = format::translate_error(provider.format, &provider.name, status, &body);
        provider.key_mask.mask_error(&mut error);
        let body = Api::Messages.error_json(&error, &[]);
        response.set(":status", error.status.to_string());
        response.set("content-type", "application/json");
        response.set("content-length", body.len().to_string());
        response.retain(|name| name != "content-encoding");
        host::set_response_headers(&response);
        host::set_response_body(&body);
    }
}

/// Asks the model's provider; returns it where it can be asked.
fn forward(
    caller: &Caller,
    request: &HeaderList<'_>,
    body: &[u8],
) -> Result<Option<Rc<Provider>>, ApiError> {
    let envelope = Envelope::parse(Api::Messages, body)?;
    let Some(snapshot) = snapshot::current() else {
        return Ok(None);
    };
    let mut target = planner::resolve(&snapshot, &envelope.model)?;
    access::retain_allowed(caller, &envelope.model, &mut target.candidates)?;
    let Some(candidate) = target
        .candidates
        .first()
        .filter(|candidate| candidate.provider.format == Format::Anthropic)
    else {
        return Ok(None);
    };
    let (provider, model) = (&candidate.provider, candidate.model.as_str());
    let outgoing = Outgoing {
        path: count::PATH.into(),
        body: Some(native::translate(envelope.text, model, Host::Anthropic)?),
    };
    upstream::send(
        provider,
        model,
        &outgoing,
        body,
        &Sending {
            timeout_ms: provider.timeout_ms,
            span: None,
            retries_resets: true,
        },
        request,
    );
    Ok(Some(Rc::clone(provider)))
}
