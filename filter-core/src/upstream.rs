//! The request to a provider and its answer, for both stages: the gateway stage sends plans of one
//! attempt, the provider stage everything else.

use opentracy_translate::aws::sigv4;
use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::{Origin, Outgoing};
use opentracy_translate::format;
use opentracy_translate::internal_hosts::DIRECT_AUTHORITY;
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::openai::response::Summary;
use opentracy_translate::trace_context::TraceContext;
use opentracy_translate::wire_format::Format;

use crate::clock::Moment;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::provider_keys;
use crate::snapshot::Provider;

const JSON: &str = "application/json";
/// The maximum number of bytes of a provider's error that are buffered. Longer errors are cut.
pub const MAX_ERROR_BYTES: usize = 1 << 20;
/// The time between a stage's deadline and Envoy's own timeout, whose reply has less detail.
pub const TIMEOUT_MARGIN_MS: u32 = 500;
/// The gateway's `User-Agent` to providers.
pub const USER_AGENT: &str = concat!("opentracy/", env!("CARGO_PKG_VERSION"));

/// Returns the origin of an answer, for its translation.
pub fn origin<'a>(
    asked: &RequestContext<'a>,
    provider: &'a Provider,
    model: &'a str,
    started: Moment,
) -> Origin<'a> {
    Origin {
        api: asked.api,
        format: provider.format,
        is_native: provider.target(model, None).speaks(asked.api),
        provider: &provider.name,
        model,
        id: asked.id,
        created: started.unix_seconds(),
        request: asked.body,
        own_answers: provider.dialect.own_answers,
    }
}

/// The client's request.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    pub api: Api,
    /// The id of the call.
    pub id: &'a str,
    pub body: &'a [u8],
}

/// Options of a request to a provider.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The time in which an answer must begin.
    pub timeout_ms: u32,
    /// The parent of the provider's own spans.
    pub span: Option<u64>,
    /// Makes Envoy send the request again, once, if the connection fails before the first byte. A
    /// provider may close an idle connection just as a request goes out on it.
    pub retries_resets: bool,
    /// Makes Envoy hold the response: see [`Host::hold_response`].
    pub is_held: bool,
}

/// Turns the request that Envoy holds into one for a provider. `body` and `client` are the client's
/// body and headers. Returns the number of the provider's key that is used.
pub fn send(
    host: &impl Host,
    provider: &Provider,
    model: &str,
    outgoing: &Outgoing,
    body: &[u8],
    sending: &Sending,
    client: &HeaderList<'_>,
) -> usize {
    let key = provider_keys::choose(host, provider);
    let body = outgoing.body.as_deref().unwrap_or(body);
    let path = provider.path(model, &outgoing.path);
    let mut headers = request_headers(host, provider, key, &path, body, client, sending.span);
    headers.push(headers::CLUSTER, provider.envoy_cluster.as_str());
    // The stage's own deadline comes first, because Envoy treats its own timeout as a reset.
    let timeout_ms = sending.timeout_ms.saturating_add(TIMEOUT_MARGIN_MS);
    headers.push(headers::PER_TRY_TIMEOUT, timeout_ms.to_string());
    if sending.retries_resets {
        headers.push(headers::RETRY_ON, "reset");
        headers.push(headers::MAX_RETRIES, "1");
    }
    if sending.is_held {
        host.hold_response();
    }
    host.set_request_headers(&headers);
    if outgoing.body.is_some() {
        host.set_request_body(body);
    }
    host.clear_route_cache();
    key
}

/// Returns the headers that every request to a provider begins with.
pub fn begin_headers<'a>(provider: &'a Provider, method: &'a str, path: String) -> HeaderList<'a> {
    let mut list = HeaderList::with_capacity(24);
    list.push(":method", method);
    list.push(":scheme", provider.scheme.as_str());
    // The route rewrites it to the provider's. Only our virtual host matches this one.
    list.push(":authority", DIRECT_AUTHORITY);
    list.push(":path", path);
    list.push(headers::FORWARDED_PROTO, "http");
    list
}

