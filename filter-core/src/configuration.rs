//! The configuration on its way from the control plane to this VM.

use std::time::Duration;

use opentracy_proto::v1;
use prost::Message;

use crate::contact;
use crate::control_plane;
use crate::events;
use crate::faults::FaultKind;
use crate::gateway::limits;
use crate::health;
use crate::host::Host;
use crate::plugin;
use crate::snapshot::{self, Snapshot};

/// The shared-data key of the configuration.
const SHARED_SNAPSHOT: &str = "snapshot";
/// The longest time that a request waits for a newer configuration.
const NEWER_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests the configuration from the control plane and returns the id of the call. `vm` is empty
/// for a VM that serves no client requests.
pub fn ask(host: &impl Host, vm: String, timeout: Duration) -> Option<u32> {
    let version = snapshot::current().map_or_else(String::new, |current| current.version.clone());
    let introduction = if vm.is_empty() {
        None
    } else {
        limits::introduction(host)
    };
    let request = v1::GetSnapshotRequest {
        version,
        vm,
        introduction,
        circuit_breakers: health::circuit_breakers(host),
        verifies_tokens: plugin::jwt_header().is_some(),
    }
    .encode_to_vec();
    control_plane::call(
        host,
        "opentracy.v1.ConfigService",
        "GetSnapshot",
        &request,
        timeout,
    )
}

/// Requests the configuration on behalf of a client request that needs a newer one.
pub fn ask_for_newer(host: &impl Host) -> Option<u32> {
    ask(host, String::new(), NEWER_SNAPSHOT_TIMEOUT)
}

/// The origin of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The control plane's answer to a poll of the root context.
    Poll,
    /// Its answer on behalf of a client request.
    Request,
    /// The VM before this one.
    SharedData,
}

/// Handles the answer to a poll of the root context.
pub fn on_poll_answer(host: &impl Host, status: u32, size: usize) {
    receive(host, status, size, Source::Poll);
}

/// Handles the answer to [`ask_for_newer`].
pub fn on_answer(host: &impl Host, status: u32, size: usize) {
    receive(host, status, size, Source::Request);
}

fn receive(host: &impl Host, status: u32, size: usize, source: Source) {
    let Some(bytes) = control_plane::grpc_message(host, status, size) else {
        return;
    };
    if activate(host, &bytes, source) {
        // Lets a VM that replaces this one after a trap serve at once.
        host.set_shared_data(SHARED_SNAPSHOT, Some(&bytes), None);
    }
}

/// Activates the configuration in the response, if it has one.
fn activate(host: &impl Host, response: &[u8], source: Source) -> bool {
    match v1::GetSnapshotResponse::decode(response) {
        Ok(response) => {
            if source != Source::SharedData {
                contact::answered(host, response.status);
                events::resolve(host, FaultKind::ControlPlaneUnreachable, "");
                events::resolve(host, FaultKind::ConfigurationRejected, "");
            }
            if source == Source::Poll {
                limits::on_contact(host, response.introduce);
            }
            limits::share_with(response.vms);
            let Some(wire) = response.snapshot else {
                return false;
            };
            log::info!("configuration {} is active", response.version);
            snapshot::replace(host, Snapshot::new(response.version, wire));
            true
        }
        Err(error) => {
            let detail = format!("the control plane's configuration can't be read: {error}");
            events::report(host, FaultKind::ConfigurationRejected, None, "", &detail);
            false
        }
    }
}

/// Activates the configuration that the VM before this one has shared.
pub fn activate_shared(host: &impl Host) {
    if let Some(shared) = host.shared_data(SHARED_SNAPSHOT) {
        activate(host, &shared.bytes, Source::SharedData);
    }
}
