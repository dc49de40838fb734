//! Anthropic's stream of events as OpenAI's stream of chunks.
//!
//! `message_start`, then for each block `content_block_start`, `_delta`, `_stop`, then `message_delta` with the stop
//! reason and the usage so far, then `message_stop`; `ping` anywhere; `error` instead of the rest.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::anthropic::error::{self, ErrorBody};
use crate::anthropic::response::{StopDetails, finish_reason};
use crate::anthropic::usage::WireUsage;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::json;
use crate::openai::chunks::ChunkWriter;
use crate::sse;

/// Translates one stream. Usage is always sent in a chunk of its own at the end.
#[derive(Debug)]
pub struct Translator {
    provider: String,
    created: u64,
    parser: sse::Parser,
    chunks: ChunkWriter,
    usage: WireUsage,
    stop_reason: Option<&'static str>,
    tool_calls: Vec<ToolCall>,
    thoughts: Vec<Thought>,
    state: State,
}

/// A block of thinking, put together from its pieces.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thought {
    Thinking { thinking: String, signature: String },
    RedactedThinking { data: String },
}

#[derive(Debug)]
struct ToolCall {
    /// Anthropic's index, which counts text blocks too.
    block: u64,
    has_arguments: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed(ApiError),
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
    /// Of a thought that is not shown.
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
}

/// Texts stay as they are written: a JSON string is the same in both formats.
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
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
}

impl Translator {
    /// `provider` is named in errors; `created` is the time in Unix seconds.
    pub fn new(provider: &str, created: u64) -> Self {
        Self {
            provider: provider.to_owned(),
            created,
            parser: sse::Parser::default(),
            chunks: ChunkWriter::default(),
            usage: WireUsage::default(),
            stop_reason: None,
            tool_calls: Vec::new(),
            thoughts: Vec::new(),
            state: State::Waiting,
        }
    }

    /// Whether the answer has begun: from here on a failure can only be told in the stream.
    pub fn has_begun(&self) -> bool {
        self.chunks.has_begun()
    }

