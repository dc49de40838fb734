//! `cargo xtask run`: everything set up and started, until Ctrl-C.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::workspace::{Profile, Workspace};
use crate::{envoy, process, wasm};

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub fn run(workspace: &Workspace, config: Option<PathBuf>) -> Result<()> {
    let config = config.or_else(|| {
        let default = PathBuf::from("opentracy.yaml");
        default.exists().then_some(default)
    });
    step("Building the filter");
    let filter = wasm::build(workspace, &[])?;
    step("Building the control plane");
    let binary = workspace.build_control_plane(Profile::Release)?;
    step("Looking for Envoy");
    let envoy = envoy::find(workspace)?;

    let opentracy = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments);
        if let Some(config) = &config {
            command.arg("--config").arg(config);
        }
        command
    };
    step("Writing Envoy's configuration");
    let check = process::output(&mut opentracy(&["check"]))?;
    let gateway = gateway_address(&check)?;
    let bootstrap = process::output(opentracy(&["envoy-config"]).arg("--filter").arg(&filter))?;
    let bootstrap_path = workspace.target.join("envoy.yaml");
    std::fs::write(&bootstrap_path, &bootstrap)
        .with_context(|| format!("{} can't be written", bootstrap_path.display()))?;

    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    step("Starting the control plane and Envoy");
    let mut processes = Processes::default();
    processes.start("the control plane", &mut opentracy(&["serve"]))?;
    processes.start("Envoy", &mut envoy_command(&envoy, &bootstrap_path))?;
    let started = Instant::now();
    while !stopping.load(Ordering::Relaxed) && !is_healthy(gateway) {
        processes.check()?;
        if started.elapsed() > START_DEADLINE {
            bail!(
                "the gateway did not come up within {} s; the lines above say why",
                START_DEADLINE.as_secs()
            );
        }
        sleep(LOOK_EVERY);
    }
    if !stopping.load(Ordering::Relaxed) {
        greet(gateway, &check);
    }
    while !stopping.load(Ordering::Relaxed) {
        processes.check()?;
        sleep(LOOK_EVERY);
    }
    step("Stopping");
    processes.stop();
    Ok(())
}

fn envoy_command(binary: &Path, bootstrap: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config-path").arg(bootstrap).args([
        "--use-dynamic-base-id",
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:info",
    ]);
    command
}

fn greet(gateway: SocketAddr, check: &str) {
    println!(
        "\nOpenTracy is up. Ctrl-C stops it.

  OpenAI API   http://{gateway}/v1
  health       http://{gateway}/health
{}
Try it:

  curl http://{gateway}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\": \"demo/echo\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'
",
        check.lines().skip(1).map(|line| format!("  {line}\n")).collect::<String>()
    );
}

/// Where the gateway listens, from what `opentracy check` prints.
fn gateway_address(check: &str) -> Result<SocketAddr> {
    let address = check
        .lines()
        .find_map(|line| line.strip_prefix("gateway: http://"))
        .context("`opentracy check` does not tell where the gateway listens")?;
    let mut address: SocketAddr = address.parse()?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Ok(address)
}

fn is_healthy(gateway: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&gateway, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// What was started. All of it stops when this goes, however it goes.
#[derive(Default)]
struct Processes(Vec<(&'static str, Child)>);

impl Processes {
    fn start(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        // A group of its own: Ctrl-C then reaches this process alone, which stops the others in order.
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        self.0.push((name, child));
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has stopped ({status}); its last lines above say why");
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        // Envoy first, so that its last traces find the control plane.
        for (name, mut child) in std::mem::take(&mut self.0).into_iter().rev() {
            if let Ok(pid) = i32::try_from(child.id()) {
                // An error means that it has stopped already.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            let asked = Instant::now();
            while matches!(child.try_wait(), Ok(None)) {
                if asked.elapsed() > STOP_DEADLINE {
                    eprintln!("{name} does not stop and is killed");
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                sleep(LOOK_EVERY);
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop();
    }
}

fn step(what: &str) {
    eprintln!("==> {what}");
}
