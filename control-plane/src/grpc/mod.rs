//! What the filter asks for and hands over.

mod config;
mod credential;
mod limit;
mod route;
mod trace;

use std::future::Future;
use std::sync::Arc;

use opentracy_proto::v1::config_service_server::ConfigServiceServer;
use opentracy_proto::v1::limit_service_server::LimitServiceServer;
use opentracy_proto::v1::route_service_server::RouteServiceServer;
use opentracy_proto::v1::trace_service_server::TraceServiceServer;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptorLayer;
use tonic::transport::server::TcpIncoming;

use crate::grpc::credential::Credential;
use crate::serve::Shared;

/// The largest batch of traces that is taken: more than a filter ever sends.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// What the filter may send without waiting: whole batches, so that Envoy's workers need not come back to them.
const WINDOW_BYTES: u32 = 4 << 20;

/// Serves until `stop` is over.
pub async fn serve(
    shared: Shared,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    // Answers are small, and a decision is waited for.
    let check = Credential::new(&shared.snapshot.borrow());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .layer(InterceptorLayer::new(check))
        .add_service(ConfigServiceServer::new(config::Service {
            snapshot: shared.snapshot.clone(),
            vms: Arc::clone(&shared.vms),
            health: shared.health.clone(),
        }))
        .add_service(LimitServiceServer::new(limit::Service {
            shared: shared.clone(),
        }))
        .add_service(RouteServiceServer::new(route::Service {
            shared: shared.clone(),
        }))
        .add_service(
            TraceServiceServer::new(trace::Service {
                ingest: shared.ingest,
            })
            .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}
