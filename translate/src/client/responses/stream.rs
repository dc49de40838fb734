//! Translates OpenAI's chunks into the events of a response.
//!
//! Items come one after the other, each added, filled and done; only calls may be filled in
//! parallel. Every event has a sequence number.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::client::answer::{Chunk, Delta, ToolCallDelta, said};
use crate::client::calls::Calls;
use crate::client::events::write_event;
use crate::client::responses::item::Item;
use crate::client::responses::response::{Ids, Kind, frame, status, usage};
use crate::client::stream::Writer;
use crate::client::thoughts;
use crate::error::ApiError;
use crate::json as text;
use crate::openai::usage::WireUsage;

/// Translator of one stream.
#[derive(Debug)]
pub struct EventWriter {
    frame: Map<String, Value>,
    ids: Ids,
    sequence: u64,
    items: Vec<Item>,
    /// The text from which missing ids of calls are derived.
    answer: String,
    calls: Calls,
    usage: WireUsage,
}

impl Writer for EventWriter {
    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>) {
        self.answer = chunk.seed();
        self.ids = Ids::of(chunk.id.as_deref().unwrap_or_default());
        for (name, value) in [
            ("id", self.ids.response().into()),
            ("created_at", chunk.created.unwrap_or_default().into()),
            ("model", chunk.model.as_deref().unwrap_or_default().into()),
            ("status", "in_progress".into()),
            ("incomplete_details", Value::Null),
            ("output", json!([])),
            ("usage", Value::Null),
        ] {
            self.frame.insert(name.to_owned(), value);
        }
        for kind in ["response.created", "response.in_progress"] {
            let response = json!({"response": self.frame});
            self.event(kind, &response, out);
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        if let Some(piece) = delta.thoughts() {
            self.fill(Kind::Reasoning, false, piece, out);
        }
        if let Some(piece) = said(&delta.content) {
            self.fill(Kind::Message, false, piece, out);
        }
        if let Some(piece) = said(&delta.refusal) {
            self.fill(Kind::Message, true, piece, out);
        }
        let pieces = delta.tool_calls.as_deref().unwrap_or_default();
        for (place, piece) in pieces.iter().enumerate() {
            self.call(piece, (pieces.len() > 1).then_some(place), out);
        }
    }

    fn usage(&mut self, usage: WireUsage) {
        self.usage = usage;
    }

    fn end(&mut self, finish_reason: Option<&str>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.close_all(out);
        self.calls.check()?;
        let (status, incomplete) = status(finish_reason);
        let output: Vec<Value> = self
            .items
            .iter()
            .map(|item| item.shown("completed", false))
            .collect();
        for (name, value) in [
            ("status", status.into()),
            ("incomplete_details", incomplete),
            ("output", output.into()),
            ("usage", usage(self.usage)),
        ] {
            self.frame.insert(name.to_owned(), value);
        }
        let response = json!({"response": self.frame});
        self.event(&format!("response.{status}"), &response, out);
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend(super::error::to_sse(error, self.sequence));
    }
}

impl EventWriter {
    /// `request` is the client's body.
    pub fn new(request: &[u8]) -> Self {
        Self {
            frame: frame(request),
            ids: Ids::default(),
            sequence: 0,
            items: Vec::new(),
            answer: String::new(),
            calls: Calls::default(),
            usage: WireUsage::default(),
        }
    }

    /// Writes a piece of text, to the current item or a new one.
    fn fill(&mut self, kind: Kind, is_refusal: bool, piece: &RawValue, out: &mut Vec<u8>) {
        let is_open = self.items.last().is_some_and(|item| {
            item.kind == kind && item.is_refusal == is_refusal && !item.is_done
        });
        if !is_open {
            self.close_before_text(out);
            self.add(kind, is_refusal, None, out);
        }
        let index = self.items.len().saturating_sub(1);
        let event = match (kind, is_refusal) {
            (Kind::Reasoning, _) => "response.reasoning_summary_text.delta",
            (_, true) => "response.refusal.delta",
            _ => "response.output_text.delta",
        };
        self.piece(event, index, piece, out);
    }

    /// Handles one piece of a call, whose item begins once its name is known.
    fn call(&mut self, piece: &ToolCallDelta<'_>, place: Option<usize>, out: &mut Vec<u8>) {
        const DELTA: &str = "response.function_call_arguments.delta";
        let number = self.calls.add(piece, place);
        let is_call = |item: &Item| item.call.as_ref().is_some_and(|(own, ..)| *own == number);
        if let Some(index) = self.items.iter().position(is_call) {
            let is_done = self.items.get(index).is_some_and(|item| item.is_done);
            match piece.arguments() {
                Some(more) if is_done => self.calls.drop_late(more),
                Some(more) => self.piece(DELTA, index, more, out),
                None => {}
            }
            return;
        }
        let Some(call) = self.calls.get(number).filter(|call| !call.name.is_empty()) else {
            return;
        };
        let item = (number, call.id_in(&self.answer, number), call.name.clone());
        let arguments = call.so_far(piece.arguments());
        if let Some(sealed) = call.extra.as_deref().map(thoughts::seal) {
            self.seal(sealed, out);
        }
        self.close_texts(out);
        self.add(Kind::FunctionCall, false, Some(item), out);
        if let Some(arguments) = arguments {
            let index = self.items.len().saturating_sub(1);
            self.piece(DELTA, index, &arguments, out);
        }
    }

