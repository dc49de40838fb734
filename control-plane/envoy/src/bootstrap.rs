//! The bootstrap of a standalone Envoy.

use std::time::Duration;

use serde_json::{Value, json};

use crate::address::{admin_address, reachable};
use crate::filters::{FilterKind, Plugin};
use crate::{clusters, filters, listeners};
use opentracy_config::{self as config, Config, ResolvedProvider};

/// Maximum number of client connections. File descriptors would run out before any other resource.
const MAX_CONNECTIONS: u32 = 50_000;
/// Free memory that Envoy returns to the system every second. Compiling the wasm filter leaves tens
/// of megabytes free, which Envoy's allocator keeps otherwise.
const RELEASED_BYTES: u32 = 1024 * 1024;
/// Margin by which a stream's idle timeout exceeds the longest attempt timeout, so that the
/// attempt's own timeout, whose error says more, comes first.
const IDLE_MARGIN: Duration = Duration::from_secs(60);

/// The parts that every Envoy with the gateway has, standalone or shared.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub providers: Vec<&'a ResolvedProvider>,
    /// Path of the certificates that providers' certificates are verified against.
    pub trusted_ca: &'a str,
    pub plugin: Plugin<'a>,
}

impl Parts<'_> {
    /// Builds the bootstrap of a standalone Envoy.
    pub fn bootstrap(&self) -> Value {
        let config = self.config;
        let mut listeners = vec![
            listeners::edge(
                &config.gateway,
                self.jwt(),
                &self.plugin,
                self.idle_timeout(),
            ),
            self.internal_listener(),
        ];
        let mut all = self.clusters();
        if let Some(listen) = config.gateway.metrics {
            listeners.push(listeners::metrics(listen));
            all.push(clusters::admin(&config.gateway.admin));
        }
        let mut bootstrap = json!({
            "admin": {"address": admin_address(&config.gateway.admin)},
            "bootstrap_extensions": [internal_listener_extension()],
            "overload_manager": {
                "resource_monitors": [{
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }],
            },
            "stats_config": {"stats_tags": stats_tags()},
            "memory_allocator_manager": {
                "bytes_to_release": RELEASED_BYTES,
                "memory_release_interval": "1s",
            },
            "static_resources": {"listeners": listeners, "clusters": all},
        });
        if self.plugin.kind == FilterKind::Native {
            bootstrap["layered_runtime"] = json!({"layers": [native_runtime_layer()]});
        }
        bootstrap
    }

    pub fn clusters(&self) -> Vec<Value> {
        let config = self.config;
        let mut all = vec![
            clusters::internal(),
            clusters::control_plane(reachable(config.grpc.listen)),
            clusters::management(reachable(config.management.listen)),
        ];
        if self.plugin.kind == FilterKind::Native {
            all.push(clusters::workers(self.plugin.file));
        }
        if let Some(url) = self.jwt().and_then(|jwt| jwt.jwks_url.as_ref()) {
            all.push(clusters::jwks(url, self.trusted_ca));
        }
        let providers = self.providers.iter();
        all.extend(providers.map(|provider| {
            let is_native = self.plugin.kind == FilterKind::Native;
            let filters = is_native.then(|| filters::upstream(self.plugin.file));
            clusters::provider(provider, self.trusted_ca, filters)
        }));
        all
    }

    pub fn internal_listener(&self) -> Value {
        listeners::internal(&self.config.gateway, &self.plugin, self.idle_timeout())
    }

    pub fn jwt(&self) -> Option<&config::Jwt> {
        self.config.access.jwt.as_ref().map(|jwt| &jwt.value)
    }

    pub fn idle_timeout(&self) -> Duration {
        let timeouts = self.providers.iter().map(|provider| provider.timeout);
        timeouts.max().unwrap_or_default() + IDLE_MARGIN
    }
}

/// Enables connections inside Envoy that need no socket; each attempt of a plan uses one.
pub fn internal_listener_extension() -> Value {
    json!({
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
        },
    })
}

/// Leaves the prefix of modules out of the names of metrics in Prometheus, so that they equal those
/// of the wasm filter.
pub fn native_runtime_layer() -> Value {
    json!({
        "name": "opentracy",
        "static_layer": {"envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": true},
    })
}

/// Extracts labels from the names of the filter's metrics.
pub fn stats_tags() -> Value {
    json!([
        {"tag_name": "opentracy_provider", "regex": r"^wasmcustom\.opentracy\.gateway\.(provider\.([^.]+)\.)"},
        {"tag_name": "opentracy_status", "regex": r"^wasmcustom\.opentracy\.gateway\.provider\.[^.]+\.(status\.([^.]+)\.)"},
        {"tag_name": "opentracy_event", "regex": r"^wasmcustom\.opentracy\.gateway\.(?:provider\.[^.]+\.)?(event\.([^.]+)\.)"},
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use opentracy_config::Keys;

    /// Keeps the file that operators copy and the output of the command in sync.
    #[test]
    fn the_hand_written_configuration_is_the_generated_one() {
        let by_hand = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../envoy/standalone.yaml"
        ))
        .unwrap();
        let by_hand: Value = serde_saphyr::from_str(&by_hand).unwrap();
        let mut config = Config::default();
        config.gateway.admin = "unix:/run/opentracy/envoy-admin.sock".parse().unwrap();
        let providers = config::providers(&config, &Keys::default());
        let shown = ["openai", "anthropic", "demo"].map(|name| &providers[name]);
        let parts = Parts {
            config: &config,
            providers: shown.to_vec(),
            trusted_ca: "/etc/ssl/certs/ca-certificates.crt",
            plugin: Plugin {
                kind: FilterKind::Wasm,
                file: Path::new("/etc/opentracy/opentracy_filter.wasm"),
                control_plane: reachable(config.grpc.listen),
                grpc_token: "PUT THE TOKEN HERE",
                jwt_header: "",
            },
        };
        let generated = parts.bootstrap();
        let (by_hand, generated) = (sorted(by_hand), sorted(generated));
        if by_hand != generated {
            let at = difference("", &by_hand, &generated);
            panic!("envoy/standalone.yaml differs from `opentracy envoy-config` at {at}");
        }
    }

    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                members
                    .into_iter()
                    .map(|(name, value)| (name, sorted(value)))
                    .collect()
            }
            Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }

    fn difference(path: &str, a: &Value, b: &Value) -> String {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => a
                .keys()
                .chain(b.keys())
                .find(|key| a.get(*key) != b.get(*key))
                .map(|key| {
                    let path = format!("{path}/{key}");
                    difference(&path, &a[key.as_str()], b.get(key).unwrap_or(&Value::Null))
                })
                .unwrap_or_default(),
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (0..a.len())
                .find(|&index| a[index] != b[index])
                .map(|index| difference(&format!("{path}/{index}"), &a[index], &b[index]))
                .unwrap_or_default(),
            _ => format!("{path}: {a} by hand, {b} generated"),
        }
    }
}
