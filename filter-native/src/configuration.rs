//! The configuration of a filter, from Envoy's own configuration.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::GrpcClient;

/// The configurations in use. Filter chains with the same configuration share their VMs.
static CONFIGURATIONS: Mutex<Vec<Weak<Configuration>>> = Mutex::new(Vec::new());

/// The name of the provider stage's filter.
const PROVIDER: &[u8] = b"opentracy_provider";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    /// The address of the control plane's gRPC services, `host:port`.
    control_plane: String,
    /// The stage's own configuration, which is that of the wasm filter.
    #[serde(borrow)]
    plugin: &'a RawValue,
}

/// The configuration of a stage.
pub struct Configuration {
    bytes: Vec<u8>,
    /// The stage's own configuration, as JSON.
    pub plugin: Vec<u8>,
    pub client: GrpcClient,
    /// The number of the stage's VM on each worker.
    pub vm: usize,
}

impl Configuration {
    /// Reads a configuration. Returns the one in use if there is one with the same bytes.
    pub fn read(name: &[u8], bytes: &[u8]) -> Result<Arc<Self>, String> {
        let mut configurations = CONFIGURATIONS
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        configurations.retain(|configuration| configuration.strong_count() > 0);
        let mut known = configurations.iter().filter_map(Weak::upgrade);
        if let Some(same) = known.find(|known| known.bytes == bytes) {
            return Ok(same);
        }
        let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "the filter's configuration must be an object such as {{\"control_plane\":\"127.0.0.1:18081\",\"plugin\":{{\"stage\":\"gateway\",\"grpc_token\":\"…\"}}}}; `opentracy envoy-config --filter-kind native` prints it: {error}"
            )
        })?;
        let configuration = Arc::new(Self {
            bytes: bytes.to_owned(),
            plugin: wire.plugin.get().as_bytes().to_owned(),
            client: GrpcClient::of(&wire.control_plane)?,
            vm: usize::from(name == PROVIDER),
        });
        configurations.push(Arc::downgrade(&configuration));
        Ok(configuration)
    }

    /// Returns all configurations in use.
    pub fn all() -> Vec<Arc<Self>> {
        let configurations = CONFIGURATIONS
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        configurations.iter().filter_map(Weak::upgrade).collect()
    }
}
