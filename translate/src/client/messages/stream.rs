//! Translates OpenAI's chunks into Anthropic's events.
//!
//! Anthropic's blocks come one after the other, each with a start and a stop; chunks may interleave
//! their contents.

use serde_json::value::RawValue;

use crate::client::answer::{Chunk, Delta, ToolCallDelta, said};
use crate::client::events::write_event;
use crate::client::messages::response::{Carried, Usage, carried, message_id, stop_reason};
use crate::client::stream::Writer;
use crate::error::ApiError;
use crate::json;
use crate::openai::thoughts::Thought;
use crate::openai::usage::WireUsage;

/// Translator of one stream.
#[derive(Debug, Default)]
pub struct EventWriter {
    open: Option<Open>,
    blocks: usize,
    calls: Vec<Call>,
    usage: Usage,
    /// Set if a piece came too late to be sent, because its block had ended.
    is_muddled: bool,
}

/// A call. The first is streamed as it arrives; the pieces of later ones may be interleaved with
/// it, so they are buffered until the end.
#[derive(Debug)]
struct Call {
    /// Index in the chunks.
    number: u64,
    id: String,
    name: String,
    arguments: String,
    extra: Option<Box<RawValue>>,
}

/// The kind of the current block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    ToolUse,
}

impl Writer for EventWriter {
    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>) {
        let id = json::raw(&message_id(chunk.id.as_deref().unwrap_or_default()));
        let model = json::raw(chunk.model.as_deref().unwrap_or_default());
        let usage = json::raw(&Usage::default());
        write_event(
            "message_start",
            &[
                br#","message":{"id":"#,
                id.get().as_bytes(),
                br#","type":"message","role":"assistant","model":"#,
                model.get().as_bytes(),
                br#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#,
                usage.get().as_bytes(),
                b"}",
            ],
            out,
        );
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        if let Some(text) = said(delta.reasoning_content) {
            self.show(
                Open::Thinking,
                br#"{"type":"thinking","thinking":"","signature":""}"#,
                out,
            );
            self.piece("thinking_delta", "thinking", text, out);
        }
        for text in [delta.content, delta.refusal] {
            if let Some(text) = said(text) {
                self.show(
                    Open::Text,
                    br#"{"type":"text","text":"","citations":null}"#,
                    out,
                );
                self.piece("text_delta", "text", text, out);
            }
        }
        for (place, call) in delta.tool_calls.iter().flatten().enumerate() {
            self.call(call, place, out);
        }
    }

    fn usage(&mut self, usage: WireUsage) {
        self.usage = usage.into();
    }

    fn end(&mut self, finish_reason: Option<&str>, out: &mut Vec<u8>) {
        self.close(out);
        let calls_tools = !self.calls.is_empty();
        for call in std::mem::take(&mut self.calls).into_iter().skip(1) {
            self.start_call(&call, out);
            self.piece(
                "input_json_delta",
                "partial_json",
                &json::raw(&call.arguments),
                out,
            );
            self.close(out);
        }
        if self.is_muddled {
            let error = ApiError::new(502, "The provider mixed the pieces of several tool calls")
                .with_code("invalid_upstream_response");
            self.fail(&error, out);
            return;
        }
        let reason = stop_reason(finish_reason, calls_tools);
        let usage = json::raw(&self.usage);
        write_event(
            "message_delta",
            &[
                br#","delta":{"stop_reason":""#,
                reason.as_bytes(),
                br#"","stop_sequence":null},"usage":"#,
                usage.get().as_bytes(),
            ],
            out,
        );
        write_event("message_stop", &[], out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend(super::error::to_sse(error));
    }
}

