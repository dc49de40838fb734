//! Translates Cohere's stream of events into OpenAI's stream of chunks.
//!
//! The events are `message-start`, `tool-plan-delta`, then for each content or call `-start`,
//! `-delta`, `-end`, citations in between, and `message-end` with the reason and the usage.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cohere::logprobs::Item;
use crate::cohere::response::finish_reason;
use crate::cohere::usage::WireUsage;
use crate::cost::Usage;
use crate::json;
use crate::needle::Needle;
use crate::openai;
use crate::openai::logprobs::Logprobs;
use crate::stream::{self, Events, Output};

static ERROR: Needle = Needle::new("\"error\"");

/// The events that matter.
const KINDS: [&str; 9] = [
    "message-start",
    "content-start",
    "content-delta",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "message-end",
];

/// Translator of Cohere's events.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    /// For the chunks, if Cohere doesn't send an id.
    id: String,
    model: String,
    tool_calls: Vec<ToolCall>,
}

#[derive(Debug)]
struct ToolCall {
    /// Cohere's index.
    place: u64,
    has_arguments: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    index: u64,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    logprobs: Option<Item>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    message: Option<Message<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

/// The event's type determines which member is set, and its shape.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_plan: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citations: Option<&'a RawValue>,
}

/// Texts are copied unparsed: a JSON string is the same in both formats.
#[derive(Deserialize)]
struct Content<'a> {
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default, borrow)]
    name: Option<&'a RawValue>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

impl Events for Chat {
    fn on_event(&mut self, event: stream::Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(data) = event.data() else { return };
        if ERROR.is_in(data)
            && let Some(error) = openai::error::from_event(&to.provider, data)
        {
            to.fail(error, out);
            return;
        }
        let is_known: stream::IsKnown<'_> = &|event| stream::is_kind(event, &KINDS);
        let Some(event) = to.read::<Event<'_>>(data, is_known, out) else {
            return;
        };
        let message = event
            .delta
            .as_ref()
            .and_then(|delta| delta.message.as_ref());
        match event.kind.as_ref() {
            "message-start" => self.begin(event.id.as_deref(), to, out),
            "content-start" | "content-delta" => {
                self.content(message, event.logprobs, to, out);
            }
            "tool-plan-delta" => {
                if let Some(text) = message.and_then(|message| message.tool_plan) {
                    self.say("content", text, to, out);
                }
            }
            "tool-call-start" => self.start_call(event.index, message, to, out),
            "tool-call-delta" => {
                let call = call_of(message);
                let piece = call.and_then(|call| call.function?.arguments);
                self.arguments(event.index, piece, to, out);
            }
            "tool-call-end" => self.end_call(event.index, to, out),
            "citation-start" => {
                if let Some(citation) = message.and_then(|message| message.citations) {
                    let citation = citation.get().as_bytes();
                    to.chunks
                        .delta(0, &[br#"{"citations":["#, citation, b"]}"], out);
                }
            }
            "message-end" => self.end(event.delta, to, out),
            _ => {}
        }
    }
}

fn call_of<'a>(message: Option<&Message<'a>>) -> Option<Call<'a>> {
    serde_json::from_str(message?.tool_calls?.get()).ok()
}

impl Chat {
    pub fn new(id: String, model: String) -> Self {
        Self {
            id,
            model,
            ..Self::default()
        }
    }

    fn begin(&mut self, id: Option<&str>, to: &mut Output, out: &mut Vec<u8>) {
        if to.chunks.has_begun() {
            return;
        }
        to.chunks
            .begin_as(id.unwrap_or(&self.id), to.created, &self.model);
        to.chunks.role(0, out);
    }

    fn say(&mut self, field: &str, text: &RawValue, to: &mut Output, out: &mut Vec<u8>) {
        if text.get() != "\"\"" && text.get() != "null" {
            self.begin(None, to, out);
            to.chunks.raw_text(0, field, text, out);
        }
    }

    fn content(
        &mut self,
        message: Option<&Message<'_>>,
        logprobs: Option<Item>,
        to: &mut Output,
        out: &mut Vec<u8>,
    ) {
        let Some(content) = message
            .and_then(|message| message.content)
            .and_then(|raw| serde_json::from_str::<Content<'_>>(raw.get()).ok())
        else {
            return;
        };
        if let Some(thinking) = content.thinking {
            self.say("reasoning_content", thinking, to, out);
        }
        match (content.text, logprobs) {
            (Some(text), Some(item)) => {
                self.begin(None, to, out);
                let logprobs = json::raw(&Logprobs::from_iter([item.into()]));
                to.chunks.text_with_logprobs(0, text, &logprobs, out);
            }
            (Some(text), None) => self.say("content", text, to, out),
            (None, _) => {}
        }
    }

    fn start_call(
        &mut self,
        place: u64,
        message: Option<&Message<'_>>,
        to: &mut Output,
        out: &mut Vec<u8>,
    ) {
        let Some(Call {
            id: Some(id),
            function: Some(function),
        }) = call_of(message)
        else {
            return;
        };
        let Some(name) = function.name else { return };
        self.begin(None, to, out);
        let number = self.tool_calls.len();
        self.tool_calls.push(ToolCall {
            place,
            has_arguments: false,
        });
        to.chunks.call(0, number, id, name, b"", out);
        self.arguments(place, function.arguments, to, out);
    }

    fn arguments(
        &mut self,
        place: u64,
        piece: Option<&RawValue>,
        to: &mut Output,
        out: &mut Vec<u8>,
    ) {
        let Some(piece) = piece.filter(|piece| !matches!(piece.get(), "\"\"" | "null")) else {
            return;
        };
        // The last call with this index: indexes restart after a message of the model's own.
        let call = self
            .tool_calls
            .iter_mut()
            .enumerate()
            .rfind(|(_, call)| call.place == place);
        if let Some((number, call)) = call {
            call.has_arguments = true;
            to.chunks.arguments(0, number, piece, out);
        }
    }

    /// Sends an empty object for a call without arguments, for which Cohere sends no delta.
    fn end_call(&mut self, place: u64, to: &mut Output, out: &mut Vec<u8>) {
        let is_empty = self
            .tool_calls
            .iter()
            .rfind(|call| call.place == place)
            .is_some_and(|call| !call.has_arguments);
        if is_empty {
            self.arguments(place, Some(json::empty_object_text()), to, out);
        }
    }

    fn end(&mut self, delta: Option<Delta<'_>>, to: &mut Output, out: &mut Vec<u8>) {
        let (reason, error, usage) = match delta {
            Some(delta) => (delta.finish_reason, delta.error, delta.usage),
            None => (None, None, None),
        };
        match finish_reason(reason.as_deref().unwrap_or_default(), error.as_deref()) {
            Ok(reason) => {
                self.begin(None, to, out);
                to.chunks.finish(0, reason, out);
                to.done(usage.map(Usage::from), out);
            }
            Err(error) => to.fail(error, out),
        }
    }
}
