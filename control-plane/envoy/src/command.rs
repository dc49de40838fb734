//! The `opentracy envoy-config` command.

use std::path::Path;

use anyhow::Context as _;
use opentracy_translate::internal_auth::Purpose;

use crate::address::reachable;
use crate::bootstrap::Parts;
use crate::clusters;
use crate::filters::{FilterKind, Plugin};
use crate::guest::{self, HostEnvoy};
use opentracy_config::{self as config, Keys};

/// Prints the bootstrap for a configuration as YAML: a standalone one, or `host`'s with the gateway
/// added. `filter` is the path of the filter's file.
pub fn run(
    path: Option<&Path>,
    kind: FilterKind,
    filter: &Path,
    host: Option<&HostEnvoy>,
) -> anyhow::Result<()> {
    let (config, keys) = config::load(path).context("the configuration can't be used")?;
    let providers = config::providers(&config, &keys);
    let secrets = Secrets::new(&keys);
    let parts = Parts {
        config: &config,
        providers: providers.values().collect(),
        trusted_ca: clusters::trusted_ca(),
        plugin: Plugin {
            kind,
            file: filter,
            control_plane: reachable(config.grpc.listen),
            grpc_token: &secrets.grpc_token,
            jwt_header: &secrets.jwt_header,
        },
    };
    let bootstrap = match host {
        Some(host) => guest::add(&parts, host)?,
        None => parts.bootstrap(),
    };
    println!("{}", serde_saphyr::to_string(&bootstrap)?);
    Ok(())
}

/// The secrets that Envoy's configuration passes to the filter.
struct Secrets {
    grpc_token: String,
    jwt_header: String,
}

impl Secrets {
    fn new(keys: &Keys) -> Self {
        let suffix = keys.secret(Purpose::JwtHeader);
        Self {
            grpc_token: keys.secret(Purpose::Grpc),
            jwt_header: format!("x-opentracy-jwt-{}", suffix.get(..16).unwrap_or_default()),
        }
    }
}
