//! Configurations of the measured Envoys.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use opentracy_translate::internal_hosts::DIRECT_AUTHORITY;
use serde_json::{Value, json};

/// Names of the filters that make an Envoy a gateway begin like this.
const STAGES: &str = "opentracy_";
/// The cluster of the provider that answers in the client's own format.
const CLUSTER: &str = "opentracy_provider_openai";

/// Returns the headers by which the gateway's routes, without the filter, find the provider.
pub fn headers_without_filter() -> String {
    format!("host: {DIRECT_AUTHORITY}\r\nx-opentracy-cluster: {CLUSTER}\r\n")
}

/// Removes the filter from the gateway's configuration of Envoy, and keeps everything else.
pub fn without_filter(bootstrap: &str) -> Result<Value> {
    let mut bootstrap: Value = serde_saphyr::from_str(bootstrap)?;
    let listeners = bootstrap
        .pointer_mut("/static_resources/listeners")
        .and_then(Value::as_array_mut)
        .context("Envoy's configuration has no listeners")?;
    for listener in listeners {
        remove_stages(listener);
    }
    Ok(bootstrap)
}

fn remove_stages(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("typed_per_filter_config");
            if let Some(Value::Array(filters)) = members.get_mut("http_filters") {
                filters.retain(|filter| {
                    !filter["name"]
                        .as_str()
                        .is_some_and(|name| name.starts_with(STAGES))
                });
            }
            members.values_mut().for_each(remove_stages);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_stages),
        _ => {}
    }
}

/// Returns the configuration of an Envoy that only forwards everything to one upstream.
pub fn plain(listen: SocketAddr, upstream: SocketAddr) -> Value {
    let address = |address: SocketAddr| {
        json!({"socket_address": {
            "address": address.ip().to_string(), "port_value": address.port(),
        }})
    };
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{
                "match": {"prefix": "/"},
                "route": {"cluster": "upstream", "timeout": "0s"},
            }],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            },
        }],
    });
    json!({"static_resources": {
        "listeners": [{
            "name": "plain",
            "address": address(listen),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}],
        }],
        "clusters": [{
            "name": "upstream",
            "type": "STATIC",
            // Envoy's own limit of 1,024 requests must not decide a comparison.
            "circuit_breakers": {"thresholds": [{
                "max_connections": 100_000,
                "max_pending_requests": 100_000,
                "max_requests": 100_000,
            }]},
            "load_assignment": {
                "cluster_name": "upstream",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
            },
        }],
    }})
}

/// The addresses that an Envoy of the gateway and its control plane use.
#[derive(Debug, Clone, Copy)]
pub struct GatewayAddresses {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub management: SocketAddr,
    pub grpc: SocketAddr,
    pub upstream: SocketAddr,
}

/// Returns the product's configuration file.
pub fn opentracy(addresses: GatewayAddresses, store: &str) -> String {
    let GatewayAddresses {
        gateway,
        admin,
        management,
        grpc,
        upstream,
    } = addresses;
    format!(
        "gateway: {{listen: '{gateway}', admin: '{admin}', metrics: null}}
management: {{listen: '{management}'}}
grpc: {{listen: '{grpc}'}}
store: {{path: '{store}'}}
providers:
  openai: {{base_url: 'http://{upstream}/v1', api_key: key}}
  anthropic: {{base_url: 'http://{upstream}', api_key: key}}
  gemini: {{base_url: 'http://{upstream}/v1beta', api_key: key}}
  bedrock: {{base_url: 'http://{upstream}', region: us-east-1}}
  cohere: {{base_url: 'http://{upstream}', api_key: key}}
aliases:
  smart: {{candidates: [anthropic/claude-sonnet-4-6, openai/gpt-4o-mini]}}
  routed: {{candidates: [openai/gpt-4o-mini], route: auto}}
  limited:
    candidates: [openai/gpt-4o-mini]
    limits: {{requests_per_minute: 100000000, tokens_per_minute: 100000000000, concurrent_requests: 100000}}
"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{CLUSTER, DIRECT_AUTHORITY, without_filter};

    #[test]
    fn the_routes_stay_when_the_filter_is_removed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/standalone.yaml");
        let before = std::fs::read_to_string(path).unwrap();
        assert!(before.contains("opentracy_filter.wasm"));
        let after = without_filter(&before).unwrap();
        let text = after.to_string();
        assert!(!text.contains("opentracy_filter.wasm"), "{text}");
        assert!(!text.contains("typed_per_filter_config"), "{text}");
        assert!(text.contains(DIRECT_AUTHORITY), "{text}");
        assert!(text.contains(CLUSTER), "{text}");
        let before: Value = serde_saphyr::from_str(&before).unwrap();
        let count = |bootstrap: &Value| {
            let listeners = &bootstrap["static_resources"]["listeners"];
            listeners.as_array().unwrap().len()
        };
        assert_eq!(count(&before), count(&after));
        let router = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/name";
        assert_eq!(after.pointer(router).unwrap(), "envoy.filters.http.router");
    }
}
