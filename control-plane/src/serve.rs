//! `opentracy serve`: everything together.

use std::future::IntoFuture as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::background::Background;
use crate::config::Config;
use crate::credentials::{self, Credentials};
use crate::ingest::Ingest;
use crate::router::{Router, Unfitted};
use crate::snapshot::Snapshot;
use crate::store::{self, Store};
use crate::{config, grpc, ingest, journal, reload, rest};

/// What the services share.
#[derive(Clone)]
pub struct Shared {
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    pub store: Arc<dyn Store>,
    pub ingest: Ingest,
    pub router: Arc<dyn Router>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(path: Option<&Path>) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("OPENTRACY_LOG")
        .from_env()
        .context("OPENTRACY_LOG must be a level, such as debug")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(path))
}

/// `opentracy migrate`.
pub fn migrate(path: Option<&Path>) -> anyhow::Result<()> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(store::migrate(&config.store))
}

async fn serve(path: Option<&Path>) -> anyhow::Result<()> {
    let (config, keys) = config::load(path).context("the configuration can't be used")?;
    let store = store::open(&config.store).await?;
    let (ingest, draining) = open_journal(&config, &store)?;
    let management = listen(config.management.listen, "management.listen").await?;
    let grpc_listener = listen(config.grpc.listen, "grpc.listen").await?;
    tracing::info!(
        rest = %config.management.listen,
        grpc = %config.grpc.listen,
        "the control plane is up"
    );
    let (credentials_sender, credentials) = watch::channel(Credentials::new());
    let snapshot = Snapshot::new(config, &keys, &credentials.borrow());
    let (sender, receiver) = watch::channel(snapshot);
    tokio::spawn(credentials::keep(receiver.clone(), credentials_sender));
    let shared = Shared {
        snapshot: receiver,
        store: Arc::clone(&store),
        ingest,
        router: Arc::new(Unfitted),
    };
    tokio::spawn(draining);
    let stop = stop_signal()?;
    let rest_server = axum::serve(management, rest::router(shared.clone()))
        .with_graceful_shutdown(stopped(stop.clone()));
    let grpc_server = grpc::serve(shared, grpc_listener, stopped(stop.clone()));
    tokio::select! {
        served = async { tokio::try_join!(
            async { rest_server.into_future().await.context("REST failed") },
            async { grpc_server.await.context("gRPC failed") },
        ) } => { served?; }
        watched = reload::watch_files(path.map(Path::to_path_buf), keys, credentials, sender) => watched?,
        () = forced(stop) => tracing::warn!("stopped with requests under way"),
    }
    tracing::info!("the control plane has stopped");
    Ok(())
}

/// The journal, and the work of emptying it.
fn open_journal(
    config: &Config,
    store: &Arc<dyn Store>,
) -> anyhow::Result<(Ingest, impl Future<Output = ()> + Send + use<>)> {
    let path = config.journal.path();
    let (journal, reader, bookmark) = journal::open(&path, config.journal.max_bytes)
        .with_context(|| format!("the journal {} can't be opened", path.display()))?;
    let (sender, stored) = watch::channel(journal::Position::default());
    let observers = Vec::new();
    let background = Background::start("drain")?;
    let draining = ingest::drain(
        background,
        reader,
        bookmark,
        Arc::clone(store),
        sender,
        observers,
    );
    Ok((Ingest::new(journal, stored), draining))
}

async fn listen(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; set `{key}` to a free address"))
}

/// Turns true on the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process's reason to stay.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// The filter keeps its connection open, so a graceful end needs a bound.
async fn forced(stop: watch::Receiver<bool>) {
    stopped(stop).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
}
