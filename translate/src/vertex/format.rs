//! Vertex AI as one of the wire formats: requests and answers are in the format of the model's
//! publisher.

use crate::anthropic::format::Anthropic;
use crate::anthropic::{self, Platform};
use crate::client::Api;
use crate::client::messages::native;
use crate::embeddings::format::EmbeddingsFormat;
use crate::error::ApiError;
use crate::exchange::{Cloud, FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::gemini;
use crate::gemini::format::Gemini;
use crate::openai::envelope::Envelope;
use crate::provider_stream::ProviderStream;
use crate::vertex::embeddings::Embeddings;
use crate::vertex::path::{is_claude, path};

#[derive(Debug)]
pub struct Vertex;

static FACTS: FormatFacts = FormatFacts {
    cloud: Some(Cloud::Google),
    ..FormatFacts::new(
        "vertex",
        "Gemini generateContent, Anthropic Messages",
        "Vertex AI",
    )
};

/// Returns the format of a model's answers.
fn format_of(model: &str) -> &'static dyn WireFormat {
    if is_claude(model) {
        &Anthropic
    } else {
        &Gemini
    }
}

impl WireFormat for Vertex {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn speaks(&self, api: Api, target: &Target<'_>) -> bool {
        format_of(target.model).speaks(api, target)
    }

    fn prepare_request(
        &self,
        envelope: &Envelope<'_>,
        target: &Target<'_>,
    ) -> Result<Outgoing, ApiError> {
        let body = native::prepare_request(envelope.text, target.model, Platform::Vertex)?;
        Ok(Outgoing::new(path(target.model, envelope.stream), body))
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let (body, stream) = if is_claude(target.model) {
            anthropic::request::translate_request(body, target, Platform::Vertex)?
        } else {
            gemini::request::translate_request(body, target.model)?
        };
        Ok(Outgoing::new(path(target.model, stream), body))
    }

    fn translate_response(
        &self,
        body: &[u8],
        origin: &Origin<'_>,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        format_of(origin.model).translate_response(body, origin)
    }

    /// Google's own errors precede those of the publishers it hosts.
    fn translate_error(&self, provider: &str, status: u16, body: &[u8]) -> ApiError {
        gemini::error::from_reply(provider, status, body)
    }

    fn translate_stream(&self, origin: &Origin<'_>) -> ProviderStream {
        format_of(origin.model).translate_stream(origin)
    }

    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        Some(&Embeddings)
    }
}
