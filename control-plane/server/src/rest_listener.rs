//! The REST listener: HTTP/1.1 with limits on connections and on time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::connections::{Connections, GuardedStream, RequestGuard};
use crate::shutdown::stopped;

/// Time limit for a request's headers, and idle timeout between requests. Envoy closes its idle
/// connections sooner.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit between two pieces of a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `stop` is true and the requests in progress are answered.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    connections: Arc<Connections>,
    stop: watch::Receiver<bool>,
) {
    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            stream = connections.accept(&listener) => {
                served.spawn(serve_connection(stream, router.clone(), stop.clone()));
            }
            Some(_) = served.join_next() => {}
            () = stopped(stop.clone()) => break,
        }
    }
    drop(listener);
    while served.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: GuardedStream,
    router: axum::Router,
    stop: watch::Receiver<bool>,
) {
    let slot = stream.slot();
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        let guard = slot.begin_request();
        let answered = inner.call(request.map(|body| Body::new(TimedBody::new(body))));
        async move {
            let response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| CountedBody {
                body,
                _guard: guard,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // An error is a client's disconnect or a timeout.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// A request body that times out if it pauses for too long.
struct TimedBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl TimedBody {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            deadline: Box::pin(tokio::time::sleep(BODY_TIMEOUT)),
        }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.deadline.as_mut().reset(Instant::now() + BODY_TIMEOUT);
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err("the request body timed out".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that counts its request as in progress until it is sent.
struct CountedBody {
    body: Body,
    _guard: RequestGuard,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
