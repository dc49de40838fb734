//! `opentracy envoy-config`: a complete bootstrap for an Envoy of its own.
//!
//! `envoy/standalone.yaml` is the same by hand, with the reason for every setting; a test holds the two together.

mod clusters;
mod listeners;
mod replies;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config::{self, Config};

/// Of clients. More would run a machine out of file descriptors before they run it out of anything else.
const MAX_CONNECTIONS: u32 = 50_000;

/// Prints the bootstrap for a configuration, as YAML.
pub fn print(path: Option<&Path>, filter: &Path) -> anyhow::Result<()> {
    let (config, keys) = config::load(path).context("the configuration can't be used")?;
    let providers = config::providers(&config, &keys);
    let bootstrap = bootstrap(&config, providers.values(), filter, clusters::trusted_ca());
    println!("{}", serde_saphyr::to_string(&bootstrap)?);
    Ok(())
}

/// The bootstrap. `trusted_ca` is the file with the certificates that providers' are checked against.
pub fn bootstrap<'a>(
    config: &Config,
    providers: impl IntoIterator<Item = &'a config::Provider>,
    filter: &Path,
    trusted_ca: &str,
) -> Value {
    let mut all: Vec<Value> = vec![
        clusters::internal(),
        clusters::control_plane(reachable(config.grpc.listen)),
        clusters::management(reachable(config.management.listen)),
    ];
    let jwt = config.access.jwt.as_ref().map(|jwt| &jwt.value);
    if let Some(url) = jwt.and_then(|jwt| jwt.jwks_url.as_ref()) {
        all.push(clusters::jwks(url, trusted_ca));
    }
    let providers: Vec<_> = providers.into_iter().collect();
    all.extend(
        providers
            .iter()
            .map(|provider| clusters::provider(provider, trusted_ca)),
    );
    let longest = providers
        .iter()
        .map(|provider| provider.timeout)
        .max()
        .unwrap_or_default();
    json!({
        "admin": {"address": socket(config.gateway.admin)},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            },
        }],
        "overload_manager": {
            "resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            }],
        },
        // The filter's figures have their labels in their names.
        "stats_config": {
            "stats_tags": [
                {"tag_name": "opentracy_provider", "regex": r"^wasmcustom\.opentracy\.gateway\.(provider\.([^.]+)\.)"},
                {"tag_name": "opentracy_status", "regex": r"^wasmcustom\.opentracy\.gateway\.provider\.[^.]+\.(status\.([^.]+)\.)"},
            ],
        },
        "static_resources": {
            "listeners": [
                listeners::edge(&config.gateway, jwt, filter, longest),
                listeners::internal(&config.gateway, filter, longest),
            ],
            "clusters": all,
        },
    })
}

/// Where to call a listener that is on every address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Keys;

    /// What an operator copies and what the command prints must not drift apart.
    #[test]
    fn the_hand_written_configuration_is_the_generated_one() {
        let by_hand = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../envoy/standalone.yaml"
        ))
        .unwrap();
        let by_hand: Value = serde_saphyr::from_str(&by_hand).unwrap();
        let config = Config::default();
        let providers = config::providers(&config, &Keys::default());
        let shown = ["openai", "anthropic", "demo"].map(|name| &providers[name]);
        let generated = bootstrap(
            &config,
            shown,
            Path::new("/etc/opentracy/opentracy_filter.wasm"),
            "/etc/ssl/certs/ca-certificates.crt",
        );
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