/// Passes the client's trace context on. `span` becomes the parent of the provider's own spans.
pub fn add_trace_context<'a>(
    client: &'a HeaderList<'_>,
    span: Option<u64>,
    list: &mut HeaderList<'a>,
) {
    let context = client.get(headers::TRACEPARENT);
    let Some(context) = context.and_then(TraceContext::parse) else {
        return;
    };
    for name in headers::PASSED_UPSTREAM {
        if list.get(name).is_none() {
            list.copy(client, name);
        }
    }
    if let Some(span) = span {
        list.set(headers::TRACEPARENT, context.header(span));
    }
}

/// Builds the headers of a request to a provider from scratch. `client` supplies those that are
/// passed on.
fn request_headers<'a>(
    host: &impl Host,
    provider: &'a Provider,
    key: usize,
    path: &str,
    body: &[u8],
    client: &'a HeaderList<'_>,
    span: Option<u64>,
) -> HeaderList<'a> {
    let mut list = begin_headers(provider, "POST", path.to_owned());
    list.push("content-type", JSON);
    list.push("content-length", body.len().to_string());
    list.push("user-agent", USER_AGENT);
    for (name, value) in provider.headers_with(key) {
        list.push(name, value);
    }
    add_trace_context(client, span, &mut list);
    if provider.format == Format::ANTHROPIC
        && let Some(asked) = client.get(headers::ANTHROPIC_BETA)
    {
        let all = match list.get(headers::ANTHROPIC_BETA) {
            Some(configured) => format!("{configured},{asked}"),
            None => asked.to_owned(),
        };
        list.set(headers::ANTHROPIC_BETA, all);
    }
    if provider.is_agents() {
        list.copy(client, headers::SESSION_ID);
        list.copy(client, headers::ON_BEHALF_OF);
    }
    sign(host, provider, "POST", path, body, &mut list);
    list
}

/// Adds AWS's signature to a request if the provider needs one.
pub fn sign(
    host: &impl Host,
    provider: &Provider,
    method: &str,
    path: &str,
    body: &[u8],
    list: &mut HeaderList<'_>,
) {
    let Some((credentials, region)) = &provider.aws else {
        return;
    };
    let request = sigv4::Request {
        method,
        authority: &provider.authority,
        path,
        content_type: JSON,
        body,
    };
    let scope = sigv4::Scope {
        region,
        service: "bedrock",
    };
    let now = Moment::now(host).unix_seconds();
    for (name, value) in sigv4::sign(&request, credentials, scope, now) {
        list.push(name, value);
    }
}

/// Returns whether a header is part of a client's own signature.
pub fn is_signature(name: &str) -> bool {
    name.starts_with("x-amz-")
}

/// Translates a complete answer; `None` if the body needs no translation. Returns an error if the
/// provider failed, even with a success status.
pub fn read_answer(
    status: u16,
    body: &[u8],
    origin: &Origin<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    check_success(status, body, origin)?;
    format::translate_response(body, origin)
}

/// Summarizes a complete answer that needs no translation. Returns an error if the provider failed,
/// even with a success status.
pub fn read_native_answer(
    status: u16,
    body: &[u8],
    origin: &Origin<'_>,
) -> Result<Summary, ApiError> {
    check_success(status, body, origin)?;
    format::summarize_native(body, origin)
}

/// Returns the error of a provider that failed.
fn check_success(status: u16, body: &[u8], origin: &Origin<'_>) -> Result<(), ApiError> {
    let (format, provider) = (origin.format, origin.provider);
    if status >= 400 {
        return Err(format::translate_error(format, provider, status, body));
    }
    if format != Format::OPENAI {
        return Ok(());
    }
    openai_error::in_answer(provider, body).map_or(Ok(()), Err)
}
