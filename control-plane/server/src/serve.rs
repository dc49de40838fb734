//! The `opentracy serve` command, which starts all parts.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::connections;
use crate::connections::{Connections, Share};
use crate::grpc;
use crate::otlp::Otlp;
use crate::reload;
use crate::reload::{ConfigFile, Inputs};
use crate::rest_listener;
use crate::shutdown::{forced, stop_signal, stopped};
use opentracy_base::clock;
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_base::http;
use opentracy_base::http::ClientKind;
use opentracy_base::secure_fs;
use opentracy_base::worker_thread::Background;
use opentracy_config as config;
use opentracy_config::credential::Credentials;
use opentracy_config::owner::BudgetStatus;
use opentracy_config::{Config, Keys, LogFormat};
use opentracy_credentials as credentials;
use opentracy_ingest::journal;
use opentracy_ingest::journal::{Bookmark, Journal, Reader};
use opentracy_ingest::live::Live;
use opentracy_ingest::{DeadLetters, Drain, Ingest, Observer, Observers, StoreState};
use opentracy_routing::library::Library;
use opentracy_routing::{Router, embed, learn, prior};
use opentracy_spend::budget::Ledger;
use opentracy_spend::prices::{InForce, Prices};
use opentracy_spend::reprice;
use opentracy_state::AppState;
use opentracy_state::metrics::Metrics;
use opentracy_state::resources::Resources;
use opentracy_store::{self as store, Actor, Filter, Micros, Store};

/// Interval between removals of old traces.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// Builds the REST API's routes.
pub type RestRoutes = fn(AppState) -> axum::Router;

/// Runs until SIGTERM or SIGINT.
pub fn run(path: Option<&Path>, routes: RestRoutes) -> anyhow::Result<()> {
    let file = ConfigFile::read(path).context("the configuration can't be used")?;
    let loaded = config::load_text(path, &file.text);
    let (mut config, keys) = loaded.context("the configuration can't be used")?;
    start_log(config.telemetry.log_format)?;
    tighten(&config);
    reload::latch(&mut config);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(file, config, keys, routes))
}

/// Removes the access of others to files of an earlier version; new ones are for their owner only.
fn tighten(config: &Config) {
    let folders = [
        config::state_dir(),
        config.journal.path(),
        config.router.packs(),
    ];
    for folder in folders {
        secure_fs::tighten_dir(&folder.canonicalize().unwrap_or(folder));
    }
    if config.store.clickhouse.is_none() {
        let database = config.store.path();
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut file = database.clone().into_os_string();
            file.push(end);
            secure_fs::tighten(Path::new(&file));
        }
    }
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("OPENTRACY_LOG")
        .from_env()
        .context("OPENTRACY_LOG must be a level, such as debug")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Runs `opentracy migrate`.
pub fn migrate(path: Option<&Path>) -> anyhow::Result<()> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(store::migrate(&config.store))
}

/// Runs `opentracy reprice`.
pub fn reprice(path: Option<&Path>, filter: Filter, in_force: InForce) -> anyhow::Result<()> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let prices = Prices::open(&config::state_dir())?;
    let repriced = runtime.block_on(async {
        let store = store::open(&config.store, &HealthRegistry::default()).await?;
        let by = Actor {
            actor: "opentracy reprice".to_owned(),
            ..Actor::default()
        };
        anyhow::Ok(reprice::run(&*store, &prices, filter, in_force, by).await?)
    })?;
    println!(
        "{} traces have a new cost, {} are unchanged.",
        repriced.changed, repriced.unchanged
    );
    Ok(())
}

