//! `TraceService`.

use opentracy_proto::v1;
use opentracy_proto::v1::trace_service_server::TraceService;
use tonic::{Request, Response, Status};

use crate::ingest::Ingest;

pub struct Service {
    pub ingest: Ingest,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn ingest(
        &self,
        request: Request<v1::IngestRequest>,
    ) -> Result<Response<v1::IngestResponse>, Status> {
        match self.ingest.take(request.into_inner()).await {
            Ok(()) => Ok(Response::new(v1::IngestResponse {})),
            // The filter keeps them and sends them again; the journal's log says what is wrong.
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
