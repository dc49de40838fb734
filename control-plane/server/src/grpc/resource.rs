//! `ResourceService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::resource_service_server::ResourceService;
use tonic::{Request, Response, Status};

use opentracy_state::resources::{Claim, Resources};

pub struct Service {
    pub resources: Arc<Resources>,
}

#[tonic::async_trait]
impl ResourceService for Service {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let request = request.into_inner();
        if request.provider.is_empty() || request.owner.is_empty() {
            return Err(Status::invalid_argument(
                "`provider` and `owner` must be set",
            ));
        }
        let resources = Arc::clone(&self.resources);
        let resolved = tokio::task::spawn_blocking(move || {
            let claims = request.claims.into_iter().map(|claim| Claim {
                id: claim.id,
                parent: Some(claim.parent).filter(|parent| !parent.is_empty()),
            });
            let claims: Vec<Claim> = claims.collect();
            resources.resolve(&request.provider, &request.owner, &claims, &request.ids)
        });
        match resolved.await {
            Ok(Ok(owned)) => Ok(Response::new(v1::ResolveResponse { owned })),
            Ok(Err(error)) => {
                tracing::error!("the owners of files and batches can't be read: {error:#}");
                Err(Status::unavailable(format!("{error:#}")))
            }
            Err(_) => Err(Status::unavailable("the control plane is stopping")),
        }
    }
}
