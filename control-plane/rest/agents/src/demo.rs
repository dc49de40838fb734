//! The `demo` provider: answers without a model, so that a first request works without a key.
//!
//! `demo/echo` repeats the last user message, and so do `demo/small` and `demo/large`, which give
//! the router a choice. `demo/stream` sends its words slowly. The provider speaks OpenAI's format,
//! and the gateway calls it like any other.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::openai::envelope::Envelope;
use serde_json::{Value, json};
use tokio_stream::{StreamExt as _, iter};
use utoipa_axum::routes;

use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Everybody).routes(routes!(chat_completions))
}

const PAUSE: Duration = Duration::from_millis(40);
const ID: &str = "chatcmpl-demo";

/// Returns a chat completion without calling a model.
#[utoipa::path(
    post,
    path = "/demo/v1/chat/completions",
    request_body(content = Object, description = "A chat completion request for the model `echo` or `stream`"),
    responses((status = OK, description = "A chat completion, or a stream of chunks"))
)]
pub async fn chat_completions(body: Bytes) -> Result<Response, Error> {
    let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, &body)?;
    let said = envelope.last_user_text();
    let (words, pause) = match envelope.model.as_ref() {
        "echo" | "small" | "large" => {
            (format!("[demo, no model behind it] {said}"), Duration::ZERO)
        }
        "stream" => (
            "[demo, no model behind it] This answer comes a word at a time, as a model's would."
                .to_owned(),
            PAUSE,
        ),
        other => {
            let message = format!(
                "The demo provider has no model \"{other}\"; use echo, stream, small or large"
            );
            return Err(ApiError::new(404, message)
                .with_code("model_not_found")
                .into());
        }
    };
    let count = |text: &str| text.split_whitespace().count();
    let usage = json!({
        "prompt_tokens": count(&said),
        "completion_tokens": count(&words),
        "total_tokens": count(&said) + count(&words),
    });
    let created = jiff::Timestamp::now().as_second();
    let model = envelope.model.as_ref();
    if !envelope.stream {
        let answer = json!({
            "id": ID, "object": "chat.completion", "created": created, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}],
            "usage": usage,
        });
        return Ok((
            [(header::CONTENT_TYPE, "application/json")],
            answer.to_string(),
        )
            .into_response());
    }
    let chunk = |delta: Value, finish_reason: Value| {
        json!({
            "id": ID, "object": "chat.completion.chunk", "created": created, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
        .to_string()
    };
    let mut events = vec![chunk(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    events.extend(
        words
            .split_inclusive(' ')
            .map(|word| chunk(json!({"content": word}), Value::Null)),
    );
    events.push(chunk(json!({}), json!("stop")));
    if envelope.include_usage {
        events.push(
            json!({
                "id": ID, "object": "chat.completion.chunk", "created": created, "model": model,
                "choices": [], "usage": usage,
            })
            .to_string(),
        );
    }
    events.push("[DONE]".to_owned());
    let stream = iter(events).then(move |data| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Event::default().data(data))
    });
    Ok(Sse::new(stream).into_response())
}
