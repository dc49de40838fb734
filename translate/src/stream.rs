//! Translates a provider's stream into OpenAI's chunks: the part shared by all formats other than
//! OpenAI's own.
//!
//! A format interprets its events in `Events`; splitting bytes into events, start, failure and end
//! are the same for all.

use serde::Deserialize;

use crate::aws::event_stream;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::chunks::ChunkWriter;
use crate::sse;
use crate::stream_error::StreamError;

/// Translates the events of one format.
pub(crate) trait Events: std::fmt::Debug {
    /// Handles one event.
    fn on_event(&mut self, event: Event<'_>, to: &mut Output, out: &mut Vec<u8>);

    /// Handles the end of the bytes. An incomplete stream is an error unless this ends it.
    fn on_end(&mut self, _to: &mut Output, _out: &mut Vec<u8>) {}
}

/// One event of any framing.
pub(crate) enum Event<'a> {
    Data(&'a [u8]),
    /// A message of an AWS event stream.
    Message(event_stream::EventStreamMessage<'a>),
}

impl<'a> Event<'a> {
    /// Returns the data of a server-sent event.
    pub fn data(&self) -> Option<&'a [u8]> {
        match self {
            Self::Data(data) => Some(data),
            Self::Message(_) => None,
        }
    }
}

/// The way in which bytes are split into events.
#[derive(Debug)]
pub(crate) enum Framing {
    Sse(sse::Parser),
    Aws(event_stream::Parser),
}

/// The stream to the client, and its state.
#[derive(Debug)]
pub(crate) struct Output {
    /// Named in error messages.
    pub provider: String,
    /// Unix seconds.
    pub created: u64,
    pub chunks: ChunkWriter,
    end: Option<Result<(), ApiError>>,
}

impl Output {
    /// Returns true if nothing more may be written.
    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Reads an event's JSON. The stream fails if an event is not JSON, or is of a kind that the
    /// format must know, by `is_known`, but can't be read. Events of other kinds may look like
    /// anything.
    pub fn read<'a, T: Deserialize<'a>>(
        &mut self,
        data: &'a [u8],
        is_known: IsKnown<'_>,
        out: &mut Vec<u8>,
    ) -> Option<T> {
        match json::from_bytes(data) {
            Ok(event) => Some(event),
            Err(_) => {
                if let Some(broken) = broken_event(data, is_known) {
                    let error = broken.to_api_error(&self.provider);
                    self.fail(error, out);
                }
                None
            }
        }
    }

    /// Ends the stream with an error. If it hasn't begun, nothing is written, so that the client
    /// can receive an HTTP status.
    pub fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        if self.chunks.has_begun() {
            out.extend(error.to_sse());
        }
        self.end = Some(Err(error));
    }

    /// Ends a stream that is complete.
    pub fn done(&mut self, usage: Option<Usage>, out: &mut Vec<u8>) {
        self.chunks.done(usage, out);
        self.end = Some(Ok(()));
    }
}

/// Translates one stream. Usage is always sent in a chunk of its own at the end.
#[derive(Debug)]
pub struct Translator {
    framing: Framing,
    events: Box<dyn Events>,
    output: Output,
}

impl Translator {
    pub(crate) fn new(
        framing: Framing,
        events: Box<dyn Events>,
        provider: &str,
        created: u64,
    ) -> Self {
        Self {
            framing,
            events,
            output: Output {
                provider: provider.to_owned(),
                created,
                chunks: ChunkWriter::default(),
                end: None,
            },
        }
    }

    /// Returns true once the answer has begun: from then on a failure can only be reported in the
    /// stream.
    pub fn has_begun(&self) -> bool {
        self.output.chunks.has_begun()
    }

    /// Returns the error that ended the stream early.
    pub fn error(&self) -> Option<&ApiError> {
        self.output.end.as_ref()?.as_ref().err()
    }

    /// Returns true if the answer is whole.
    pub fn is_complete(&self) -> bool {
        matches!(self.output.end, Some(Ok(())))
    }

    /// Consumes the next bytes and appends the resulting chunks.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (events, to) = (&mut self.events, &mut self.output);
        let pushed = match &mut self.framing {
            Framing::Sse(parser) => parser.push(bytes, |event| {
                let data = event.data();
                if let Some(data) = data.filter(|data| !to.is_over() && !sse::is_mark(data)) {
                    events.on_event(Event::Data(&data), to, out);
                }
            }),
            Framing::Aws(parser) => parser.push(bytes, |message| {
                if !to.is_over() {
                    events.on_event(Event::Message(message), to, out);
                }
            }),
        };
        if let Err(broken) = pushed {
            let error = broken.to_api_error(&self.output.provider);
            self.output.fail(error, out);
        }
    }

    /// Ends the stream. An incomplete stream is an error.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Framing::Sse(parser) = &mut self.framing {
            let rest = parser.take_rest();
            // Some providers close right after their last line.
            if let Some(data) = (sse::SseEvent { raw: &rest }).data()
                && !self.output.is_over()
            {
                if sse::is_cut(&data) {
                    let error = ApiError::incomplete_stream(&self.output.provider);
                    self.output.fail(error, out);
                } else if !sse::is_mark(&data) {
                    self.events
                        .on_event(Event::Data(&data), &mut self.output, out);
                }
            }
        }
        if !self.output.is_over() {
            self.events.on_end(&mut self.output, out);
        }
        let error = ApiError::incomplete_stream(&self.output.provider);
        self.output.fail(error, out);
    }
}

/// Returns true if an event's members show a kind that its format knows.
pub(crate) type IsKnown<'f> = &'f dyn Fn(&Object<'_>) -> bool;

/// Returns the reason why an event breaks a stream; `None` if its format does not know its kind.
pub(crate) fn broken_event(data: &[u8], is_known: IsKnown<'_>) -> Option<StreamError> {
    if !json::is_valid(data) {
        return Some(StreamError::NotJson);
    }
    let event: Object<'_> = json::from_bytes(data).unwrap_or_default();
    is_known(&event).then_some(StreamError::Shape)
}

/// Returns true if an event's `type` is one of these.
pub(crate) fn is_kind(event: &Object<'_>, kinds: &[&str]) -> bool {
    let kind = event.get("type").and_then(|raw| json::text(raw).ok());
    kind.is_some_and(|kind| kinds.contains(&kind.as_ref()))
}

/// Returns true if an event has a member other than null.
pub(crate) fn has_member(event: &Object<'_>, name: &str) -> bool {
    event.get(name).is_some_and(|value| value.get() != "null")
}