impl EventWriter {
    /// Handles one piece of a call. Providers number them, or send calls whole without a number.
    fn call(&mut self, call: &ToolCallDelta<'_>, place: usize, out: &mut Vec<u8>) {
        let number = call.index.unwrap_or_else(|| {
            let begins = call.id.is_some();
            let known = self.calls.len() as u64;
            if begins { known } else { place as u64 }
        });
        let function = call.function.as_ref();
        if !self.calls.iter().any(|known| known.number == number) {
            let name = function.and_then(|function| function.name.as_deref());
            let new = Call {
                number,
                id: call.id.as_deref().unwrap_or_default().to_owned(),
                name: name.unwrap_or_default().to_owned(),
                arguments: String::new(),
                extra: call.extra_content.map(ToOwned::to_owned),
            };
            if self.calls.is_empty() {
                self.start_call(&new, out);
            }
            self.calls.push(new);
        }
        let Some(piece) = function.and_then(|function| said(function.arguments)) else {
            return;
        };
        let place = self.calls.iter().position(|known| known.number == number);
        if place == Some(0) {
            if self.open == Some(Open::ToolUse) {
                self.piece("input_json_delta", "partial_json", piece, out);
            } else {
                self.is_muddled = true;
            }
        } else if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            let piece: String = serde_json::from_str(piece.get()).unwrap_or_default();
            call.arguments.push_str(&piece);
        }
    }

    fn start_call(&mut self, call: &Call, out: &mut Vec<u8>) {
        if let Some(extra) = &call.extra {
            self.carry(extra, out);
        }
        self.close(out);
        let (id, name) = (json::raw(&call.id), json::raw(&call.name));
        let block = [
            br#"{"type":"tool_use","id":"#.as_slice(),
            id.get().as_bytes(),
            br#","name":"#,
            name.get().as_bytes(),
            br#","input":{}}"#,
        ]
        .concat();
        self.show(Open::ToolUse, &block, out);
    }

    /// Writes the reasoning that clients must send back with the call.
    fn carry(&mut self, extra: &RawValue, out: &mut Vec<u8>) {
        match carried(extra) {
            Carried::Sealed(seal) => self.sign(&seal, out),
            Carried::Signed(thoughts) => {
                for thought in thoughts {
                    match thought {
                        Thought::Thinking { signature, .. } => self.sign(&signature, out),
                        Thought::RedactedThinking { data } => self.redacted(&data, out),
                    }
                }
            }
        }
    }

    /// Signs the current thinking block, or writes a redacted one.
    fn sign(&mut self, signature: &str, out: &mut Vec<u8>) {
        if self.open == Some(Open::Thinking) {
            self.piece("signature_delta", "signature", &json::raw(signature), out);
            self.close(out);
        } else {
            self.redacted(signature, out);
        }
    }

    fn redacted(&mut self, data: &str, out: &mut Vec<u8>) {
        self.close(out);
        let data = json::raw(data);
        let block = [
            br#"{"type":"redacted_thinking","data":"#.as_slice(),
            data.get().as_bytes(),
            b"}",
        ]
        .concat();
        self.start(&block, out);
        self.stop(out);
    }

    /// Ensures that the current block is of this kind.
    fn show(&mut self, kind: Open, block: &[u8], out: &mut Vec<u8>) {
        if self.open != Some(kind) {
            self.close(out);
            self.start(block, out);
            self.open = Some(kind);
        }
    }

    fn start(&self, block: &[u8], out: &mut Vec<u8>) {
        write_event(
            "content_block_start",
            &[
                br#","index":"#,
                self.blocks.to_string().as_bytes(),
                br#","content_block":"#,
                block,
            ],
            out,
        );
    }

    fn piece(&self, kind: &str, field: &str, text: &RawValue, out: &mut Vec<u8>) {
        write_event(
            "content_block_delta",
            &[
                br#","index":"#,
                self.blocks.to_string().as_bytes(),
                br#","delta":{"type":""#,
                kind.as_bytes(),
                b"\",\"",
                field.as_bytes(),
                b"\":",
                text.get().as_bytes(),
                b"}",
            ],
            out,
        );
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.stop(out);
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        let index = self.blocks.to_string();
        write_event(
            "content_block_stop",
            &[br#","index":"#, index.as_bytes()],
            out,
        );
        self.blocks += 1;
    }
}
