//! Adds the gateway to the bootstrap of an Envoy that also serves other applications.
//!
//! Their virtual hosts, filters and local replies stay unchanged: the filter is disabled in the
//! chain and enabled only on the gateway's virtual hosts.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::bootstrap::{Parts, internal_listener_extension, native_runtime_layer, stats_tags};
use crate::filters::FilterKind;
use crate::{filters, routes};

const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The existing Envoy that the gateway is added to.
#[derive(Debug, Clone)]
pub struct HostEnvoy {
    /// Path of its bootstrap, in YAML or JSON.
    pub bootstrap: PathBuf,
    /// The listener that applications call.
    pub listener: String,
}

/// Returns the host's bootstrap with the gateway added.
pub fn add(parts: &Parts<'_>, host: &HostEnvoy) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(&host.bootstrap)
        .with_context(|| format!("{} can't be read", host.bootstrap.display()))?;
    let bootstrap = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is not YAML", host.bootstrap.display()))?;
    merge(parts, bootstrap, &host.listener)
}

fn merge(parts: &Parts<'_>, mut bootstrap: Value, listener: &str) -> anyhow::Result<Value> {
    let domains = &parts.config.gateway.domains;
    ensure!(
        !domains.is_empty() && !domains.iter().any(|domain| domain == "*"),
        "`gateway.domains` must name the gateway's host, such as [llm.example.com]: the listener's other hosts stay as they are"
    );
    let gateway = &parts.config.gateway;
    let jwt = parts.jwt();
    let resources = &mut bootstrap["static_resources"];
    let managers = managers(resources, listener)?;
    for manager in managers {
        ensure!(
            manager["route_config"].is_object(),
            "the routes of the listener {listener} must be in `route_config`; if they come from RDS, add the virtual hosts at their source"
        );
        let hosts = list(&mut manager["route_config"], "virtual_hosts")?;
        let taken = hosts.iter().flat_map(|host| {
            let domains = host["domains"].as_array();
            domains.into_iter().flatten().filter_map(Value::as_str)
        });
        for domain in taken {
            ensure!(
                !domains.iter().any(|own| own == domain),
                "the listener {listener} already has a virtual host for {domain}; choose another name in `gateway.domains`"
            );
        }
        hosts.extend(routes::edge(gateway, jwt.is_some(), parts.idle_timeout()));
        let filters = list(manager, "http_filters")?;
        let end = filters.len().saturating_sub(1);
        ensure!(
            filters[end..].iter().any(|last| last["name"]
                .as_str()
                .is_some_and(|name| name.contains("router"))),
            "the last HTTP filter of the listener {listener} must be the router"
        );
        filters.splice(end..end, filters::edge(&parts.plugin, jwt));
    }
    list(resources, "listeners")?.push(parts.internal_listener());
    let clusters = list(resources, "clusters")?;
    let added = parts.clusters();
    for cluster in clusters.iter() {
        ensure!(
            !added.iter().any(|own| own["name"] == cluster["name"]),
            "the bootstrap has a cluster {} already; start from one without the gateway",
            cluster["name"]
        );
    }
    clusters.extend(added);
    let extensions = list(&mut bootstrap, "bootstrap_extensions")?;
    let own = internal_listener_extension();
    if !extensions.iter().any(|each| each["name"] == own["name"]) {
        extensions.push(own);
    }
    if let Value::Array(own) = stats_tags() {
        list(&mut bootstrap["stats_config"], "stats_tags")?.extend(own);
    }
    if parts.plugin.kind == FilterKind::Native {
        list(&mut bootstrap["layered_runtime"], "layers")?.push(native_runtime_layer());
    }
    Ok(bootstrap)
}

