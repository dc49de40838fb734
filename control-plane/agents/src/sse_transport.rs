//! The older HTTP transport of the Model Context Protocol, before streamable HTTP: the server names
//! the endpoint for messages in an event stream, and answers on that stream.
//!
//! Source: Model Context Protocol, version 2024-11-05, "HTTP with SSE".

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use opentracy_translate::sse;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use url::Url;

use opentracy_base::http::{ClientKind, client_builder, ensure_success};

/// Time limit for one POST, response included.
const POST_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of the server's messages in the buffer.
const WAITING: usize = 64;
/// The event that carries the endpoint. Matched on the raw line, because the parser drops event
/// names.
const ENDPOINT: &[u8] = b"event: endpoint";

pub struct SseTransport {
    client: reqwest::Client,
    endpoint: Url,
    messages: mpsc::Receiver<RxJsonRpcMessage<RoleClient>>,
}

#[derive(Debug, thiserror::Error)]
pub enum SseError {
    #[error("a message can't be posted: {0}")]
    Http(#[from] reqwest::Error),
    #[error("a message can't be posted: {0}")]
    Refused(anyhow::Error),
}

/// Opens the event stream and waits for the endpoint.
pub async fn connect(
    url: Url,
    headers: HashMap<HeaderName, HeaderValue>,
) -> anyhow::Result<SseTransport> {
    let headers: HeaderMap = headers.into_iter().collect();
    let client = client_builder(ClientKind::Streams)
        .default_headers(headers)
        .build()?;
    let request = client
        .get(url.clone())
        .header("accept", "text/event-stream");
    let mut stream = ensure_success(request.send().await?)?;
    let mut parser = sse::Parser::default();
    let (sender, messages) = mpsc::channel(WAITING);
    let endpoint = loop {
        let chunk = stream
            .chunk()
            .await?
            .context("the event stream ended before the endpoint event")?;
        let found = read(&mut parser, &chunk)?;
        let endpoint = found.into_iter().find_map(|event| match event {
            Event::Endpoint(text) => Some(text),
            Event::Message(_) => None,
        });
        if let Some(endpoint) = endpoint {
            break url
                .join(&endpoint)
                .context("the server's endpoint is not a valid URL")?;
        }
    };
    // Prevents a server from redirecting messages to another host.
    ensure!(
        endpoint.origin() == url.origin(),
        "the server's endpoint {endpoint} is on another host"
    );
    tokio::spawn(async move {
        while let Ok(Some(chunk)) = stream.chunk().await {
            let Ok(events) = read(&mut parser, &chunk) else {
                return;
            };
            for event in events {
                if let Event::Message(message) = event
                    && sender.send(*message).await.is_err()
                {
                    return;
                }
            }
        }
    });
    Ok(SseTransport {
        client,
        endpoint,
        messages,
    })
}

enum Event {
    Endpoint(String),
    Message(Box<RxJsonRpcMessage<RoleClient>>),
}

fn read(parser: &mut sse::Parser, bytes: &[u8]) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let pushed = parser.push(bytes, |event| {
        let Some(data) = event.data() else { return };
        let is_endpoint = event
            .raw
            .split(|&byte| byte == b'\n')
            .any(|line| line.trim_ascii() == ENDPOINT);
        if is_endpoint {
            let text = String::from_utf8_lossy(&data).into_owned();
            events.push(Event::Endpoint(text));
        } else if let Ok(message) = serde_json::from_slice(&data) {
            events.push(Event::Message(Box::new(message)));
        }
    });
    pushed.map_err(|_| anyhow::anyhow!("an event is too long"))?;
    Ok(events)
}

impl Transport<RoleClient> for SseTransport {
    type Error = SseError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), SseError>> + Send + 'static {
        let request = self
            .client
            .post(self.endpoint.clone())
            .timeout(POST_TIMEOUT)
            .json(&message);
        async move {
            ensure_success(request.send().await?).map_err(SseError::Refused)?;
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> Result<(), SseError> {
        self.messages.close();
        Ok(())
    }
}
