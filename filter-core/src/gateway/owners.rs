//! Asks the control plane for the owners of objects that a provider stores.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::access::Role;
use opentracy_translate::error::ApiError;
use prost::Message as _;

use crate::control_plane;
use crate::gateway::access::AdmittedCaller;
use crate::host::Host;
use crate::snapshot::Snapshot;

/// The control plane's deadline.
const DEADLINE: Duration = Duration::from_secs(2);

/// A caller, as the table of owners identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceOwner {
    pub name: String,
    /// Set for administrators, and for everyone if keys aren't required.
    pub sees_all: bool,
}

impl ResourceOwner {
    pub fn of(snapshot: &Snapshot, caller: &AdmittedCaller) -> Self {
        match &caller.client {
            Some(client) => Self {
                name: format!("key:{}", client.wire.name),
                sees_all: client.rights.role == Role::Admin,
            },
            None if snapshot.keyring.is_empty() && !snapshot.is_closed => Self {
                name: "open".to_owned(),
                sees_all: true,
            },
            None => Self {
                name: format!("subject:{}", caller.subject),
                sees_all: false,
            },
        }
    }

    /// Stores claims and requests the owners of the ids. Returns the id of the call.
    pub fn resolve(
        &self,
        host: &impl Host,
        provider: &str,
        claims: Vec<v1::ResourceClaim>,
        ids: Vec<String>,
    ) -> Result<u32, ApiError> {
        let message = v1::ResolveRequest {
            provider: provider.to_owned(),
            owner: self.name.clone(),
            claims,
            ids,
        }
        .encode_to_vec();
        control_plane::ask(
            host,
            "opentracy.v1.ResourceService",
            "Resolve",
            &message,
            DEADLINE,
        )
        .ok_or_else(unavailable)
    }
}

/// Reads the control plane's answer: for each id, whether it belongs to the caller.
pub fn read(host: &impl Host, status: u32, size: usize) -> Result<Vec<bool>, ApiError> {
    let answer = control_plane::read_awaited::<v1::ResolveResponse>(host, status, size);
    answer.map(|answer| answer.owned).ok_or_else(unavailable)
}

fn unavailable() -> ApiError {
    let message = "The gateway can't check the owners of files and batches: its control plane does not answer. Try again";
    ApiError::new(503, message).with_code("resources_unavailable")
}
