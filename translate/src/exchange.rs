//! A request to a provider and the facts about its answer: the types that all wire formats share.

use std::borrow::Cow;

use crate::client::Api;
use crate::openai::dialect::Dialect;
use crate::wire_format::Format;

/// The destination of a request.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub format: Format,
    /// The provider's name for the model.
    pub model: &'a str,
    /// Limit from the catalog.
    pub max_output_tokens: Option<u64>,
    /// The provider's deviations from OpenAI, for OpenAI's format.
    pub dialect: &'a Dialect,
    /// Set if the gateway adds Anthropic's cache markers when the client sets none.
    pub auto_cache: bool,
    /// Set if the provider has OpenAI's Responses API in addition to Chat Completions.
    pub serves_responses: bool,
}

/// A request in the provider's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Path after the base URL.
    pub path: Cow<'static, str>,
    /// `None` if the client's body can be sent unchanged.
    pub body: Option<Vec<u8>>,
}

impl Outgoing {
    pub(crate) fn new(path: impl Into<Cow<'static, str>>, body: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            body: Some(body),
        }
    }
}

impl Target<'_> {
    /// Returns true if the provider speaks the client's own API, so that no translation is needed.
    pub fn speaks(&self, api: Api) -> bool {
        let is_openai = self.format == Format::OpenAi;
        (api == Api::CHAT_COMPLETIONS && is_openai)
            || (api == Api::RESPONSES && is_openai && self.serves_responses)
            || (api == Api::MESSAGES && self.format.of_answers(self.model) == Format::Anthropic)
    }
}

/// The facts about an answer that it doesn't contain itself.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub api: Api,
    pub format: Format,
    /// Set if the provider speaks the client's own API.
    pub is_native: bool,
    /// Named in error messages.
    pub provider: &'a str,
    /// The provider's name for the model.
    pub model: &'a str,
    /// Unique id of the call.
    pub id: &'a str,
    /// Unix seconds.
    pub created: u64,
    /// The client's body.
    pub request: &'a [u8],
    /// Set if a provider of OpenAI's format answers with fields of its own.
    pub own_answers: bool,
}

impl Origin<'_> {
    /// Returns an id for a completion that has none.
    pub(crate) fn completion_id(&self) -> String {
        format!("chatcmpl-{}", self.id)
    }
}