    /// What ended the stream early.
    pub fn error(&self) -> Option<&ApiError> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Takes the next bytes and appends the chunks they make.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut parser = std::mem::take(&mut self.parser);
        parser.push(bytes, |event| self.on_event(event, out));
        self.parser = parser;
    }

    /// Ends the stream. One that did not reach its end is an error.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = self.parser.take_rest();
        if !rest.is_empty() {
            self.on_event(sse::Event { raw: &rest }, out);
        }
        if matches!(self.state, State::Waiting | State::Running) {
            self.fail(ApiError::incomplete_stream(&self.provider), out);
        }
    }

    fn on_event(&mut self, event: sse::Event<'_>, out: &mut Vec<u8>) {
        if matches!(self.state, State::Done | State::Failed(_)) {
            return;
        }
        let Some(data) = event.data() else { return };
        // Events of kinds we do not know may look like anything; they are no concern of ours.
        let Ok(event) = serde_json::from_slice::<Event<'_>>(&data) else {
            return;
        };
        match event.kind.as_ref() {
            "message_start" => self.start(&event, out),
            "content_block_start" => self.start_block(&event, out),
            "content_block_delta" => self.delta(&event, out),
            "content_block_stop" => self.stop_block(event.index, out),
            "message_delta" => self.message_delta(event, out),
            "message_stop" => self.stop(out),
            "error" => {
                let error = match &event.error {
                    Some(error) => error::from_event(&self.provider, error),
                    None => ApiError::from_provider(&self.provider, 502, ""),
                };
                self.fail(error, out);
            }
            _ => {}
        }
    }

    fn start(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let Some(message) = &event.message else {
            return;
        };
        if self.state != State::Waiting {
            return;
        }
        self.usage = message.usage;
        self.chunks
            .begin(message.id.get(), self.created, message.model.get());
        self.state = State::Running;
        self.chunks.role(0, out);
    }

    fn start_block(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let Some(block) = &event.content_block else {
            return;
        };
        match (block.kind.as_ref(), block.text, block.id, block.name) {
            ("tool_use", _, Some(id), Some(name)) => {
                let index = self.tool_calls.len().to_string();
                // The thoughts that led to the calls travel with the first, to be sent back with it.
                let thoughts = std::mem::take(&mut self.thoughts);
                let mut extra = Vec::new();
                if !thoughts.is_empty() {
                    extra
                        .extend_from_slice(br#","extra_content":{"anthropic":{"thinking_blocks":"#);
                    json::write(&mut extra, &thoughts);
                    extra.extend_from_slice(b"}}");
                }
                self.tool_calls.push(ToolCall {
                    block: event.index,
                    has_arguments: false,
                });
                self.chunk(
                    &[
                        br#"{"tool_calls":[{"index":"#,
                        index.as_bytes(),
                        br#","id":"#,
                        id.get().as_bytes(),
                        br#","type":"function","function":{"name":"#,
                        name.get().as_bytes(),
                        br#","arguments":""}"#,
                        &extra,
                        b"}]}",
                    ],
                    out,
                );
            }
            ("thinking", ..) => self.thoughts.push(Thought::Thinking {
                thinking: String::new(),
                signature: String::new(),
            }),
            ("redacted_thinking", ..) => self.thoughts.push(Thought::RedactedThinking {
                data: block.data.clone().unwrap_or_default().into_owned(),
            }),
            ("text", Some(text), ..) if text.get() != "\"\"" => {
                self.chunk(&[br#"{"content":"#, text.get().as_bytes(), b"}"], out);
            }
            _ => {}
        }
    }

    fn delta(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let Some(delta) = &event.delta else { return };
        if let Some(text) = delta.text {
            self.chunk(&[br#"{"content":"#, text.get().as_bytes(), b"}"], out);
        }
        if let Some(thinking) = delta.thinking {
            self.chunk(
                &[br#"{"reasoning_content":"#, thinking.get().as_bytes(), b"}"],
                out,
            );
        }
        if let Some(Thought::Thinking {
            thinking,
            signature,
        }) = self.thoughts.last_mut()
        {
            let piece = delta
                .thinking
                .and_then(|raw| serde_json::from_str(raw.get()).ok());
            thinking.push_str(&piece.unwrap_or(String::new()));
            signature.push_str(delta.signature.as_deref().unwrap_or_default());
        }
        if let Some(json) = delta.partial_json.filter(|json| json.get() != "\"\"") {
            self.arguments(event.index, json.get(), out);
        }
    }

    /// A call without arguments comes with none at all, and must reach the client as an empty object.
    fn stop_block(&mut self, block: u64, out: &mut Vec<u8>) {
        let is_empty = self
            .tool_calls
            .iter()
            .any(|call| call.block == block && !call.has_arguments);
        if is_empty {
            self.arguments(block, "\"{}\"", out);
        }
    }

    fn arguments(&mut self, block: u64, text: &str, out: &mut Vec<u8>) {
        let Some((index, call)) = self
            .tool_calls
            .iter_mut()
            .enumerate()
            .find(|(_, call)| call.block == block)
        else {
            return;
        };
        call.has_arguments = true;
        self.chunk(
            &[
                br#"{"tool_calls":[{"index":"#,
                index.to_string().as_bytes(),
                br#","function":{"arguments":"#,
                text.as_bytes(),
                br#"}}]}"#,
            ],
            out,
        );
    }

    fn message_delta(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
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
            let mut text = Vec::new();
            json::write(&mut text, &refusal);
            self.chunk(&[br#"{"refusal":"#, &text, b"}"], out);
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        if !self.has_begun() {
            return;
        }
        self.chunks
            .finish(0, self.stop_reason.unwrap_or("stop"), out);
        self.chunks.done(Usage::from(self.usage).into(), out);
        self.state = State::Done;
    }

    fn chunk(&self, delta: &[&[u8]], out: &mut Vec<u8>) {
        self.chunks.delta(0, delta, out);
    }

    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.has_begun() {
            out.extend(error.to_sse());
        }
        self.state = State::Failed(error);
    }
}
