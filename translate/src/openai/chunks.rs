//! Writes a stream of chunks for translators of other formats, in the order that clients rely on.

use serde_json::value::RawValue;

use crate::cost::Usage;
use crate::json;
use crate::openai::usage::WireUsage;

/// All chunks of a stream have the same id, time and model.
#[derive(Debug, Default)]
pub(crate) struct ChunkWriter {
    /// `data: {"id":…,"choices":[`
    head: Vec<u8>,
}

impl ChunkWriter {
    /// Returns true once anything was written: from then on a failure can only be reported in the
    /// stream.
    pub fn has_begun(&self) -> bool {
        !self.head.is_empty()
    }

    /// Starts the stream. `id` and `model` are JSON strings, `created` is in Unix seconds.
    pub fn begin(&mut self, id: &str, created: u64, model: &str) {
        self.head = format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\"choices\":["
        )
        .into_bytes();
    }

    /// Starts the stream with names that aren't JSON yet.
    pub fn begin_as(&mut self, id: &str, created: u64, model: &str) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        self.begin(&quoted(id), created, &quoted(model));
    }

    /// Writes the chunk with the role: the first of each choice.
    pub fn role(&self, choice: u32, out: &mut Vec<u8>) {
        self.delta(
            choice,
            &[br#"{"role":"assistant","content":"","refusal":null}"#],
            out,
        );
    }

    /// Writes a chunk with a delta, given in pieces of JSON.
    pub fn delta(&self, choice: u32, delta: &[&[u8]], out: &mut Vec<u8>) {
        if !self.has_begun() {
            return;
        }
        self.open(choice, out);
        for part in delta {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    }

    /// Writes a piece of text for a field of the message.
    pub fn text(&self, choice: u32, field: &str, text: &str, out: &mut Vec<u8>) {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::write(&mut quoted, text);
        self.delta(
            choice,
            &[b"{\"", field.as_bytes(), b"\":", &quoted, b"}"],
            out,
        );
    }

    /// Writes a piece of text that is already a JSON string.
    pub fn raw_text(&self, choice: u32, field: &str, text: &RawValue, out: &mut Vec<u8>) {
        let text = text.get().as_bytes();
        self.delta(choice, &[b"{\"", field.as_bytes(), b"\":", text, b"}"], out);
    }

    /// Writes a piece of the answer with its log probabilities.
    pub fn text_with_logprobs(
        &self,
        choice: u32,
        text: &RawValue,
        logprobs: &RawValue,
        out: &mut Vec<u8>,
    ) {
        self.open(choice, out);
        for part in [
            br#"{"content":"#,
            text.get().as_bytes(),
            br#"},"logprobs":"#,
            logprobs.get().as_bytes(),
            b",\"finish_reason\":null}]}\n\n",
        ] {
            out.extend_from_slice(part);
        }
    }

    /// Writes the start of a tool call. `number` is its index in the message; `more` holds further
    /// members, each with a leading comma.
    pub fn call(
        &self,
        choice: u32,
        number: usize,
        id: &RawValue,
        name: &RawValue,
        more: &[u8],
        out: &mut Vec<u8>,
    ) {
        let number = number.to_string();
        let delta: [&[u8]; 9] = [
            br#"{"tool_calls":[{"index":"#,
            number.as_bytes(),
            br#","id":"#,
            id.get().as_bytes(),
            br#","type":"function","function":{"name":"#,
            name.get().as_bytes(),
            br#","arguments":""}"#,
            more,
            b"}]}",
        ];
        self.delta(choice, &delta, out);
    }

    /// Writes a piece of a call's arguments, as a JSON string.
    pub fn arguments(&self, choice: u32, number: usize, piece: &RawValue, out: &mut Vec<u8>) {
        let number = number.to_string();
        let delta: [&[u8]; 5] = [
            br#"{"tool_calls":[{"index":"#,
            number.as_bytes(),
            br#","function":{"arguments":"#,
            piece.get().as_bytes(),
            b"}}]}",
        ];
        self.delta(choice, &delta, out);
    }

    /// Writes the chunk that ends a choice.
    pub fn finish(&self, choice: u32, reason: &str, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(br#"{},"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    /// Writes the end of the stream, with its usage if known.
    pub fn done(&self, usage: Option<Usage>, out: &mut Vec<u8>) {
        if let Some(usage) = usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(br#"],"usage":"#);
            json::write(out, &WireUsage::from(usage));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn open(&self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(br#"{"index":"#);
        out.extend_from_slice(choice.to_string().as_bytes());
        out.extend_from_slice(br#","delta":"#);
    }
}
