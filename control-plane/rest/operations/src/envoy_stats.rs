//! Circuit breaker state of each provider, read from Envoy's admin interface.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use utoipa::ToSchema;

use opentracy_config::AdminAddress;

/// Time limit for a request. A running Envoy answers at once.
const DEADLINE: Duration = Duration::from_millis(500);
const MAX_BYTES: usize = 8 << 20;

/// A provider's circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CircuitBreaker)]
pub struct ProviderBreaker {
    pub state: BreakerState,
    /// Hosts that Envoy ejected after they refused connections.
    pub ejected_hosts: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    #[default]
    Closed,
    /// The provider is at its request limit, or all its hosts are ejected; calls fail over to the
    /// next candidate.
    Open,
}

/// Returns the circuit breakers of each Envoy cluster, or `None` if Envoy does not answer.
pub async fn circuit_breakers(admin: &AdminAddress) -> Option<BTreeMap<String, ProviderBreaker>> {
    let asked = ask(admin);
    let body = tokio::time::timeout(DEADLINE, asked).await.ok()?.ok()?;
    #[derive(Deserialize)]
    struct Stats {
        stats: Vec<Stat>,
    }
    #[derive(Deserialize)]
    struct Stat {
        #[serde(default)]
        name: String,
        #[serde(default)]
        value: u64,
    }
    let Stats { stats } = serde_json::from_slice(&body).ok()?;
    let mut breakers: BTreeMap<String, ProviderBreaker> = BTreeMap::new();
    for Stat { name, value } in stats {
        let Some((cluster, what)) = name
            .strip_prefix("cluster.")
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let breaker = breakers.entry(cluster.to_owned()).or_default();
        match what {
            "circuit_breakers.default.rq_open" if value > 0 => breaker.state = BreakerState::Open,
            "outlier_detection.ejections_active" => {
                breaker.ejected_hosts = value;
                if value > 0 {
                    breaker.state = BreakerState::Open;
                }
            }
            _ => {}
        }
    }
    Some(breakers)
}

async fn ask(admin: &AdminAddress) -> anyhow::Result<Bytes> {
    match admin {
        AdminAddress::Socket(address) => exchange(TcpStream::connect(address).await?).await,
        AdminAddress::Pipe(path) => exchange(UnixStream::connect(path).await?).await,
    }
}

/// Sends one request over a connection of its own.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let filter = "(rq_open%7Cejections_active)$";
    let request = Request::get(format!("/stats?format=json&filter={filter}"))
        .header(header::HOST, "envoy")
        .body(Empty::<Bytes>::new())?;
    let body = Limited::new(sender.send_request(request).await?.into_body(), MAX_BYTES);
    let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok(body.to_bytes())
}