    /// Adds sealed reasoning that clients must send back, to the current reasoning item or a new
    /// one.
    fn seal(&mut self, sealed: String, out: &mut Vec<u8>) {
        let is_open = self
            .items
            .last()
            .is_some_and(|item| item.kind == Kind::Reasoning && !item.is_done);
        if !is_open {
            self.close_texts(out);
            self.add(Kind::Reasoning, false, None, out);
        }
        if let Some(item) = self.items.last_mut() {
            item.sealed = Some(sealed);
        }
    }

    fn add(
        &mut self,
        kind: Kind,
        is_refusal: bool,
        call: Option<(usize, String, String)>,
        out: &mut Vec<u8>,
    ) {
        let index = self.items.len();
        let item = Item {
            kind,
            id: self.ids.item(kind, index),
            text: String::new(),
            is_refusal,
            is_done: false,
            sealed: None,
            call,
        };
        let shown = item.shown("in_progress", true);
        self.event(
            "response.output_item.added",
            &json!({"output_index": index, "item": shown}),
            out,
        );
        let place = json!({"item_id": item.id, "output_index": index});
        match kind {
            Kind::Message => {
                let part = json!({"content_index": 0, "part": item.part()});
                self.event("response.content_part.added", &merged(&place, &part), out);
            }
            Kind::Reasoning => {
                let part =
                    json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}});
                self.event(
                    "response.reasoning_summary_part.added",
                    &merged(&place, &part),
                    out,
                );
            }
            Kind::FunctionCall => {}
        }
        self.items.push(item);
    }

    fn piece(&mut self, event: &str, index: usize, piece: &RawValue, out: &mut Vec<u8>) {
        let Some(item) = self.items.get_mut(index) else {
            return;
        };
        let more: String = serde_json::from_str(piece.get()).unwrap_or_default();
        item.text.push_str(&more);
        let id = text::raw(&item.id);
        let part: &[u8] = match item.kind {
            Kind::Message if item.is_refusal => br#","content_index":0"#,
            Kind::Message => br#","content_index":0,"logprobs":[]"#,
            Kind::Reasoning => br#","summary_index":0"#,
            Kind::FunctionCall => b"",
        };
        write_event(
            event,
            &[
                br#","sequence_number":"#,
                self.sequence.to_string().as_bytes(),
                br#","item_id":"#,
                id.get().as_bytes(),
                br#","output_index":"#,
                index.to_string().as_bytes(),
                part,
                br#","delta":"#,
                piece.get().as_bytes(),
            ],
            out,
        );
        self.sequence += 1;
    }

    /// Ends every item except the calls.
    fn close_texts(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.items.len() {
            if self
                .items
                .get(index)
                .is_some_and(|item| item.kind != Kind::FunctionCall)
            {
                self.close(index, out);
            }
        }
    }

    /// Ends every item except the calls whose arguments are incomplete: more of them may follow the
    /// text.
    fn close_before_text(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.items.len() {
            let is_incomplete = self.items.get(index).is_some_and(|item| {
                item.kind == Kind::FunctionCall && !text::is_valid(item.text.as_bytes())
            });
            if !is_incomplete {
                self.close(index, out);
            }
        }
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.items.len() {
            self.close(index, out);
        }
    }

    fn close(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(item) = self.items.get_mut(index).filter(|item| !item.is_done) else {
            return;
        };
        item.is_done = true;
        let place = json!({"item_id": item.id, "output_index": index});
        let text = item.text.as_str();
        let mut events = Vec::new();
        match item.kind {
            Kind::Message => {
                let (kind, whole) = if item.is_refusal {
                    (
                        "response.refusal.done",
                        json!({"content_index": 0, "refusal": text}),
                    )
                } else {
                    let whole = json!({"content_index": 0, "text": text, "logprobs": []});
                    ("response.output_text.done", whole)
                };
                let part = json!({"content_index": 0, "part": item.part()});
                events.push((kind, merged(&place, &whole)));
                events.push(("response.content_part.done", merged(&place, &part)));
            }
            Kind::Reasoning => {
                let whole = json!({"summary_index": 0, "text": text});
                let part =
                    json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
                events.push((
                    "response.reasoning_summary_text.done",
                    merged(&place, &whole),
                ));
                events.push((
                    "response.reasoning_summary_part.done",
                    merged(&place, &part),
                ));
            }
            Kind::FunctionCall => {
                let name = item.call.as_ref().map(|(_, _, name)| name.as_str());
                let whole = json!({"arguments": text, "name": name});
                events.push((
                    "response.function_call_arguments.done",
                    merged(&place, &whole),
                ));
            }
        }
        let shown = item.shown("completed", false);
        events.push((
            "response.output_item.done",
            json!({"output_index": index, "item": shown}),
        ));
        for (kind, members) in events {
            self.event(kind, &members, out);
        }
    }

    fn event(&mut self, kind: &str, members: &Value, out: &mut Vec<u8>) {
        let members = members.to_string();
        let members = members.trim_start_matches('{').trim_end().as_bytes();
        let members = members.strip_suffix(b"}").unwrap_or(members);
        write_event(
            kind,
            &[
                br#","sequence_number":"#,
                self.sequence.to_string().as_bytes(),
                b",",
                members,
            ],
            out,
        );
        self.sequence += 1;
    }
}

fn merged(a: &Value, b: &Value) -> Value {
    let mut members = a.as_object().cloned().unwrap_or_default();
    members.extend(b.as_object().cloned().unwrap_or_default());
    Value::Object(members)
}
