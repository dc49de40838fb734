//! `POST /agents/v1/chat/completions`: serves agents as a provider of OpenAI's format. Only the
//! filter calls it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use opentracy_translate::error::ApiError;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use utoipa_axum::routes;
use uuid::Uuid;

use opentracy_agents::{GatewayClient, Run, RunEvent, StoppedRun, Used, wire};
use opentracy_rest::access::Caller;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::json::Body;
use opentracy_state::AppState;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Gateway).routes(routes!(chat_completions))
}

/// The last event of a stream.
const DONE: &str = "[DONE]";

/// Runs an agent.
#[utoipa::path(
    post,
    path = "/agents/v1/chat/completions",
    request_body(content = Object, description = "A chat completion request whose model is an agent"),
    responses((status = OK, description = "A chat completion, or a stream of chunks"))
)]
pub async fn chat_completions(
    State(shared): State<AppState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(request): Body<Map<String, Value>>,
) -> Result<Response, Error> {
    let name = request
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let agent = shared.agents.get(&name, &snapshot.config).ok_or_else(|| {
        ApiError::new(404, format!("Unknown agent \"{name}\"")).with_code("model_not_found")
    })?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let gateway = GatewayClient::new(
        shared.http.clone(),
        snapshot.config.gateway.listen,
        &snapshot.wire.internal_token,
        caller.name(),
        text("x-opentracy-session-id").unwrap_or_default(),
        text("traceparent"),
    );
    let streams = request
        .get("stream")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let include_usage = request
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let (events, received) = mpsc::unbounded_channel();
    let run = Run {
        agent,
        gateway,
        request,
        events,
    };
    let shape = Shape {
        id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
        created: jiff::Timestamp::now().as_second(),
        model: name,
        include_usage,
    };
    if !streams {
        drop(received);
        let stopped = run.run().await?;
        return Ok(Json(shape.whole(&stopped)).into_response());
    }
    stream(run, received, shape).await
}

/// The fields that all chunks of a response share.
struct Shape {
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
}

impl Shape {
    fn whole(&self, stopped: &StoppedRun) -> Value {
        let content = match stopped.text.as_str() {
            "" => Value::Null,
            text => text.into(),
        };
        let mut message = json!({"role": "assistant", "content": content});
        if !stopped.calls.is_empty() {
            message["tool_calls"] = wire(&stopped.calls).into();
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": stopped.finish_reason}],
            "usage": usage(&stopped.used),
            "_agent": summary(&stopped.used),
        })
    }

    fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
    }

    fn event(&self, event: RunEvent) -> Value {
        match event {
            RunEvent::Text(text) => self.chunk(json!({"content": text}), Value::Null),
            RunEvent::ToolCalled { name } => {
                self.note(json!({"event": "tool_called", "tool": name}))
            }
            RunEvent::ToolAnswered { name, is_error } => {
                self.note(json!({"event": "tool_answered", "tool": name, "is_error": is_error}))
            }
        }
    }

    /// Builds a chunk without content, whose `_agent` reports progress to clients that read it.
    fn note(&self, note: Value) -> Value {
        let mut chunk = self.chunk(json!({}), Value::Null);
        chunk["_agent"] = note;
        chunk
    }

    fn end(&self, stopped: &StoppedRun) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !stopped.calls.is_empty() {
            let mut calls = wire(&stopped.calls);
            for (index, call) in calls.iter_mut().enumerate() {
                call["index"] = index.into();
            }
            chunks.push(self.chunk(json!({"tool_calls": calls}), Value::Null));
        }
        let mut last = self.chunk(json!({}), stopped.finish_reason.as_str().into());
        last["_agent"] = summary(&stopped.used);
        chunks.push(last);
        if self.include_usage {
            let mut chunk = self.chunk(json!({}), Value::Null);
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(&stopped.used);
            chunks.push(chunk);
        }
        chunks
    }
}

fn usage(used: &Used) -> Value {
    json!({
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    })
}

fn summary(used: &Used) -> Value {
    json!({"turns": used.turns, "tool_calls": used.tool_calls, "cost": used.cost})
}

/// Streams the run. An agent that fails before its first event gets an error status instead.
async fn stream(
    run: Run,
    mut received: mpsc::UnboundedReceiver<RunEvent>,
    shape: Shape,
) -> Result<Response, Error> {
    // The set aborts the run when the client disconnects.
    let mut work = JoinSet::new();
    work.spawn(run.run());
    let first = received.recv().await;
    let (sender, chunks) = mpsc::unbounded_channel::<String>();
    let role = shape.chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    let Some(first) = first else {
        // The run ended without an event.
        let stopped = joined(work.join_next().await)?;
        for chunk in std::iter::once(role).chain(shape.end(&stopped)) {
            let _ = sender.send(chunk.to_string());
        }
        let _ = sender.send(DONE.to_owned());
        return Ok(respond(chunks));
    };
    tokio::spawn(async move {
        // The client may have disconnected; the loop below checks that.
        let send = |chunk: Value| {
            let _ = sender.send(chunk.to_string());
        };
        send(role);
        send(shape.event(first));
        loop {
            tokio::select! {
                () = sender.closed() => return,
                event = received.recv() => match event {
                    Some(event) => send(shape.event(event)),
                    None => break,
                },
            }
        }
        match joined(work.join_next().await) {
            Ok(stopped) => {
                shape.end(&stopped).into_iter().for_each(&send);
                let _ = sender.send(DONE.to_owned());
            }
            Err(error) => {
                let text = String::from_utf8_lossy(&error.to_json()).into_owned();
                let _ = sender.send(text);
            }
        }
    });
    Ok(respond(chunks))
}

fn joined(
    result: Option<Result<Result<StoppedRun, ApiError>, tokio::task::JoinError>>,
) -> Result<StoppedRun, ApiError> {
    match result {
        Some(Ok(result)) => result,
        ended => {
            tracing::error!("an agent's run ended unexpectedly: {ended:?}");
            Err(ApiError::new(500, "The agent's run ended unexpectedly"))
        }
    }
}

fn respond(chunks: mpsc::UnboundedReceiver<String>) -> Response {
    let events = UnboundedReceiverStream::new(chunks)
        .map(|data| Ok::<_, Infallible>(SseEvent::default().data(data)));
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}
