//! Cohere's chat API as one of the wire formats.

use crate::cohere::embeddings::Embeddings;
use crate::cohere::{PATH, request, response, stream};
use crate::embeddings::format::EmbeddingsFormat;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::exchange::{FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::openai;
use crate::provider_stream::ProviderStream;

#[derive(Debug)]
pub struct Cohere;

static FACTS: FormatFacts = FormatFacts {
    // Other providers have adopted Cohere's own format.
    paths: &[(Endpoint::Rerank, "/v2/rerank")],
    ..FormatFacts::new("cohere", "Cohere chat v2", "Cohere")
};

impl WireFormat for Cohere {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let body = request::translate_request(body, target.model)?;
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
        openai::error::from_reply(provider, status, body)
    }

    fn translate_stream(&self, origin: &Origin<'_>) -> ProviderStream {
        let events = stream::Chat::new(origin.completion_id(), origin.model.to_owned());
        origin.translate_sse(Box::new(events))
    }

    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        Some(&Embeddings)
    }
}
