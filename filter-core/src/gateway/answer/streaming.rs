//! Streams: held until they have begun, then passed on chunk by chunk.

use opentracy_translate::format::StreamTranslator;
use opentracy_translate::openai::response::Summary;
use opentracy_translate::openai::tap::Output;

use super::error::finish_headers;
use super::state::{ClientAnswer, State, Stream};
use crate::gateway::cache;
use crate::gateway::call::ClientCall;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::memory;
use crate::stream_prelude::{PreludeProgress, translate_chunk};

impl ClientAnswer {
    pub(super) fn begin_stream(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        mut headers: HeaderList<'_>,
        translator: Option<Box<StreamTranslator>>,
    ) {
        call.report_health(host);
        if call.has_tools {
            call.session_for_tools(host);
        }
        headers.set("content-type", headers::EVENT_STREAM);
        call.add_headers(host, &mut headers);
        host.set_response_headers(&headers);
        // No other attempt needs it.
        call.release_body();
        let tap = call.api.tap(call.include_usage).masking(call.key_mask());
        self.is_event_stream = true;
        self.state = State::Streaming(Box::new(Stream { translator, tap }));
    }

    /// Reads more of a provider's stream that has not begun. A failure before its beginning gets an
    /// error reply like any other.
    pub(super) fn on_prelude(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        end_of_stream: bool,
    ) -> Action {
        let State::Prelude(prelude) = std::mem::replace(&mut self.state, State::Over) else {
            return Action::Continue;
        };
        match prelude.advance(host, end_of_stream) {
            PreludeProgress::Pending(prelude) => {
                self.state = State::Prelude(prelude);
                return Action::Pause;
            }
            PreludeProgress::Started {
                headers,
                translator,
                out,
            } => {
                self.deadline.progress(end_of_stream);
                self.begin_stream(host, call, headers, Some(translator));
                self.relay(host, call, out, true, end_of_stream);
            }
            PreludeProgress::Failed { headers, error }
                if self.fails_over(host, call, &error, headers.retry_after()) =>
            {
                return Action::Pause;
            }
            PreludeProgress::Failed { mut headers, error } => {
                let body = self.answer_error(host, call, &mut headers, error);
                finish_headers(host, call, &mut headers, body.len());
                host.set_response_headers(&headers);
                host.set_response_body(&body);
                self.content = body;
                self.is_complete = true;
            }
        }
        Action::Continue
    }

    pub(super) fn on_chunk(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        end_of_stream: bool,
    ) {
        let State::Streaming(stream) = &mut self.state else {
            return;
        };
        self.deadline.progress(end_of_stream);
        let chunk = host.response_body(0);
        let translated = stream
            .translator
            .as_mut()
            .and_then(|translator| translate_chunk(translator, &chunk, end_of_stream));
        match translated {
            Some(translated) => self.relay(host, call, translated, true, end_of_stream),
            None => self.relay(host, call, chunk, false, end_of_stream),
        }
    }

    /// Sends a chunk in the client's API to the client. `is_replaced` is set if it differs from the
    /// bytes that Envoy holds.
    fn relay(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        chunk: Vec<u8>,
        is_replaced: bool,
        end_of_stream: bool,
    ) {
        let State::Streaming(stream) = &mut self.state else {
            return;
        };
        if !chunk.is_empty() {
            call.trace.note_first_byte(host);
        }
        if call.cache_key.is_some() {
            // A larger answer isn't cached.
            extend_up_to(&mut self.kept, &chunk, cache::MAX_BYTES.saturating_add(1));
        }
        let translator = stream.translator.as_ref();
        let is_translated = translator.is_some_and(|translator| !translator.is_transparent());
        let tap = &mut stream.tap;
        let mut extras = |summary: &Summary| call.extras(host, summary);
        let pushed = if is_translated {
            tap.push_translated(&chunk, &mut extras)
        } else {
            tap.push(&chunk, &mut extras)
        };
        let (mut bytes, mut is_replaced) = match pushed {
            Output::Unchanged => (chunk, is_replaced),
            Output::Replaced(bytes) => (bytes, true),
        };
        if end_of_stream {
            let end = tap.finish(&mut extras);
            is_replaced |= !end.is_empty();
            bytes.extend(end);
            self.is_complete = true;
        }
        if is_replaced {
            host.set_response_body(&bytes);
        }
        if memory::has_room_for_recording(host) {
            extend_up_to(&mut self.content, &bytes, call.trace.recorded_bytes());
        } else {
            call.is_cut = true;
        }
    }
}

/// Appends bytes up to a limit: a stream may be endless, and all streams share the VM's memory.
fn extend_up_to(kept: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::extend_up_to;

    #[test]
    fn what_is_kept_of_a_stream_has_a_bound() {
        let mut kept = Vec::new();
        for _ in 0..1000 {
            extend_up_to(&mut kept, &[1; 100], 250);
        }
        assert_eq!(kept.len(), 250);
        extend_up_to(&mut kept, &[1; 100], 10);
        assert_eq!(kept.len(), 250);
    }
}
