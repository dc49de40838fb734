//! The door to the wire formats: what the provider stage calls, whatever the provider speaks.

use std::borrow::Cow;

use crate::anthropic;
use crate::error::ApiError;
use crate::gemini;
use crate::openai::dialect::Dialect;
use crate::openai::{self, envelope::Envelope};
use crate::provider::Format;
use crate::sse;

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub format: Format,
    /// The provider's name for the model.
    pub model: &'a str,
    /// What the catalog knows.
    pub max_output_tokens: Option<u64>,
    /// Where the provider departs from OpenAI, for OpenAI's format.
    pub dialect: &'a Dialect,
}

/// A request as the provider wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What follows the base URL.
    pub path: Cow<'static, str>,
    /// `None` when the client's body is right as it is.
    pub body: Option<Vec<u8>>,
}

/// Translates a client's body.
pub fn translate_request(body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
    match target.format {
        Format::OpenAi => translate_parsed(body, &Envelope::parse(body)?, target),
        Format::Anthropic => {
            let body = anthropic::request::translate(body, target.model, target.max_output_tokens)?;
            Ok(Outgoing {
                path: anthropic::PATH.into(),
                body: Some(body),
            })
        }
        Format::Gemini => {
            let (body, stream) = gemini::request::translate(body, target.model)?;
            Ok(Outgoing {
                path: gemini::path(target.model, stream).into(),
                body: Some(body),
            })
        }
    }
}

/// The same for a body whose envelope has been read.
pub fn translate_parsed(
    body: &[u8],
    envelope: &Envelope<'_>,
    target: &Target<'_>,
) -> Result<Outgoing, ApiError> {
    let (Format::OpenAi, model, dialect) = (target.format, target.model, target.dialect) else {
        // The other formats read all of a body, and have no use for a part of it.
        return translate_request(body, target);
    };
    let body = if dialect.concerns(body, model) {
        Some(openai::rewrite::rewrite(envelope.text, model, dialect)?)
    } else {
        openai::edit::edit(body, envelope, model, dialect.stream_usage)
    };
    Ok(Outgoing {
        path: openai::PATH.into(),
        body,
    })
}

/// A provider's successful answer in OpenAI's format. `None` when it is that already. `created` is in Unix seconds.
pub fn translate_response(
    format: Format,
    body: &[u8],
    created: u64,
) -> Result<Option<Vec<u8>>, ApiError> {
    match format {
        Format::OpenAi => Ok(None),
        Format::Anthropic => anthropic::response::translate(body, created).map(Some),
        Format::Gemini => gemini::response::translate(body, created).map(Some),
    }
}

/// A provider's error reply, as the client gets it.
pub fn translate_error(format: Format, provider: &str, status: u16, body: &[u8]) -> ApiError {
    match format {
        Format::OpenAi => openai::error::from_reply(provider, status, body),
        Format::Anthropic => anthropic::error::from_reply(provider, status, body),
        Format::Gemini => gemini::error::from_reply(provider, status, body),
    }
}

/// A provider's stream on its way into OpenAI's format.
#[derive(Debug)]
pub enum StreamTranslator {
    OpenAi(Relay),
    Anthropic(Box<anthropic::stream::Translator>),
    Gemini(Box<gemini::stream::Translator>),
}

/// A stream that is in OpenAI's format already: only its beginning is looked at.
#[derive(Debug, Default)]
pub struct Relay {
    provider: String,
    parser: sse::Parser,
    has_begun: bool,
    error: Option<ApiError>,
}

impl StreamTranslator {
    /// `provider` is named in errors; `created` is the time in Unix seconds.
    pub fn new(format: Format, provider: &str, created: u64) -> Self {
        match format {
            Format::OpenAi => Self::OpenAi(Relay {
                provider: provider.to_owned(),
                ..Relay::default()
            }),
            Format::Anthropic => Self::Anthropic(Box::new(anthropic::stream::Translator::new(
                provider, created,
            ))),
            Format::Gemini => {
                Self::Gemini(Box::new(gemini::stream::Translator::new(provider, created)))
            }
        }
    }

    /// Whether the answer has begun. Until then nothing of it may reach the client, and another provider can be tried.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::OpenAi(relay) => relay.has_begun,
            Self::Anthropic(translator) => translator.has_begun(),
            Self::Gemini(translator) => translator.has_begun(),
        }
    }

    /// What ended the stream early. Before it began, nothing of it was written.
    pub fn error(&self) -> Option<&ApiError> {
        match self {
            Self::OpenAi(relay) => relay.error.as_ref(),
            Self::Anthropic(translator) => translator.error(),
            Self::Gemini(translator) => translator.error(),
        }
    }

    /// Whether bytes may pass as they are from here on.
    pub fn is_transparent(&self) -> bool {
        matches!(self, Self::OpenAi(relay) if relay.has_begun)
    }

    /// Takes the next bytes and appends what the client gets for them.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::OpenAi(relay) => relay.push(bytes, out),
            Self::Anthropic(translator) => translator.push(bytes, out),
            Self::Gemini(translator) => translator.push(bytes, out),
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::OpenAi(relay) => relay.finish(),
            Self::Anthropic(translator) => translator.finish(out),
            Self::Gemini(translator) => translator.finish(out),
        }
    }
}

impl Relay {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.error.is_some() {
            return;
        }
        out.extend_from_slice(bytes);
        if self.has_begun {
            return;
        }
        let (provider, has_begun, error) = (&self.provider, &mut self.has_begun, &mut self.error);
        self.parser.push(bytes, |event| {
            let Some(data) = event.data() else { return };
            if !*has_begun && error.is_none() {
                *error = openai::error::from_event(provider, &data);
                *has_begun = error.is_none();
            }
        });
    }

    fn finish(&mut self) {
        if !self.has_begun && self.error.is_none() {
            self.error = Some(ApiError::incomplete_stream(&self.provider));
        }
    }
}
