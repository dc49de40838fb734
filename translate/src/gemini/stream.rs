//! Gemini's stream of answers as OpenAI's stream of chunks.
//!
//! Every event is an answer of its own: text comes in parts, a call comes whole, usage is the total so far. Nothing but the end of
//! the connection ends the stream, so it was complete when every candidate had said why it finished.

use serde_json::value::RawValue;

use crate::cost::Usage;
use crate::error::ApiError;
use crate::gemini::response::{self, Answer, Candidate};
use crate::gemini::usage::UsageMetadata;
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
    answer_id: String,
    usage: UsageMetadata,
    choices: Vec<ChoiceState>,
    error: Option<ApiError>,
}

#[derive(Debug)]
struct ChoiceState {
    index: u32,
    tool_calls: usize,
    is_finished: bool,
}

impl Translator {
    /// `provider` is named in errors; `created` is the time in Unix seconds.
    pub fn new(provider: &str, created: u64) -> Self {
        Self {
            provider: provider.to_owned(),
            created,
            parser: sse::Parser::default(),
            chunks: ChunkWriter::default(),
            answer_id: String::new(),
            usage: UsageMetadata::default(),
            choices: Vec::new(),
            error: None,
        }
    }

    /// Whether the answer has begun: from here on a failure can only be told in the stream.
    pub fn has_begun(&self) -> bool {
        self.chunks.has_begun()
    }

    /// What ended the stream early.
    pub fn error(&self) -> Option<&ApiError> {
        self.error.as_ref()
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
        if self.error.is_some() {
            return;
        }
        if self.choices.is_empty() || self.choices.iter().any(|choice| !choice.is_finished) {
            self.fail(ApiError::incomplete_stream(&self.provider), out);
            return;
        }
        self.chunks.done(Usage::from(self.usage).into(), out);
    }

    fn on_event(&mut self, event: sse::Event<'_>, out: &mut Vec<u8>) {
        if self.error.is_some() {
            return;
        }
        let Some(data) = event.data() else { return };
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(&data) else {
            return;
        };
        if let Some(error) = &answer.error {
            self.fail(error.told_as(&self.provider, error.http_status()), out);
            return;
        }
        if let Some(usage) = answer.usage_metadata {
            self.usage = usage;
        }
        let block_reason = answer
            .prompt_feedback
            .as_ref()
            .and_then(|feedback| feedback.block_reason.as_deref());
        if answer.candidates.is_empty() && block_reason.is_none() {
            return;
        }
        self.begin(&answer);
        for candidate in &answer.candidates {
            self.candidate(candidate, out);
        }
        if let (true, Some(reason)) = (answer.candidates.is_empty(), block_reason) {
            let choice = self.choice(0, out);
            self.say(0, "refusal", reason, out);
            self.chunks.finish(0, "content_filter", out);
            if let Some(choice) = self.choices.get_mut(choice) {
                choice.is_finished = true;
            }
        }
    }

    fn begin(&mut self, answer: &Answer<'_>) {
        if self.chunks.has_begun() {
            return;
        }
        self.answer_id = answer.id(self.created).into_owned();
        let (mut id, mut model) = (Vec::new(), Vec::new());
        json::write(&mut id, &self.answer_id);
        json::write(
            &mut model,
            &answer.model_version.as_deref().unwrap_or_default(),
        );
        self.chunks.begin(
            &String::from_utf8_lossy(&id),
            self.created,
            &String::from_utf8_lossy(&model),
        );
    }

    /// The place of a choice in the list, after its first chunk was written.
    fn choice(&mut self, index: u32, out: &mut Vec<u8>) -> usize {
        if let Some(place) = self.choices.iter().position(|choice| choice.index == index) {
            return place;
        }
        self.chunks.role(index, out);
        self.choices.push(ChoiceState {
            index,
            tool_calls: 0,
            is_finished: false,
        });
        self.choices.len() - 1
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, out: &mut Vec<u8>) {
        let place = self.choice(candidate.index, out);
        if self
            .choices
            .get(place)
            .is_none_or(|choice| choice.is_finished)
        {
            return;
        }
        let parts = candidate.content.iter().flat_map(|content| &content.parts);
        for part in parts {
            if let Some(text) = part.text.as_deref().filter(|text| !text.is_empty()) {
                let field = if part.thought {
                    "reasoning_content"
                } else {
                    "content"
                };
                self.say(candidate.index, field, text, out);
            }
            if let Some(call) = &part.function_call {
                let signature = part.thought_signature.as_deref();
                self.call(candidate.index, place, call, signature, out);
            }
        }
        let Some(reason) = candidate.finish_reason.as_deref() else {
            return;
        };
        let Some(choice) = self.choices.get_mut(place) else {
            return;
        };
        match response::finish_reason(reason, choice.tool_calls > 0) {
            Some(word) => {
                choice.is_finished = true;
                self.chunks.finish(candidate.index, word, out);
            }
            None => {
                let error = response::failure(reason, candidate.finish_message.as_deref());
                self.fail(error, out);
            }
        }
    }

    fn say(&self, choice: u32, field: &str, text: &str, out: &mut Vec<u8>) {
        let mut json = Vec::with_capacity(text.len() + 2);
        json::write(&mut json, text);
        self.chunks.delta(
            choice,
            &[b"{\"", field.as_bytes(), b"\":", &json, b"}"],
            out,
        );
    }

    /// A call comes whole: one chunk says which function, the next its arguments.
    fn call(
        &mut self,
        index: u32,
        place: usize,
        call: &response::FunctionCall<'_>,
        signature: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let Some(choice) = self.choices.get_mut(place) else {
            return;
        };
        let number = choice.tool_calls;
        choice.tool_calls += 1;
        let id = response::call_id(call, &format!("{}/{index}", self.answer_id), number);
        let number = number.to_string();
        let (mut id_json, mut name, mut arguments) = (Vec::new(), Vec::new(), Vec::new());
        json::write(&mut id_json, id.as_ref());
        json::write(&mut name, call.name.as_ref());
        json::write(&mut arguments, call.args.map_or("{}", RawValue::get));
        let mut extra = Vec::new();
        if let Some(signature) = signature {
            extra.extend_from_slice(br#","extra_content":{"google":{"thought_signature":"#);
            json::write(&mut extra, signature);
            extra.extend_from_slice(b"}}");
        }
        let head: [&[u8]; 2] = [br#"{"tool_calls":[{"index":"#, number.as_bytes()];
        let first = [
            head[0],
            head[1],
            br#","id":"#,
            &id_json,
            br#","type":"function","function":{"name":"#,
            &name,
            br#","arguments":""}"#,
            &extra,
            b"}]}",
        ];
        self.chunks.delta(index, &first, out);
        let second = [
            head[0],
            head[1],
            br#","function":{"arguments":"#,
            &arguments,
            b"}}]}",
        ];
        self.chunks.delta(index, &second, out);
    }

    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.has_begun() {
            out.extend(error.to_sse());
        }
        self.error = Some(error);
    }
}