/// Returns the HTTP connection managers of a listener, one per filter chain.
fn managers<'a>(resources: &'a mut Value, listener: &str) -> anyhow::Result<Vec<&'a mut Value>> {
    let listeners = list(resources, "listeners")?;
    let names: Vec<_> = listeners.iter().map(|each| each["name"].clone()).collect();
    let Some(found) = listeners.iter_mut().find(|each| each["name"] == listener) else {
        bail!(
            "the bootstrap has no listener {listener}; it has {}",
            json!(names)
        );
    };
    let chains = list(found, "filter_chains")?;
    let managers: Vec<_> = chains
        .iter_mut()
        .filter_map(|chain| chain["filters"].as_array_mut())
        .flatten()
        .filter(|filter| filter["name"] == HTTP_CONNECTION_MANAGER)
        .map(|filter| &mut filter["typed_config"])
        .collect();
    ensure!(
        !managers.is_empty(),
        "the listener {listener} has no HTTP connection manager"
    );
    Ok(managers)
}

/// Returns a list member of an object, creating it if it is missing.
fn list<'a>(object: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Vec<Value>> {
    if object.is_null() {
        *object = json!({});
    }
    let object = object
        .as_object_mut()
        .with_context(|| format!("`{name}` can't be added to the bootstrap"))?;
    let list = object.entry(name).or_insert_with(|| json!([]));
    list.as_array_mut()
        .with_context(|| format!("`{name}` must be a list"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::filters::Plugin;
    use opentracy_config::{self as config, Config, Keys};

    const HOST: &str = "
static_resources:
  listeners:
  - name: web
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          route_config:
            virtual_hosts:
            - {name: shop, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: shop}}]}
          http_filters:
          - {name: cors}
          - {name: envoy.filters.http.router}
  clusters:
  - {name: shop}
";

    fn merged(host: &str, listener: &str, domains: &[&str]) -> anyhow::Result<Value> {
        let mut config = Config::default();
        config.gateway.domains = domains.iter().map(|&domain| domain.to_owned()).collect();
        let providers = config::providers(&config, &Keys::default());
        let parts = Parts {
            config: &config,
            providers: providers.values().collect(),
            trusted_ca: "/ca",
            plugin: Plugin {
                kind: FilterKind::Wasm,
                file: Path::new("/filter.wasm"),
                control_plane: config.grpc.listen,
                grpc_token: "t",
                jwt_header: "",
            },
        };
        merge(&parts, serde_saphyr::from_str(host).unwrap(), listener)
    }

    #[test]
    fn what_the_host_has_stays_as_it_is() {
        let bootstrap = merged(HOST, "web", &["llm.example.com"]).unwrap();
        let before: Value = serde_saphyr::from_str(HOST).unwrap();
        let manager = |bootstrap: &Value| {
            bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"].clone()
        };
        let (before, after) = (manager(&before), manager(&bootstrap));
        assert_eq!(
            after["route_config"]["virtual_hosts"][0],
            before["route_config"]["virtual_hosts"][0]
        );
        let filters = after["http_filters"].as_array().unwrap().iter();
        let names: Vec<_> = filters.map(|filter| filter["name"].clone()).collect();
        assert_eq!(
            names,
            ["cors", "opentracy_gateway", "envoy.filters.http.router"]
        );
        assert_eq!(after["http_filters"][1]["disabled"], true);
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(&after),
            keys(&before),
            "nothing else of the listener changes"
        );
        for host in after["route_config"]["virtual_hosts"]
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
        {
            assert!(
                host["typed_per_filter_config"]["opentracy_gateway"].is_object(),
                "{host}"
            );
        }
    }

    #[test]
    fn what_can_not_be_added_says_what_to_change() {
        for (host, listener, domains, words) in [
            (HOST, "web", &["*"][..], "gateway.domains"),
            (HOST, "other", &["llm.example.com"], "no listener other"),
            (
                &HOST.replace("'*'", "llm.example.com"),
                "web",
                &["llm.example.com"],
                "already",
            ),
            (
                &HOST.replace("  - {name: shop}", "  - {name: opentracy_internal}"),
                "web",
                &["llm.example.com"],
                "cluster",
            ),
            (
                &HOST.replace("route_config", "rds"),
                "web",
                &["llm.example.com"],
                "RDS",
            ),
        ] {
            let error = format!("{:#}", merged(host, listener, domains).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
