//! Writes a stream of chunks: what translators of other formats say, in the order that clients rely on.

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

    /// The chunk that ends a choice.
    pub fn finish(&self, choice: u32, reason: &str, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(br#"{},"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    /// The end of the stream, with its usage.
    pub fn done(&self, usage: WireUsage, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(br#"],"usage":"#);
        json::write(out, &usage);
        out.extend_from_slice(b"}\n\ndata: [DONE]\n\n");
    }

    fn open(&self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(br#"{"index":"#);
        out.extend_from_slice(choice.to_string().as_bytes());
        out.extend_from_slice(br#","delta":"#);
    }
}
