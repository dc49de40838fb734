//! The control plane as a separate process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub enum Backend {
    Sqlite,
    /// The address of its HTTP interface.
    ClickHouse(String),
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::ClickHouse(_) => "ClickHouse",
        }
    }

    /// Waits until the store has merged what was written, so that searches have the machine to
    /// themselves.
    pub fn calm_down(&self) -> Result<()> {
        let Self::ClickHouse(url) = self else {
            return Ok(());
        };
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let merges = "/?query=SELECT%20count()%20FROM%20system.merges";
        let mut calm = 0;
        while calm < 5 {
            let under_way = request(address, "POST", merges)?;
            calm = if under_way.trim_ascii() == b"0" {
                calm + 1
            } else {
                0
            };
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }
}

pub struct BenchServer {
    child: Child,
    rest: SocketAddr,
    /// The URL of the gRPC listener.
    pub grpc: String,
}

impl BenchServer {
    pub fn start(folder: &Path, backend: &Backend) -> Result<Self> {
        let [rest, grpc] = free_addresses()?;
        let store = match backend {
            Backend::Sqlite => format!("path: '{}'", folder.join("traces.db").display()),
            Backend::ClickHouse(url) => format!("clickhouse: {{url: '{url}', compression: none}}"),
        };
        let config = folder.join("opentracy.yaml");
        std::fs::write(
            &config,
            format!(
                "management: {{listen: '{rest}'}}\ngrpc: {{listen: '{grpc}'}}\nstore: {{{store}}}\njournal: {{path: '{}'}}\n",
                folder.join("journal").display()
            ),
        )?;
        let child = Command::new(env!("CARGO_BIN_EXE_opentracy"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("HOME", folder)
            .env("OPENTRACY_LOG", "warn")
            .spawn()?;
        let server = Self {
            child,
            rest,
            grpc: format!("http://{grpc}"),
        };
        let started = Instant::now();
        while server.get("/health").is_err() {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("the control plane did not start");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Returns the body of a response with status 200.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        request(&self.rest.to_string(), "GET", path)
    }

    /// Waits until the journal is empty.
    pub fn settle(&self) -> Result<()> {
        loop {
            let health: serde_json::Value = serde_json::from_slice(&self.get("/health")?)?;
            if health["journal_backlog_bytes"] == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn peak_memory_mb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no peak")?.parse::<u64>()? / 1024)
    }

    pub fn stop(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

fn request(address: &str, method: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let body = reply.windows(4).position(|end| end == b"\r\n\r\n");
    let body = body.context("no answer")? + 4;
    if !reply.starts_with(b"HTTP/1.1 200") {
        bail!("{path}: {}", String::from_utf8_lossy(&reply));
    }
    Ok(reply.split_off(body))
}

fn free_addresses() -> Result<[SocketAddr; 2]> {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
