//! The listeners: one for applications, the internal one for attempts, and one for Envoy's metrics.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::address::socket;
use crate::clusters::{ADMIN, INTERNAL};
use crate::filters::Plugin;
use crate::{access_log, filters, replies, routes};
use opentracy_config::{GatewayConfig, Jwt};

/// Builds the listener for applications, in a standalone Envoy.
pub fn edge(
    gateway: &GatewayConfig,
    jwt: Option<&Jwt>,
    plugin: &Plugin<'_>,
    idle_timeout: Duration,
) -> Value {
    let hosts = routes::edge(gateway, jwt.is_some(), idle_timeout);
    let mut manager = connection_manager("opentracy_edge", json!(hosts));
    add_access_log(&mut manager, access_log::edge(&gateway.access_log));
    manager["use_remote_address"] = true.into();
    manager["normalize_path"] = true.into();
    manager["merge_slashes"] = true.into();
    manager["request_headers_timeout"] = "30s".into();
    manager["local_reply_config"] = replies::edge();
    let mut http_filters = filters::edge(plugin, jwt);
    http_filters.push(filters::router());
    manager["http_filters"] = http_filters.into();
    json!({
        "name": "opentracy_edge",
        "address": socket(gateway.listen),
        "per_connection_buffer_limit_bytes": connection_buffer(gateway),
        "filter_chains": [{"filters": [manager_filter(manager)]}],
    })
}

/// Builds the internal listener, which receives each attempt of a plan.
pub fn internal(gateway: &GatewayConfig, plugin: &Plugin<'_>, idle_timeout: Duration) -> Value {
    let hosts = json!([routes::internal(gateway, idle_timeout)]);
    let mut manager = connection_manager("opentracy_internal", hosts);
    add_access_log(&mut manager, access_log::internal(&gateway.access_log));
    manager["generate_request_id"] = false.into();
    manager["local_reply_config"] = replies::internal();
    manager["http_filters"] = json!([filters::provider(plugin), filters::router()]);
    json!({
        "name": INTERNAL,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": connection_buffer(gateway),
        "filter_chains": [{"filters": [manager_filter(manager)]}],
    })
}

/// Builds the listener for Prometheus. Exposes only the metrics of Envoy's admin interface.
pub fn metrics(listen: SocketAddr) -> Value {
    let hosts = json!([{
        "name": "opentracy_metrics",
        "domains": ["*"],
        "routes": [{
            "match": {
                "path": "/stats/prometheus",
                "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
            },
            "route": {"cluster": ADMIN, "timeout": "10s"},
        }],
    }]);
    let mut manager = connection_manager("opentracy_metrics", hosts);
    manager["request_headers_timeout"] = "10s".into();
    manager["http_filters"] = json!([filters::router()]);
    json!({
        "name": "opentracy_metrics",
        "address": socket(listen),
        "filter_chains": [{"filters": [manager_filter(manager)]}],
    })
}

/// Returns the buffer limit of a connection in bytes. Envoy uses the larger of it and a route's
/// body limit.
fn connection_buffer(gateway: &GatewayConfig) -> u32 {
    gateway.max_body_bytes.min(1 << 20)
}

fn connection_manager(prefix: &str, virtual_hosts: Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "route_config": {"name": prefix, "virtual_hosts": virtual_hosts},
    })
}

fn add_access_log(manager: &mut Value, log: Vec<Value>) {
    if !log.is_empty() {
        manager["access_log"] = log.into();
    }
}

fn manager_filter(manager: Value) -> Value {
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})
}
