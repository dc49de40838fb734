//! `agents`: a model with a system prompt and tools, behind a name of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

/// An agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// For those who look for an agent.
    pub description: String,
    /// The models that think for it: `provider/model`, tried in order.
    pub candidates: Vec<Spanned<String>>,
    pub system_prompt: Option<String>,
    /// By the name that their tools begin with.
    pub mcp_servers: BTreeMap<String, Spanned<McpServer>>,
    /// Patterns of the tools it may use, such as `files__read*`; every one where it is empty.
    pub tools: Vec<String>,
    pub limits: AgentLimits,
}

/// How long an agent may go on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Answers of the model.
    pub max_turns: u32,
    /// USD.
    pub max_cost: Option<f64>,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Of one call of a tool.
    #[serde(with = "humantime_serde")]
    pub tool_timeout: Duration,
}

/// A server of the Model Context Protocol: a command, or an address.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpServer {
    pub url: Option<Url>,
    pub transport: McpTransport,
    pub headers: BTreeMap<String, String>,
    /// Headers whose values are in environment variables.
    pub header_envs: BTreeMap<String, String>,
    /// A program and its arguments, spoken to by its standard input and output.
    pub command: Vec<String>,
    /// The environment of the program; nothing else of ours is in it but PATH and HOME.
    pub env: BTreeMap<String, String>,
}

/// Headers may hold keys.
impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpServer")
            .field("url", &self.url.as_ref().map(Url::as_str))
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// How an address is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpTransport {
    #[default]
    StreamableHttp,
    /// The one before it: a stream of events, and messages that are posted.
    Sse,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            max_turns: 10,
            max_cost: None,
            timeout: Duration::from_secs(300),
            tool_timeout: Duration::from_secs(30),
        }
    }
}
