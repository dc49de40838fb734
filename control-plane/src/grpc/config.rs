//! `ConfigService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::config_service_server::ConfigService;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::snapshot::Snapshot;
use crate::vms::Vms;

pub struct Service {
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    pub vms: Arc<Vms>,
}

#[tonic::async_trait]
impl ConfigService for Service {
    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let request = request.into_inner();
        self.vms.hear(&request.vm, request.circuit_breakers);
        let is_current = request.version == snapshot.version;
        Ok(Response::new(v1::GetSnapshotResponse {
            version: snapshot.version.clone(),
            snapshot: (!is_current).then(|| snapshot.wire.clone()),
            vms: u32::try_from(self.vms.alive().len()).unwrap_or(u32::MAX),
        }))
    }
}