async fn serve(
    file: ConfigFile,
    config: Config,
    keys: Keys,
    routes: RestRoutes,
) -> anyhow::Result<()> {
    let health = HealthRegistry::default();
    let store = store::open(&config.store, &health).await?;
    let management = listen(config.management.listen, "management.listen").await?;
    let grpc_listener = listen(config.grpc.listen, "grpc.listen").await?;
    tracing::info!(
        rest = %config.management.listen,
        grpc = %config.grpc.listen,
        "the control plane is up"
    );
    let (credentials_sender, credentials) = watch::channel(Credentials::new());
    let (standing_sender, standing) = watch::channel(BudgetStatus::new());
    let inputs = Inputs {
        keys,
        credentials,
        standing,
    };
    let journal = open_journal(&config, &health)?;
    let store_state = StoreState::default();
    let retention = config.store.retention;
    let otlp = Otlp::start(&config.telemetry)?;
    let router = open_router(&config.router, &health).await?;
    let (sender, receiver) = watch::channel(inputs.snapshot(config));
    let ledger = Ledger::new(receiver.clone(), standing_sender);
    let (metrics, live) = (
        Arc::new(Metrics::new(journal.journal.figures(), &store_state)),
        Arc::new(Live::default()),
    );
    let mut observers: Vec<Arc<dyn Observer>> = vec![ledger.clone(), metrics.clone(), live.clone()];
    if let Some(otlp) = otlp {
        observers.push(Arc::new(otlp));
    }
    let ingest = journal.begin(&store, observers.into(), &health, store_state)?;
    let prices = Arc::new(Prices::open(&config::state_dir())?);
    prices.start(receiver.clone());
    tokio::spawn(expire(Arc::clone(&store), retention, health.clone()));
    ledger.start(Arc::clone(&store), ingest.clone());
    credentials::start(receiver.clone(), credentials_sender, health.clone());
    let (heard, heard_outcomes) = mpsc::channel(learn::MAX_WAITING);
    let shared = AppState {
        snapshot: receiver,
        store: Arc::clone(&store),
        ingest,
        ledger,
        prices,
        metrics,
        health: health.clone(),
        live,
        vms: Arc::default(),
        agents: Arc::default(),
        tasks: Arc::default(),
        state_dir: config::state_dir().into(),
        http: http::client_builder(ClientKind::Streams)
            .no_proxy()
            .build()?,
        limits: Arc::default(),
        resources: Arc::new(Resources::new(&config::state_dir())),
        router: Arc::clone(&router),
        fits: Arc::new(learn::Fits::start()?),
        heard,
    };
    learn::start(router, store, heard_outcomes);
    let stop = stop_signal()?;
    let files = connections::raise_file_limit();
    let rest_connections = Connections::with_share(files, Share::Quarter);
    let grpc_connections = Connections::with_share(files, Share::Eighth);
    let routes = routes(shared.clone());
    let rest_server = rest_listener::serve(management, routes, rest_connections, stop.clone());
    let grpc_server = grpc::serve(
        shared,
        grpc_listener,
        grpc_connections,
        stopped(stop.clone()),
    );
    tokio::select! {
        served = async { tokio::try_join!(
            async { rest_server.await; anyhow::Ok(()) },
            async { grpc_server.await.context("gRPC failed") },
        ) } => { served?; }
        watched = reload::watch_files(file, inputs, sender, health) => watched?,
        () = forced(stop) => tracing::warn!("stopped with requests in progress"),
    }
    tracing::info!("the control plane has stopped");
    Ok(())
}

/// Opens the router with the pack that was last active, or the initial one.
async fn open_router(
    config: &config::RouterConfig,
    health: &HealthRegistry,
) -> anyhow::Result<Arc<Router>> {
    let embedder = match config.enabled {
        true => embed::open(&config.embedder, health).context("the embedder can't be used")?,
        false => None,
    };
    let library = Library::open(config.packs())?;
    if let Some(embedder) = &embedder
        && library.active_version().is_none()
    {
        let version = library.add(&prior::make(&**embedder).await?)?;
        library.set_active(&version)?;
    }
    if embedder.is_none() {
        tracing::warn!(
            "no embedder is in use, so aliases with `route: auto` use their default; `router.embedder` sets its location"
        );
    }
    Ok(Arc::new(Router::new(config, embedder, library)))
}

/// Removes traces older than the retention, for as long as the process runs.
async fn expire(store: Arc<dyn Store>, retention: Duration, health: HealthRegistry) {
    let mut hours = tokio::time::interval(EXPIRE_EVERY);
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    loop {
        hours.tick().await;
        let before = Micros(clock::now().0.saturating_sub(retention));
        match store.expire(before).await {
            Ok(()) => {
                health.resolve(HealthCode::StoreExpire, "");
            }
            Err(error) => {
                let message = format!("old traces can't be removed: {error}");
                tracing::error!(event = "store_expire_failing", "{message}");
                health.report(HealthCode::StoreExpire, "", message);
            }
        }
    }
}

/// An open journal that is not in use yet.
struct OpenJournal {
    folder: PathBuf,
    journal: Journal,
    reader: Reader,
    bookmark: Bookmark,
}

fn open_journal(config: &Config, health: &HealthRegistry) -> anyhow::Result<OpenJournal> {
    let path = config.journal.path();
    let (journal, reader, bookmark) =
        journal::open(&path, config.journal.max_bytes, health.clone())
            .with_context(|| format!("the journal {} can't be opened", path.display()))?;
    Ok(OpenJournal {
        folder: path,
        journal,
        reader,
        bookmark,
    })
}

impl OpenJournal {
    /// Starts accepting records and moving them from the journal into the store.
    fn begin(
        self,
        store: &Arc<dyn Store>,
        observers: Observers,
        health: &HealthRegistry,
        state: StoreState,
    ) -> anyhow::Result<Ingest> {
        let (sender, stored) = watch::channel(journal::Progress::default());
        let background = Background::start("drain")?;
        let ingest = Ingest::new(self.journal, stored, Arc::clone(&observers), state.clone());
        let dead_letters = state.dead_letters.clone();
        let drain = Drain {
            store: Arc::clone(store),
            observers,
            health: health.clone(),
            state,
            dead_letters: DeadLetters::new(&self.folder, health.clone(), dead_letters),
        };
        drain.start(background, self.reader, self.bookmark, sender);
        Ok(ingest)
    }
}

async fn listen(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; set `{key}` to a free address"))
}
