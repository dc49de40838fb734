//! Checks that the caller owns the files that a conversation names.
//!
//! Most conversations name no files, and need no request to the control plane.

use opentracy_translate::error::ApiError;
use opentracy_translate::resources::ids::{RequestIds, may_name_files};
use opentracy_translate::resources::not_found;

use crate::gateway::call::ClientCall;
use crate::gateway::owners::{self, ResourceOwner};
use crate::host::Host;
use crate::snapshot::Snapshot;

/// A call to the control plane that a request waits for.
pub struct PendingCheck {
    pub grpc_call: u32,
    ids: Vec<String>,
}

/// Requests the check if the call's body names files. Files belong to one provider, so only
/// candidates at the first candidate's provider stay.
pub fn ask(
    host: &impl Host,
    call: &mut ClientCall,
    snapshot: &Snapshot,
) -> Result<Option<PendingCheck>, ApiError> {
    if !may_name_files(&call.body) {
        return Ok(None);
    }
    let owner = ResourceOwner::of(snapshot, &call.trace.caller);
    let ids = RequestIds::find(&call.body).files;
    let Some(first) = call.plan.first() else {
        return Ok(None);
    };
    if ids.is_empty() || owner.sees_all {
        return Ok(None);
    }
    let provider = first.provider.name.clone();
    call.plan
        .retain(|candidate| candidate.provider.name == provider);
    let grpc_call = owner.resolve(host, &provider, Vec::new(), ids.clone())?;
    Ok(Some(PendingCheck { grpc_call, ids }))
}

/// Reads the control plane's answer.
pub fn check(
    host: &impl Host,
    asked: &PendingCheck,
    status: u32,
    size: usize,
) -> Result<(), ApiError> {
    let owned = owners::read(host, status, size)?;
    let mut ids = asked.ids.iter().enumerate();
    match ids.find(|(index, _)| owned.get(*index) != Some(&true)) {
        Some((_, id)) => Err(not_found(id)),
        None => Ok(()),
    }
}
