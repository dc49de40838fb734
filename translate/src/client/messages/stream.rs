//! Translates OpenAI's chunks into Anthropic's events.
//!
//! Anthropic's blocks come one after the other, each with a start and a stop; chunks may interleave
//! their contents.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::client::answer::{Chunk, Delta, ToolCallDelta, said};
use crate::client::calls::{Call, Calls};
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
    /// The text from which missing ids of calls are derived.
    answer: String,
    /// The first call is streamed as it arrives; the pieces of later ones may be interleaved with
    /// it, so they are buffered until the end.
    calls: Calls,
    has_started_call: bool,
    /// Texts that arrived between the pieces of the first call, and their kinds.
    held: Vec<(Open, String)>,
    usage: Usage,
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
        self.answer = chunk.seed();
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
        if let Some(text) = delta.thoughts() {
            self.text(Open::Thinking, text, out);
        }
        for text in [&delta.content, &delta.refusal] {
            if let Some(text) = said(text) {
                self.text(Open::Text, text, out);
            }
        }
        let pieces = delta.tool_calls.as_deref().unwrap_or_default();
        for (place, piece) in pieces.iter().enumerate() {
            self.call(piece, (pieces.len() > 1).then_some(place), out);
        }
    }

    fn usage(&mut self, usage: WireUsage) {
        self.usage = usage.into();
    }

    fn end(&mut self, finish_reason: Option<&str>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.close(out);
        for (kind, text) in std::mem::take(&mut self.held) {
            // Clients send blocks back, and blank ones are refused.
            if !text.trim().is_empty() {
                self.text(kind, &json::raw(&text), out);
            }
        }
        self.close(out);
        let calls = std::mem::take(&mut self.calls);
        calls.check()?;
        let calls_tools = !calls.is_empty();
        for (number, call) in calls.iter().enumerate().skip(1) {
            self.start_call(call, number, out);
            self.piece(
                "input_json_delta",
                "partial_json",
                &json::raw(&call.arguments),
                out,
            );
            self.close(out);
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
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend(super::error::to_sse(error));
    }
}

impl EventWriter {
    /// Writes a piece of text, unless it comes between the pieces of the streamed call.
    fn text(&mut self, kind: Open, piece: &RawValue, out: &mut Vec<u8>) {
        let is_call_open = self.open == Some(Open::ToolUse);
        if is_call_open && self.calls.get(0).is_some_and(|call| !call.is_complete()) {
            let text = json::text(piece).unwrap_or_default();
            match self.held.last_mut().filter(|(last, _)| *last == kind) {
                Some((_, held)) => held.push_str(&text),
                None => self.held.push((kind, text.into_owned())),
            }
            return;
        }
        let (block, delta, field): (&[u8], _, _) = match kind {
            Open::Thinking => (
                br#"{"type":"thinking","thinking":"","signature":""}"#,
                "thinking_delta",
                "thinking",
            ),
            _ => (
                br#"{"type":"text","text":"","citations":null}"#,
                "text_delta",
                "text",
            ),
        };
        self.show(kind, block, out);
        self.piece(delta, field, piece, out);
    }

    /// Handles one piece of a call. The first call is streamed, once its name is known.
    fn call(&mut self, piece: &ToolCallDelta<'_>, place: Option<usize>, out: &mut Vec<u8>) {
        let mut calls = std::mem::take(&mut self.calls);
        let is_first = calls.add(piece, place) == 0;
        let first = calls
            .get(0)
            .filter(|call| is_first && !call.name.is_empty());
        let more = match first {
            Some(call) if !std::mem::replace(&mut self.has_started_call, true) => {
                self.start_call(call, 0, out);
                call.so_far(piece.arguments())
            }
            Some(_) => piece.arguments().map(Cow::Borrowed),
            None => None,
        };
        match more {
            Some(more) if self.open == Some(Open::ToolUse) => {
                self.piece("input_json_delta", "partial_json", &more, out);
            }
            Some(more) => calls.drop_late(&more),
            None => {}
        }
        self.calls = calls;
    }

    fn start_call(&mut self, call: &Call, number: usize, out: &mut Vec<u8>) {
        if let Some(extra) = &call.extra {
            self.carry(extra, out);
        }
        self.close(out);
        let id = json::raw(&call.id_in(&self.answer, number));
        let name = json::raw(&call.name);
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
