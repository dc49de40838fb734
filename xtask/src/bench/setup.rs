//! Starts the processes that are measured: Envoys in several forms, with the control plane and the
//! providers.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::bench::bootstraps::{self, GatewayAddresses};
use crate::bench::options::{BenchOptions, FilterFile, OwnColumn};
use crate::bench::proxy::{MeasuredProxy, ProxyKind};
use crate::bench::upstream::{self, Providers};
use crate::bench::{cpu, machine};
use crate::filter::FilterBuild;
use crate::processes::Processes;
use crate::workspace::{BuildProfile, Workspace};
use crate::{embedder, envoy, filter, process};

/// The parts that all proxies share.
pub struct Setup {
    envoy: PathBuf,
    opentracy: PathBuf,
    embedder: PathBuf,
    folder: PathBuf,
    pub providers: Providers,
    management: SocketAddr,
    grpc: SocketAddr,
    /// The core of the Envoys.
    pub envoy_core: usize,
    /// The cores of everything else.
    pub other_cores: Vec<usize>,
    /// Set by the signals that stop the run.
    pub stopping: Arc<AtomicBool>,
}

/// An Envoy that can be started.
#[derive(Debug, Clone)]
pub enum EnvoyForm {
    Plain,
    NoFilter,
    Gateway(FilterFile),
}

impl Setup {
    /// Builds what the options need, and starts the providers. From then on, this process and those
    /// that it starts don't use the core of the Envoys.
    pub fn new(workspace: &Workspace, options: &BenchOptions) -> Result<(Self, Vec<EnvoyForm>)> {
        let forms = forms(workspace, options)?;
        let opentracy = match &options.control_plane {
            Some(file) => file.clone(),
            None => {
                eprintln!("Building the control plane …");
                workspace.build_control_plane(BuildProfile::Release)?
            }
        };
        let envoy = envoy::find(workspace)?;
        let embedder = embedder::find(workspace)?;
        let folder = workspace.target.join("bench");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let cores = machine::cores()?;
        let other_cores: Vec<usize> = (1.min(cores - 1)..cores).collect();
        cpu::pin(0, &other_cores)?;
        let [management, grpc] = free_addresses()?;
        let setup = Self {
            envoy,
            opentracy,
            embedder,
            folder,
            providers: upstream::start(options.upstream_port)?,
            management,
            grpc,
            envoy_core: 0,
            other_cores,
            stopping: Arc::default(),
        };
        Ok((setup, forms))
    }

    /// Returns the cores that this process was started with.
    pub fn all_cores(&self) -> Vec<usize> {
        let mut cores = vec![self.envoy_core];
        cores.extend(
            self.other_cores
                .iter()
                .filter(|core| **core != self.envoy_core),
        );
        cores
    }

    /// Returns an error if a signal asked this process to stop.
    pub fn check_stopping(&self) -> Result<()> {
        match self.stopping.load(Ordering::Relaxed) {
            true => bail!("stopped by a signal"),
            false => Ok(()),
        }
    }

    /// Returns the version of Envoy.
    pub fn envoy_version(&self) -> Result<String> {
        envoy::version(&self.envoy)
    }

    /// Starts the control plane.
    pub fn start_control_plane(&self, processes: &mut Processes) -> Result<()> {
        let config = self.write_config("control-plane", free_addresses()?)?;
        let mut serve = self.opentracy("serve", &config);
        serve
            .env("OPENTRACY_LOG", "warn")
            .env("OPENTRACY_EMBEDDER", &self.embedder)
            // Credentials with which requests are signed.
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        processes.start("the control plane", &mut serve)?;
        Ok(())
    }

