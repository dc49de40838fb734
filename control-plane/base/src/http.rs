//! HTTP clients of the control plane.
//!
//! All clients are built here: none follows a redirect, because the headers of a request may hold
//! secrets meant for one host, and all have timeouts. `clippy.toml` forbids other ways to build
//! one.

use std::time::Duration;

use anyhow::ensure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without an event after which a stream is taken for dead.
const STREAM_SILENCE: Duration = Duration::from_secs(600);

/// The purpose of a client, which decides its timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Calls with a timeout for the whole call, body included.
    Calls(Duration),
    /// Streams that stay open, or calls with their own timeouts.
    Streams,
}

/// Returns a builder with redirects off and timeouts on.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that builds clients"
)]
pub fn client_builder(kind: ClientKind) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT);
    match kind {
        ClientKind::Calls(timeout) => builder.timeout(timeout),
        ClientKind::Streams => builder.read_timeout(STREAM_SILENCE),
    }
}

/// Returns an error unless the status is 2xx; a redirect is not a success.
pub fn ensure_success(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    let status = response.status();
    ensure!(
        !status.is_redirection(),
        "the server answered {status}, and redirects are not followed; configure the address that it leads to"
    );
    Ok(response.error_for_status()?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Starts a server that answers every connection with `reply`; returns its address and the
    /// number of connections.
    fn server(reply: String) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(reply.as_bytes());
            }
        });
        (origin, connections)
    }

    #[tokio::test]
    async fn no_client_follows_a_redirect() {
        let (other, reached) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned());
        for status in [301, 302, 303, 307, 308] {
            let (origin, _) = server(format!(
                "HTTP/1.1 {status} X\r\nlocation: {other}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ));
            for kind in [
                ClientKind::Calls(Duration::from_secs(10)),
                ClientKind::Streams,
            ] {
                let client = client_builder(kind).no_proxy().build().unwrap();
                let response = client
                    .post(&origin)
                    .header("x-secret", "s")
                    .send()
                    .await
                    .unwrap();
                assert_eq!(response.status().as_u16(), status);
                let error = ensure_success(response).unwrap_err().to_string();
                assert!(error.contains("redirects are not followed"), "{error}");
            }
        }
        assert_eq!(reached.load(Ordering::SeqCst), 0);
    }
}
