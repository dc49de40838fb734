//! `RouteService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::route_service_server::RouteService;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::router::Router;
use crate::snapshot::Snapshot;

pub struct Service {
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    pub router: Arc<dyn Router>,
}

#[tonic::async_trait]
impl RouteService for Service {
    async fn route(
        &self,
        request: Request<v1::RouteRequest>,
    ) -> Result<Response<v1::RouteResponse>, Status> {
        let request = request.into_inner();
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let alias = snapshot
            .wire
            .aliases
            .iter()
            .find(|alias| alias.name == request.alias)
            .ok_or_else(|| Status::not_found(format!("there is no alias \"{}\"", request.alias)))?;
        let decision = self.router.decide(&request.prompt, &alias.candidates).await;
        Ok(Response::new(v1::RouteResponse {
            candidates: decision.candidates,
            cluster_id: decision.cluster_id,
            expected_error: decision.expected_error,
            reason: decision.reason,
        }))
    }
}
