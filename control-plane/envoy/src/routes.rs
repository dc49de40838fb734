//! The virtual hosts of the listener for applications and of the internal listener.
//!
//! Other applications may share the listener: the filter only handles requests that match one of
//! these hosts.

use std::time::Duration;

use opentracy_translate::internal_hosts::{DIRECT_AUTHORITY, PLANNED_AUTHORITY};
use serde_json::{Value, json};

use crate::clusters::{INTERNAL, MANAGEMENT, PROVIDER_PREFIX};
use crate::filters;
use opentracy_config::GatewayConfig;

/// Headers that the stages and Envoy exchange. They are removed before a request goes to a
/// provider.
const INTERNAL_HEADERS: [&str; 6] = [
    "x-opentracy-plan",
    "x-opentracy-cluster",
    "x-forwarded-proto",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-original-path",
];

/// Builds the virtual hosts on the listener for applications: one for client requests, two for
/// requests that the filter forwards. `has_jwt` enables token verification.
pub fn edge(gateway: &GatewayConfig, has_jwt: bool, idle_timeout: Duration) -> [Value; 3] {
    let enabled = filters::enabled_on_edge(has_jwt);
    let idle_timeout = seconds(idle_timeout);
    [
        json!({
            "name": "opentracy_planned",
            "domains": [PLANNED_AUTHORITY],
            "typed_per_filter_config": enabled,
            "include_request_attempt_count": true,
            "request_body_buffer_limit": gateway.max_body_bytes,
            "routes": [{
                "match": {"prefix": "/"},
                "route": {
                    "cluster": INTERNAL,
                    "timeout": "0s",
                    "idle_timeout": idle_timeout,
                    "retry_policy": {
                        "retry_on": "reset,connect-failure,refused-stream,retriable-headers",
                        "retriable_headers": [{"name": "x-opentracy-retry", "present_match": true}],
                        "num_retries": 1,
                        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
                    },
                },
            }],
        }),
        json!({
            "name": "opentracy_direct",
            "domains": [DIRECT_AUTHORITY],
            "typed_per_filter_config": enabled,
            "request_body_buffer_limit": gateway.max_body_bytes,
            "routes": [
                {
                    "match": to_cluster(json!({"exact": MANAGEMENT})),
                    "route": {
                        "cluster": MANAGEMENT,
                        "timeout": "0s",
                        "idle_timeout": idle_timeout,
                        "host_rewrite_header": "x-forwarded-host",
                    },
                    "request_headers_to_remove": INTERNAL_HEADERS,
                },
                {
                    "match": to_cluster(json!({"prefix": PROVIDER_PREFIX})),
                    "route": {
                        "cluster_header": "x-opentracy-cluster",
                        "auto_host_rewrite": true,
                        "timeout": "0s",
                        "idle_timeout": idle_timeout,
                    },
                    "request_headers_to_remove": INTERNAL_HEADERS,
                },
            ],
        }),
        json!({
            "name": "opentracy_gateway",
            "domains": gateway.domains,
            "typed_per_filter_config": enabled,
            "request_body_buffer_limit": gateway.max_body_bytes,
            "routes": [
                // The filter forwards these itself. Envoy takes the body limit from the first route
                // that matches.
                held_by_filter("/v1/", &idle_timeout),
                held_by_filter("/proxy/", &idle_timeout),
                {
                    "match": {"prefix": "/"},
                    // The filter replaces the body with an error.
                    "direct_response": {"status": 404, "body": {"inline_string": "not found"}},
                },
            ],
        }),
    ]
}

/// Builds the virtual host on the internal listener, which sends each attempt to the cluster that
/// the provider stage chose.
pub fn internal(gateway: &GatewayConfig, idle_timeout: Duration) -> Value {
    json!({
        "name": "opentracy_attempts",
        "domains": ["*"],
        "request_body_buffer_limit": gateway.max_body_bytes,
        "request_headers_to_remove": INTERNAL_HEADERS,
        // Envoy matches once before the stage has chosen a cluster, and takes the body limit from
        // that match.
        "routes": [{
            "match": {"prefix": "/"},
            "route": {
                "cluster_header": "x-opentracy-cluster",
                "auto_host_rewrite": true,
                "timeout": "0s",
                "idle_timeout": seconds(idle_timeout),
            },
        }],
    })
}

/// Builds a route for requests that the filter answers or forwards itself.
fn held_by_filter(prefix: &str, idle_timeout: &str) -> Value {
    json!({
        "match": {"prefix": prefix},
        "route": {"cluster": INTERNAL, "timeout": "0s", "idle_timeout": idle_timeout},
    })
}

/// Matches requests that the filter sends to a cluster. The clusters of other applications can't be
/// reached.
fn to_cluster(name: Value) -> Value {
    json!({
        "prefix": "/",
        "headers": [{"name": "x-opentracy-cluster", "string_match": name}],
    })
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
