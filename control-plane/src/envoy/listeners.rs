//! The two listeners: the edge for applications, the internal one for attempts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Gateway, Jwt};
use crate::envoy::clusters::{INTERNAL, JWKS, MANAGEMENT};
use crate::envoy::{replies, socket};
use crate::snapshot::JWT_PAYLOAD;

/// The authority of a request on its way to the internal listener. It has a virtual host of its own, where Envoy counts
/// the attempts: a provider must not see that count.
const INTERNAL_AUTHORITY: &str = "opentracy-internal";

/// What the stages tell each other and Envoy; no provider sees it.
const INTERNAL_HEADERS: [&str; 4] = [
    "x-opentracy-hop",
    "x-opentracy-plan",
    "x-opentracy-cluster",
    "x-forwarded-proto",
];

/// The listener for applications, with the gateway stage.
pub fn edge(
    gateway: &Gateway,
    jwt: Option<&Jwt>,
    filter: &Path,
    longest_timeout: Duration,
) -> Value {
    let to_management = |matches: Value| json!({"match": matches, "route": {"cluster": MANAGEMENT, "timeout": "10s"}});
    let virtual_hosts = json!([
        {
            "name": "internal",
            "domains": [INTERNAL_AUTHORITY],
            "include_request_attempt_count": true,
            "request_body_buffer_limit": gateway.max_body_bytes,
            "routes": [{
                "match": on_hop("internal"),
                "route": {
                    "cluster": INTERNAL,
                    "timeout": "0s",
                    "retry_policy": {
                        "retry_on": "reset,connect-failure,refused-stream,retriable-headers",
                        "retriable_headers": [{"name": "x-opentracy-retry", "present_match": true}],
                        "num_retries": 1,
                        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
                    },
                },
            }],
        },
        {
            "name": "gateway",
            "domains": ["*"],
            "request_body_buffer_limit": gateway.max_body_bytes,
            "routes": [
                {
                    "match": on_hop("direct"),
                    "route": {"cluster_header": "x-opentracy-cluster", "timeout": "0s"},
                    "request_headers_to_remove": INTERNAL_HEADERS,
                },
                to_management(json!({"path": "/health"})),
                to_management(json!({"path": "/healthz"})),
                to_management(json!({"path": "/statsz"})),
                to_management(json!({"path": "/metrics"})),
                to_management(json!({"path": "/v1/models"})),
                to_management(json!({"prefix": "/v1/models/"})),
                to_management(json!({"path": "/.well-known/agent-card.json"})),
                // What an agent does takes its time, and is told as it happens.
                {
                    "match": {"path_separated_prefix": "/v1/a2a"},
                    "route": {"cluster": MANAGEMENT, "timeout": "0s"},
                },
                // The limit of a body goes by the route that the request matches before it is planned.
                {
                    "match": {"prefix": "/v1/"},
                    "route": {"cluster": INTERNAL, "timeout": "0s"},
                },
                {
                    "match": {"prefix": "/proxy/"},
                    "route": {"cluster": INTERNAL, "timeout": "0s"},
                },
            ],
        },
    ]);
    let mut manager = connection_manager("opentracy_edge", virtual_hosts, longest_timeout);
    if let Some(members) = manager.as_object_mut() {
        members.insert("use_remote_address".to_owned(), json!(true));
        members.insert("normalize_path".to_owned(), json!(true));
        members.insert("merge_slashes".to_owned(), json!(true));
        members.insert("request_headers_timeout".to_owned(), json!("30s"));
        members.insert(
            "local_reply_config".to_owned(),
            replies::edge(gateway.max_body_bytes),
        );
        let filters: Vec<Value> = jwt
            .map(jwt_authn)
            .into_iter()
            .chain([stage("gateway", filter), router()])
            .collect();
        members.insert("http_filters".to_owned(), filters.into());
    }
    json!({
        "name": "opentracy_edge",
        "address": socket(gateway.listen),
        "per_connection_buffer_limit_bytes": connection_buffer(gateway),
        "filter_chains": [{"filters": [manager_filter(manager)]}],
    })
}

