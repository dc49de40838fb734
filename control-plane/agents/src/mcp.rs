//! A client of one MCP (Model Context Protocol) server.

use std::collections::HashMap;
use std::process::Stdio;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{CallToolRequestParams, ContentBlock, Tool};
use rmcp::service::RunningService;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{RoleClient, ServiceExt as _};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::sse_transport;
use opentracy_base::http::{ClientKind, client_builder};
use opentracy_config::{McpServer, McpTransport};

/// Time limit for connecting to a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Backoff after a failed connection.
const REST: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a tool's result that are passed to the model.
const MAX_ANSWER: usize = 64 << 10;

type Connection = RunningService<RoleClient, ()>;

pub struct Server {
    name: String,
    config: McpServer,
    connection: tokio::sync::Mutex<Option<Arc<McpConnection>>>,
    state: Mutex<State>,
}

/// A live connection and the tools that its server lists.
pub struct McpConnection {
    service: Connection,
    pub tools: Vec<Tool>,
}

#[derive(Default)]
struct State {
    health: McpHealth,
    failed_at: Option<Instant>,
}

/// The health of an MCP server, with its counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpHealth {
    /// `true` while a connection to the server is open.
    pub connected: bool,
    pub tools: usize,
    pub calls: u64,
    pub failures: u64,
    /// The last error; `null` if none occurred since the server was connected.
    pub error: Option<String>,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    pub text: String,
    pub is_error: bool,
}

impl ToolAnswer {
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: true,
        }
    }
}

impl Server {
    pub fn new(name: &str, config: &McpServer) -> Self {
        Self {
            name: name.to_owned(),
            config: config.clone(),
            connection: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub fn health(&self) -> McpHealth {
        self.state().health.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the open connection, or reconnects. Fails at once during the backoff after a
    /// failure.
    pub async fn connected(&self) -> anyhow::Result<Arc<McpConnection>> {
        let mut connection = self.connection.lock().await;
        if let Some(connected) = connection.as_ref().filter(|connected| connected.is_up()) {
            return Ok(Arc::clone(connected));
        }
        *connection = None;
        let rests = self.state().failed_at.is_some_and(|at| at.elapsed() < REST);
        if rests {
            let error = self.state().health.error.clone().unwrap_or_default();
            anyhow::bail!("{error} (the next attempt is in a moment)");
        }
        let made = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let made = made
            .map_err(|_| {
                anyhow::anyhow!(
                    "the server did not connect within {} s",
                    CONNECT_TIMEOUT.as_secs()
                )
            })
            .flatten();
        match made {
            Ok(connected) => {
                let connected = Arc::new(connected);
                *connection = Some(Arc::clone(&connected));
                let mut state = self.state();
                state.failed_at = None;
                state.health.connected = true;
                state.health.error = None;
                state.health.tools = connected.tools.len();
                Ok(connected)
            }
            Err(error) => {
                let message = format!("{error:#}");
                tracing::warn!(server = self.name, "an MCP server can't be used: {message}");
                let mut state = self.state();
                state.failed_at = Some(Instant::now());
                state.health.connected = false;
                state.health.error = Some(message);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<McpConnection> {
        let service = match (&self.config.url, self.config.transport) {
            (None, _) => ().serve(self.spawn()?).await?,
            (Some(url), McpTransport::StreamableHttp) => {
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                    .custom_headers(self.headers()?);
                let client = client_builder(ClientKind::Streams).build()?;
                ().serve(StreamableHttpClientTransport::with_client(client, config))
                    .await?
            }
            (Some(url), McpTransport::Sse) => {
                let transport = sse_transport::connect(url.clone(), self.headers()?).await?;
                ().serve(transport).await?
            }
        };
        let tools = service
            .list_all_tools()
            .await
            .context("the server's tools can't be listed")?;
        Ok(McpConnection { service, tools })
    }

    fn spawn(&self) -> anyhow::Result<TokioChildProcess> {
        let (program, arguments) = self
            .config
            .command
            .split_first()
            .context("the server has no command")?;
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).env_clear();
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(&self.config.env).kill_on_drop(true);
        let (process, _) = TokioChildProcess::builder(command)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("`{program}` can't be started"))?;
        Ok(process)
    }

    fn headers(&self) -> anyhow::Result<HashMap<HeaderName, HeaderValue>> {
        let mut headers = HashMap::new();
        let mut add = |name: &str, value: &str| -> anyhow::Result<()> {
            let mut value = HeaderValue::from_str(value)
                .with_context(|| format!("the header {name} has an invalid value"))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_str(name)?, value);
            Ok(())
        };
        for (name, value) in &self.config.headers {
            add(name, value)?;
        }
        for (name, variable) in &self.config.header_envs {
            let value = std::env::var(variable)
                .with_context(|| format!("`header_envs` names {variable}, which is not set"))?;
            add(name, value.trim())?;
        }
        Ok(headers)
    }

    /// Calls a tool. An error becomes the result, because the model may be able to recover from it.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        timeout: Duration,
    ) -> ToolAnswer {
        let called = async {
            let connected = self.connected().await?;
            let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
            anyhow::Ok(connected.service.call_tool(params).await?)
        };
        let result = tokio::time::timeout(timeout, called).await;
        let answer = match result {
            Ok(Ok(result)) => ToolAnswer {
                text: text_of(&result.content, result.structured_content.as_ref()),
                is_error: result.is_error.unwrap_or(false),
            },
            Ok(Err(error)) => ToolAnswer::error(format!("The tool failed: {error:#}")),
            Err(_) => ToolAnswer::error(format!("The tool did not answer within {timeout:?}")),
        };
        let mut state = self.state();
        state.health.calls += 1;
        if answer.is_error {
            state.health.failures += 1;
            state.health.error = Some(answer.text.chars().take(200).collect());
        }
        answer
    }
}

impl McpConnection {
    fn is_up(&self) -> bool {
        !self.service.is_transport_closed()
    }
}

/// Renders a tool's result as text, which a model of any provider can read.
fn text_of(content: &[ContentBlock], structured: Option<&Value>) -> String {
    let parts = content.iter().map(|block| match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[an image of type {}]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[an audio recording of type {}]", audio.mime_type),
        other => serde_json::to_string(other).unwrap_or_default(),
    });
    let mut text = parts.collect::<Vec<_>>().join("\n");
    if text.is_empty()
        && let Some(structured) = structured
    {
        text = structured.to_string();
    }
    if text.len() > MAX_ANSWER {
        let end = text.floor_char_boundary(MAX_ANSWER);
        text.truncate(end);
        text.push_str("\n[the rest is omitted]");
    }
    text
}
