//! `LimitService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::limit_service_server::LimitService;
use tonic::{Request, Response, Status};

use opentracy_state::AppState;

pub struct Service {
    pub shared: AppState,
}

#[tonic::async_trait]
impl LimitService for Service {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let snapshot = Arc::clone(&self.shared.snapshot.borrow());
        let now = jiff::Timestamp::now();
        let alive = self.shared.vms.alive();
        let request = request.into_inner();
        let answer = self
            .shared
            .limits
            .acquire(request, &snapshot.config, &alive, now);
        Ok(Response::new(answer))
    }
}
