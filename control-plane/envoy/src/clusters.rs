//! Envoy's clusters: the providers, the control plane, and Envoy itself.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use url::Url;

use crate::address::{admin_address, socket};
use opentracy_config::{AdminAddress, ResolvedProvider};

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Names that the filter and the routes refer to.
pub const INTERNAL: &str = "opentracy_internal";
pub const CONTROL_PLANE: &str = "opentracy_control_plane";
pub const MANAGEMENT: &str = "opentracy_management";
pub const JWKS: &str = "opentracy_jwks";
pub const ADMIN: &str = "opentracy_admin";
pub const WORKERS: &str = "opentracy_workers";
/// Prefix of every provider's cluster. Routes can't reach any other cluster.
pub const PROVIDER_PREFIX: &str = "opentracy_provider_";

/// Returns the path of the system's file of trusted certificates.
pub fn trusted_ca() -> &'static str {
    const PLACES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
    ];
    PLACES
        .into_iter()
        .find(|place| Path::new(place).exists())
        .unwrap_or(PLACES[0])
}

/// Builds the cluster from the gateway stage to the internal listener, where attempts arrive.
pub fn internal() -> Value {
    json!({
        "name": INTERNAL,
        "type": "STATIC",
        "circuit_breakers": limits(100_000),
        "load_assignment": {
            "cluster_name": INTERNAL,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "envoy_internal_address": {"server_listener_name": INTERNAL},
            }}}]}],
        },
    })
}

/// Builds the cluster of the control plane's gRPC services.
pub fn control_plane(address: SocketAddr) -> Value {
    json!({
        "name": CONTROL_PLANE,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": limits(100_000),
        "typed_extension_protocol_options": protocol(json!({"explicit_http_config": {"http2_protocol_options": {}}})),
        "load_assignment": endpoint(CONTROL_PLANE, socket(address)),
    })
}

/// Builds the cluster of the control plane's REST API.
pub fn management(address: SocketAddr) -> Value {
    json!({
        "name": MANAGEMENT,
        "type": "STATIC",
        "connect_timeout": "1s",
        // The control plane's own idle timeout is twice as long.
        "typed_extension_protocol_options": protocol(json!({
            "common_http_protocol_options": {"idle_timeout": "15s"},
            "explicit_http_config": {"http_protocol_options": {}},
        })),
        "load_assignment": endpoint(MANAGEMENT, socket(address)),
    })
}

/// Builds the cluster by which a native filter reaches all workers. It has no hosts.
pub fn workers(module: &Path) -> Value {
    json!({
        "name": WORKERS,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_modules",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_modules.v3.ClusterConfig",
                "dynamic_module_config": native_module(module),
                "cluster_name": WORKERS,
            },
        },
    })
}

/// Builds the reference to the native module, which has threads of its own and so is never
/// unloaded.
pub fn native_module(file: &Path) -> Value {
    // The dynamic linker looks for a name without a slash among the system's libraries.
    let is_bare_name = file.parent() == Some(Path::new(""));
    let file = match is_bare_name {
        true => Path::new(".").join(file),
        false => file.to_owned(),
    };
    json!({
        "module": {"local": {"filename": file.display().to_string()}},
        "do_not_close": true,
    })
}

/// Builds the cluster of Envoy's admin interface, for the listener that serves metrics.
pub fn admin(address: &AdminAddress) -> Value {
    json!({
        "name": ADMIN,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": endpoint(ADMIN, admin_address(address)),
    })
}

