//! The proxies that are measured: Envoys in several forms, and gateways of others.

use std::net::SocketAddr;

/// A running proxy.
#[derive(Debug, Clone)]
pub struct MeasuredProxy {
    /// The heading of its column.
    pub name: String,
    pub kind: ProxyKind,
    pub address: SocketAddr,
    /// The part of every path that comes before the API's own.
    pub path_prefix: String,
    /// Headers that its routes need, each with CR LF at its end.
    pub headers: String,
    /// The processes whose CPU time is its own.
    pub pids: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// An Envoy that only forwards.
    Plain,
    /// The gateway's configuration of Envoy, without the filter.
    NoFilter,
    Gateway,
    /// A gateway of others.
    Peer,
}
