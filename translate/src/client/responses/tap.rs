//! Observes a stream of the Responses API.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::responses::error;
use crate::client::responses::summary::ResponseView;
use crate::client::tap::{FAILED, Observed, TapEvents};
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::tap::MakeExtras;

static COMPLETED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"response.completed\""));
static INCOMPLETE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"response.incomplete\""));

/// Returns true if bytes contain the last event of a response that did not fail.
pub(super) fn ends_in(bytes: &[u8]) -> bool {
    COMPLETED.find(bytes).is_some() || INCOMPLETE.find(bytes).is_some()
}

/// A response's last event repeats the whole response, with its usage.
#[derive(Debug)]
pub(super) struct ResponseEvents;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow)]
    response: Option<&'a RawValue>,
}

impl TapEvents for ResponseEvents {
    fn concerns(&self, bytes: &[u8]) -> bool {
        ends_in(bytes) || FAILED.find(bytes).is_some()
    }

    fn on_event(
        &mut self,
        kind: &str,
        data: &[u8],
        observed: &mut Observed,
        extras: &mut MakeExtras<'_>,
    ) -> Option<Vec<u8>> {
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" => {
                observed.is_done = true;
                let event: Event<'_> = json::from_bytes(data).ok()?;
                add_to_response(data, event.response?, observed, extras)
            }
            _ => None,
        }
    }

    fn error_event(&self, error: &ApiError) -> Vec<u8> {
        error::to_sse(error, 0)
    }
}

fn add_to_response(
    data: &[u8],
    response: &RawValue,
    observed: &mut Observed,
    extras: &mut MakeExtras<'_>,
) -> Option<Vec<u8>> {
    let view: ResponseView<'_> = serde_json::from_str(response.get()).ok()?;
    observed.summary = view.summary();
    let mut changed = response.get().as_bytes().to_vec();
    json::append_members(&mut changed, &extras(&observed.summary));
    let changed = RawValue::from_string(String::from_utf8(changed).ok()?).ok()?;
    let mut event = Object::parse(std::str::from_utf8(data).ok()?).ok()?;
    event.set("response", &changed);
    Some(event.to_vec())
}
