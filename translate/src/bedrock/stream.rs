//! Translates ConverseStream's messages into OpenAI's stream of chunks.
//!
//! The messages are `messageStart`, for each block `contentBlockStart` (only for calls),
//! `contentBlockDelta`, `contentBlockStop`, then `messageStop`, and after it `metadata` with the
//! usage. An exception is a message of its own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::aws::event_stream::EventStreamMessage;
use crate::bedrock::error;
use crate::bedrock::response::finish_reason;
use crate::bedrock::usage::TokenUsage;
use crate::cost::Usage;
use crate::json;
use crate::openai::thoughts;
use crate::stream::{Event, Events, IsKnown, Output};

/// The messages that matter.
const KINDS: [&str; 6] = [
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
];

/// Translator of ConverseStream's messages.
#[derive(Debug, Default)]
pub(crate) struct Converse {
    /// For the chunks: ConverseStream sends neither id nor model.
    id: String,
    model: String,
    tool_calls: Vec<ToolCall>,
    thoughts: thoughts::Collector,
    is_thinking: bool,
    has_stopped: bool,
}

#[derive(Debug)]
struct ToolCall {
    block: u64,
    has_arguments: bool,
}

/// A message's payload; its type determines which members are set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(default)]
    content_block_index: u64,
    #[serde(default, borrow)]
    start: Option<Start<'a>>,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default, borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(default, borrow)]
    tool_use: Option<ToolUseStart<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUseStart<'a> {
    #[serde(borrow)]
    tool_use_id: &'a RawValue,
    #[serde(borrow)]
    name: &'a RawValue,
    /// Set for a tool that Bedrock runs itself.
    #[serde(default, borrow)]
    r#type: Option<&'a RawValue>,
}

/// Texts are copied unparsed: a JSON string is the same in both formats.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_use: Option<ToolUseDelta<'a>>,
    #[serde(default, borrow)]
    reasoning_content: Option<ReasoningDelta<'a>>,
}

#[derive(Deserialize)]
struct ToolUseDelta<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    redacted_content: Option<Cow<'a, str>>,
}

impl Events for Converse {
    fn on_event(&mut self, event: Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Event::Message(message) = event else {
            return;
        };
        if let Some(kind) = failure_of(&message) {
            let error = error::from_exception(&to.provider, &kind, message.payload);
            to.fail(error, out);
            return;
        }
        let kind = message.header(":event-type").unwrap_or_default();
        let is_known: IsKnown<'_> = &|_| KINDS.contains(&kind);
        if message.payload.is_empty() && !KINDS.contains(&kind) {
            return;
        }
        let Some(payload) = to.read::<Payload<'_>>(message.payload, is_known, out) else {
            return;
        };
        match kind {
            "messageStart" => self.begin(to, out),
            "contentBlockStart" => self.start_block(&payload, to, out),
            "contentBlockDelta" => {
                self.begin(to, out);
                self.delta(&payload, to, out);
            }
            "contentBlockStop" => self.stop_block(payload.content_block_index, to, out),
            "messageStop" => self.stop(payload.stop_reason.as_deref(), to, out),
            "metadata" if self.has_stopped => {
                to.done(payload.usage.map(Usage::from), out);
            }
            _ => {}
        }
    }

    fn on_end(&mut self, to: &mut Output, out: &mut Vec<u8>) {
        if self.has_stopped {
            // Only the usage is missing.
            to.done(None, out);
        }
    }
}

/// Returns the type of an exception or an error; `None` for an event.
fn failure_of<'a>(message: &EventStreamMessage<'a>) -> Option<Cow<'a, str>> {
    match message.header(":message-type")? {
        "exception" => Some(
            message
                .header(":exception-type")
                .unwrap_or("exception")
                .into(),
        ),
        "error" => {
            let words = [":error-code", ":error-message"]
                .into_iter()
                .filter_map(|name| message.header(name))
                .collect::<Vec<_>>();
            Some(words.join(": ").into())
        }
        _ => None,
    }
}

impl Converse {
    pub fn new(id: String, model: String) -> Self {
        Self {
            id,
            model,
            ..Self::default()
        }
    }

    fn begin(&mut self, to: &mut Output, out: &mut Vec<u8>) {
        if to.chunks.has_begun() {
            return;
        }
        to.chunks.begin_as(&self.id, to.created, &self.model);
        to.chunks.role(0, out);
    }

    fn start_block(&mut self, payload: &Payload<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(call) = payload
            .start
            .as_ref()
            .and_then(|start| start.tool_use.as_ref())
            .filter(|call| call.r#type.is_none())
        else {
            return;
        };
        self.begin(to, out);
        let index = self.tool_calls.len();
        self.tool_calls.push(ToolCall {
            block: payload.content_block_index,
            has_arguments: false,
        });
        self.is_thinking = false;
        let extra = self.thoughts.take_member();
        to.chunks
            .call(0, index, call.tool_use_id, call.name, &extra, out);
    }

    fn delta(&mut self, payload: &Payload<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(delta) = &payload.delta else { return };
        if let Some(text) = delta.text {
            to.chunks.raw_text(0, "content", text, out);
        }
        if let Some(reasoning) = &delta.reasoning_content {
            self.reasoning(reasoning, to, out);
        }
        if let Some(call) = delta
            .tool_use
            .as_ref()
            .filter(|call| call.input.get() != "\"\"")
        {
            self.arguments(payload.content_block_index, call.input, to, out);
        }
    }

    fn reasoning(&mut self, delta: &ReasoningDelta<'_>, to: &mut Output, out: &mut Vec<u8>) {
        if let Some(data) = &delta.redacted_content {
            self.thoughts.redacted(data);
            return;
        }
        if !self.is_thinking {
            self.is_thinking = true;
            self.thoughts.begin();
        }
        let text = delta.text.as_deref().unwrap_or_default();
        let signature = delta.signature.as_deref().unwrap_or_default();
        self.thoughts.add(text, signature);
        if !text.is_empty() {
            to.chunks.text(0, "reasoning_content", text, out);
        }
    }

    /// Sends an empty object for a call without arguments, for which Bedrock sends no delta.
    fn stop_block(&mut self, block: u64, to: &mut Output, out: &mut Vec<u8>) {
        self.is_thinking = false;
        let is_empty = self
            .tool_calls
            .iter()
            .any(|call| call.block == block && !call.has_arguments);
        if is_empty {
            self.arguments(block, json::empty_object_text(), to, out);
        }
    }

    fn arguments(&mut self, block: u64, piece: &RawValue, to: &mut Output, out: &mut Vec<u8>) {
        let call = self
            .tool_calls
            .iter_mut()
            .enumerate()
            .find(|(_, call)| call.block == block);
        if let Some((index, call)) = call {
            call.has_arguments = true;
            to.chunks.arguments(0, index, piece, out);
        }
    }

    fn stop(&mut self, reason: Option<&str>, to: &mut Output, out: &mut Vec<u8>) {
        match finish_reason(reason.unwrap_or_default()) {
            Ok(reason) => {
                self.begin(to, out);
                self.has_stopped = true;
                to.chunks.finish(0, reason, out);
            }
            Err(error) => to.fail(error, out),
        }
    }
}
