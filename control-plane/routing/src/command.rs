//! `opentracy router`: manages packs without a running control plane.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use opentracy_router::pack;
use opentracy_router::{LabeledOutcome, Pack, fit};

use crate::embed::{self, Embed};
use crate::learn::{self, FitOrder};
use crate::library::Library;
use crate::prior;
use opentracy_base::health::HealthRegistry;
use opentracy_config::{self as config, Config};

#[derive(Subcommand)]
pub enum RoutingCommand {
    /// Fit a pack on labeled outcomes, store it and print its version.
    Fit {
        /// JSON Lines: `prompt`, `model`, and `error` from 0 (good enough) to 1.
        #[arg(long)]
        outcomes: PathBuf,
        /// Maximum number of clusters.
        #[arg(long, default_value_t = fit::CLUSTERS)]
        clusters: usize,
        /// Keep the clusters of the active pack; fit only the models that have outcomes.
        #[arg(long)]
        keep_clusters: bool,
        /// Description of the pack, for people.
        #[arg(long, default_value = "fitted on a file of outcomes")]
        description: String,
        /// Write the pack to this new folder instead of storing it.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Activate it. A running control plane loads it when it restarts.
        #[arg(long, conflicts_with = "out")]
        activate: bool,
    },
    /// Make the default pack, from published benchmarks.
    Prior,
    /// Import a pack from a folder: an OpenTracy pack, or centroids in an `.npz` with a JSON file
    /// per model.
    Import { folder: PathBuf },
    /// List all packs.
    List,
    /// Activate a pack. In a running control plane, call this endpoint instead:
    /// `POST /v1/router/packs/VERSION/activate`.
    Activate { version: String },
}

pub fn run(path: Option<&Path>, command: RoutingCommand) -> anyhow::Result<()> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    let library = Library::open(config.router.packs())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match command {
        RoutingCommand::Fit {
            outcomes,
            clusters,
            keep_clusters,
            description,
            out,
            activate,
        } => {
            let base = match keep_clusters {
                true => Some(
                    library
                        .active()?
                        .context("no pack is active whose clusters could be kept")?,
                ),
                false => None,
            };
            let order = FitOrder {
                keep_clusters,
                clusters,
                activate,
                description,
                source: format!("outcomes in {}", outcomes.display()),
            };
            let outcomes = read(&outcomes)?;
            println!("{} outcomes; embedding and fitting …", outcomes.len());
            let embedder = embedder(&config)?;
            let fitted = learn::fit_now(base.as_ref(), &*embedder, outcomes, &order);
            let pack = runtime.block_on(fitted)?;
            let version = match out {
                Some(folder) => pack::save(&pack, &folder)?,
                None => library.add(&pack)?,
            };
            if activate {
                library.set_active(&version)?;
            }
            describe(&version, &pack, activate);
        }
        RoutingCommand::Prior => {
            let pack = runtime.block_on(prior::make(&*embedder(&config)?))?;
            describe(&library.add(&pack)?, &pack, false);
        }
        RoutingCommand::Import { folder } => {
            let pack = match folder.join("manifest.json").exists() {
                true => pack::load(&folder)?,
                false => pack::import(&folder, embedder(&config)?.identity().clone())?,
            };
            describe(&library.add(&pack)?, &pack, false);
        }
        RoutingCommand::List => {
            let active = library.active_version();
            for version in library.versions()? {
                match library.load(&version) {
                    Ok(pack) => describe(&version, &pack, active.as_ref() == Some(&version)),
                    Err(error) => println!("{version}  {error}"),
                }
            }
        }
        RoutingCommand::Activate { version } => {
            let pack = library.load(&version)?;
            library.set_active(&version)?;
            describe(&version, &pack, true);
        }
    }
    Ok(())
}

fn embedder(config: &Config) -> anyhow::Result<Arc<dyn Embed>> {
    embed::open(&config.router.embedder, &HealthRegistry::default())?.with_context(|| {
        format!(
            "the embedder's files are missing in {}; set `router.embedder` or OPENTRACY_EMBEDDER",
            config.router.embedder.path().display()
        )
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<LabeledOutcome>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let parse = |(number, line): (u32, &str)| {
        LabeledOutcome::parse(line)
            .map_err(|reason| anyhow::anyhow!("{}:{number}: {reason}", path.display()))
    };
    lines.map(parse).collect()
}

fn describe(version: &str, pack: &Pack, is_active: bool) {
    println!(
        "{version}  {}, {} clusters, {} models, {}{}",
        pack.metadata.kind.name(),
        pack.clusters.len(),
        pack.profiles.len(),
        pack.metadata.description,
        if is_active { " (active)" } else { "" }
    );
}
