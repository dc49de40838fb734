//! The measured processes: an Envoy that only proxies, and one that is the gateway.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bench::{OtherFilter, Way, cpu, upstream};
use crate::processes::Processes;
use crate::workspace::{BuildProfile, Workspace};
use crate::{embedder, envoy, process, wasm};

pub struct Setup {
    plain: Envoy,
    /// One for each build of the filter.
    gateways: Vec<Envoy>,
    _processes: Processes,
}

/// A measured Envoy.
struct Envoy {
    address: SocketAddr,
    pid: u32,
}

impl Setup {
    pub fn start(workspace: &Workspace, others: &[OtherFilter]) -> Result<Self> {
        let mut filters = vec![wasm::build(workspace, &[])?];
        filters.extend(others.iter().map(|other| other.file.clone()));
        let binary = workspace.build_control_plane(BuildProfile::Release)?;
        let envoy = envoy::find(workspace)?;
        let folder = workspace.target.join("bench");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let cores = cpu::cores()?;
        let (gateway_core, others) = (0, 1.min(cores - 1)..cores);
        cpu::pin(0, others)?;

        let upstream = upstream::start()?;
        let [plain, management, grpc] = free_addresses()?;
        let mut processes = Processes::default();
        let plain_bootstrap = folder.join("plain.yaml");
        std::fs::write(&plain_bootstrap, plain_config(plain, upstream))?;
        let pid = processes.start("the plain Envoy", &mut one_worker(&envoy, &plain_bootstrap))?;
        let plain = Envoy {
            address: plain,
            pid,
        };
        let mut gateways = Vec::new();
        for (number, filter) in filters.iter().enumerate() {
            let [address, admin] = free_addresses()?;
            let config = folder.join(format!("opentracy-{number}.yaml"));
            std::fs::write(
                &config,
                gateway_config([address, admin, management, grpc], upstream, &folder),
            )?;
            let opentracy = |command: &str| {
                let mut opentracy = Command::new(&binary);
                opentracy.arg(command).arg("--config").arg(&config);
                opentracy.env("OPENTRACY_STATE", &folder);
                opentracy
            };
            if number == 0 {
                // All of them have this control plane.
                let embedder = embedder::find(workspace)?;
                processes.start(
                    "the control plane",
                    opentracy("serve")
                        .env("OPENTRACY_LOG", "warn")
                        .env("OPENTRACY_EMBEDDER", embedder)
                        // Credentials with which requests are signed.
                        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
                        .env("AWS_SECRET_ACCESS_KEY", "secret"),
                )?;
            }
            let bootstrap = folder.join(format!("gateway-{number}.yaml"));
            let printed = process::output(opentracy("envoy-config").arg("--filter").arg(filter))?;
            std::fs::write(&bootstrap, printed)?;
            let mut command = one_worker(&envoy, &bootstrap);
            let pid = processes.start("the gateway's Envoy", &mut command)?;
            processes.wait_until_healthy(address)?;
            gateways.push(Envoy { address, pid });
        }
        for envoy in gateways.iter().chain([&plain]) {
            for task in std::fs::read_dir(format!("/proc/{}/task", envoy.pid))? {
                let thread = task?.file_name().to_string_lossy().parse()?;
                cpu::pin(thread, [gateway_core])?;
            }
        }
        Ok(Self {
            plain,
            gateways,
            _processes: processes,
        })
    }

    pub fn address(&self, way: Way) -> SocketAddr {
        self.of(way).address
    }

    pub fn envoy(&self, way: Way) -> u32 {
        self.of(way).pid
    }

    fn of(&self, way: Way) -> &Envoy {
        match way {
            Way::Plain => &self.plain,
            Way::Gateway(number) => &self.gateways[number],
        }
    }
}

fn one_worker(envoy: &Path, bootstrap: &Path) -> Command {
    let mut command = envoy::command(envoy, bootstrap);
    command.args(["--concurrency", "1"]);
    command
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

fn gateway_config(
    [gateway, admin, management, grpc]: [SocketAddr; 4],
    upstream: SocketAddr,
    folder: &Path,
) -> String {
    let store: PathBuf = folder.join("traces.db");
    format!(
        "gateway: {{listen: '{gateway}', admin: '{admin}', metrics: null}}
management: {{listen: '{management}'}}
grpc: {{listen: '{grpc}'}}
store: {{path: '{}'}}
providers:
  openai: {{base_url: 'http://{upstream}/v1', api_key: key}}
  anthropic: {{base_url: 'http://{upstream}', api_key: key}}
  gemini: {{base_url: 'http://{upstream}/v1beta', api_key: key}}
  bedrock: {{base_url: 'http://{upstream}', region: us-east-1}}
  cohere: {{base_url: 'http://{upstream}', api_key: key}}
aliases:
  smart: {{candidates: [anthropic/claude-sonnet-4-6, openai/gpt-4o-mini]}}
  routed: {{candidates: [openai/gpt-4o-mini], route: auto}}
  limited:
    candidates: [openai/gpt-4o-mini]
    limits: {{requests_per_minute: 100000000, tokens_per_minute: 100000000000, concurrent_requests: 100000}}
",
        store.display()
    )
}

/// Returns the configuration of an Envoy that only forwards everything to one upstream.
fn plain_config(listen: SocketAddr, upstream: SocketAddr) -> String {
    let (port, upstream_port) = (listen.port(), upstream.port());
    format!(
        r#"static_resources:
  listeners:
  - name: plain
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: upstream, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}}}]}}]
"#
    )
}
