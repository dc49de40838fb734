//! Entry point to the wire formats: the functions that both stages call, for any client and
//! provider.

use std::borrow::Cow;

use crate::anthropic;
use crate::bedrock;
use crate::client::stream::ClientStream;
use crate::client::{Api, messages, responses};
use crate::cohere;
use crate::error::ApiError;
use crate::exchange::{Origin, Outgoing, Target};
use crate::gemini;
use crate::openai::dialect::is_reasoning_model;
use crate::openai::{self, envelope::Envelope};
use crate::relay::{self, Relay};
use crate::stream::{Framing, Translator};
use crate::vertex;
use crate::wire_format::Format;

impl Target<'_> {
    /// Returns true if the model may support a reasoning budget, judging by its name.
    fn may_think(&self) -> bool {
        match self.format {
            Format::OpenAi => {
                // Other providers of OpenAI's format serve all kinds of models.
                self.dialect.reasoning_max_tokens.is_none() || is_reasoning_model(self.model)
            }
            Format::Bedrock => bedrock::family::Family::of(self.model).may_think(self.model),
            _ => true,
        }
    }
}

/// Translates a client's body.
pub fn translate_request(api: Api, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
    translate_parsed(body, &Envelope::parse(api, body)?, target)
}

/// Translates a body whose envelope has already been parsed.
pub fn translate_parsed(
    body: &[u8],
    envelope: &Envelope<'_>,
    target: &Target<'_>,
) -> Result<Outgoing, ApiError> {
    let model = target.model;
    let api = envelope.api;
    if api == Api::MESSAGES && target.speaks(api) {
        let (path, host): (Cow<'static, str>, _) = match target.format {
            Format::Vertex => {
                let path = vertex::path(model, envelope.stream).into();
                (path, anthropic::Host::Vertex)
            }
            _ => (anthropic::PATH.into(), anthropic::Host::Anthropic),
        };
        let body = messages::native::prepare_request(envelope.text, model, host)?;
        return Ok(Outgoing::new(path, body));
    }
    if api == Api::RESPONSES && target.speaks(api) {
        let body = responses::native::prepare_request(envelope.text, model)?;
        return Ok(Outgoing::new(responses::PATH, body));
    }
    let Some(chat) = api.to_chat(body, model, target.may_think())? else {
        return translate_chat(body, Some(envelope), target);
    };
    let outgoing = translate_chat(&chat, None, target)?;
    Ok(Outgoing {
        body: Some(outgoing.body.unwrap_or(chat)),
        ..outgoing
    })
}

fn translate_chat(
    body: &[u8],
    envelope: Option<&Envelope<'_>>,
    target: &Target<'_>,
) -> Result<Outgoing, ApiError> {
    let model = target.model;
    match target.format {
        Format::OpenAi => {
            let parsed;
            let envelope = match envelope {
                Some(envelope) => envelope,
                None => {
                    parsed = Envelope::parse(Api::CHAT_COMPLETIONS, body)?;
                    &parsed
                }
            };
            let dialect = target.dialect;
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
        Format::Anthropic => {
            let host = anthropic::Host::Anthropic;
            let (body, _) = anthropic::request::translate_request(body, target, host)?;
            Ok(Outgoing::new(anthropic::PATH, body))
        }
        Format::Gemini => {
            let (body, stream) = gemini::request::translate_request(body, model)?;
            Ok(Outgoing::new(gemini::path(model, stream), body))
        }
        Format::Vertex => {
            let (body, stream) = match Format::Vertex.of_answers(model) {
                Format::Anthropic => {
                    let host = anthropic::Host::Vertex;
                    anthropic::request::translate_request(body, target, host)?
                }
                _ => gemini::request::translate_request(body, model)?,
            };
            Ok(Outgoing::new(vertex::path(model, stream), body))
        }
        Format::Bedrock => {
            let (body, stream) =
                bedrock::request::translate_request(body, model, target.max_output_tokens)?;
            Ok(Outgoing::new(bedrock::path(model, stream), body))
        }
        Format::Cohere => Ok(Outgoing::new(
            cohere::PATH,
            cohere::request::translate_request(body, model)?,
        )),
    }
}

/// Translates a provider's successful answer into the client's API. Returns `None` if it is already
/// in that API.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Option<Vec<u8>>, ApiError> {
    if origin.is_native {
        relay::check_answer(origin.api, origin.provider, body)?;
        return Ok(None);
    }
    let chat = match origin.format.of_answers(origin.model) {
        Format::OpenAi if origin.own_answers => openai::normalize::normalize(body)?,
        Format::OpenAi => None,
        Format::Anthropic => Some(anthropic::response::translate_response(body, origin)?),
        Format::Gemini | Format::Vertex => {
            Some(gemini::response::translate_response(body, origin)?)
        }
        Format::Bedrock => Some(bedrock::response::translate_response(body, origin)?),
        Format::Cohere => Some(cohere::response::translate_response(body, origin)?),
    };
    let completion = chat.as_deref().unwrap_or(body);
    if chat.is_none() {
        relay::check_answer(Api::CHAT_COMPLETIONS, origin.provider, body)?;
    }
    Ok(origin.api.of_chat(completion, origin.request)?.or(chat))
}

