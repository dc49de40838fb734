//! `TraceService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::trace_service_server::TraceService;
use tonic::{Request, Response, Status};

use opentracy_ingest::Ingest;
use opentracy_ingest::bounds;
use opentracy_state::metrics::Metrics;

pub struct Service {
    pub ingest: Ingest,
    pub metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn ingest(
        &self,
        request: Request<v1::IngestRequest>,
    ) -> Result<Response<v1::IngestResponse>, Status> {
        let mut request = request.into_inner();
        let (rejected, why) = bounds::remove_out_of_range(&mut request);
        if let Some(why) = why {
            self.metrics.count_rejected_records(rejected);
            tracing::warn!(
                rejected,
                "rejected records with a number out of range: {why}"
            );
            if request.traces.is_empty() && request.attempts.is_empty() {
                return Err(Status::invalid_argument(why.to_string()));
            }
        }
        match self.ingest.take(request).await {
            Ok(()) => Ok(Response::new(v1::IngestResponse { rejected })),
            // The filter keeps the batch and retries; the journal logs the cause.
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