/// The listener where each attempt of a plan comes in.
pub fn internal(gateway: &Gateway, filter: &Path, longest_timeout: Duration) -> Value {
    let not_for_providers = [INTERNAL_HEADERS.as_slice(), &["x-envoy-attempt-count"]].concat();
    let virtual_hosts = json!([{
        "name": "attempts",
        "domains": ["*"],
        "request_body_buffer_limit": gateway.max_body_bytes,
        "request_headers_to_remove": not_for_providers,
        "routes": [{
            "match": {"prefix": "/"},
            "route": {"cluster_header": "x-opentracy-cluster", "timeout": "0s"},
        }],
    }]);
    let mut manager = connection_manager("opentracy_internal", virtual_hosts, longest_timeout);
    if let Some(members) = manager.as_object_mut() {
        members.insert("generate_request_id".to_owned(), json!(false));
        members.insert("local_reply_config".to_owned(), replies::internal());
        members.insert(
            "http_filters".to_owned(),
            json!([stage("provider", filter), router()]),
        );
    }
    json!({
        "name": INTERNAL,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": connection_buffer(gateway),
        "filter_chains": [{"filters": [manager_filter(manager)]}],
    })
}

/// What one connection may hold. Envoy takes the larger of this and a route's limit for a body.
fn connection_buffer(gateway: &Gateway) -> u32 {
    gateway.max_body_bytes.min(1 << 20)
}

fn on_hop(hop: &str) -> Value {
    json!({
        "prefix": "/",
        "headers": [{"name": "x-opentracy-hop", "string_match": {"exact": hop}}],
    })
}

fn connection_manager(prefix: &str, virtual_hosts: Value, longest_timeout: Duration) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        // Longer than any attempt may take: the attempt's own time-out has better words.
        "stream_idle_timeout": format!("{}s", longest_timeout.as_secs() + 60),
        "route_config": {"virtual_hosts": virtual_hosts},
    })
}

fn manager_filter(manager: Value) -> Value {
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    })
}

/// Envoy's own check of JSON Web Tokens. A request without a good one goes on: it may have an API key.
fn jwt_authn(jwt: &Jwt) -> Value {
    let mut provider = json!({
        "issuer": jwt.issuer,
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": true,
        // Envoy takes away what a client sends there.
        "forward_payload_header": JWT_PAYLOAD,
    });
    if let Some(members) = provider.as_object_mut() {
        if !jwt.audiences.is_empty() {
            members.insert("audiences".to_owned(), json!(jwt.audiences));
        }
        match (&jwt.jwks_file, &jwt.jwks_url) {
            (Some(file), _) => {
                let file = json!({"filename": file.display().to_string()});
                members.insert("local_jwks".to_owned(), file);
            }
            (None, url) => {
                let keys = json!({
                    "http_uri": {
                        "uri": url.as_ref().map(ToString::to_string),
                        "cluster": JWKS,
                        "timeout": "5s",
                    },
                    "cache_duration": "300s",
                });
                members.insert("remote_jwks".to_owned(), keys);
            }
        }
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"issuer": provider},
            "rules": [{
                "match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [
                    {"provider_name": "issuer"},
                    {"allow_missing_or_failed": {}},
                ]}},
            }],
        },
    })
}

/// A stage of the filter, in a VM that it shares with nothing else: a trap fails every stream in its VM, so one in an
/// attempt must not reach the request that the attempt is for.
fn stage(stage: &str, filter: &Path) -> Value {
    let name = format!("opentracy_{stage}");
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": name,
                "allow_on_headers_stop_iteration": true,
                "failure_policy": "FAIL_RELOAD",
                "reload_config": {"backoff": {"base_interval": "0.1s"}},
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": json!({"stage": stage}).to_string(),
                },
                "vm_config": {
                    "vm_id": name,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": filter.display().to_string()}},
                },
            },
        },
    })
}
