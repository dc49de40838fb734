//! Google's `generateContent` as one of the wire formats.

use crate::auth::Auth;
use crate::embeddings::format::EmbeddingsFormat;
use crate::error::ApiError;
use crate::exchange::{FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::gemini::embeddings::Embeddings;
use crate::gemini::{error, path, request, response, stream};
use crate::provider_stream::ProviderStream;

#[derive(Debug)]
pub struct Gemini;

static FACTS: FormatFacts = FormatFacts {
    auth: Auth::Header("x-goog-api-key"),
    ..FormatFacts::new("gemini", "Gemini generateContent", "Gemini")
};

impl WireFormat for Gemini {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let (body, stream) = request::translate_request(body, target.model)?;
        Ok(Outgoing::new(path(target.model, stream), body))
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
        let events = stream::Answers::new(origin.completion_id(), origin.model.to_owned());
        origin.translate_sse(Box::new(events))
    }

    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        Some(&Embeddings)
    }
}
