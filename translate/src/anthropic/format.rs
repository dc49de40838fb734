//! Anthropic's Messages as one of the wire formats.

use crate::anthropic::{PATH, Platform, error, request, response, stream};
use crate::auth::Auth;
use crate::client::Api;
use crate::client::messages::native;
use crate::error::ApiError;
use crate::exchange::{FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::openai::envelope::Envelope;
use crate::provider_stream::ProviderStream;

#[derive(Debug)]
pub struct Anthropic;

static FACTS: FormatFacts = FormatFacts {
    auth: Auth::Header("x-api-key"),
    headers: &[("anthropic-version", "2023-06-01")],
    cursor: "after_id",
    ..FormatFacts::new("anthropic", "Anthropic Messages", "Anthropic")
};

impl WireFormat for Anthropic {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn speaks(&self, api: Api, _target: &Target<'_>) -> bool {
        api == Api::MESSAGES
    }

    fn prepare_request(
        &self,
        envelope: &Envelope<'_>,
        target: &Target<'_>,
    ) -> Result<Outgoing, ApiError> {
        let body = native::prepare_request(envelope.text, target.model, Platform::Anthropic)?;
        Ok(Outgoing::new(PATH, body))
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let (body, _) = request::translate_request(body, target, Platform::Anthropic)?;
        Ok(Outgoing::new(PATH, body))
    }

    fn translate_response(
        &self,
        body: &[u8],
        origin: &Origin<'_>,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        response::translate_response(body, origin).map(Some)
    }

    fn translate_error(&self, provider: &str, status: u16, body: &[u8]) -> ApiError {
        error::from_reply(provider, status, body)
    }

    fn translate_stream(&self, origin: &Origin<'_>) -> ProviderStream {
        origin.translate_sse(Box::<stream::Messages>::default())
    }
}
