//! `POST /v1/messages/count_tokens`: Anthropic is asked where it serves the model, and for any other model it is estimated.

use opentracy_translate::anthropic::Host;
use opentracy_translate::client::Api;
use opentracy_translate::client::messages::{count, native};
use opentracy_translate::error::ApiError;
use opentracy_translate::format::Outgoing;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::Format;
use proxy_wasm::types::Action;

use crate::gateway::access::{self, Caller};
use crate::gateway::{json_headers, planner};
use crate::headers::HeaderList;
use crate::{host, snapshot, upstream};

/// Answers, or sends the request on to who knows better.
pub fn answer(caller: &Caller, request: &HeaderList<'_>, body: &[u8]) -> Action {
    match forward(caller, request, body) {
        Ok(true) => Action::Continue,
        Ok(false) => {
            let tokens = count::estimate(body);
            host::reply(200, &json_headers(), &count::to_json(tokens));
            Action::Pause
        }
        Err(error) => {
            let body = Api::Messages.error_json(&error, &[]);
            host::reply(error.status, &json_headers(), &body);
            Action::Pause
        }
    }
}

/// Whether the model's provider was asked.
fn forward(caller: &Caller, request: &HeaderList<'_>, body: &[u8]) -> Result<bool, ApiError> {
    let envelope = Envelope::parse(Api::Messages, body)?;
    let Some(snapshot) = snapshot::current() else {
        return Ok(false);
    };
    let mut target = planner::resolve(&snapshot, &envelope.model)?;
    access::retain_allowed(caller, &envelope.model, &mut target.candidates)?;
    let Some(candidate) = target
        .candidates
        .first()
        .filter(|candidate| candidate.provider.format == Format::Anthropic)
    else {
        return Ok(false);
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
    Ok(true)
}
