//! A provider's stream on its way into chat completion chunks, or into the client's own API.

use crate::error::ApiError;
use crate::relay::Relay;
use crate::stream::Translator;

/// The provider's side of a stream.
#[derive(Debug)]
pub enum ProviderStream {
    /// The stream is already in the right API: only its beginning is inspected.
    Relay(Box<Relay>),
    Translator(Box<Translator>),
}

impl ProviderStream {
    /// Returns true once the answer has begun.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::Relay(relay) => relay.has_begun(),
            Self::Translator(translator) => translator.has_begun(),
        }
    }

    /// Returns the error that ended the stream early.
    pub fn error(&self) -> Option<&ApiError> {
        match self {
            Self::Relay(relay) => relay.error(),
            Self::Translator(translator) => translator.error(),
        }
    }

    /// Returns true if the remaining bytes may pass unchanged.
    pub fn is_transparent(&self) -> bool {
        matches!(self, Self::Relay(relay) if relay.is_transparent())
    }

    /// Returns true if the answer is whole.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Relay(relay) => relay.has_ended(),
            Self::Translator(translator) => translator.is_complete(),
        }
    }

    /// Looks for the end of the answer in bytes that pass unchanged.
    pub fn watch(&mut self, bytes: &[u8]) {
        if let Self::Relay(relay) = self {
            relay.watch(bytes);
        }
    }

    /// Consumes the next bytes and appends the translated ones to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Relay(relay) => relay.push(bytes, out),
            Self::Translator(translator) => translator.push(bytes, out),
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Relay(relay) => relay.finish(out),
            Self::Translator(translator) => translator.finish(out),
        }
    }
}
