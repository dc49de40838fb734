//! Entry point to the wire formats: the functions that both stages call, for any client and
//! provider.

use crate::client::Api;
use crate::client::stream::ClientStream;
use crate::error::ApiError;
use crate::exchange::{Format, Origin, Outgoing, Target};
use crate::openai::envelope::Envelope;
use crate::openai::response::Summary;
use crate::provider_stream::ProviderStream;
use crate::relay::{self, Relay};
use crate::surrogates;

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
    if target.speaks(envelope.api) {
        return target.format.prepare_request(envelope, target);
    }
    translate_foreign(envelope.api, body, target)
}

/// Translates a body whose envelope another stage has parsed, and found valid.
pub fn translate_accepted(
    api: Api,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Outgoing, ApiError> {
    if target.speaks(api) {
        return translate_request(api, body, target);
    }
    translate_foreign(api, body, target)
}

/// Translates a body for a target that doesn't speak its API.
fn translate_foreign(api: Api, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
    let format = target.format;
    let body = surrogates::replace_lone(body);
    let body = body.as_ref();
    let Some(chat) = api.to_chat(body, target.model, format.may_think(target))? else {
        return format.translate_request(body, target);
    };
    let outgoing = format.translate_request(&chat, target)?;
    Ok(Outgoing {
        body: Some(outgoing.body.unwrap_or(chat)),
        ..outgoing
    })
}

/// Translates a provider's successful answer into the client's API. Returns `None` if it is already
/// in that API.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Option<Vec<u8>>, ApiError> {
    if origin.is_native {
        relay::check_answer(origin.api, origin.provider, body)?;
        return Ok(None);
    }
    let chat = origin.format.translate_response(body, origin)?;
    let completion = chat.as_deref().unwrap_or(body);
    if chat.is_none() {
        relay::check_answer(Api::CHAT_COMPLETIONS, origin.provider, body)?;
    }
    Ok(origin.api.of_chat(completion, origin.request)?.or(chat))
}

/// Reads a provider's successful answer that already is in the client's API. Returns an error if it
/// isn't one.
pub fn summarize_native(body: &[u8], origin: &Origin<'_>) -> Result<Summary, ApiError> {
    relay::summarize_answer(origin.api, origin.provider, body)
}

/// Translates a provider's error response.
pub fn translate_error(format: Format, provider: &str, status: u16, body: &[u8]) -> ApiError {
    format.translate_error(provider, status, body)
}

/// Translates a provider's stream into the client's API.
#[derive(Debug)]
pub struct StreamTranslator {
    provider: ProviderStream,
    /// Translates chunks into the client's API, if that is another one.
    client: Option<ClientStream>,
    chunks: Vec<u8>,
}

impl StreamTranslator {
    pub fn new(origin: &Origin<'_>) -> Self {
        let (provider, client) = if origin.is_native {
            let relay = Relay::new(origin.api, origin.provider);
            (ProviderStream::Relay(Box::new(relay)), None)
        } else {
            let provider = origin.format.translate_stream(origin);
            (provider, origin.api.stream(origin.request))
        };
        Self {
            provider,
            client,
            chunks: Vec::new(),
        }
    }

    /// Returns true once the answer has begun. Until then nothing of it may reach the client, and
    /// failover to another provider is possible.
    pub fn has_begun(&self) -> bool {
        let client = self.client.as_ref();
        self.provider.has_begun() && client.is_none_or(ClientStream::has_begun)
    }

    /// Returns the error that ended the stream early. If the answer hadn't begun, nothing of it was
    /// written.
    pub fn error(&self) -> Option<&ApiError> {
        self.provider
            .error()
            .or_else(|| self.client.as_ref()?.error())
    }

    /// Returns true if the remaining bytes may pass unchanged.
    pub fn is_transparent(&self) -> bool {
        self.client.is_none() && self.provider.is_transparent()
    }

    /// Returns true if the answer is whole.
    pub fn is_complete(&self) -> bool {
        match &self.client {
            Some(client) => client.is_complete(),
            None => self.provider.is_complete(),
        }
    }

    /// Looks for the end of the answer in bytes that pass unchanged.
    pub fn watch(&mut self, bytes: &[u8]) {
        self.provider.watch(bytes);
    }

    /// Consumes the next bytes and appends the client's bytes to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.through(out, |provider, out| provider.push(bytes, out));
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.through(out, ProviderStream::finish);
        if let Some(client) = &mut self.client {
            client.finish(out);
        }
    }

    /// Runs the provider's side and, if there is one, feeds its output to the client's side.
    fn through(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ProviderStream, &mut Vec<u8>),
    ) {
        let Some(client) = &mut self.client else {
            write(&mut self.provider, out);
            return;
        };
        self.chunks.clear();
        write(&mut self.provider, &mut self.chunks);
        client.push(&self.chunks, out);
    }
}
