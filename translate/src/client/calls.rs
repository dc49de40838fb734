//! Assembles the tool calls of a stream from their pieces.
//!
//! OpenAI numbers its calls and begins each with its id and its name. Servers of open models leave
//! out the number or the id, repeat the id with each piece, give all calls of an answer one number,
//! or send the name after the first piece.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::client::answer::ToolCallDelta;
use crate::error::ApiError;
use crate::json;
use crate::openai::ids;

/// The calls of an answer, in their order.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// Set if a piece came too late to be sent.
    is_muddled: bool,
}

/// A call, as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// Index in the chunks.
    number: Option<u64>,
    /// Empty until it is known.
    pub id: String,
    /// Empty until it is known.
    pub name: String,
    pub arguments: String,
    /// Data of the provider that it needs back with the call.
    pub extra: Option<Box<RawValue>>,
}

impl Calls {
    /// Adds a piece and returns the position of its call. `place` is set if its chunk has several
    /// pieces.
    pub fn add(&mut self, piece: &ToolCallDelta<'_>, place: Option<usize>) -> usize {
        let at = self.find(piece, place).unwrap_or(self.calls.len());
        if at == self.calls.len() {
            self.calls.push(Call {
                number: piece.index,
                ..Call::default()
            });
        }
        if let Some(call) = self.calls.get_mut(at) {
            call.extend(piece);
        }
        at
    }

    pub fn get(&self, at: usize) -> Option<&Call> {
        self.calls.get(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Notes a piece that can't be sent, because its call has been sent as complete. Blank ones say
    /// nothing.
    pub fn drop_late(&mut self, piece: &RawValue) {
        self.is_muddled |= json::text(piece).is_ok_and(|text| !text.trim().is_empty());
    }

    /// Returns an error if a call could not be sent as it is.
    pub fn check(&self) -> Result<(), ApiError> {
        let words = if self.is_muddled {
            "The provider mixed the pieces of several tool calls"
        } else if self.calls.iter().any(|call| call.name.is_empty()) {
            "The model called a tool without its name"
        } else {
            return Ok(());
        };
        Err(ApiError::new(502, words).with_code("invalid_upstream_response"))
    }

    /// Returns the position of the call that a piece belongs to; `None` if it begins one.
    fn find(&self, piece: &ToolCallDelta<'_>, place: Option<usize>) -> Option<usize> {
        let id = piece.id.as_deref();
        let name = piece.name();
        if let Some(number) = piece.index {
            let at = self.last(|call| call.number == Some(number))?;
            let is_another = id.is_some_and(|id| {
                let known = self.calls.get(at).map_or("", |call| call.id.as_str());
                !known.is_empty() && known != id
            });
            return if is_another {
                self.last(|call| Some(call.id.as_str()) == id)
            } else {
                Some(at)
            };
        }
        let last = self.calls.len().checked_sub(1)?;
        let newest = self.calls.get(last)?;
        match (id, name) {
            (Some(id), _) => self
                .last(|call| call.id == id)
                .or((newest.id.is_empty() && name.is_none()).then_some(last)),
            (None, Some(name)) => {
                let goes_on = newest.name == name && !newest.is_complete();
                (newest.name.is_empty() || (goes_on && place.is_none())).then_some(last)
            }
            (None, None) => Some(place.filter(|place| *place < last).unwrap_or(last)),
        }
    }

    fn last(&self, is_wanted: impl Fn(&Call) -> bool) -> Option<usize> {
        self.calls.iter().rposition(is_wanted)
    }
}

impl Call {
    fn extend(&mut self, piece: &ToolCallDelta<'_>) {
        if self.id.is_empty() {
            piece
                .id
                .as_deref()
                .unwrap_or_default()
                .clone_into(&mut self.id);
        }
        if self.name.is_empty() {
            piece.name().unwrap_or_default().clone_into(&mut self.name);
        }
        if self.extra.is_none() {
            self.extra = piece.extra_content.map(ToOwned::to_owned);
        }
        if let Some(more) = piece.arguments().and_then(|raw| json::text(raw).ok()) {
            self.arguments.push_str(&more);
        }
    }

    /// Returns true if the arguments are whole.
    pub fn is_complete(&self) -> bool {
        json::is_valid(self.arguments.as_bytes())
    }

    /// Returns the arguments so far, as a JSON string; `None` if they are empty. `latest` is the
    /// piece that was added last, and is returned as it is if it is all of them.
    pub fn so_far<'r>(&self, latest: Option<&'r RawValue>) -> Option<Cow<'r, RawValue>> {
        if self.arguments.is_empty() {
            return None;
        }
        let is_all = |raw: &&RawValue| json::text(raw).is_ok_and(|text| text == self.arguments);
        match latest.filter(is_all) {
            Some(latest) => Some(Cow::Borrowed(latest)),
            None => Some(Cow::Owned(json::raw(&self.arguments))),
        }
    }

    /// Returns the id, or one that is derived from the answer's if the provider sends none.
    pub fn id_in(&self, answer: &str, number: usize) -> String {
        if self.id.is_empty() {
            ids::derived(answer, number, &self.name)
        } else {
            self.id.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::Delta;

    fn assembled(chunks: &[&str]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for chunk in chunks {
            let delta = format!("{{\"tool_calls\":{chunk}}}");
            let delta: Delta<'_> = serde_json::from_str(&delta).unwrap();
            let pieces = delta.tool_calls.unwrap();
            for (place, piece) in pieces.iter().enumerate() {
                calls.add(piece, (pieces.len() > 1).then_some(place));
            }
        }
        let told = |call: &Call| (call.id.clone(), call.name.clone(), call.arguments.clone());
        calls.iter().map(told).collect()
    }

    #[test]
    fn pieces_find_their_call() {
        let two = [("a", "f", r#"{"x":1}"#), ("b", "g", r#"{"y":2}"#)];
        let two = two.map(|(id, name, text)| (id.to_owned(), name.to_owned(), text.to_owned()));
        for chunks in [
            // Numbered, and interleaved.
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]"#,
                r#"[{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"arguments":":2}"}}]"#,
            ][..],
            // Whole, without numbers.
            &[
                r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
            ],
            // All with one number.
            &[
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
            ],
            // One after the other, in pieces, without numbers.
            &[
                r#"[{"id":"a","function":{"name":"f"}}]"#,
                r#"[{"function":{"arguments":"{\"x\":1}"}}]"#,
                r#"[{"id":"b","function":{"name":"g"}}]"#,
                r#"[{"function":{"arguments":"{\"y\""}}]"#,
                r#"[{"function":{"arguments":":2}"}}]"#,
            ],
            // The id and the name with each piece, and the name late.
            &[
                r#"[{"index":0,"id":"a","function":{"arguments":""}}]"#,
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                r#"[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]"#,
                r#"[{"index":1,"id":null,"function":{"name":"g","arguments":{"y":2}}}]"#,
                r#"[{"index":1,"id":"b","function":{"name":"","arguments":null}}]"#,
            ],
        ] {
            assert_eq!(assembled(chunks), two, "{chunks:?}");
        }
    }

    #[test]
    fn calls_without_ids_get_ids_that_differ() {
        let call = |name: &str| Call {
            name: name.to_owned(),
            ..Call::default()
        };
        let ids = [
            call("f").id_in("chatcmpl-1", 0),
            call("f").id_in("chatcmpl-1", 1),
            call("f").id_in("chatcmpl-2", 0),
        ];
        assert!(ids.iter().all(|id| id.starts_with("call_")));
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
        assert_eq!(ids[0], call("f").id_in("chatcmpl-1", 0));
    }
}
