//! Replies that Envoy makes itself, told in the client's API.
//!
//! The listener may belong to others as well, so its own wording of replies is left alone: this stage rewords those to the
//! gateway's requests and sees no others.

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;

use crate::gateway::json_headers;
use crate::headers::HeaderList;
use crate::host;

/// A reply of Envoy's whose body is to be replaced.
pub struct EnvoysReply {
    body: Vec<u8>,
}

impl EnvoysReply {
    /// Puts an error in the place of the reply whose headers are there. `headers` are more headers for the client.
    pub fn replace(
        api: Api,
        error: &ApiError,
        mut headers: HeaderList<'_>,
        end_of_stream: bool,
    ) -> Self {
        let body = api.error_json(error, &[]);
        headers.set(":status", error.status.to_string());
        headers.set("content-type", "application/json");
        // A reply without a body, as to a HEAD request, can't be given one.
        let length = if end_of_stream { 0 } else { body.len() };
        headers.set("content-length", length.to_string());
        host::set_response_headers(&headers);
        Self { body }
    }

    /// Replaces what has come of the body.
    pub fn on_body(&mut self) {
        host::set_response_body(&std::mem::take(&mut self.body));
    }
}

/// Returns the error for a reply to a request that was not sent anywhere.
pub fn error_of(status: u16, path: &str) -> ApiError {
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
            format!("the gateway refused the request ({})", host::response_details()),
        )
        .with_code("refused"),
    }
}

/// Returns the error for a path that the gateway does not serve.
pub fn unknown_path(path: &str) -> ApiError {
    let message = format!(
        "There is nothing at {path}; the gateway serves OpenAI's endpoints below /v1, providers' own below /proxy/PROVIDER, and GET /health"
    );
    ApiError::new(404, message).with_code("unknown_url")
}

/// Returns the headers for an error that the gateway words itself.
pub fn headers_of(error: &ApiError) -> HeaderList<'static> {
    let mut headers = json_headers();
    if error.status == 503 {
        headers.push("retry-after", "1");
    }
    headers
}
