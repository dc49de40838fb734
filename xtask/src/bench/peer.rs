//! Gateways of others that already listen on this machine, and the processes that they consist of.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A gateway that is compared with this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    /// The part of every path that comes before the API's own, without a slash at its end.
    pub path_prefix: String,
    /// The process to measure, if it isn't the owner of the port.
    pub pid: Option<u32>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let format = "must be `NAME=http://HOST:PORT` or `NAME=http://HOST:PORT@PID`";
        let (name, url) = text.split_once('=').ok_or(format)?;
        let (url, pid) = match url.rsplit_once('@') {
            Some((url, pid)) => (url, Some(pid.parse().map_err(|_| format)?)),
            None => (url, None),
        };
        let rest = url.strip_prefix("http://").ok_or(format)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut addresses = authority
            .to_socket_addrs()
            .map_err(|error| format!("{format}: `{authority}`: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            // Servers listen on IPv4 more often than on IPv6.
            address: addresses
                .clone()
                .find(SocketAddr::is_ipv4)
                .or_else(|| addresses.next())
                .ok_or_else(|| format!("`{authority}` has no address"))?,
            path_prefix: path.trim_end_matches('/').to_owned(),
            pid,
        })
    }
}

impl Peer {
    /// Returns the processes whose CPU time is the peer's.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match self.pid {
            Some(pid) => descendants(pid),
            None => listeners(self.address.port()),
        }
    }
}

/// Returns the processes that hold a socket which listens on this port.
fn listeners(port: u16) -> Result<Vec<u32>> {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(listening_sockets(
            &fs::read_to_string(table).unwrap_or_default(),
            port,
        ));
    }
    if sockets.is_empty() {
        bail!("no process listens on port {port}; start the gateway, or correct --peer");
    }
    let mut owners: Vec<u32> = processes()?
        .into_iter()
        .filter(|pid| holds_one(*pid, &sockets))
        .collect();
    owners.sort_unstable();
    if owners.is_empty() {
        bail!("the process that listens on port {port} belongs to another user; add `@PID`");
    }
    Ok(owners)
}

/// Returns the inodes of the sockets that listen on a port, as a table in `/proc/net` lists them.
fn listening_sockets(table: &str, port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listening = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
        is_listening.then(|| fields.get(9)?.parse().ok())?
    };
    table.lines().filter_map(inode).collect()
}

fn holds_one(pid: u32, sockets: &HashSet<u64>) -> bool {
    // The files of another user's process can't be listed.
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| sockets.contains(&inode))
    })
}

/// Returns a process and the processes that it has started, directly or not.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    fs::metadata(format!("/proc/{pid}")).with_context(|| format!("process {pid} doesn't exist"))?;
    let parents: Vec<(u32, u32)> = processes()?
        .into_iter()
        .filter_map(|child| {
            let status = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
            Some((child, parent(&status)?))
        })
        .collect();
    let mut found = vec![pid];
    let mut visited = 0;
    while let Some(current) = found.get(visited).copied() {
        let children = parents.iter().filter(|(_, parent)| *parent == current);
        found.extend(children.map(|(child, _)| child));
        visited += 1;
    }
    Ok(found)
}

/// Returns the id of the parent in a `/proc/PID/stat` file. The name of the program, in brackets,
/// may contain blanks and brackets itself.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn processes() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    Ok(pids.collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::{Peer, descendants, listeners, listening_sockets, parent};

    #[test]
    fn a_peer_is_a_name_and_a_url() {
        let peer: Peer = "other=http://127.0.0.1:4000/proxy/@17".parse().unwrap();
        assert_eq!(peer.name, "other");
        assert_eq!(peer.address, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(peer.path_prefix, "/proxy");
        assert_eq!(peer.pid, Some(17));
        let peer: Peer = "other=http://localhost:4000".parse().unwrap();
        assert!(peer.address.ip().is_loopback());
        assert_eq!((peer.path_prefix.as_str(), peer.pid), ("", None));
    }

    #[test]
    fn what_is_not_a_url_of_http_is_refused() {
        for text in [
            "http://127.0.0.1:4000",
            "other=https://127.0.0.1:4000",
            "other=http://127.0.0.1",
            "other=http://127.0.0.1:4000@all",
        ] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_sockets_that_listen_on_the_port_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:8AE2 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";
        assert_eq!(listening_sockets(table, 8080), [4711]);
        assert!(listening_sockets(table, 80).is_empty());
    }

    #[test]
    fn the_owner_of_a_port_is_the_process_that_listens_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listeners(port).unwrap(), [std::process::id()]);
        drop(listener);
        assert!(listeners(port).is_err());
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn the_processes_that_a_process_has_started_are_its_own() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        assert_eq!(
            descendants(child.id()).unwrap(),
            [child.id(), grandchild].to_vec()
        );
        assert!(
            descendants(std::process::id())
                .unwrap()
                .contains(&grandchild)
        );
        let mut stop = Command::new("kill");
        stop.arg(grandchild.to_string()).status().unwrap();
        child.wait().unwrap();
    }
}
