//! A request to a provider and the facts about its answer: the types that all wire formats share,
//! and the trait that each of them implements.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use crate::auth::Auth;
use crate::client::api::Api;
use crate::embeddings::format::EmbeddingsFormat;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::openai::dialect::Dialect;
use crate::openai::envelope::Envelope;
use crate::provider_stream::ProviderStream;
use crate::stream::{Events, Framing, Translator};

/// The wire format of a provider: its facts, and the translation of chat completions into it and
/// back.
pub trait WireFormat: fmt::Debug + Sync {
    fn facts(&self) -> &'static FormatFacts;

    /// Returns true if the target's model may support a reasoning budget, judging by its name.
    fn may_think(&self, _target: &Target<'_>) -> bool {
        true
    }

    /// Returns true if the target speaks a client's API itself, so that no translation is needed.
    fn speaks(&self, _api: Api, _target: &Target<'_>) -> bool {
        false
    }

    /// Prepares a body of an API that the target speaks.
    fn prepare_request(
        &self,
        envelope: &Envelope<'_>,
        target: &Target<'_>,
    ) -> Result<Outgoing, ApiError> {
        self.translate_request(envelope.text.as_bytes(), target)
    }

    /// Translates a chat completion request.
    fn translate_request(&self, body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError>;

    /// Translates a successful answer into a chat completion; `None` if it already is one.
    fn translate_response(
        &self,
        body: &[u8],
        origin: &Origin<'_>,
    ) -> Result<Option<Vec<u8>>, ApiError>;

    /// Translates an error response.
    fn translate_error(&self, provider: &str, status: u16, body: &[u8]) -> ApiError;

    /// Returns a translator of a stream into chunks.
    fn translate_stream(&self, origin: &Origin<'_>) -> ProviderStream;

    /// Returns the translation of embeddings; `None` if the format has none.
    fn embeddings(&self) -> Option<&'static dyn EmbeddingsFormat> {
        None
    }
}

/// The constants of a wire format.
#[derive(Debug)]
pub struct FormatFacts {
    /// The name in the configuration and in gRPC.
    pub name: &'static str,
    /// The name in the documentation.
    pub title: &'static str,
    /// The subject of error messages.
    pub vendor: &'static str,
    /// The placement of a key, unless the provider's row has its own.
    pub auth: Auth,
    /// Headers that every server of the format requires.
    pub headers: &'static [(&'static str, &'static str)],
    /// The cloud that hosts the format, if a provider needs no base URL and no key of its own.
    pub cloud: Option<Cloud>,
    /// The parameter that holds the last id of the page before, in lists.
    pub cursor: &'static str,
    /// Set if all of OpenAI's endpoints have OpenAI's paths.
    pub has_openai_paths: bool,
    /// The paths of endpoints whose bodies need no translation, after the base URL.
    pub paths: &'static [(Endpoint, &'static str)],
}

/// A cloud that provides the address and the credentials of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Aws,
    Google,
}

impl FormatFacts {
    /// Returns the facts of a format with bearer keys and no other endpoints.
    pub(crate) const fn new(name: &'static str, title: &'static str, vendor: &'static str) -> Self {
        Self {
            name,
            title,
            vendor,
            auth: Auth::Bearer,
            headers: &[],
            cloud: None,
            cursor: "after",
            has_openai_paths: false,
            paths: &[],
        }
    }

    /// Returns the path of an endpoint whose bodies need no translation.
    pub fn path_of(&self, endpoint: Endpoint) -> Option<&'static str> {
        let found = self.paths.iter().find(|(own, _)| *own == endpoint);
        found.map(|(_, path)| *path)
    }
}

/// A wire format of the registry in `wire_format.rs`.
#[derive(Clone, Copy)]
pub struct Format(&'static dyn WireFormat);

impl Format {
    pub const fn new(format: &'static dyn WireFormat) -> Self {
        Self(format)
    }

    /// Returns the name in the configuration and in gRPC.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}

impl Deref for Format {
    type Target = dyn WireFormat;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl std::hash::Hash for Format {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
        self.format.speaks(api, self)
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

    /// Returns a translator of server-sent events.
    pub(crate) fn translate_sse(&self, events: Box<dyn Events>) -> ProviderStream {
        self.translate_events(Framing::Sse(Default::default()), events)
    }

    /// Returns a translator of events in this framing.
    pub(crate) fn translate_events(
        &self,
        framing: Framing,
        events: Box<dyn Events>,
    ) -> ProviderStream {
        let translator = Translator::new(framing, events, self.provider, self.created);
        ProviderStream::Translator(Box::new(translator))
    }
}