/// Translates a provider's error response.
pub fn translate_error(format: Format, provider: &str, status: u16, body: &[u8]) -> ApiError {
    match format {
        Format::OpenAi | Format::Cohere => openai::error::from_reply(provider, status, body),
        Format::Anthropic => anthropic::error::from_reply(provider, status, body),
        // Google's own errors precede those of the publishers it hosts.
        Format::Gemini | Format::Vertex => gemini::error::from_reply(provider, status, body),
        Format::Bedrock => bedrock::error::from_reply(provider, status, body),
    }
}

/// Translates a provider's stream into the client's API.
#[derive(Debug)]
pub struct StreamTranslator {
    provider: Upstream,
    /// Translates chunks into the client's API, if that is another one.
    client: Option<ClientStream>,
    chunks: Vec<u8>,
}

#[derive(Debug)]
enum Upstream {
    /// The stream is already in the client's API: only its beginning is inspected.
    Relay(Relay),
    Translator(Box<Translator>),
}

impl StreamTranslator {
    pub fn new(origin: &Origin<'_>) -> Self {
        let (id, model) = (origin.completion_id(), origin.model.to_owned());
        let sse = || Framing::Sse(Default::default());
        let translator = |framing, events| {
            let translator = Translator::new(framing, events, origin.provider, origin.created);
            Upstream::Translator(Box::new(translator))
        };
        let provider = match origin.format.of_answers(origin.model) {
            _ if origin.is_native => Upstream::Relay(Relay::new(origin.api, origin.provider)),
            Format::OpenAi if origin.own_answers => {
                let relay = Relay::new(Api::CHAT_COMPLETIONS, origin.provider);
                Upstream::Relay(relay.normalizing())
            }
            Format::OpenAi => Upstream::Relay(Relay::new(Api::CHAT_COMPLETIONS, origin.provider)),
            Format::Anthropic => translator(sse(), Box::<anthropic::stream::Messages>::default()),
            Format::Gemini | Format::Vertex => {
                translator(sse(), Box::new(gemini::stream::Answers::new(id, model)))
            }
            Format::Bedrock => translator(
                Framing::Aws(Default::default()),
                Box::new(bedrock::stream::Converse::new(id, model)),
            ),
            Format::Cohere => translator(sse(), Box::new(cohere::stream::Chat::new(id, model))),
        };
        Self {
            provider,
            client: origin
                .api
                .stream(origin.request)
                .filter(|_| !origin.is_native),
            chunks: Vec::new(),
        }
    }

    /// Returns true once the answer has begun. Until then nothing of it may reach the client, and
    /// failover to another provider is possible.
    pub fn has_begun(&self) -> bool {
        match &self.provider {
            Upstream::Relay(relay) => relay.has_begun(),
            Upstream::Translator(translator) => translator.has_begun(),
        }
    }

    /// Returns the error that ended the stream early. If the answer hadn't begun, nothing of it was
    /// written.
    pub fn error(&self) -> Option<&ApiError> {
        let error = match &self.provider {
            Upstream::Relay(relay) => relay.error(),
            Upstream::Translator(translator) => translator.error(),
        };
        error.or_else(|| self.client.as_ref()?.error())
    }

    /// Returns true if the remaining bytes may pass unchanged.
    pub fn is_transparent(&self) -> bool {
        self.client.is_none()
            && matches!(&self.provider, Upstream::Relay(relay) if relay.is_transparent())
    }

    /// Consumes the next bytes and appends the client's bytes to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.through(out, |provider, out| match provider {
            Upstream::Relay(relay) => relay.push(bytes, out),
            Upstream::Translator(translator) => translator.push(bytes, out),
        });
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.through(out, |provider, out| match provider {
            Upstream::Relay(relay) => relay.finish(out),
            Upstream::Translator(translator) => translator.finish(out),
        });
        if let Some(client) = &mut self.client {
            client.finish(out);
        }
    }

    /// Runs the provider's side and, if there is one, feeds its output to the client's side.
    fn through(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Upstream, &mut Vec<u8>)) {
        let Some(client) = &mut self.client else {
            write(&mut self.provider, out);
            return;
        };
        self.chunks.clear();
        write(&mut self.provider, &mut self.chunks);
        client.push(&self.chunks, out);
    }
}
