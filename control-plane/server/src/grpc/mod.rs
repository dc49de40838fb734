//! The gRPC services that the filter calls.

mod config;
mod credential;
mod limit;
mod resource;
mod route;
mod trace;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opentracy_proto::v1::config_service_server::ConfigServiceServer;
use opentracy_proto::v1::limit_service_server::LimitServiceServer;
use opentracy_proto::v1::resource_service_server::ResourceServiceServer;
use opentracy_proto::v1::route_service_server::RouteServiceServer;
use opentracy_proto::v1::trace_service_server::TraceServiceServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptorLayer;

use crate::connections::{Connections, GuardedStream};
use crate::grpc::credential::CallCredential;
use opentracy_state::AppState;

/// Maximum size of a batch of traces; more than a filter ever sends.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// HTTP/2 flow-control window. Fits whole batches, so that Envoy's workers need not wait for window
/// updates.
const WINDOW_BYTES: u32 = 4 << 20;

/// Interval of keepalive pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Time without any data, ping responses included, after which a connection is closed.
const READ_IDLE: Duration = Duration::from_secs(60);

/// Serves until `stop` completes.
pub async fn serve(
    shared: AppState,
    listener: TcpListener,
    connections: Arc<Connections>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let check = CallCredential::new(&shared.snapshot.borrow());
    let incoming = incoming(listener, connections);
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_EVERY))
        .layer(InterceptorLayer::new(check))
        .add_service(ConfigServiceServer::new(config::Service {
            shared: shared.clone(),
        }))
        .add_service(LimitServiceServer::new(limit::Service {
            shared: shared.clone(),
        }))
        .add_service(ResourceServiceServer::new(resource::Service {
            resources: Arc::clone(&shared.resources),
        }))
        .add_service(RouteServiceServer::new(route::Service {
            shared: shared.clone(),
        }))
        .add_service(
            TraceServiceServer::new(trace::Service {
                ingest: shared.ingest,
                metrics: shared.metrics,
            })
            .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

/// Accepts connections. An error of `accept` does not end the stream.
fn incoming(
    listener: TcpListener,
    connections: Arc<Connections>,
) -> impl Stream<Item = std::io::Result<GuardedStream>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let Ok(place) = sender.reserve().await else {
                return;
            };
            let stream = tokio::select! {
                stream = connections.accept(&listener) => stream,
                () = sender.closed() => return,
            };
            place.send(Ok(stream.with_read_idle(READ_IDLE)));
        }
    });
    ReceiverStream::new(receiver)
}
