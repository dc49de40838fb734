//! Relays a stream that is already in the right API: once it has begun as an answer, it passes
//! unchanged.

use crate::client::api::Api;
use crate::client::first_event::FirstEvent;
use crate::error::ApiError;
use crate::json;
use crate::openai::normalize;
use crate::openai::response::Summary;
use crate::sse;
use crate::stream_error::StreamError;

/// More bytes than any end that an API looks for, which may come in two pieces.
const LONGEST_END: usize = 64;

#[derive(Debug)]
pub struct Relay {
    api: Api,
    provider: String,
    parser: sse::Parser,
    has_begun: bool,
    error: Option<ApiError>,
    /// Set once the end of a whole answer has passed.
    has_ended: bool,
    /// The last bytes, if the end may have begun in them.
    tail: Vec<u8>,
    /// Set if every event is rewritten, because the provider uses fields that aren't OpenAI's.
    normalizes: bool,
}

impl Relay {
    pub fn new(api: Api, provider: &str) -> Self {
        Self {
            api,
            provider: provider.to_owned(),
            parser: sse::Parser::default(),
            has_begun: false,
            error: None,
            has_ended: false,
            tail: Vec::new(),
            normalizes: false,
        }
    }

    /// Rewrites the events of a provider with fields of its own into OpenAI's.
    pub fn normalizing(self) -> Self {
        Self {
            normalizes: true,
            ..self
        }
    }

    /// Returns true if the remaining bytes may pass unchanged.
    pub fn is_transparent(&self) -> bool {
        self.has_begun && !self.normalizes
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn error(&self) -> Option<&ApiError> {
        self.error.as_ref()
    }

    /// Returns true once the end of a whole answer has passed.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Looks for the end of the answer in bytes that pass unchanged.
    pub fn watch(&mut self, bytes: &[u8]) {
        if self.has_ended {
            return;
        }
        self.tail.extend_from_slice(bytes);
        self.has_ended = self.api.ends_in(&self.tail);
        let start = self.tail.len().saturating_sub(LONGEST_END);
        self.tail.drain(..start);
    }

    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.error.is_some() {
            return;
        }
        if !self.normalizes {
            out.extend_from_slice(bytes);
        }
        if self.is_transparent() {
            return;
        }
        self.watch(bytes);
        let mut parser = std::mem::take(&mut self.parser);
        let pushed = parser.push(bytes, |event| self.on_event(event, out));
        self.parser = parser;
        if let Err(broken) = pushed {
            self.error = Some(broken.to_api_error(&self.provider));
        }
    }

    fn on_event(&mut self, event: sse::SseEvent<'_>, out: &mut Vec<u8>) {
        if self.error.is_some() {
            return;
        }
        let data = event.data();
        if !self.has_begun
            && let Some(data) = &data
            && !data.trim_ascii().is_empty()
        {
            match self.api.first_event(&self.provider, data) {
                FirstEvent::Nothing => {}
                FirstEvent::Begun => self.has_begun = true,
                FirstEvent::Failed(why) => self.error = Some(why),
            }
        }
        if !self.normalizes {
            return;
        }
        if self.has_begun
            && self.error.is_none()
            && data.as_deref().is_some_and(|data| !sse::is_readable(data))
        {
            self.break_off(StreamError::NotJson.to_api_error(&self.provider), out);
            return;
        }
        match data.map(|data| normalize::normalize(&data)) {
            Some(Ok(Some(data))) => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&data);
                out.extend_from_slice(b"\n\n");
            }
            Some(Err(error)) => self.break_off(error, out),
            Some(Ok(None)) | None => out.extend_from_slice(event.raw),
        }
    }

    /// Ends a normalized stream with an error.
    fn break_off(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.has_begun {
            out.extend(error.to_sse());
        }
        self.error = Some(error);
    }

    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = self.parser.take_rest();
        if self.normalizes && !rest.is_empty() && self.error.is_none() {
            let event = sse::SseEvent { raw: &rest };
            if event.data().is_some_and(|data| sse::is_cut(&data)) {
                self.break_off(ApiError::incomplete_stream(&self.provider), out);
            } else {
                self.on_event(event, out);
            }
        }
        if !self.has_begun && self.error.is_none() {
            self.error = Some(ApiError::incomplete_stream(&self.provider));
        }
    }
}

/// Checks that a whole body is a complete answer of the API.
pub fn check_answer(api: Api, provider: &str, body: &[u8]) -> Result<(), ApiError> {
    match json::has_any_member(body, api.facts().answer_members) {
        Ok(true) => Ok(()),
        _ => Err(ApiError::unreadable_answer(provider)),
    }
}

/// Checks and summarizes a whole body, in one pass if possible.
pub fn summarize_answer(api: Api, provider: &str, body: &[u8]) -> Result<Summary, ApiError> {
    match api.summarize_answer(body) {
        Some(summary) => Ok(summary),
        None => {
            check_answer(api, provider, body)?;
            Ok(api.summarize(body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(api: Api, bytes: &[u8]) -> Relay {
        let mut relay = Relay::new(api, "p");
        relay.push(bytes, &mut Vec::new());
        relay
    }

    #[test]
    fn half_an_answer_is_none() {
        let whole = br#"{"id":"x","choices":[{"index":0}]}"#;
        let check = |body: &[u8]| {
            let checked = check_answer(Api::CHAT_COMPLETIONS, "p", body);
            let summarized = summarize_answer(Api::CHAT_COMPLETIONS, "p", body);
            assert_eq!(summarized.map(|_| ()), checked);
            checked
        };
        assert!(check(whole).is_ok());
        for end in 0..whole.len() {
            assert!(check(&whole[..end]).is_err(), "{end}");
        }
        for odd in [
            r#"{"choices":[]}"#,
            r#"{"choices":7}"#,
            r#"{"choices":[{}],"usage":7}"#,
        ] {
            assert!(check(odd.as_bytes()).is_ok(), "{odd}");
        }
        for other in ["{}", "[]", "<html>", r#"{"choices":null}"#] {
            assert_eq!(check(other.as_bytes()).unwrap_err().status, 502, "{other}");
        }
    }

    #[test]
    fn a_stream_that_begins_with_what_can_not_be_read_is_an_error() {
        for &api in Api::ALL {
            for broken in [
                "data: {\"id\":\n\n",
                "data: no\n\n",
                "data: []\n\n",
                "data: <html>\n\n",
            ] {
                let relay = pushed(api, broken.as_bytes());
                assert!(!relay.has_begun(), "{api:?} {broken}");
                let error = relay.error().unwrap();
                assert_eq!(error.status, 502, "{api:?} {broken}");
            }
        }
        assert!(pushed(Api::CHAT_COMPLETIONS, b"data: {\"choices\":[]}\n\n").has_begun());
        assert!(pushed(Api::MESSAGES, b"data: {\"type\":\"message_start\"}\n\n").has_begun());
    }
}
