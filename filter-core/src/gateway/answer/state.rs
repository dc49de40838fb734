//! The state of an answer.

use opentracy_translate::client::tap::Tap;
use opentracy_translate::error::ApiError;
use opentracy_translate::format::StreamTranslator;
use opentracy_translate::openai::response::Summary;

use crate::deadline::Deadline;
use crate::gateway::call::ClientCall;
use crate::headers::HeaderList;
use crate::host::Host;
use crate::stream_prelude::StreamPrelude;

#[derive(Default)]
pub struct ClientAnswer {
    pub(super) status: u16,
    pub(super) state: State,
    pub(super) error: Option<ApiError>,
    pub(super) summary: Summary,
    /// The bytes that the client got, for the trace.
    pub(super) content: Vec<u8>,
    /// The answer before call data was added, for the cache.
    pub(super) kept: Vec<u8>,
    pub(super) is_complete: bool,
    pub(super) is_event_stream: bool,
    /// Envoy's response code details, if the response is Envoy's own.
    pub(super) envoys_details: String,
    /// Bytes of a body that Envoy buffers.
    pub(super) buffered: usize,
    /// The time by which the provider has to send more, unless the provider stage watches it.
    pub(super) deadline: Deadline,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    Waiting,
    /// Buffers a body until it is complete.
    Holding {
        headers: HeaderList<'static>,
        source: Source,
    },
    /// Buffers a provider's stream until it has begun.
    Prelude(StreamPrelude),
    Streaming(Box<Stream>),
    Over,
}

pub(super) struct Stream {
    /// Set if no provider stage has translated the stream.
    pub(super) translator: Option<Box<StreamTranslator>>,
    pub(super) tap: Tap,
}

/// The origin of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The provider itself, in its own format.
    Provider,
    /// The provider stage: answers are in the client's API, errors in OpenAI's format.
    ProviderStage,
    /// Envoy itself, because the provider gave no answer.
    Envoy,
}

impl ClientAnswer {
    /// Returns the state for a call whose request was just sent.
    pub fn awaited(host: &impl Host, call: &ClientCall) -> Self {
        Self {
            deadline: call
                .timeout
                .map(|timeout| Deadline::after(host, timeout))
                .unwrap_or_default(),
            ..Self::default()
        }
    }

    pub fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }
}
