//! The `agents` section: a model with a system prompt and tools, under its own name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

/// An agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Agent")]
pub struct AgentConfig {
    /// A text that helps clients choose an agent.
    pub description: String,
    /// The models that the agent runs on: `provider/model`, tried in order.
    pub candidates: Vec<Spanned<String>>,
    pub system_prompt: Option<String>,
    /// MCP servers, by the name that prefixes their tools.
    pub mcp_servers: BTreeMap<String, Spanned<McpServer>>,
    /// Patterns of the tools it may use, such as `files__read*`; empty means all.
    pub tools: Vec<String>,
    pub limits: AgentLimits,
}

/// Limits of one agent run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Model responses per run.
    pub max_turns: u32,
    /// In USD.
    pub max_cost: Option<f64>,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Timeout of a single tool call.
    #[serde(with = "humantime_serde")]
    pub tool_timeout: Duration,
}

/// An MCP server (Model Context Protocol): a command or a URL.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpServer {
    pub url: Option<Url>,
    pub transport: McpTransport,
    pub headers: BTreeMap<String, String>,
    /// Headers whose values come from environment variables.
    pub header_envs: BTreeMap<String, String>,
    /// A program with its arguments; MCP runs over its standard input and output.
    pub command: Vec<String>,
    /// The program's environment. It inherits only PATH and HOME from ours.
    pub env: BTreeMap<String, String>,
}

/// Leaves the headers out because they may hold keys.
impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpServer")
            .field("url", &self.url.as_ref().map(Url::as_str))
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// The MCP transport used with a URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpTransport {
    #[default]
    StreamableHttp,
    /// The transport before Streamable HTTP: a stream of server-sent events, and POSTed messages.
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
