//! Conversion of the filter's messages to stored records.

use opentracy_proto::v1;
use serde_json::value::RawValue;

use crate::Record;
use crate::traces::words::Words;

/// Converts a trace to a record and its search terms. Returns `None` if its id is not a UUID, which
/// the filter never sends.
pub fn record(trace: v1::Trace) -> Option<(Record, String)> {
    let mut record = Record::from_message(&trace)?;
    let mut words = Words::default();
    record.request = content(&trace.request, &mut words);
    record.response = match record.api.api() {
        Some(api) if is_event_stream(&trace.response) => {
            // A stream is aggregated to the response that it stands for.
            let whole = api.aggregate(&trace.response).to_string();
            content(whole.as_bytes(), &mut words)
        }
        _ => content(&trace.response, &mut words),
    };
    Some((record, words.into_text()))
}

fn is_event_stream(body: &[u8]) -> bool {
    body.trim_ascii_start()
        .first()
        .is_some_and(|&byte| byte != b'{')
}

/// Converts a recorded body for storage and adds its words; returns `None` for an empty body. A
/// truncated body isn't valid JSON and is stored as a string.
fn content(body: &[u8], words: &mut Words) -> Option<Box<RawValue>> {
    if body.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if words.add_body(text).is_ok()
        && let Ok(json) = RawValue::from_string(text.to_owned())
    {
        return Some(json);
    }
    words.add(text);
    serde_json::value::to_raw_value(text).ok()
}
