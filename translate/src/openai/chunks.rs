//! Writes a stream of chunks: what translators of other formats say, in the order that clients rely on.

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
    /// Whether anything was written: from there on a failure can only be told in the stream.
    pub fn has_begun(&self) -> bool {
        !self.head.is_empty()
    }

    /// Begins the stream. `id` and `model` are JSON strings, `created` is in Unix seconds.
    pub fn begin(&mut self, id: &str, created: u64, model: &str) {
        self.head = format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\"choices\":["
        )
        .into_bytes();
    }

    /// The same for a name of ours, which is no JSON yet.
    pub fn begin_as(&mut self, id: &str, created: u64, model: &str) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        self.begin(&quoted(id), created, &quoted(model));
    }

    /// The chunk that says who speaks: the first of each choice.
    pub fn role(&self, choice: u32, out: &mut Vec<u8>) {
        self.delta(
            choice,
            &[br#"{"role":"assistant","content":"","refusal":null}"#],
            out,
        );
    }

    /// A chunk with a delta, given in pieces of JSON.
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

    /// A piece of text for a field of the message.
    pub fn text(&self, choice: u32, field: &str, text: &str, out: &mut Vec<u8>) {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::write(&mut quoted, text);
        self.delta(
            choice,
            &[b"{\"", field.as_bytes(), b"\":", &quoted, b"}"],
            out,
        );
    }

    /// The same for a text that is a JSON string already.
    pub fn raw_text(&self, choice: u32, field: &str, text: &RawValue, out: &mut Vec<u8>) {
        let text = text.get().as_bytes();
        self.delta(choice, &[b"{\"", field.as_bytes(), b"\":", text, b"}"], out);
    }

    /// A piece of the answer with how likely it was.
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

    /// The beginning of a tool call. `number` counts the message's calls; `more` is further members, each with a comma in front.
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

    /// A piece of a call's arguments, as a JSON string.
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

    /// The chunk that ends a choice.
    pub fn finish(&self, choice: u32, reason: &str, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(br#"{},"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    /// The end of the stream, with its usage where that is known.
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
