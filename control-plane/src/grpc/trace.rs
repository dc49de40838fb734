//! `TraceService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::trace_service_server::TraceService;
use tonic::{Request, Response, Status};

use crate::store::Store;

pub struct Service {
    pub store: Arc<dyn Store>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn ingest(
        &self,
        request: Request<v1::IngestRequest>,
    ) -> Result<Response<v1::IngestResponse>, Status> {
        match self.store.ingest(request.into_inner()).await {
            Ok(()) => Ok(Response::new(v1::IngestResponse {})),
            Err(error) => {
                tracing::error!("traces could not be stored, the filter keeps them: {error}");
                Err(Status::unavailable("the trace store does not take records"))
            }
        }
    }
}
