//! Reading and writing server-sent events, for all APIs.

use crate::sse;

/// Calls `on_data` with the data of each event.
pub(crate) fn each_data(events: &[u8], mut on_data: impl FnMut(&[u8])) {
    let mut parser = sse::Parser::default();
    // Our translators never write an event that is too long for the parser.
    let _ = parser.push(events, |event| {
        if let Some(data) = event.data() {
            on_data(&data);
        }
    });
}

/// Writes an event whose name is also its `type`. `members` is `"a":1`, without braces.
pub(crate) fn write_event(kind: &str, members: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    for member in members {
        out.extend_from_slice(member);
    }
    out.extend_from_slice(b"}\n\n");
}
