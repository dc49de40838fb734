//! The provider's request for a passthrough call.

use opentracy_translate::trace_context::span_id;

use crate::gateway::passthrough::record::PassthroughRecord;
use crate::gateway::passthrough::target::PassthroughTarget;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::{provider_keys, upstream};

/// The client's headers that are passed to every provider, if not all of them are.
const PASSED: [&str; 4] = ["content-type", "accept", "accept-language", "openai-beta"];
/// The failures that Envoy retries if the whole body is buffered.
const RETRY_ON: &str = "5xx,reset,connect-failure,refused-stream,retriable-status-codes";

/// Turns the request that Envoy holds into one for a provider.
pub fn send(
    host: &impl Host,
    target: &PassthroughTarget,
    request: &HeaderList<'_>,
    has_body: bool,
    record: &PassthroughRecord,
) {
    let provider = &target.provider;
    let key = provider_keys::choose(host, provider);
    let method = request.get(":method").unwrap_or("GET");
    let mut onward = upstream::begin_headers(provider, method, target.path.clone());
    if target.is_proxied {
        for name in request.names().filter(|name| is_clients_own(name)) {
            onward.copy(request, name);
        }
    } else {
        for name in PASSED {
            onward.copy(request, name);
        }
        onward.push("user-agent", upstream::USER_AGENT);
    }
    for (name, value) in provider.headers_with(key) {
        // The client's headers take precedence, except for keys, which are never passed.
        if onward.get(name).is_none() {
            onward.push(name, value);
        }
    }
    let held = target.body.as_deref();
    let given = request
        .get("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    let length = match held {
        // Only the beginning of a form is replaced; the rest keeps its length.
        Some(body) => {
            given.map(|given| given + body.len() - record.held_bytes.min(given + body.len()))
        }
        None => given,
    };
    if let Some(length) = length {
        onward.push("content-length", length.to_string());
    }
    if provider.aws.is_some() {
        let body = match held {
            Some(body) => body.to_vec(),
            None if has_body => host.request_body(0),
            None => Vec::new(),
        };
        upstream::sign(host, provider, method, &target.path, &body, &mut onward);
    }
    let span = Some(span_id(&record.trace.id, 1));
    upstream::add_trace_context(request, span, &mut onward);
    onward.push(headers::CLUSTER, provider.envoy_cluster.as_str());
    onward.push(headers::PER_TRY_TIMEOUT, provider.timeout_ms.to_string());
    if target.retries > 0 {
        onward.push(headers::RETRY_ON, RETRY_ON);
        onward.push(headers::RETRIABLE_STATUS_CODES, "408,429");
        onward.push(headers::MAX_RETRIES, target.retries.to_string());
    }
    host.set_request_headers(&onward);
    if let Some(body) = held {
        host.replace_request_body(record.held_bytes, body);
    }
    host.clear_route_cache();
}

/// Returns whether a client's header is passed to a provider's own API. Keys, and headers about the
/// client's connection, are not.
fn is_clients_own(name: &str) -> bool {
    const KEPT_BACK: [&str; 20] = [
        // A compressed answer can't be searched for keys.
        "accept-encoding",
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "host",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "forwarded",
        "via",
        // Access was granted for the request's own method.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    ];
    !name.starts_with(':')
        && !headers::is_internal(name)
        && !name.starts_with("x-forwarded-")
        && !matches!(
            name,
            "x-real-ip" | "x-request-id" | "expect" | "content-length"
        )
        && !upstream::is_signature(name)
        && !KEPT_BACK.contains(&name)
}
