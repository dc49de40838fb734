//! The gRPC client for the control plane, on a thread of its own: Envoy makes no gRPC calls for
//! dynamic modules.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use opentracy_filter_core::host::{CallId, GrpcCall};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The stack of the client's thread.
const STACK_BYTES: usize = 1 << 20;

static LAST_CALL: AtomicU32 = AtomicU32::new(0);
/// The clients, by the address of their control plane.
static CLIENTS: LazyLock<Mutex<HashMap<String, GrpcClient>>> = LazyLock::new(Mutex::default);

/// The answer to a call.
pub struct GrpcAnswer {
    pub call: CallId,
    /// The gRPC status.
    pub status: u32,
    pub message: Vec<u8>,
}

/// A connection to a control plane.
#[derive(Clone)]
pub struct GrpcClient {
    calls: UnboundedSender<Call>,
    /// The calls without an answer.
    open: Arc<AtomicUsize>,
}

type Handler = Box<dyn FnOnce(GrpcAnswer) + Send>;

struct Call {
    id: CallId,
    path: String,
    metadata: (String, String),
    message: Bytes,
    timeout: Duration,
    handler: Handler,
}

impl GrpcClient {
    /// Returns the client for this address, such as `127.0.0.1:18081`. An error says why there is
    /// none.
    pub fn of(address: &str) -> Result<Self, String> {
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(address) {
            return Ok(client.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("`control_plane` must be an address, host:port: {error}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let (calls, queue) = mpsc::unbounded_channel();
        let client = Self {
            calls,
            open: Arc::default(),
        };
        let open = Arc::clone(&client.open);
        thread::Builder::new()
            .name("opentracy".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&endpoint, queue, &open))
            .map_err(|error| format!("the client's thread could not be started: {error}"))?;
        clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Sends a call, and hands the answer to the handler, on the client's thread. Returns `None` if
    /// the thread has ended.
    pub fn call(
        &self,
        call: &GrpcCall<'_>,
        handler: impl FnOnce(GrpcAnswer) + Send + 'static,
    ) -> Option<CallId> {
        let id = LAST_CALL.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (name, value) = call.metadata;
        self.open.fetch_add(1, Ordering::Relaxed);
        let call = Call {
            id,
            path: format!("/{}/{}", call.service, call.method),
            metadata: (name.to_owned(), value.to_owned()),
            message: Bytes::copy_from_slice(call.message),
            timeout: call.timeout,
            handler: Box::new(handler),
        };
        if self.calls.send(call).is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(id)
    }

    /// Waits until all calls are answered, but no longer than this.
    pub fn finish(&self, limit: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while self.open.load(Ordering::Relaxed) > 0 && waited < limit {
            thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }
}

fn serve(endpoint: &Endpoint, mut queue: UnboundedReceiver<Call>, open: &Arc<AtomicUsize>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("the client of the control plane can't run: {error}");
            return;
        }
    };
    runtime.block_on(async {
        let channel = endpoint.connect_lazy();
        while let Some(call) = queue.recv().await {
            let (channel, open) = (channel.clone(), Arc::clone(open));
            tokio::spawn(async move {
                let Call {
                    id,
                    path,
                    metadata,
                    message,
                    timeout,
                    handler,
                } = call;
                let exchange = exchange(channel, path, metadata, message);
                let result = match tokio::time::timeout(timeout, exchange).await {
                    Ok(result) => result,
                    Err(_) => Err(Status::deadline_exceeded("")),
                };
                let (status, message) = match result {
                    Ok(message) => (Code::Ok, message),
                    Err(status) => (status.code(), Vec::new()),
                };
                handler(GrpcAnswer {
                    call: id,
                    status: u32::try_from(i32::from(status)).unwrap_or_default(),
                    message,
                });
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

async fn exchange(
    channel: Channel,
    path: String,
    (name, value): (String, String),
    message: Bytes,
) -> Result<Vec<u8>, Status> {
    let invalid = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let path = PathAndQuery::try_from(path).map_err(|error| invalid(&error))?;
    let name = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|error| invalid(&error))?;
    let value = AsciiMetadataValue::try_from(value).map_err(|error| invalid(&error))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value);
    let mut client = Grpc::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let response = client.unary(request, path, Unchanged).await?;
    Ok(response.into_inner())
}

/// Passes messages on as they are: the stages encode and decode them.
#[derive(Debug, Clone, Copy)]
struct Unchanged;

impl Codec for Unchanged {
    type Encode = Bytes;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Unchanged {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Unchanged {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
