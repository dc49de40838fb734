//! Replies that Envoy generates, rewritten for the client's API.
//!
//! The listener may serve other routes as well, so Envoy's own local-reply format is left alone:
//! this stage rewrites only the replies to the gateway's requests.

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;

use crate::headers::{self, HeaderList};
use crate::host::Host;

/// A reply of Envoy's whose body is to be replaced.
pub struct EnvoysReply {
    body: Vec<u8>,
}

impl EnvoysReply {
    /// Replaces the headers of Envoy's reply with those of an error. `headers` are further headers
    /// for the client.
    pub fn replace(
        host: &impl Host,
        api: Api,
        error: &ApiError,
        mut headers: HeaderList<'_>,
        end_of_stream: bool,
    ) -> Self {
        let body = api.error_json(error, &[]);
        headers.set(":status", error.status.to_string());
        headers.set("content-type", "application/json");
        // Envoy can't add a body to a reply without one, such as to a HEAD request.
        let length = if end_of_stream { 0 } else { body.len() };
        headers.set("content-length", length.to_string());
        host.set_response_headers(&headers);
        Self { body }
    }

    /// Replaces the buffered part of the body.
    pub fn on_body(&mut self, host: &impl Host) {
        host.set_response_body(&std::mem::take(&mut self.body));
    }
}

/// Returns the error for a reply to a request that was not sent upstream.
pub fn error_of(host: &impl Host, status: u16, path: &str) -> ApiError {
    match status {
        404 => unknown_path(path),
        413 => ApiError::new(
            413,
            "the request's body is over the gateway's limit; send less, or raise `gateway.max_body_bytes`",
        )
        .with_code("request_too_large"),
        503 => ApiError::new(503, "the gateway can't serve the request now; try again")
            .with_code("unavailable"),
        504 => ApiError::new(504, "the gateway gave up waiting; try again").with_code("timeout"),
        _ => ApiError::new(
            status,
            format!("the gateway refused the request ({})", host.response_details()),
        )
        .with_code("refused"),
    }
}

/// Returns the error for a path that the gateway does not serve.
pub fn unknown_path(path: &str) -> ApiError {
    let message = format!(
        "Nothing is served at {path}; the gateway serves OpenAI's endpoints under /v1, providers' own APIs under /proxy/PROVIDER, and GET /health"
    );
    ApiError::new(404, message).with_code("unknown_url")
}

/// Returns the headers for an error that the gateway generates.
pub fn headers_of(error: &ApiError) -> HeaderList<'static> {
    let mut headers = headers::json();
    if error.status == 503 {
        headers.push("retry-after", "1");
    }
    headers
}
