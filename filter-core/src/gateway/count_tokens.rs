//! `POST /v1/messages/count_tokens`: forwarded to Anthropic if it serves the model, and estimated
//! for other models.

use std::rc::Rc;
use std::time::Duration;

use opentracy_translate::anthropic;
use opentracy_translate::client::Api;
use opentracy_translate::client::messages::{count, native};
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Outgoing;
use opentracy_translate::format;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::wire_format::Format;

use crate::deadline::Deadline;
use crate::gateway::access::{self, AdmittedCaller};
use crate::gateway::planner;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::snapshot::Provider;
use crate::upstream::{self, MAX_ERROR_BYTES, Sending};
use crate::{failure, snapshot};

/// A count that was requested from a provider.
pub struct Errand {
    provider: Rc<Provider>,
    /// The headers of the answer, while its body is buffered.
    held: Option<HeaderList<'static>>,
    /// Set once the client has an error: the rest of the provider's answer is dropped.
    is_over: bool,
    deadline: Deadline,
}

/// Answers with an estimate, or forwards the request and returns the pending call.
pub fn answer(
    host: &impl Host,
    caller: &AdmittedCaller,
    request: &HeaderList<'_>,
    body: &[u8],
) -> Option<Errand> {
    match forward(host, caller, request, body) {
        Ok(Some(provider)) => Some(Errand {
            deadline: Deadline::after(host, Duration::from_millis(provider.timeout_ms.into())),
            provider,
            held: None,
            is_over: false,
        }),
        Ok(None) => {
            let tokens = count::estimate(body);
            host.reply(200, &headers::json(), &count::to_json(tokens));
            None
        }
        Err(error) => {
            let body = Api::MESSAGES.error_json(&error, &[]);
            host.reply(error.status, &headers::json(), &body);
            None
        }
    }
}

impl Errand {
    /// Returns the deadline for the complete answer.
    pub fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    /// Answers with an error because the provider timed out.
    pub fn on_deadline(&mut self, host: &impl Host) {
        let (error, _) = failure::timeout(&self.provider.name);
        let body = Api::MESSAGES.error_json(&error, &[]);
        host.reply(error.status, &headers::json(), &body);
    }

    pub fn on_response_headers(&mut self, host: &impl Host, end_of_stream: bool) -> Action {
        let mut response = host.response_headers();
        response.retain(headers::is_passed_on);
        response.mask(&self.provider.key_mask, response.status() >= 400);
        if !end_of_stream {
            self.held = Some(response);
            return Action::Pause;
        }
        host.set_response_headers(&response);
        Action::Continue
    }

    pub fn on_response_body(
        &mut self,
        host: &impl Host,
        size: usize,
        end_of_stream: bool,
    ) -> Action {
        if self.held.is_none() {
            if self.is_over {
                host.set_response_body(&[]);
            }
            return Action::Continue;
        }
        if !end_of_stream && size < MAX_ERROR_BYTES {
            return Action::Pause;
        }
        if let Some(response) = self.held.take() {
            self.release(host, response);
        }
        Action::Continue
    }

    /// Sends the count, or the provider's error, to the client.
    fn release(&mut self, host: &impl Host, response: HeaderList<'static>) {
        if response.status() >= 400 {
            self.tell_error(host, response);
        } else {
            host.set_response_headers(&response);
        }
        self.is_over = true;
        self.deadline.progress(true);
    }

    /// Sends the provider's error to the client in the format of Anthropic's API.
    fn tell_error(&self, host: &impl Host, mut response: HeaderList<'static>) {
        let (provider, status) = (&self.provider, response.status());
        let body = host.response_body(0);
        let mut error = format::translate_error(provider.format, &provider.name, status, &body);
        provider.key_mask.mask_error(&mut error);
        let body = Api::MESSAGES.error_json(&error, &[]);
        response.set(":status", error.status.to_string());
        response.set("content-type", "application/json");
        response.set("content-length", body.len().to_string());
        response.retain(|name| name != "content-encoding");
        host.set_response_headers(&response);
        host.set_response_body(&body);
    }
}

/// Forwards the request if the model's provider supports it; returns that provider.
fn forward(
    host: &impl Host,
    caller: &AdmittedCaller,
    request: &HeaderList<'_>,
    body: &[u8],
) -> Result<Option<Rc<Provider>>, ApiError> {
    let envelope = Envelope::parse(Api::MESSAGES, body)?;
    let Some(snapshot) = snapshot::current() else {
        return Ok(None);
    };
    let mut target = planner::resolve(&snapshot, &envelope.model)?;
    access::retain_allowed(caller, &envelope.model, &mut target.candidates)?;
    let Some(candidate) = target
        .candidates
        .first()
        .filter(|candidate| candidate.provider.format == Format::ANTHROPIC)
    else {
        return Ok(None);
    };
    let (provider, model) = (&candidate.provider, candidate.model.as_str());
    let outgoing = Outgoing {
        path: count::PATH.into(),
        body: Some(native::prepare_request(
            envelope.text,
            model,
            anthropic::Platform::Anthropic,
        )?),
    };
    upstream::send(
        host,
        provider,
        model,
        &outgoing,
        body,
        &Sending {
            timeout_ms: provider.timeout_ms,
            span: None,
            retries_resets: true,
            is_held: true,
        },
        request,
    );
    Ok(Some(Rc::clone(provider)))
}
