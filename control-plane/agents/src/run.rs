//! The agent loop: alternates model turns and tool calls until the model calls no more tools.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use opentracy_translate::access::is_like;
use opentracy_translate::error::ApiError;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::mcp::{Server, ToolAnswer};
use crate::turn::{GatewayClient, RequestedCall, Turn};
use opentracy_config::agent_aliases::alias_of;

/// Separates server and tool in a function name.
const SEPARATOR: &str = "__";
/// Maximum length of a function name that every provider accepts.
const MAX_NAME: usize = 64;
/// Members of a client's request that aren't copied into the agent's own model calls.
const NOT_PASSED: [&str; 6] = [
    "model",
    "messages",
    "tools",
    "stream",
    "stream_options",
    "functions",
];

/// An event in an agent's run.
#[derive(Debug)]
pub enum RunEvent {
    /// A piece of the model's text.
    Text(String),
    ToolCalled {
        name: String,
    },
    ToolAnswered {
        name: String,
        is_error: bool,
    },
}

/// The result of a run.
#[derive(Debug)]
pub struct StoppedRun {
    pub text: String,
    /// Calls of the client's own tools, which the client must run.
    pub calls: Vec<RequestedCall>,
    pub finish_reason: String,
    pub used: Used,
}

/// Resource use of a run.
#[derive(Debug, Clone, Default)]
pub struct Used {
    pub turns: u32,
    pub tool_calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// USD. Calls of models without a known price don't count.
    pub cost: f64,
}

/// A client's request to an agent.
pub struct Run {
    pub agent: Arc<Agent>,
    pub gateway: GatewayClient,
    /// The client's request body.
    pub request: Map<String, Value>,
    pub events: mpsc::UnboundedSender<RunEvent>,
}

/// A tool of one of the agent's MCP servers.
struct Tool {
    server: Arc<Server>,
    name: String,
    definition: Value,
}

impl Run {
    /// Runs the agent to its end.
    ///
    /// The future is boxed so that it is compiled in this crate, MCP clients included, and not in
    /// each crate that awaits it.
    pub fn run(self) -> Pin<Box<dyn Future<Output = Result<StoppedRun, ApiError>> + Send>> {
        Box::pin(self.run_in_time())
    }

    async fn run_in_time(self) -> Result<StoppedRun, ApiError> {
        let limit = self.agent.config.limits.timeout;
        let worked = tokio::time::timeout(limit, self.work()).await;
        worked.unwrap_or_else(|_| {
            let message = format!("The agent did not finish within {} s", limit.as_secs());
            Err(ApiError::new(422, message).with_code("agent_timeout"))
        })
    }

    async fn work(self) -> Result<StoppedRun, ApiError> {
        let limits = &self.agent.config.limits;
        let tools = self.tools().await?;
        let mut messages = self.messages()?;
        let (mut used, mut model) = (Used::default(), String::new());
        let began = Instant::now();
        loop {
            if used.turns >= limits.max_turns {
                let message = format!(
                    "The agent did not finish within {} turns; raise `agents.{}.limits.max_turns`, or ask for less",
                    used.turns, self.agent.name
                );
                return Err(ApiError::new(422, message).with_code("agent_turn_limit"));
            }
            if limits.max_cost.is_some_and(|max| used.cost >= max) {
                let message = format!(
                    "The agent spent {:.6} USD without finishing; raise `agents.{}.limits.max_cost`, or ask for less",
                    used.cost, self.agent.name
                );
                return Err(ApiError::new(422, message).with_code("agent_cost_limit"));
            }
            let turn = self.turn(&messages, &tools, &model).await?;
            used.turns += 1;
            used.input_tokens += turn.input_tokens;
            used.output_tokens += turn.output_tokens;
            used.cost += turn.cost.unwrap_or_default();
            model.clone_from(&turn.model);
            let (own, clients): (Vec<RequestedCall>, Vec<RequestedCall>) = turn
                .calls
                .into_iter()
                .partition(|call| tools.contains_key(&call.name));
            if own.is_empty() {
                tracing::debug!(agent = self.agent.name, turns = used.turns, elapsed = ?began.elapsed(), "done");
                return Ok(StoppedRun {
                    text: turn.text,
                    finish_reason: if clients.is_empty() {
                        turn.finish_reason
                    } else {
                        "tool_calls".to_owned()
                    },
                    calls: clients,
                    used,
                });
            }
            // Drops the calls of the client's tools: the model makes them again once it has these
            // results.
            used.tool_calls += own.len() as u64;
            messages.push(asked(&turn.text, &own));
            messages.extend(self.call(&tools, own).await);
        }
    }

