//! The beginning of a provider's stream, buffered until it proves to be an answer. Until then
//! another candidate can take over, or the client can get the error with an HTTP status.

use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Origin;
use opentracy_translate::format::StreamTranslator;

use crate::headers::HeaderList;
use crate::host::Host;

pub struct StreamPrelude {
    headers: HeaderList<'static>,
    translator: Box<StreamTranslator>,
    /// Bytes of Envoy's buffer that have been read.
    consumed: usize,
    out: Vec<u8>,
}

/// The result of reading more of the beginning.
pub enum PreludeProgress {
    Pending(StreamPrelude),
    /// The answer has begun.
    Started {
        headers: HeaderList<'static>,
        translator: Box<StreamTranslator>,
        /// The first bytes for the client.
        out: Vec<u8>,
    },
    /// The provider sent an error instead of an answer.
    Failed {
        headers: HeaderList<'static>,
        error: ApiError,
    },
}

/// Returns true if a response with these headers is a stream that may be an answer.
pub fn is_stream(headers: &HeaderList<'_>, end_of_stream: bool) -> bool {
    headers.is_event_stream() && headers.status() == 200 && !end_of_stream
}

impl StreamPrelude {
    pub fn new(headers: HeaderList<'static>, origin: &Origin<'_>) -> Self {
        Self {
            headers,
            translator: Box::new(StreamTranslator::new(origin)),
            consumed: 0,
            out: Vec::new(),
        }
    }

    /// Reads the bytes that have arrived since the last call.
    pub fn advance(mut self, host: &impl Host, end_of_stream: bool) -> PreludeProgress {
        let bytes = host.response_body(self.consumed);
        self.consumed += bytes.len();
        self.translator.push(&bytes, &mut self.out);
        if end_of_stream {
            self.translator.finish(&mut self.out);
        }
        if self.translator.has_begun() {
            return PreludeProgress::Started {
                headers: self.headers,
                translator: self.translator,
                out: self.out,
            };
        }
        match self.translator.error() {
            Some(error) => PreludeProgress::Failed {
                error: error.clone(),
                headers: self.headers,
            },
            None => PreludeProgress::Pending(self),
        }
    }
}

/// Translates the provider's next bytes for the client; `None` if they need no translation.
pub fn translate_chunk(
    translator: &mut StreamTranslator,
    bytes: &[u8],
    end_of_stream: bool,
) -> Option<Vec<u8>> {
    if translator.is_transparent() {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() * 2);
    translator.push(bytes, &mut out);
    if end_of_stream {
        translator.finish(&mut out);
    }
    Some(out)
}
