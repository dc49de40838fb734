//! Agent2Agent (A2A): JSON-RPC at `/v1/a2a`, and the agent cards.
//!
//! Source: the Agent2Agent protocol, versions 0.3 and 1.0. They name methods and members
//! differently; a response uses the names of the request's version.

mod words;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use opentracy_translate::error::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use utoipa_axum::routes;

use opentracy_agents::GatewayClient;
use opentracy_agents::task::{Task, TaskMessage, TaskState, TaskUpdate};
use opentracy_config::AgentConfig;
use opentracy_rest::access::Caller;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_state::AppState;
use words::A2aDialect;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    let cards = Endpoints::of(Callers::Everybody)
        .on_gateway()
        .routes(routes!(card))
        .routes(routes!(card_of_agent));
    Endpoints::of(Callers::Users)
        .on_gateway()
        .routes(routes!(call))
        .routes(routes!(call_agent))
        .merge(cards)
}

/// A JSON-RPC error: code and message.
#[derive(Debug)]
struct Fault(i32, String);

impl Fault {
    fn params(words: impl Into<String>) -> Self {
        Self(-32602, words.into())
    }

    fn no_task(id: &str) -> Self {
        Self(-32001, format!("Unknown task \"{id}\""))
    }
}

#[derive(Deserialize)]
struct Call {
    jsonrpc: Option<String>,
    #[serde(default)]
    id: Value,
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

/// Calls the agent that is described at `/.well-known/agent-card.json`.
#[utoipa::path(
    post,
    path = "/v1/a2a",
    request_body(content = Object, description = "A JSON-RPC call: message/send, message/stream, tasks/get or tasks/cancel"),
    responses((status = OK, description = "A JSON-RPC answer, or a stream of them"))
)]
pub async fn call(
    state: State<AppState>,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    answer(state.0, caller.0, &headers, None, &body).await
}

/// Calls an agent.
#[utoipa::path(
    post,
    path = "/v1/a2a/{agent}",
    params(("agent" = String, Path, description = "The agent's name")),
    request_body(content = Object, description = "A JSON-RPC call: message/send, message/stream, tasks/get or tasks/cancel"),
    responses((status = OK, description = "A JSON-RPC answer, or a stream of them"))
)]
pub async fn call_agent(
    state: State<AppState>,
    caller: Extension<Caller>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    answer(state.0, caller.0, &headers, Some(&agent), &body).await
}

/// Returns the card of the first agent.
#[utoipa::path(
    get,
    path = "/.well-known/agent-card.json",
    responses((status = OK, body = Object), (status = NOT_FOUND, description = "No agent is configured"))
)]
pub async fn card(
    State(shared): State<AppState>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    describe(&shared, None, &headers)
}

/// Returns the card of an agent.
#[utoipa::path(
    get,
    path = "/v1/a2a/{agent}/.well-known/agent-card.json",
    params(("agent" = String, Path, description = "The agent's name")),
    responses((status = OK, body = Object), (status = NOT_FOUND, description = "No such agent"))
)]
pub async fn card_of_agent(
    State(shared): State<AppState>,
    Path(agent): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    describe(&shared, Some(&agent), &headers)
}

fn describe(
    shared: &AppState,
    name: Option<&str>,
    headers: &HeaderMap,
) -> Result<Json<Value>, Error> {
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let agents = &snapshot.config.agents;
    let found = match name {
        Some(name) => agents.get_key_value(name),
        None => agents.iter().next(),
    };
    let Some((name, agent)) = found else {
        let words = "Unknown agent; `agents` in the configuration lists them";
        return Err(ApiError::new(404, words)
            .with_code("agent_not_found")
            .into());
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host =
        text("host").map_or_else(|| snapshot.config.gateway.listen.to_string(), str::to_owned);
    let scheme = text("x-forwarded-proto")
        .filter(|scheme| *scheme == "https")
        .unwrap_or("http");
    let url = format!("{scheme}://{host}/v1/a2a/{name}");
    Ok(Json(card_of(
        name,
        &agent.value,
        &url,
        !snapshot.keyring.is_empty(),
    )))
}

/// Builds an agent card that both protocol versions can read.
fn card_of(name: &str, agent: &AgentConfig, url: &str, needs_key: bool) -> Value {
    let description = match agent.description.as_str() {
        "" => "An agent behind the OpenTracy gateway",
        text => text,
    };
    let mut card = json!({
        "name": name,
        "description": description,
        "version": env!("CARGO_PKG_VERSION"),
        "protocolVersion": "0.3.0",
        "url": url,
        "preferredTransport": "JSONRPC",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ],
        "capabilities": {"streaming": true, "pushNotifications": false},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": name, "name": name, "description": description, "tags": []}],
    });
    if needs_key {
        card["securitySchemes"] = json!({"key": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}});
    }
    card
}