    async fn turn(
        &self,
        messages: &[Value],
        tools: &BTreeMap<String, Tool>,
        model: &str,
    ) -> Result<Turn, ApiError> {
        let mut body: Map<String, Value> = self
            .request
            .iter()
            .filter(|(name, _)| !NOT_PASSED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        body.insert("model".to_owned(), alias_of(&self.agent.name).into());
        body.insert("messages".to_owned(), messages.into());
        let of_client = self.request.get("tools").and_then(Value::as_array);
        let all: Vec<Value> = tools
            .values()
            .map(|tool| tool.definition.clone())
            .chain(of_client.into_iter().flatten().cloned())
            .collect();
        if !all.is_empty() {
            body.insert("tools".to_owned(), all.into());
        }
        let events = &self.events;
        let on_text = |text: &str| {
            // The client may have disconnected.
            let _ = events.send(RunEvent::Text(text.to_owned()));
        };
        self.gateway.turn(body.into(), model, on_text).await
    }

    /// Returns the system prompt followed by the client's messages.
    fn messages(&self) -> Result<Vec<Value>, ApiError> {
        let said = self.request.get("messages").and_then(Value::as_array);
        let said =
            said.ok_or_else(|| ApiError::invalid("messages", "`messages` must be a list"))?;
        let system = self.agent.config.system_prompt.as_ref();
        let system = system.map(|prompt| json!({"role": "system", "content": prompt}));
        Ok(system.into_iter().chain(said.iter().cloned()).collect())
    }

    /// Returns the tools of all servers, by function name. Skips servers that are down; fails only
    /// if all are.
    async fn tools(&self) -> Result<BTreeMap<String, Tool>, ApiError> {
        let mut connecting = JoinSet::new();
        for (name, server) in &self.agent.servers {
            let (name, server) = (name.clone(), Arc::clone(server));
            connecting.spawn(async move {
                let connected = server.connected().await;
                (name, server, connected)
            });
        }
        let (mut tools, mut failures) = (BTreeMap::new(), Vec::new());
        while let Some(joined) = connecting.join_next().await {
            let Ok((name, server, connected)) = joined else {
                continue;
            };
            let connected = match connected {
                Ok(connected) => connected,
                Err(error) => {
                    failures.push(format!("{name}: {error:#}"));
                    continue;
                }
            };
            for tool in &connected.tools {
                let full = format!("{name}{SEPARATOR}{}", tool.name);
                let allowed = &self.agent.config.tools;
                let is_allowed =
                    allowed.is_empty() || allowed.iter().any(|pattern| is_like(pattern, &full));
                if !is_allowed || full.len() > MAX_NAME {
                    continue;
                }
                let definition = json!({"type": "function", "function": {
                    "name": full,
                    "description": tool.description.as_deref().unwrap_or_default(),
                    "parameters": &*tool.input_schema,
                }});
                let tool = Tool {
                    server: Arc::clone(&server),
                    name: tool.name.to_string(),
                    definition,
                };
                tools.insert(full, tool);
            }
        }
        if !failures.is_empty() && failures.len() == self.agent.servers.len() {
            let message = format!(
                "No MCP server of the agent \"{}\" can be used: {}",
                self.agent.name,
                failures.join("; ")
            );
            return Err(ApiError::new(424, message).with_code("mcp_unavailable"));
        }
        Ok(tools)
    }

    /// Calls tools concurrently, and returns the results as messages in the order of the calls.
    async fn call(&self, tools: &BTreeMap<String, Tool>, calls: Vec<RequestedCall>) -> Vec<Value> {
        let timeout = self.agent.config.limits.tool_timeout;
        let mut calling = JoinSet::new();
        for (index, call) in calls.iter().enumerate() {
            let Some(tool) = tools.get(&call.name) else {
                continue;
            };
            let _ = self.events.send(RunEvent::ToolCalled {
                name: call.name.clone(),
            });
            let (server, name) = (Arc::clone(&tool.server), tool.name.clone());
            let arguments = call.arguments.clone();
            calling.spawn(async move {
                let text = if arguments.trim().is_empty() {
                    "{}"
                } else {
                    &arguments
                };
                let answer = match serde_json::from_str(text) {
                    Ok(arguments) => server.call(&name, arguments, timeout).await,
                    Err(error) => {
                        ToolAnswer::error(format!("The arguments are not a JSON object: {error}"))
                    }
                };
                (index, answer)
            });
        }
        let mut answers: BTreeMap<usize, ToolAnswer> = BTreeMap::new();
        while let Some(joined) = calling.join_next().await {
            let Ok((index, answer)) = joined else {
                continue;
            };
            if let Some(call) = calls.get(index) {
                let told = RunEvent::ToolAnswered {
                    name: call.name.clone(),
                    is_error: answer.is_error,
                };
                let _ = self.events.send(told);
            }
            answers.insert(index, answer);
        }
        let answered = calls.iter().enumerate().map(|(index, call)| {
            let answer = answers.remove(&index);
            let answer = answer.unwrap_or_else(|| ToolAnswer::error("The tool failed"));
            json!({"role": "tool", "tool_call_id": call.id, "content": answer.text})
        });
        answered.collect()
    }
}

/// Builds the assistant message that precedes the tools' results.
fn asked(text: &str, calls: &[RequestedCall]) -> Value {
    let content = if text.is_empty() {
        Value::Null
    } else {
        text.into()
    };
    json!({"role": "assistant", "content": content, "tool_calls": wire(calls)})
}

/// Converts calls to OpenAI's `tool_calls`.
pub fn wire(calls: &[RequestedCall]) -> Vec<Value> {
    let calls = calls.iter().map(|call| {
        json!({
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        })
    });
    calls.collect()
}
