//! `ConfigService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::config_service_server::ConfigService;
use tonic::{Request, Response, Status};

use opentracy_base::health::HealthCode;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_state::AppState;
use opentracy_state::status;

pub struct Service {
    pub shared: AppState,
}

impl Service {
    /// Reports a fault if an Envoy does not verify tokens although `access.jwt` is set.
    fn check_tokens(&self, snapshot: &ActiveConfig) {
        let code = HealthCode::TokensUnverified;
        if snapshot.wire.jwt.is_none() || self.shared.vms.all_verify_tokens() {
            self.shared.health.resolve(code, "");
            return;
        }
        let message = "`access.jwt` is set, but an Envoy does not verify tokens and denies them; regenerate its configuration with `opentracy envoy-config` and restart it";
        if self.shared.health.report(code, "", message) {
            tracing::error!(event = "tokens_unverified", "{message}");
        }
    }
}

#[tonic::async_trait]
impl ConfigService for Service {
    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let snapshot = Arc::clone(&self.shared.snapshot.borrow());
        let request = request.into_inner();
        let vms = &self.shared.vms;
        vms.hear(
            &request.vm,
            request.circuit_breakers,
            request.verifies_tokens,
        );
        let limits = &self.shared.limits;
        if let Some(introduction) = request.introduction {
            limits.introduce(&request.vm, introduction, jiff::Timestamp::now());
        }
        self.check_tokens(&snapshot);
        let is_current = request.version == snapshot.version;
        Ok(Response::new(v1::GetSnapshotResponse {
            version: snapshot.version.clone(),
            snapshot: (!is_current).then(|| snapshot.wire.clone()),
            vms: u32::try_from(vms.alive().len()).unwrap_or(u32::MAX),
            introduce: !request.vm.is_empty() && !limits.knows(&request.vm),
            status: Some(status::of(&self.shared)),
        }))
    }
}
