//! Addresses in Envoy's configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use opentracy_config::AdminAddress;

/// Returns the address to call a listener at, also if it listens on all interfaces.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// Returns Envoy's form of a socket address.
pub fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Returns Envoy's form of the address of its admin interface.
pub fn admin_address(address: &AdminAddress) -> Value {
    match address {
        AdminAddress::Socket(address) => socket(*address),
        AdminAddress::Pipe(path) => {
            json!({"pipe": {"path": path.display().to_string(), "mode": 0o600}})
        }
    }
}
