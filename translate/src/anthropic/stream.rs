//! Translates Anthropic's stream of events into OpenAI's stream of chunks.
//!
//! The events are `message_start`, then for each block `content_block_start`, `_delta`, `_stop`,
//! then `message_delta` with the stop reason and the usage so far, then `message_stop`; `ping` may
//! come anywhere, and `error` instead of the rest.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::error::{self, ErrorBody};
use crate::anthropic::response::{StopDetails, finish_reason};
use crate::anthropic::usage::WireUsage;
use crate::error::ApiError;
use crate::json;
use crate::openai::thoughts;
use crate::stream::{self, Events, Output};

/// The events that matter.
const KINDS: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
];

/// Translator of Anthropic's events.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    usage: WireUsage,
    stop_reason: Option<&'static str>,
    tool_calls: Vec<ToolCall>,
    thoughts: thoughts::Collector,
}

#[derive(Debug)]
struct ToolCall {
    /// Anthropic's block index, which counts text blocks too.
    block: u64,
    has_arguments: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u64,
    #[serde(default, borrow)]
    message: Option<Message<'a>>,
    #[serde(default, borrow)]
    content_block: Option<Block<'a>>,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    name: Option<&'a RawValue>,
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    /// Data of a redacted thinking block.
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
}

/// Texts are copied unparsed: a JSON string is the same in both formats.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(default, borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    partial_json: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
}

impl Events for Messages {
    fn on_event(&mut self, event: stream::Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(data) = event.data() else { return };
        let is_known: stream::IsKnown<'_> = &|event| stream::is_kind(event, &KINDS);
        let Some(event) = to.read::<Event<'_>>(data, is_known, out) else {
            return;
        };
        match event.kind.as_ref() {
            "message_start" => self.start(&event, to, out),
            "content_block_start" => self.start_block(&event, to, out),
            "content_block_delta" => self.delta(&event, to, out),
            "content_block_stop" => self.stop_block(event.index, to, out),
            "message_delta" => self.message_delta(event, to, out),
            "message_stop" => self.stop(to, out),
            "error" => {
                let error = match &event.error {
                    Some(error) => error::from_event(&to.provider, error),
                    None => ApiError::from_provider(&to.provider, 502, ""),
                };
                to.fail(error, out);
            }
            _ => {}
        }
    }
}

impl Messages {
    fn start(&mut self, event: &Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(message) = event.message.as_ref().filter(|_| !to.chunks.has_begun()) else {
            return;
        };
        self.usage = message.usage;
        to.chunks
            .begin(message.id.get(), to.created, message.model.get());
        to.chunks.role(0, out);
    }

    fn start_block(&mut self, event: &Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(block) = &event.content_block else {
            return;
        };
        match (block.kind.as_ref(), block.text, block.id, block.name) {
            ("tool_use", _, Some(id), Some(name)) => {
                let index = self.tool_calls.len();
                // The reasoning that led to the calls is attached to the first, so that clients
                // send it back.
                let extra = self.thoughts.take_member();
                self.tool_calls.push(ToolCall {
                    block: event.index,
                    has_arguments: false,
                });
                to.chunks.call(0, index, id, name, &extra, out);
            }
            ("thinking", ..) => self.thoughts.begin(),
            ("redacted_thinking", ..) => {
                self.thoughts
                    .redacted(block.data.as_deref().unwrap_or_default());
            }
            ("text", Some(text), ..) if text.get() != "\"\"" => {
                to.chunks.raw_text(0, "content", text, out);
            }
            _ => {}
        }
    }

    fn delta(&mut self, event: &Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(delta) = &event.delta else { return };
        if let Some(text) = delta.text {
            to.chunks.raw_text(0, "content", text, out);
        }
        if let Some(thinking) = delta.thinking {
            to.chunks.raw_text(0, "reasoning_content", thinking, out);
        }
        if delta.thinking.is_some() || delta.signature.is_some() {
            let piece: Option<String> = delta
                .thinking
                .and_then(|raw| serde_json::from_str(raw.get()).ok());
            self.thoughts.add(
                piece.as_deref().unwrap_or_default(),
                delta.signature.as_deref().unwrap_or_default(),
            );
        }
        if let Some(citation) = delta.citation {
            let citation = citation.get().as_bytes();
            to.chunks
                .delta(0, &[br#"{"citations":["#, citation, b"]}"], out);
        }
        if let Some(json) = delta.partial_json.filter(|json| json.get() != "\"\"") {
            self.arguments(event.index, json, to, out);
        }
    }

    /// Sends an empty object for a call without arguments, for which Anthropic sends no delta.
    fn stop_block(&mut self, block: u64, to: &mut Output, out: &mut Vec<u8>) {
        let is_empty = self
            .tool_calls
            .iter()
            .any(|call| call.block == block && !call.has_arguments);
        if is_empty {
            self.arguments(block, json::empty_object_text(), to, out);
        }
    }

    fn arguments(&mut self, block: u64, text: &RawValue, to: &mut Output, out: &mut Vec<u8>) {
        let Some((index, call)) = self
            .tool_calls
            .iter_mut()
            .enumerate()
            .find(|(_, call)| call.block == block)
        else {
            return;
        };
        call.has_arguments = true;
        to.chunks.arguments(0, index, text, out);
    }

    fn message_delta(&mut self, event: Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        if let Some(usage) = event.usage {
            self.usage.update(usage);
        }
        let Some(delta) = event.delta else { return };
        if delta.stop_reason.is_some() {
            self.stop_reason = Some(finish_reason(delta.stop_reason.as_deref()));
        }
        let refusal = delta
            .stop_details
            .and_then(|details| details.explanation)
            .filter(|_| delta.stop_reason.as_deref() == Some("refusal"));
        if let Some(refusal) = refusal {
            to.chunks.text(0, "refusal", &refusal, out);
        }
    }

    fn stop(&mut self, to: &mut Output, out: &mut Vec<u8>) {
        if !to.chunks.has_begun() {
            return;
        }
        to.chunks.finish(0, self.stop_reason.unwrap_or("stop"), out);
        to.done(Some(self.usage.into()), out);
    }
}
