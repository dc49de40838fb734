//! `cargo xtask run`: sets up and starts everything, and stops it on Ctrl-C.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::filter::FilterBuild;
use crate::processes::Processes;
use crate::workspace::{BuildProfile, Workspace};
use crate::{embedder, envoy, filter, process};

pub fn run(
    workspace: &Workspace,
    config: Option<PathBuf>,
    no_router: bool,
    kind: FilterBuild,
) -> Result<()> {
    let config = config.or_else(|| {
        let default = PathBuf::from("opentracy.yaml");
        default.exists().then_some(default)
    });
    step("Building the filter");
    let filter = filter::build(workspace, kind, &[])?;
    step("Building the control plane");
    let binary = workspace.build_control_plane(BuildProfile::Release)?;
    step("Looking for Envoy");
    let envoy = envoy::find_for(kind, workspace)?;

    let embedder = match no_router {
        true => None,
        false => {
            step("Looking for the embedding model");
            Some(embedder::find(workspace)?)
        }
    };

    let opentracy = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments);
        if let Some(config) = &config {
            command.arg("--config").arg(config);
        }
        if let Some(embedder) = &embedder {
            command.env("OPENTRACY_EMBEDDER", embedder);
        }
        command
    };
    step("Writing Envoy's configuration");
    let report = process::output(&mut opentracy(&["check", "--format", "json"]))?;
    let report: Report = serde_json::from_str(&report)?;
    let gateway = report.gateway_address();
    let mut envoy_config = opentracy(&["envoy-config", "--filter-kind", kind.as_str()]);
    let bootstrap = process::output(envoy_config.arg("--filter").arg(&filter))?;
    let bootstrap_path = workspace.target.join("envoy.yaml");
    write_private(&bootstrap_path, &bootstrap)
        .with_context(|| format!("{} can't be written", bootstrap_path.display()))?;

    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    step("Starting the control plane and Envoy");
    let mut processes = Processes::stopped_by(Arc::clone(&stopping));
    processes.start("the control plane", &mut opentracy(&["serve"]))?;
    processes.start("Envoy", &mut envoy::command(&envoy, &bootstrap_path))?;
    processes.wait_until_healthy(gateway)?;
    if !stopping.load(Ordering::Relaxed) {
        greet(gateway, &report);
    }
    processes.wait()?;
    step("Stopping");
    drop(processes);
    Ok(())
}

/// Writes a file for its owner only: the bootstrap holds the token with which the control plane
/// hands out provider keys.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn greet(gateway: SocketAddr, report: &Report) {
    let facts = [
        format!("management: http://{}", report.management),
        format!(
            "providers that can be called: {}",
            report.providers.join(", ")
        ),
        format!("aliases: {}", report.aliases.join(", ")),
    ];
    let warnings = report
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"));
    let facts: String = facts
        .into_iter()
        .chain(warnings)
        .map(|fact| format!("  {fact}\n"))
        .collect();
    println!(
        "\nOpenTracy is up. Ctrl-C stops it.

  OpenAI API: http://{gateway}/v1
{facts}
Try it:

  curl http://{gateway}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\": \"auto\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'
"
    );
}

/// The report of `opentracy check --format json`.
#[derive(serde::Deserialize)]
struct Report {
    gateway: SocketAddr,
    management: SocketAddr,
    providers: Vec<String>,
    aliases: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    /// Returns the address at which this machine reaches the gateway.
    fn gateway_address(&self) -> SocketAddr {
        let mut address = self.gateway;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        address
    }
}

fn step(what: &str) {
    eprintln!("==> {what}");
}
