//! One turn of the model: a streamed call through the gateway.

use std::collections::BTreeMap;

use opentracy_translate::access;
use opentracy_translate::error::ApiError;
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::sse;
use serde::Deserialize;
use serde_json::{Value, json};

/// The gateway, as the control plane calls it.
#[derive(Clone)]
pub struct GatewayClient {
    client: reqwest::Client,
    /// Base URL, without a trailing slash.
    origin: String,
    token: String,
    /// The API key of the client that the agent runs for.
    on_behalf_of: String,
    /// The session id that all turns share.
    session: String,
    traceparent: Option<String>,
}

/// One answer of the model.
#[derive(Debug, Default)]
pub struct Turn {
    pub text: String,
    pub calls: Vec<RequestedCall>,
    pub finish_reason: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// USD.
    pub cost: Option<f64>,
    /// The model that answered, so that the next turn can prefer it.
    pub model: String,
}

/// A tool call that the model requests.
#[derive(Debug, Clone, Default)]
pub struct RequestedCall {
    pub id: String,
    pub name: String,
    /// JSON.
    pub arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    #[serde(rename = "_cost")]
    cost: Option<f64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    tool_calls: Vec<CallPart>,
}

#[derive(Deserialize)]
struct CallPart {
    #[serde(default)]
    index: usize,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Deserialize)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl GatewayClient {
    pub fn new(
        client: reqwest::Client,
        listen: std::net::SocketAddr,
        token: &str,
        on_behalf_of: &str,
        session: &str,
        traceparent: Option<&str>,
    ) -> Self {
        let mut address = listen;
        if listen.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        Self {
            client,
            origin: format!("http://{address}"),
            token: token.to_owned(),
            on_behalf_of: on_behalf_of.to_owned(),
            session: session.to_owned(),
            traceparent: traceparent.map(str::to_owned),
        }
    }

    /// Builds a request to the gateway, on behalf of the client.
    fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/chat/completions", self.origin);
        let mut request = self.client.post(url).bearer_auth(&self.token).json(body);
        request = request.header(access::ON_BEHALF_OF_HEADER, &self.on_behalf_of);
        if !self.session.is_empty() {
            request = request.header("x-opentracy-session-id", &self.session);
        }
        if let Some(traceparent) = &self.traceparent {
            request = request.header("traceparent", traceparent);
        }
        request
    }

    /// Sends one turn and returns the answer. Passes text to `on_text` as it arrives.
    pub async fn turn(
        &self,
        mut body: Value,
        prefer: &str,
        mut on_text: impl FnMut(&str),
    ) -> Result<Turn, ApiError> {
        if let Value::Object(members) = &mut body {
            members.insert("stream".to_owned(), true.into());
            let options = json!({"include_usage": true});
            members.insert("stream_options".to_owned(), options);
        }
        let mut request = self.request(&body);
        if !prefer.is_empty() {
            request = request.header("x-opentracy-prefer", prefer);
        }
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let header = answer.headers().get("x-opentracy-selected-model");
        let model = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut reader = Reader {
            turn: Turn {
                model: model.to_owned(),
                ..Turn::default()
            },
            ..Reader::default()
        };
        if status >= 400 {
            let retry_after = answer.headers().get("retry-after");
            let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let body = answer.bytes().await.unwrap_or_default();
            let details = openai_error::read(&body);
            return Err(ApiError {
                code: details.code.map(Into::into),
                param: details.param,
                retry_after,
                ..ApiError::new(status, details.message)
            });
        }
        let mut parser = sse::Parser::default();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            let pushed = parser.push(&chunk, |event| {
                if let Some(data) = event.data() {
                    reader.read(&data, &mut on_text);
                }
            });
            if pushed.is_err() {
                break;
            }
        }
        reader.finish()
    }
}

fn unreachable(error: reqwest::Error) -> ApiError {
    tracing::warn!("the agent can't reach the gateway: {error}");
    ApiError::new(502, "The agent can't reach the gateway").with_code("upstream_unavailable")
}

#[derive(Default)]
struct Reader {
    turn: Turn,
    calls: BTreeMap<usize, RequestedCall>,
    error: Option<String>,
}

impl Reader {
    fn read(&mut self, data: &[u8], on_text: &mut impl FnMut(&str)) {
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else {
            return;
        };
        if let Some(error) = chunk.error {
            let message = error.get("message").and_then(Value::as_str);
            self.error = Some(
                message
                    .unwrap_or("the model's stream ended early")
                    .to_owned(),
            );
        }
        if let Some(usage) = chunk.usage {
            self.turn.input_tokens = usage.prompt_tokens;
            self.turn.output_tokens = usage.completion_tokens;
        }
        self.turn.cost = chunk.cost.or(self.turn.cost);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return;
        };
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            on_text(&text);
            self.turn.text.push_str(&text);
        }
        for part in choice.delta.tool_calls {
            let call = self.calls.entry(part.index).or_default();
            if let Some(id) = part.id {
                call.id = id;
            }
            if let Some(function) = part.function {
                call.name
                    .push_str(function.name.as_deref().unwrap_or_default());
                call.arguments
                    .push_str(function.arguments.as_deref().unwrap_or_default());
            }
        }
        if let Some(reason) = choice.finish_reason {
            self.turn.finish_reason = reason;
        }
    }

    fn finish(mut self) -> Result<Turn, ApiError> {
        if let Some(error) = self.error {
            return Err(ApiError::new(502, error).with_code("upstream_error"));
        }
        self.turn.calls = self.calls.into_values().collect();
        Ok(self.turn)
    }
}
