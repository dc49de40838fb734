//! `POST /v1/messages/count_tokens`: Anthropic is asked where it serves the model, and for any other model it is estimated.

use std::rc::Rc;

use opentracy_translate::anthropic::Host;
use opentracy_translate::client::Api;
use opentracy_translate::client::messages::{count, native};
use opentracy_translate::error::ApiError;
use opentracy_translate::format::{self, Outgoing};
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::Format;
use proxy_wasm::types::Action;

use crate::gateway::access::{self, Caller};
use crate::gateway::{json_headers, planner};
use crate::headers::{self, HeaderList};
use crate::snapshot::Provider;
use crate::upstream::{self, MAX_ERROR_BYTES};
use crate::{host, snapshot};

/// A count that a provider was asked for.
pub struct Errand {
    provider: Rc<Provider>,
    /// The headers of an error, whose body is held until it is whole.
    held: Option<HeaderList<'static>>,
    /// Set once the client has an error: nothing more of the provider's answer follows.
    is_over: bool,
}

/// Answers, or sends the request on to who knows better: then the answer is to be waited for.
pub fn answer(caller: &Caller, request: &HeaderList<'_>, body: &[u8]) -> Option<Errand> {
    match forward(caller, request, body) {
        Ok(Some(provider)) => Some(Errand {
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
    pub fn on_response_headers(&mut self, end_of_stream: bool) -> Action {
        let mut response = host::response_headers();
        response.retain(|name| name == "content-length" || !headers::is_providers_own(name));
        let is_error = response.status() >= 400;
        response.mask(&self.provider.key_mask, is_error);
        if is_error && !end_of_stream {
            self.held = Some(response);
            return Action::Pause;
        }
        host::set_response_headers(&response);
        Action::Continue
    }

    pub fn on_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.is_over {
            host::set_response_body(&[]);
        }
        if self.held.is_none() {
            return Action::Continue;
        }
        if !end_of_stream && size < MAX_ERROR_BYTES {
            return Action::Pause;
        }
        self.tell_error();
        Action::Continue
    }

    /// Tells the client of the provider's error, in the words of Anthropic's API.
    fn tell_error(&mut self) {
        let Some(mut response) = self.held.take() else {
            return;
        };
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
        provider.timeout_ms,
        request,
        None,
    );
    Ok(Some(Rc::clone(provider)))
}
