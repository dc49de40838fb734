//! The timeline of a session: the model's turns and the client's tool executions between them.
//!
//! The gateway does not see a tool run. It does see the call in one answer and the result in a
//! later request, and the time between them is an upper bound of the tool's run time.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use opentracy_store::{Micros, Record};
use opentracy_trace::json::Trace;

/// Maximum number of calls in a session's timeline; later ones are omitted.
pub const MAX_TURNS: u32 = 500;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = Event)]
pub enum TimelineEvent {
    /// A call of a model.
    ModelTurn {
        trace_id: uuid::Uuid,
        /// RFC 3339, UTC.
        started_at: String,
        latency_ms: f64,
        /// `provider/model`.
        model: Option<String>,
        status: u16,
        /// The names of the tools it called.
        tool_calls: Vec<String>,
    },
    /// The client's execution of a tool that the model called.
    ToolExecution {
        call_id: String,
        name: String,
        /// JSON, as the model wrote it.
        arguments: String,
        /// The client's result.
        output: String,
        /// RFC 3339, UTC: the end of the model's answer.
        started_at: String,
        /// Time until the request with the result: an upper bound of the tool's run time.
        at_most_ms: f64,
    },
}

/// A tool call that waits for its result.
struct Call {
    id: String,
    name: String,
    arguments: String,
    at: Micros,
}

/// Builds the timeline of a session's calls, which must be in chronological order.
pub fn of<'a>(calls: impl IntoIterator<Item = &'a Record>) -> Vec<TimelineEvent> {
    let mut events = Vec::new();
    let mut waiting: Vec<Call> = Vec::new();
    for record in calls {
        let body = |raw: &Option<Box<serde_json::value::RawValue>>| {
            raw.as_ref()
                .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
                .unwrap_or_default()
        };
        for (id, output) in results(&body(&record.request)) {
            // A request repeats the whole conversation, so only the first occurrence of a result
            // counts.
            let Some(index) = waiting.iter().position(|call| call.id == id) else {
                continue;
            };
            let call = waiting.remove(index);
            events.push(TimelineEvent::ToolExecution {
                call_id: call.id,
                name: call.name,
                arguments: call.arguments,
                output,
                started_at: call.at.timestamp(),
                at_most_ms: Micros((record.started_at.0 - call.at.0).max(0)).millis(),
            });
        }
        let made = tool_calls(&body(&record.response));
        let model = record.provider.as_ref().zip(record.model.as_ref());
        events.push(TimelineEvent::ModelTurn {
            trace_id: record.id,
            started_at: record.started_at.timestamp(),
            latency_ms: record.latency.millis(),
            model: model.map(|(provider, model)| format!("{provider}/{model}")),
            status: record.status,
            tool_calls: made.iter().map(|(_, name, _)| name.clone()).collect(),
        });
        let at = Micros(record.started_at.0.saturating_add(record.latency.0));
        waiting.extend(made.into_iter().map(|(id, name, arguments)| Call {
            id,
            name,
            arguments,
            at,
        }));
    }
    events
}

fn items<'a>(body: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    body.get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Returns the tool calls in an answer: id, name, arguments.
fn tool_calls(answer: &Value) -> Vec<(String, String, String)> {
    let of_chat = items(answer, "choices")
        .filter_map(|choice| choice.get("message"))
        .flat_map(|message| items(message, "tool_calls"))
        .map(|call| {
            let function = call.get("function").unwrap_or(&Value::Null);
            (
                text(call, "id"),
                text(function, "name"),
                text(function, "arguments"),
            )
        });
    let of_messages = items(answer, "content")
        .filter(|block| block["type"] == "tool_use")
        .map(|block| (text(block, "id"), text(block, "name"), text(block, "input")));
    let of_responses = items(answer, "output")
        .filter(|item| item["type"] == "function_call")
        .map(|item| {
            (
                text(item, "call_id"),
                text(item, "name"),
                text(item, "arguments"),
            )
        });
    of_chat.chain(of_messages).chain(of_responses).collect()
}

/// Returns the tool results in a request: the call's id and the output.
fn results(request: &Value) -> Vec<(String, String)> {
    let of_chat = items(request, "messages")
        .filter(|message| message["role"] == "tool")
        .map(|message| (text(message, "tool_call_id"), text(message, "content")));
    let of_messages = items(request, "messages")
        .flat_map(|message| items(message, "content"))
        .filter(|block| block["type"] == "tool_result")
        .map(|block| (text(block, "tool_use_id"), text(block, "content")));
    let of_responses = items(request, "input")
        .filter(|item| item["type"] == "function_call_output")
        .map(|item| (text(item, "call_id"), text(item, "output")));
    of_chat.chain(of_messages).chain(of_responses).collect()
}

/// A trace with the timeline of its session.
#[derive(Serialize, ToSchema)]
pub struct TraceInSession {
    #[serde(flatten)]
    pub trace: Trace,
    /// The session's calls and tool executions, in order; `null` for a call outside of a session.
    pub timeline: Option<Vec<TimelineEvent>>,
}
