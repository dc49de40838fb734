//! The transcript of an exchange, as text. Bodies are shown by their length and hash: the fixtures
//! of `opentracy-translate` hold what is in them.

use std::fmt::Write as _;

use opentracy_proto::v1;
use opentracy_translate::hash;

use super::cases::Case;
use crate::fake_envoy::{SentMessage, Vm};
use crate::tests::world;

/// Runs a case and returns its transcript.
pub fn of(case: &Case) -> String {
    let mut vm = Vm::gateway_with(world::snapshot_of_all());
    let mut exchange = vm.request(&case.headers(), &case.request);
    if exchange.upstream().is_complete {
        match &case.answer.failure {
            Some(details) => exchange.fail(503, details, &[]),
            None => {
                let headers = [("content-type", case.answer.content_type)];
                exchange.begin_response(case.answer.status, &headers, false);
                let chunks: Vec<&[u8]> = case.answer.body.chunks(case.answer.chunk).collect();
                for (index, chunk) in chunks.iter().enumerate() {
                    exchange.respond_more(chunk, index + 1 == chunks.len());
                }
            }
        }
    }
    let mut text = format!("== {}\n", case.name);
    message(&mut text, '>', exchange.upstream());
    message(&mut text, '<', exchange.client());
    exchange.end();
    let records = vm.records();
    for trace in records.traces {
        record(&mut text, trace);
    }
    for attempt in records.attempts {
        let _ = writeln!(text, "attempt {}", fields(&attempt));
    }
    text
}

fn message(text: &mut String, direction: char, message: &SentMessage) {
    for (name, value) in &message.headers {
        let _ = writeln!(text, "{direction} {name}: {value}");
    }
    if !message.headers.is_empty() {
        let end = if message.is_complete { "" } else { ", more" };
        let _ = writeln!(text, "{direction} {}{end}", digest(&message.body));
    }
}

fn record(text: &mut String, mut trace: v1::Trace) {
    let request = digest(&std::mem::take(&mut trace.request));
    let response = digest(&std::mem::take(&mut trace.response));
    let _ = writeln!(
        text,
        "trace {}\ntrace request {request}\ntrace response {response}",
        fields(&trace)
    );
}

fn digest(bytes: &[u8]) -> String {
    format!("{} bytes {:032x}", bytes.len(), hash::fnv1a(bytes))
}

/// Returns the fields of a message that don't have their default, as `Debug` shows them.
fn fields(message: &impl std::fmt::Debug) -> String {
    const DEFAULTS: [&str; 6] = ["\"\"", "None", "0", "[]", "{}", "false"];
    let text = format!("{message:?}");
    let inner = text.split_once(" { ").map_or("", |(_, inner)| inner);
    let (mut depth, mut is_quoted, mut before, mut start) = (0, false, ' ', 0);
    let mut kept = Vec::new();
    for (index, letter) in inner.char_indices() {
        match letter {
            '"' if before != '\\' => is_quoted = !is_quoted,
            '{' | '[' | '(' if !is_quoted => depth += 1,
            '}' | ']' | ')' if !is_quoted => depth -= 1,
            _ => {}
        }
        before = letter;
        let is_end = depth < 0 || (letter == ',' && depth == 0 && !is_quoted);
        if is_end {
            let field = inner[start..index].trim();
            let value = field.split_once(": ").map_or("", |(_, value)| value);
            if !DEFAULTS.contains(&value) {
                kept.push(field);
            }
            start = index + 1;
        }
    }
    kept.join(", ")
}
