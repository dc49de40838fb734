//! The address of Envoy's administration interface.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::state_dir;

/// The longest path of a Unix domain socket, in bytes: `sun_path` holds 108 with the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The address of Envoy's administration interface. Any client that can reach it can stop Envoy or
/// read every header it logs, so the default is a Unix domain socket that only its owner can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    Socket(SocketAddr),
    Pipe(PathBuf),
}

impl Default for AdminAddress {
    fn default() -> Self {
        Self::Pipe(state_dir().join("envoy-admin.sock"))
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    /// Parses `unix:PATH` or `IP:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.len() > MAX_SOCKET_PATH {
                return Err(format!(
                    "write `unix:PATH` with a path of 1 to {MAX_SOCKET_PATH} bytes"
                ));
            }
            return Ok(Self::Pipe(PathBuf::from(path)));
        }
        text.parse().map(Self::Socket).map_err(|_| {
            "write `unix:PATH`, or an address and port such as 127.0.0.1:9902".to_owned()
        })
    }
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_path_or_a_port() {
        assert_eq!(
            "unix:/run/envoy.sock".parse(),
            Ok(AdminAddress::Pipe("/run/envoy.sock".into()))
        );
        assert_eq!(
            "127.0.0.1:9902".parse(),
            Ok(AdminAddress::Socket(([127, 0, 0, 1], 9902).into()))
        );
        for wrong in [
            "",
            "unix:",
            "localhost",
            &format!("unix:/{}", "a".repeat(120)),
        ] {
            assert!(wrong.parse::<AdminAddress>().is_err(), "{wrong}");
        }
    }
}
