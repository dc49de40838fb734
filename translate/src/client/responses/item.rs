//! An item of an answer that is being streamed.

use serde_json::Value;

use crate::client::responses::response::{
    Kind, call_item, message_item, reasoning_item, refusal_part, text_part,
};

#[derive(Debug)]
pub(super) struct Item {
    pub kind: Kind,
    pub id: String,
    pub text: String,
    pub is_refusal: bool,
    pub is_done: bool,
    pub sealed: Option<String>,
    /// Set for a call: its position among the calls, its id and its function.
    pub call: Option<(usize, String, String)>,
}

impl Item {
    pub fn part(&self) -> Value {
        if self.is_refusal {
            refusal_part(&self.text)
        } else {
            text_part(&self.text)
        }
    }

    /// Returns the item as sent to clients when it is added or done.
    pub fn shown(&self, status: &str, is_new: bool) -> Value {
        match (self.kind, &self.call) {
            (Kind::Reasoning, _) => reasoning_item(&self.id, &self.text, self.sealed.as_deref()),
            (Kind::FunctionCall, Some((_, call, name))) => {
                call_item(&self.id, status, call, name, &self.text)
            }
            _ => {
                let content = if is_new {
                    Vec::new()
                } else {
                    vec![self.part()]
                };
                message_item(&self.id, status, content)
            }
        }
    }
}
