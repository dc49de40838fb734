//! A request to a provider and its answer, as both stages handle them: the gateway stage for a plan of one attempt, the
//! provider stage for everything else.

use opentracy_translate::error::ApiError;
use opentracy_translate::format::{self, Outgoing, Target};
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::openai::response;
use opentracy_translate::provider::Format;

use crate::headers::{self, HeaderList};
use crate::host;
use crate::snapshot::{Provider, Snapshot};

/// What a model at a provider wants of a translation.
pub fn target<'a>(
    provider: &'a Provider,
    name: &'a str,
    snapshot: Option<&Snapshot>,
) -> Target<'a> {
    Target {
        format: provider.format,
        model: name,
        max_output_tokens: snapshot
            .and_then(|snapshot| snapshot.model(&provider.name, name).max_output_tokens),
        dialect: provider.dialect,
    }
}

/// Turns the request that Envoy holds into one for a provider. `body` is the client's, `client` its headers.
pub fn send(
    provider: &Provider,
    model: &str,
    outgoing: &Outgoing,
    body: &[u8],
    timeout_ms: u32,
    client: &HeaderList<'_>,
) {
    let length = outgoing.body.as_ref().map_or(body.len(), Vec::len);
    let path = provider.path(model, &outgoing.path);
    let mut headers = request_headers(provider, path, length, client);
    headers.push(headers::HOP, headers::HOP_DIRECT);
    headers.push(headers::CLUSTER, provider.envoy_cluster.as_str());
    headers.push(headers::PER_TRY_TIMEOUT, timeout_ms.to_string());
    host::set_request_headers(&headers);
    if let Some(body) = &outgoing.body {
        host::set_request_body(body);
    }
    host::clear_route_cache();
}

/// The headers of a request to a provider, made from scratch. `client` gives those that are passed on.
fn request_headers<'a>(
    provider: &'a Provider,
    path: String,
    body_length: usize,
    client: &'a HeaderList<'_>,
) -> HeaderList<'a> {
    let mut list = HeaderList::with_capacity(16);
    list.push(":method", "POST");
    list.push(":scheme", provider.scheme.as_str());
    list.push(":authority", provider.authority.as_str());
    list.push(":path", path);
    list.push(headers::FORWARDED_PROTO, "http");
    list.push("content-type", "application/json");
    list.push("content-length", body_length.to_string());
    list.push(
        "user-agent",
        concat!("opentracy/", env!("CARGO_PKG_VERSION")),
    );
    for (name, value) in &provider.headers {
        list.push(name.as_str(), value.as_str());
    }
    for name in headers::PASSED_UPSTREAM {
        list.copy(client, name);
    }
    list
}

/// Reads a whole answer. `None` when the body is right as it is; the error where the provider failed, whatever status
/// it gave its failure. `created` is in Unix seconds.
pub fn read_answer(
    format: Format,
    provider: &str,
    status: u16,
    body: &[u8],
    created: u64,
) -> Result<Option<Vec<u8>>, ApiError> {
    if status >= 400 {
        return Err(format::translate_error(format, provider, status, body));
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        let message = format!("{provider} answered with something else than a JSON object");
        return Err(ApiError::new(502, message).with_code("invalid_upstream_response"));
    }
    if format == Format::OpenAi
        && response::is_error(body)
        && let Some(error) = openai_error::from_event(provider, body)
    {
        return Err(error);
    }
    format::translate_response(format, body, created)
}
