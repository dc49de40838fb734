//! Translates Gemini's stream of answers into OpenAI's stream of chunks.
//!
//! Every event is an answer of its own: text comes in parts, a call comes whole, usage is the total
//! so far. Only the end of the connection ends the stream, so it is complete if every candidate has
//! a finish reason.

use serde_json::value::RawValue;

use crate::gemini::response::{self, Answer, Candidate};
use crate::gemini::usage::UsageMetadata;
use crate::json;
use crate::openai::logprobs::Logprobs;
use crate::stream::{self, Event, Events, IsKnown, Output};

/// Translator of Gemini's events.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// For the chunks, if the answer has no id.
    id: String,
    model: String,
    usage: UsageMetadata,
    choices: Vec<ChoiceState>,
}

#[derive(Debug)]
struct ChoiceState {
    index: u32,
    tool_calls: usize,
    is_finished: bool,
}

impl Events for Answers {
    fn on_event(&mut self, event: Event<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let Some(data) = event.data() else { return };
        let is_known: IsKnown<'_> = &|event| stream::has_member(event, "candidates");
        let Some(mut answer) = to.read::<Answer<'_>>(data, is_known, out) else {
            return;
        };
        if let Some(error) = &answer.error {
            let error = error.told_as(&to.provider, error.http_status());
            to.fail(error, out);
            return;
        }
        if let Some(usage) = answer.usage_metadata {
            self.usage = usage;
        }
        let feedback = answer.prompt_feedback.take();
        let block_reason = feedback
            .as_ref()
            .and_then(|feedback| feedback.block_reason.as_deref());
        if answer.candidates.is_empty() && block_reason.is_none() {
            return;
        }
        self.begin(&answer, to);
        for candidate in &mut answer.candidates {
            self.candidate(candidate, to, out);
        }
        if let (true, Some(reason)) = (answer.candidates.is_empty(), block_reason) {
            let choice = self.choice(0, to, out);
            to.chunks.text(0, "refusal", reason, out);
            to.chunks.finish(0, "content_filter", out);
            if let Some(choice) = self.choices.get_mut(choice) {
                choice.is_finished = true;
            }
        }
    }

    fn on_end(&mut self, to: &mut Output, out: &mut Vec<u8>) {
        if !self.choices.is_empty() && self.choices.iter().all(|choice| choice.is_finished) {
            to.done(Some(self.usage.into()), out);
        }
    }
}

impl Answers {
    pub fn new(id: String, model: String) -> Self {
        Self {
            id,
            model,
            ..Self::default()
        }
    }

    fn begin(&mut self, answer: &Answer<'_>, to: &mut Output) {
        if to.chunks.has_begun() {
            return;
        }
        if let Some(id) = answer.id() {
            self.id = id.to_owned();
        }
        let model = answer.model_version.as_deref().unwrap_or(&self.model);
        to.chunks.begin_as(&self.id, to.created, model);
    }

    /// Returns the position of a choice in the list; writes its first chunk if it is new.
    fn choice(&mut self, index: u32, to: &mut Output, out: &mut Vec<u8>) -> usize {
        if let Some(place) = self.choices.iter().position(|choice| choice.index == index) {
            return place;
        }
        to.chunks.role(index, out);
        self.choices.push(ChoiceState {
            index,
            tool_calls: 0,
            is_finished: false,
        });
        self.choices.len() - 1
    }

    fn candidate(&mut self, candidate: &mut Candidate<'_>, to: &mut Output, out: &mut Vec<u8>) {
        let place = self.choice(candidate.index, to, out);
        if self
            .choices
            .get(place)
            .is_none_or(|choice| choice.is_finished)
        {
            return;
        }
        let mut logprobs = candidate.logprobs_result.take().map(Logprobs::from);
        let parts = candidate.content.iter().flat_map(|content| &content.parts);
        for part in parts {
            if let Some(text) = part.text.as_deref().filter(|text| !text.is_empty()) {
                match (part.thought, logprobs.take()) {
                    (true, waiting) => {
                        logprobs = waiting;
                        to.chunks
                            .text(candidate.index, "reasoning_content", text, out);
                    }
                    (false, Some(logprobs)) => {
                        let (text, logprobs) = (json::raw(text), json::raw(&logprobs));
                        to.chunks
                            .text_with_logprobs(candidate.index, &text, &logprobs, out);
                    }
                    (false, None) => to.chunks.text(candidate.index, "content", text, out),
                }
            }
            if let Some(call) = &part.function_call {
                let signature = part.thought_signature.as_deref();
                self.call(candidate.index, place, call, signature, to, out);
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
                to.chunks.finish(candidate.index, word, out);
            }
            None => {
                let error = response::failure(reason, candidate.finish_message.as_deref());
                to.fail(error, out);
            }
        }
    }

    /// Writes a call, which comes whole: one chunk with the function, the next with its arguments.
    fn call(
        &mut self,
        index: u32,
        place: usize,
        call: &response::FunctionCall<'_>,
        signature: Option<&str>,
        to: &mut Output,
        out: &mut Vec<u8>,
    ) {
        let Some(choice) = self.choices.get_mut(place) else {
            return;
        };
        let number = choice.tool_calls;
        choice.tool_calls += 1;
        let id = response::call_id(call, &format!("{}/{index}", self.id), number);
        let mut extra = Vec::new();
        if let Some(signature) = signature {
            extra.extend_from_slice(br#","extra_content":{"google":{"thought_signature":"#);
            json::write(&mut extra, signature);
            extra.extend_from_slice(b"}}");
        }
        let (id, name) = (json::raw(id.as_ref()), json::raw(call.name.as_ref()));
        to.chunks.call(index, number, &id, &name, &extra, out);
        let arguments = json::raw(call.args.map_or("{}", RawValue::get));
        to.chunks.arguments(index, number, &arguments, out);
    }
}
