//! OpenAI's Chat Completions as one of the wire formats.

use crate::client::{Api, responses};
use crate::embeddings::format::EmbeddingsFormat;
use crate::error::ApiError;
use crate::exchange::{FormatFacts, Origin, Outgoing, Target, WireFormat};
use crate::openai::dialect::is_reasoning_model;
use crate::openai::embeddings::Embeddings;
use crate::openai::envelope::Envelope;
use crate::openai::{PATH, edit, error, normalize, rewrite};
use crate::provider_stream::ProviderStream;
use crate::relay::Relay;

#[derive(Debug)]
pub struct OpenAi;

static FACTS: FormatFacts = FormatFacts {
    has_openai_paths: true,
    ..FormatFacts::new("openai", "OpenAI", "OpenAI")
};

impl WireFormat for OpenAi {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn may_think(&self, target: &Target<'_>) -> bool {
        // Other providers of OpenAI's format serve all kinds of models.
        target.dialect.reasoning_max_tokens.is_none() || is_reasoning_model(target.model)
    }

    fn speaks(&self, api: Api, target: &Target<'_>) -> bool {
        api == Api::CHAT_COMPLETIONS || (api == Api::RESPONSES && target.serves_responses)
    }

    fn prepare_request(
        &self,
        envelope: &Envelope<'_>,
        target: &Target<'_>,
    ) -> Result<Outgoing, ApiError> {
        if envelope.api == Api::RESPONSES {
            let body = responses::native::prepare_request(envelope.text, target.model)?;
            return Ok(Outgoing::new(responses::PATH, body));
        }
        let (dialect, body) = (target.dialect, envelope.text.as_bytes());
        // OpenAI refuses a request with both.
        let has_two_limits = envelope.has_two_limits && dialect.reasoning_max_tokens.is_some();
        let body = if has_two_limits || dialect.concerns(body, target.model) {
            Some(rewrite::rewrite(envelope.text, target.model, dialect)?)
        } else {
            edit::edit(body, envelope, target.model, dialect.stream_usage)
        };
        Ok(Outgoing {
            path: PATH.into(),
            body,
        })
    }

    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
        let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, body)?;
        self.prepare_request(&envelope, target)
    }

    fn translate_response(
        &self,
        body: &[u8],
        origin: &Origin<'_>,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        if origin.own_answers {
            normalize::normalize(body)
        } else {
            Ok(None)
        }
    }

    fn translate_error(&self, provider: &str, status: u16, body: &[u8]) -> ApiError {
        error::from_reply(provider, status, body)
    }

    fn translate_stream(&self, origin: &Origin<'_>) -> ProviderStream {
        let relay = Relay::new(Api::CHAT_COMPLETIONS, origin.provider);
        ProviderStream::Relay(Box::new(if origin.own_answers {
            relay.normalizing()
        } else {
            relay
        }))
    }

    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        Some(&Embeddings)
    }
}