    /// Starts an Envoy, and waits until it is ready.
    pub fn start_envoy(
        &self,
        processes: &mut Processes,
        form: &EnvoyForm,
        number: usize,
        workers: usize,
    ) -> Result<MeasuredProxy> {
        let [address, admin] = free_addresses()?;
        let bootstrap = self.folder.join(format!("envoy-{number}.yaml"));
        let config = self.write_config(&format!("opentracy-{number}"), [address, admin])?;
        let text = match form {
            EnvoyForm::Plain => bootstraps::plain(address, self.providers.address).to_string(),
            EnvoyForm::NoFilter => {
                let printed = process::output(&mut self.opentracy("envoy-config", &config))?;
                bootstraps::without_filter(&printed)?.to_string()
            }
            EnvoyForm::Gateway(build) => {
                let mut print = self.opentracy("envoy-config", &config);
                print.args(["--filter-kind", build.kind.as_str()]);
                process::output(print.arg("--filter").arg(&build.file))?
            }
        };
        // JSON is YAML too.
        std::fs::write(&bootstrap, text)?;
        let mut command = envoy::command(&self.envoy, &bootstrap);
        command.args(["--concurrency", &workers.to_string()]);
        let pid = processes.start("an Envoy", &mut command)?;
        match form {
            EnvoyForm::Gateway(_) => processes.wait_until_healthy(address)?,
            _ => processes.wait_until("an Envoy did not listen", || is_listening(address))?,
        }
        Ok(MeasuredProxy {
            name: form.name().to_owned(),
            kind: form.kind(),
            address,
            path_prefix: String::new(),
            headers: match form {
                EnvoyForm::NoFilter => bootstraps::headers_without_filter(),
                _ => String::new(),
            },
            pids: vec![pid],
        })
    }

    fn write_config(&self, name: &str, [gateway, admin]: [SocketAddr; 2]) -> Result<PathBuf> {
        let addresses = GatewayAddresses {
            gateway,
            admin,
            management: self.management,
            grpc: self.grpc,
            upstream: self.providers.address,
        };
        let store = self.folder.join("traces.db").display().to_string();
        let config = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&config, bootstraps::opentracy(addresses, &store))?;
        Ok(config)
    }

    fn opentracy(&self, command: &str, config: &Path) -> Command {
        let mut opentracy = Command::new(&self.opentracy);
        opentracy.arg(command).arg("--config").arg(config);
        opentracy.env("OPENTRACY_STATE", &self.folder);
        opentracy
    }
}

impl EnvoyForm {
    fn name(&self) -> &str {
        match self {
            Self::Plain => "plain",
            Self::NoFilter => "no filter",
            Self::Gateway(build) => &build.name,
        }
    }

    fn kind(&self) -> ProxyKind {
        match self {
            Self::Plain => ProxyKind::Plain,
            Self::NoFilter => ProxyKind::NoFilter,
            Self::Gateway(_) => ProxyKind::Gateway,
        }
    }
}

/// Returns the forms that the options ask for; builds the filters among them.
fn forms(workspace: &Workspace, options: &BenchOptions) -> Result<Vec<EnvoyForm>> {
    let own = |kind: FilterBuild| {
        eprintln!("Building the {} filter …", kind.as_str());
        let file = filter::build(workspace, kind, &[])?;
        let name = kind.as_str().to_owned();
        anyhow::Ok(EnvoyForm::Gateway(FilterFile { name, file, kind }))
    };
    let mut forms = vec![EnvoyForm::Plain];
    for column in &options.columns {
        forms.push(match column {
            OwnColumn::NoFilter => EnvoyForm::NoFilter,
            OwnColumn::Wasm => own(FilterBuild::Wasm)?,
            OwnColumn::Native => own(FilterBuild::Native)?,
        });
    }
    forms.extend(options.filters.iter().cloned().map(EnvoyForm::Gateway));
    Ok(forms)
}

fn is_listening(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    // All are held until all are known, so that no two are the same.
    let listeners: Vec<TcpListener> = (0..COUNT)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<_>>()?;
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<std::io::Result<_>>()?;
    addresses.try_into().ok().context("too few addresses")
}