/// Builds the cluster that serves the keys for verifying tokens (JWKS).
pub fn jwks(url: &Url, trusted_ca: &str) -> Value {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let is_address = host.parse::<IpAddr>().is_ok();
    let mut cluster = json!({
        "name": JWKS,
        "type": if is_address { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "5s",
        "load_assignment": endpoint(JWKS, json!({
            "socket_address": {"address": host, "port_value": port},
        })),
    });
    if url.scheme() == "https"
        && let Some(members) = cluster.as_object_mut()
    {
        members.insert(
            "transport_socket".to_owned(),
            tls(host, trusted_ca, is_address),
        );
    }
    cluster
}

/// Builds a provider's cluster. `filters` are those between Envoy's router and the provider.
pub fn provider(provider: &ResolvedProvider, trusted_ca: &str, filters: Option<Value>) -> Value {
    let name = provider.envoy_cluster();
    let is_address = provider.host().parse::<IpAddr>().is_ok();
    let mut cluster = json!({
        "name": name,
        "type": if is_address { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": format!("{:.3}s", provider.connect_timeout.as_secs_f64()),
        "circuit_breakers": limits(provider.max_requests),
        "outlier_detection": {
            "split_external_local_origin_errors": true,
            "consecutive_local_origin_failure": 5,
            "enforcing_consecutive_5xx": 0,
            "base_ejection_time": "5s",
            "max_ejection_time": "30s",
            // Never ejects a provider's only address; the filter's circuit breaker handles a
            // failing model.
            "max_ejection_percent": 50,
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 10, "keepalive_probes": 3},
        },
        "load_assignment": provider_endpoint(&name, provider),
    });
    let Some(members) = cluster.as_object_mut() else {
        return cluster;
    };
    if !is_address {
        members.insert("dns_lookup_family".to_owned(), json!("V4_PREFERRED"));
        members.insert("wait_for_warm_on_init".to_owned(), json!(false));
    }
    let mut options = if provider.is_tls() {
        json!({"auto_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}},
        }})
    } else {
        json!({"explicit_http_config": {"http_protocol_options": {}}})
    };
    if let Some(filters) = filters {
        options["http_filters"] = filters;
    }
    members.insert(
        "typed_extension_protocol_options".to_owned(),
        protocol(options),
    );
    if provider.is_tls() {
        members.insert(
            "transport_socket".to_owned(),
            tls(provider.host(), trusted_ca, is_address),
        );
    }
    cluster
}

fn tls(host: &str, trusted_ca: &str, is_address: bool) -> Value {
    let name_type = if is_address { "IP_ADDRESS" } else { "DNS" };
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "validation_context": {
                "trusted_ca": {"filename": trusted_ca},
                "match_typed_subject_alt_names": [
                    {"san_type": name_type, "matcher": {"exact": host}},
                ],
            },
        },
    });
    if !is_address && let Some(members) = context.as_object_mut() {
        members.insert("sni".to_owned(), json!(host));
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// Builds the provider's endpoint. Its hostname is the authority that routes rewrite `host` to.
fn provider_endpoint(cluster: &str, provider: &ResolvedProvider) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": provider.host(), "port_value": provider.port()}},
            "hostname": provider.authority(),
        }}]}],
    })
}

fn endpoint(cluster: &str, address: Value) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    })
}

/// Raises Envoy's limits, whose defaults suit a small service: with `max_retries` of 3, most
/// fallbacks of a burst would fail.
fn limits(requests: u32) -> Value {
    json!({"thresholds": [{
        "max_connections": requests,
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": requests,
    }]})
}

fn protocol(mut versions: Value) -> Value {
    if let Some(members) = versions.as_object_mut() {
        members.insert(
            "@type".to_owned(),
            json!(format!("type.googleapis.com/{HTTP_PROTOCOL_OPTIONS}")),
        );
    }
    json!({HTTP_PROTOCOL_OPTIONS: versions})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_in_the_working_directory_is_not_looked_for_elsewhere() {
        for (file, named) in [
            ("filter.so", "./filter.so"),
            ("./filter.so", "./filter.so"),
            ("build/filter.so", "build/filter.so"),
            ("/etc/filter.so", "/etc/filter.so"),
        ] {
            let module = native_module(Path::new(file));
            assert_eq!(module["module"]["local"]["filename"], named);
        }
    }
}
