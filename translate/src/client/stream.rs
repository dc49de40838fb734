//! A stream of chunks on its way into another API's events: reading the chunks is the same for all.

use crate::client::answer::{Chunk, Delta};
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai;
use crate::openai::usage::WireUsage;
use crate::sse;
use crate::stream;

/// The subject of errors: chunks don't tell whose they are.
const PROVIDER: &str = "The provider";

/// Writes an API's events for what the chunks say.
pub(crate) trait Writer: std::fmt::Debug {
    /// The first chunk with something in it.
    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>);
    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>);
    fn usage(&mut self, usage: WireUsage);
    fn end(&mut self, finish_reason: Option<&str>, out: &mut Vec<u8>);
    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>);
}

/// Translates one stream.
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

    /// Takes the next bytes of the chunks, cut anywhere, and appends the events they make.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let reader = &mut self.reader;
        // An event too long for this parser is too long for the gateway stage's as well, which tells the client.
        let _ = self.parser.push(bytes, |event| {
            if let Some(data) = event.data() {
                reader.on_data(&data, out);
            }
        });
    }

    /// The error that ended the stream, when one did.
    pub fn error(&self) -> Option<&ApiError> {
        self.reader.error.as_ref()
    }

    /// The chunks have ended. Some providers do not say so, and are done when they have told the finish reason.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = self.parser.take_rest();
        if let Some(data) = (sse::Event { raw: &rest }).data() {
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
                    Some(broken.told_of(PROVIDER))
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
        // Azure says something before it says whose answer this is.
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
        if !std::mem::replace(&mut self.is_over, true) {
            self.writer.end(self.finish_reason.as_deref(), out);
        }
    }
}