async fn answer(
    shared: AppState,
    caller: Caller,
    headers: &HeaderMap,
    agent: Option<&str>,
    body: &[u8],
) -> Response {
    let call: Call = match serde_json::from_slice(body) {
        Ok(call) => call,
        Err(error) => {
            return reply(
                Value::Null,
                Err(Fault(-32700, format!("The body can't be read: {error}"))),
            );
        }
    };
    let (Some("2.0"), Some(method)) = (call.jsonrpc.as_deref(), call.method.as_deref()) else {
        let words = "Send a JSON-RPC call: {\"jsonrpc\": \"2.0\", \"id\": …, \"method\": …}";
        return reply(call.id, Err(Fault(-32600, words.to_owned())));
    };
    let Some((words, action)) = A2aDialect::of_method(method) else {
        let message = format!(
            "Unknown method \"{method}\"; use message/send, message/stream, tasks/get or tasks/cancel"
        );
        return reply(call.id, Err(Fault(-32601, message)));
    };
    let owner = caller.name().to_owned();
    let result = match action {
        words::TaskMethod::Get => find(&shared, &owner, &call.params).map(|task| words.task(&task)),
        words::TaskMethod::Cancel => find(&shared, &owner, &call.params).and_then(|task| {
            let canceled = shared.tasks.cancel(&task.id);
            canceled.map(|task| words.task(&task)).ok_or_else(|| {
                Fault(
                    -32002,
                    format!("The task is already {}", words.state(task.state)),
                )
            })
        }),
        words::TaskMethod::Send | words::TaskMethod::Stream => {
            let traceparent = headers
                .get("traceparent")
                .and_then(|value| value.to_str().ok());
            let begun = begin(&shared, &caller, traceparent, agent, &call.params);
            match (begun, action) {
                (Err(fault), _) => Err(fault),
                (Ok((task, told)), words::TaskMethod::Stream) => {
                    return stream(call.id, words, &task, told);
                }
                (Ok((task, told)), _) => {
                    let waits = !words.wants_no_wait(&call.params);
                    let task = if waits {
                        wait(&shared, task, told).await
                    } else {
                        task
                    };
                    Ok(words.sent(&task))
                }
            }
        }
    };
    reply(call.id, result)
}

fn reply(id: Value, result: Result<Value, Fault>) -> Response {
    let body = match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Fault(code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    };
    Json(body).into_response()
}

/// Finds a task of the caller. Tasks of other callers are never returned.
fn find(shared: &AppState, owner: &str, params: &Value) -> Result<Task, Fault> {
    let id = params.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| Fault::params("`id` must name a task"))?;
    shared
        .tasks
        .get(id, owner)
        .ok_or_else(|| Fault::no_task(id))
}

/// Starts an agent on a message. Returns the task and a receiver of its updates.
fn begin(
    shared: &AppState,
    caller: &Caller,
    traceparent: Option<&str>,
    agent: Option<&str>,
    params: &Value,
) -> Result<(Task, mpsc::UnboundedReceiver<TaskUpdate>), Fault> {
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let agents = &snapshot.config.agents;
    let name = match agent {
        Some(name) => agents.contains_key(name).then_some(name),
        None => agents.keys().next().map(String::as_str),
    };
    let name = name.ok_or_else(|| Fault(-32004, "Unknown agent".to_owned()))?;
    if !caller.has_model(name) {
        return Err(Fault(
            -32004,
            format!("The API key may not use the agent \"{name}\""),
        ));
    }
    let message = params
        .get("message")
        .ok_or_else(|| Fault::params("`message` is missing"))?;
    let text = words::text_of(message).map_err(Fault::params)?;
    let id = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
    let (task, told, messages) = shared
        .tasks
        .begin(
            caller.name(),
            TaskMessage::user(id("messageId"), text),
            id("contextId"),
            id("taskId"),
        )
        .map_err(|id| Fault::no_task(&id))?;
    let gateway = GatewayClient::new(
        shared.http.clone(),
        snapshot.config.gateway.listen,
        &snapshot.wire.internal_token,
        caller.name(),
        "",
        traceparent,
    );
    let body = json!({"model": name, "messages": messages});
    let (tasks, task_id) = (Arc::clone(&shared.tasks), task.id.clone());
    let work = tokio::spawn(async move {
        let on_text = |text: &str| tasks.say(&task_id, text);
        let turned = gateway.turn(body, "", on_text).await;
        match turned {
            Ok(_) => tasks.end(&task_id, TaskState::Completed, None),
            Err(error) => tasks.end(&task_id, TaskState::Failed, Some(error.message)),
        }
    });
    shared.tasks.works_by(&task.id, work.abort_handle());
    Ok((task, told))
}

/// Waits for a task to end and returns it.
async fn wait(
    shared: &AppState,
    task: Task,
    mut told: mpsc::UnboundedReceiver<TaskUpdate>,
) -> Task {
    while told.recv().await.is_some() {}
    shared.tasks.get(&task.id, &task.owner).unwrap_or(task)
}

/// Streams the updates of a task.
fn stream(
    id: Value,
    words: A2aDialect,
    task: &Task,
    told: mpsc::UnboundedReceiver<TaskUpdate>,
) -> Response {
    let first = words.sent(task);
    let (task_id, context_id) = (task.id.clone(), task.context_id.clone());
    let events = UnboundedReceiverStream::new(told)
        .map(move |told| words.told(&task_id, &context_id, &told));
    let events = tokio_stream::iter([first])
        .chain(events)
        .map(move |result| {
            let body = json!({"jsonrpc": "2.0", "id": id, "result": result});
            Ok::<_, Infallible>(SseEvent::default().data(body.to_string()))
        });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}
