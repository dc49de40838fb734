//! Reads a stream of chunks for translation into another API's events.

use crate::client::answer::{Chunk, Delta};
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai;
use crate::openai::usage::WireUsage;
use crate::sse;
use crate::stream;
use crate::stream_error::PROVIDER;

/// Writes an API's events.
pub(crate) trait Writer: std::fmt::Debug {
    /// Called for the first chunk with a choice.
    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>);
    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>);
    fn usage(&mut self, usage: WireUsage);
    /// Ends the answer. Returns an error if this API can't express it.
    fn end(&mut self, finish_reason: Option<&str>, out: &mut Vec<u8>) -> Result<(), ApiError>;
    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>);
}

/// Translator of one stream.
#[derive(Debug)]
pub struct ClientStream {
    parser: sse::Parser,
    reader: Reader,
}

#[derive(Debug)]
struct Reader {
    writer: Box<dyn Writer>,
    has_begun: bool,
    is_over: bool,
    error: Option<ApiError>,
    finish_reason: Option<String>,
}

impl ClientStream {
    pub(crate) fn new(writer: Box<dyn Writer>) -> Self {
        Self {
            parser: sse::Parser::default(),
            reader: Reader {
                writer,
                has_begun: false,
                is_over: false,
                error: None,
                finish_reason: None,
            },
        }
    }

    /// Consumes the next bytes of the chunks, split anywhere, and appends the resulting events.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let reader = &mut self.reader;
        // An event too long for this parser is also too long for the gateway stage's parser, which
        // reports it to the client.
        let _ = self.parser.push(bytes, |event| {
            if let Some(data) = event.data() {
                reader.on_data(&data, out);
            }
        });
    }

    /// Returns true once the answer has begun.
    pub fn has_begun(&self) -> bool {
        self.reader.has_begun
    }

    /// Returns true if the answer is whole.
    pub fn is_complete(&self) -> bool {
        self.reader.is_over && self.reader.error.is_none()
    }

    /// Returns the error that ended the stream, if any.
    pub fn error(&self) -> Option<&ApiError> {
        self.reader.error.as_ref()
    }

    /// Ends the stream. Some providers don't mark the end; they are done after the finish reason.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = self.parser.take_rest();
        if let Some(data) = (sse::SseEvent { raw: &rest }).data() {
            if sse::is_cut(&data) {
                self.reader.fail(ApiError::incomplete_stream(PROVIDER), out);
            } else {
                self.reader.on_data(&data, out);
            }
        }
        if self.reader.finish_reason.is_some() {
            self.reader.end(out);
        }
    }
}

impl Reader {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if sse::is_mark(data) {
            if data.trim_ascii() == sse::DONE {
                self.end(out);
            }
            return;
        }
        match json::from_bytes::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(&chunk, data, out),
            Err(_) => {
                let has_choices = |chunk: &Object<'_>| stream::has_member(chunk, "choices");
                let error = openai::error::from_event(PROVIDER, data).or_else(|| {
                    let broken = stream::broken_event(data, &has_choices)?;
                    Some(broken.to_api_error(PROVIDER))
                });
                if let Some(error) = error {
                    self.fail(error, out);
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.writer.fail(&error, out);
        self.error = Some(error);
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, data: &[u8], out: &mut Vec<u8>) {
        if chunk.error.is_some() {
            let error = openai::error::from_event(PROVIDER, data)
                .unwrap_or_else(|| ApiError::new(502, "The provider's stream failed"));
            self.fail(error, out);
            return;
        }
        // Azure's first chunk has no choices and does not identify the answer yet.
        if !chunk.choices.is_empty() && !std::mem::replace(&mut self.has_begun, true) {
            self.writer.begin(chunk, out);
        }
        if let Some(usage) = chunk.usage {
            self.writer.usage(usage);
        }
        let Some(choice) = chunk.choices.iter().find(|choice| choice.index == 0) else {
            return;
        };
        if let Some(delta) = &choice.delta {
            self.writer.delta(delta, out);
        }
        if let Some(reason) = &choice.finish_reason {
            self.finish_reason = Some(reason.clone().into_owned());
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let ended = if self.has_begun {
            self.writer.end(self.finish_reason.as_deref(), out)
        } else {
            // It ended without a word.
            Err(ApiError::incomplete_stream(PROVIDER))
        };
        match ended {
            Ok(()) => self.is_over = true,
            Err(error) => self.fail(error, out),
        }
    }
}
