//! Connection limits and idle timeouts of the listeners.
//!
//! At the limit, a new connection takes the place of the one that has been idle the longest, so
//! that idle ones keep no client out. A connection with an active request is never closed for
//! another.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Maximum number of connections of a listener, if the system allows that many files.
const MAX_CONNECTIONS: u64 = 1024;
/// Minimum number of connections of a listener.
const MIN_CONNECTIONS: u64 = 8;
/// Time after which a client that reads nothing of a response is taken for dead.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// Delay before the next accept while the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener's share of the files that the system allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    Quarter,
    Eighth,
}

/// Raises the process's limit on open files to what the system allows, and returns it.
pub fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Without permission, the current limit stays.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile)
        .current
        .or(current)
        .unwrap_or(u64::MAX)
}

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    /// A logical clock that orders the last activity of connections.
    clock: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    last_active: AtomicU64,
    requests: AtomicUsize,
    evicted: Arc<Notify>,
}

impl Connections {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            clock: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    /// Returns the connections of a listener that may use a share of `files`.
    pub fn with_share(files: u64, share: Share) -> Arc<Self> {
        let parts = match share {
            Share::Quarter => 4,
            Share::Eighth => 8,
        };
        let max = (files / parts).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        Self::new(usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Accepts the next connection. Retries after system errors.
    pub async fn accept(self: &Arc<Self>, listener: &TcpListener) -> GuardedStream {
        let mut is_told = false;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    if !is_told {
                        tracing::error!("can't accept connections, retrying: {error}");
                        is_told = true;
                    }
                    self.evict_oldest(&self.open());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Responses are small and latency matters.
            let _ = stream.set_nodelay(true);
            if let Some(slot) = self.admit() {
                return GuardedStream::new(stream, slot);
            }
        }
    }

    /// Returns a slot for a connection, taking that of the longest idle one if none is free, or
    /// `None` if every connection has an active request.
    fn admit(self: &Arc<Self>) -> Option<Arc<Slot>> {
        let mut open = self.open();
        if open.len() >= self.max {
            let evicted = self.evict_oldest(&open)?;
            open.remove(&evicted);
        }
        let id = self.tick();
        let entry = Arc::new(Entry {
            last_active: AtomicU64::new(id),
            requests: AtomicUsize::new(0),
            evicted: Arc::default(),
        });
        open.insert(id, Arc::clone(&entry));
        Some(Arc::new(Slot {
            id,
            entry,
            connections: Arc::clone(self),
        }))
    }

    fn evict_oldest(&self, open: &HashMap<u64, Arc<Entry>>) -> Option<u64> {
        let idle = open
            .iter()
            .filter(|(_, entry)| entry.requests.load(Ordering::Relaxed) == 0);
        let (id, entry) =
            idle.min_by_key(|(_, entry)| entry.last_active.load(Ordering::Relaxed))?;
        entry.evicted.notify_one();
        Some(*id)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true for the error of a client that disconnected before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// A connection's slot, held until it is dropped.
#[derive(Debug)]
pub struct Slot {
    id: u64,
    entry: Arc<Entry>,
    connections: Arc<Connections>,
}

impl Slot {
    /// Keeps the connection from being closed for another, until the guard is dropped.
    pub fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    fn touch(&self) {
        let now = self.connections.tick();
        self.entry.last_active.store(now, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

/// Marks a request as active until it is dropped.
#[derive(Debug)]
pub struct RequestGuard(Arc<Slot>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.touch();
        self.0.entry.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that ends when it is closed for another, or when its client sends or reads nothing
/// for too long.
#[derive(Debug)]
pub struct GuardedStream {
    stream: TcpStream,
    slot: Arc<Slot>,
    evicted: Pin<Box<OwnedNotified>>,
    read_idle: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Runs while a write is pending.
    write_stall: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    fn new(stream: TcpStream, slot: Arc<Slot>) -> Self {
        let evicted = Arc::clone(&slot.entry.evicted).notified_owned();
        Self {
            stream,
            slot,
            evicted: Box::pin(evicted),
            read_idle: None,
            write_stall: None,
        }
    }

    /// Ends the connection when its client sends nothing for this long.
    pub fn with_read_idle(mut self, idle: Duration) -> Self {
        self.read_idle = Some((idle, Box::pin(tokio::time::sleep(idle))));
        self
    }

    pub fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// Returns an error if a write has been pending for too long.
    fn check_stall<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.write_stall = None;
            return written;
        }
        let stall = self
            .write_stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.evicted.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()));
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.slot.touch();
            if let Some((idle, sleep)) = &mut self.read_idle {
                sleep.as_mut().reset(Instant::now() + *idle);
            }
            return Poll::Ready(read);
        }
        if let Some((_, sleep)) = &mut self.read_idle {
            ready!(sleep.as_mut().poll(context));
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_stall(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.check_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.check_stall(context, flushed)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for GuardedStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn pair(
        connections: &Arc<Connections>,
        listener: &TcpListener,
    ) -> (TcpStream, GuardedStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let server = connections.accept(listener).await;
        (client, server)
    }

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_idle_the_longest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connections = Connections::new(2);
        let (_first, mut first) = pair(&connections, &listener).await;
        let busy = first.slot().begin_request();
        let (_second, mut second) = pair(&connections, &listener).await;
        let (mut third, mut served) = pair(&connections, &listener).await;
        let error = second.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        third.write_u8(7).await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), 7);
        drop(second);
        assert_eq!(connections.open().len(), 2);
        // With an active request on each connection, no slot can be taken.
        let also_busy = served.slot().begin_request();
        assert!(connections.admit().is_none());
        drop((busy, also_busy));
        let slot = connections.admit();
        assert!(slot.is_some());
        let error = first.read_u8().await;
        let other = tokio::time::timeout(Duration::from_millis(50), served.read_u8()).await;
        assert!(
            error.is_err() && other.is_err(),
            "the one that was idle first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connections = Connections::new(2);
        let (_client, server) = pair(&connections, &listener).await;
        let mut server = server.with_read_idle(Duration::from_secs(60));
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_listener_has_a_share_of_the_files() {
        assert_eq!(Connections::with_share(64, Share::Quarter).max, 16);
        assert_eq!(Connections::with_share(64, Share::Eighth).max, 8);
        assert_eq!(Connections::with_share(10, Share::Quarter).max, 8);
        assert_eq!(Connections::with_share(1 << 20, Share::Quarter).max, 1024);
    }
}
