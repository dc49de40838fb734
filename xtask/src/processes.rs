//! Runs processes side by side and stops them together.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The started processes, all of which are stopped on drop.
#[derive(Default)]
pub struct Processes {
    running: Vec<(&'static str, Child)>,
    stopping: Arc<AtomicBool>,
}

impl Processes {
    /// Makes all waits end as soon as the flag is set.
    pub fn stopped_by(stopping: Arc<AtomicBool>) -> Self {
        Self {
            running: Vec::new(),
            stopping,
        }
    }

    /// Starts a process and returns its id.
    pub fn start(&mut self, name: &'static str, command: &mut Command) -> Result<u32> {
        // A separate process group, so that Ctrl-C reaches only this process, which stops the
        // others in order.
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let id = child.id();
        self.running.push((name, child));
        Ok(id)
    }

    /// Waits until `GET /health` of the gateway returns 200, or returns an error if a process ends
    /// first.
    pub fn wait_until_healthy(&mut self, gateway: SocketAddr) -> Result<()> {
        self.wait_until("the gateway did not become healthy", || is_healthy(gateway))
    }

    /// Waits until a condition holds, or returns an error if a process ends first. `failure` is
    /// the error if it doesn't hold in time.
    pub fn wait_until(&mut self, failure: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !self.stopping.load(Ordering::Relaxed) && !holds() {
            self.check()?;
            if started.elapsed() > START_DEADLINE {
                bail!(
                    "{failure} within {} s; see the lines above",
                    START_DEADLINE.as_secs()
                );
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until the stop flag is set, or returns an error if a process ends first.
    pub fn wait(&mut self) -> Result<()> {
        while !self.stopping.load(Ordering::Relaxed) {
            self.check()?;
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has stopped ({status}); see its last lines above");
            }
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // Envoy was started last and stops first, so that the control plane receives its last
        // traces.
        for (name, child) in self.running.iter_mut().rev() {
            stop(name, child);
        }
    }
}

fn stop(name: &str, child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // An error means that it has stopped already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let asked = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if asked.elapsed() > STOP_DEADLINE {
            eprintln!("{name} does not stop; killing it");
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        sleep(LOOK_EVERY);
    }
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
