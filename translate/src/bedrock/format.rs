//! Amazon Bedrock's Converse as one of the wire formats.

use crate::bedrock::embeddings::Embeddings;
use crate::bedrock::family::Family;
use crate::bedrock::{error, path, request, response, stream};
use crate::embeddings::format::EmbeddingsFormat;
use crate::error::ApiError;
use crate::exchange::{Cloud, FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::provider_stream::ProviderStream;
use crate::stream::Framing;

#[derive(Debug)]
pub struct Bedrock;

static FACTS: FormatFacts = FormatFacts {
    cloud: Some(Cloud::Aws),
    ..FormatFacts::new("bedrock", "Bedrock Converse", "Bedrock")
};

impl WireFormat for Bedrock {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn may_think(&self, target: &Target<'_>) -> bool {
        Family::of(target.model).may_think(target.model)
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let (body, stream) =
            request::translate_request(body, target.model, target.max_output_tokens)?;
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
        let events = stream::Converse::new(origin.completion_id(), origin.model.to_owned());
        origin.translate_events(Framing::Aws(Default::default()), Box::new(events))
    }

    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        Some(&Embeddings)
    }
}
