//! A load generator: back-to-back requests over persistent connections.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::bench::cpu;

pub struct Load {
    pub address: SocketAddr,
    pub path: &'static str,
    pub body: Vec<u8>,
    /// The Envoy whose CPU time is measured.
    pub pid: u32,
}

/// The measurements of one run of a case.
pub struct Sample {
    pub requests_per_second: f64,
    pub cpu_per_request: Duration,
    pub latencies: Vec<Duration>,
}

/// Arrival times of the parts of an answer.
struct Timing {
    first_chunk: Duration,
    whole: Duration,
}

impl Load {
    pub fn run(&self, connections: usize, duration: Duration) -> Result<Sample> {
        let cpu_before = cpu::time(self.pid)?;
        let started = Instant::now();
        let latencies = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..connections)
                .map(|_| {
                    scope.spawn(|| -> Result<Vec<Duration>> {
                        let mut connection = Connection::open(self.address)?;
                        let mut latencies = Vec::new();
                        while started.elapsed() < duration {
                            latencies.push(connection.ask(self.path, &self.body)?.whole);
                        }
                        Ok(latencies)
                    })
                })
                .collect();
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.join().expect("a worker does not panic")?);
            }
            anyhow::Ok(all)
        })?;
        let elapsed = started.elapsed();
        let count = u64::try_from(latencies.len())?;
        // The traces of these requests are sent within the next moments, and count toward their
        // cost.
        std::thread::sleep(Duration::from_millis(500));
        let cpu = cpu::time(self.pid)? - cpu_before;
        Ok(Sample {
            requests_per_second: count as f64 / elapsed.as_secs_f64(),
            cpu_per_request: Duration::from_nanos(cpu / count.max(1)),
            latencies,
        })
    }

    /// Returns the times to the first chunk, with one request at a time.
    pub fn first_chunks(&self, count: usize) -> Result<Vec<Duration>> {
        let mut connection = Connection::open(self.address)?;
        (0..count)
            .map(|_| Ok(connection.ask(self.path, &self.body)?.first_chunk))
            .collect()
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, path: &str, body: &[u8]) -> Result<Timing> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let started = Instant::now();
        self.0.get_mut().write_all(&request)?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let is_good = line.starts_with("HTTP/1.1 200");
        let mut length = None;
        loop {
            let mut header = String::new();
            self.0.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut first_chunk = None;
        let mut received = Vec::new();
        match length {
            Some(length) => {
                received.resize(length, 0);
                self.0.read_exact(&mut received)?;
            }
            None => loop {
                let mut size = String::new();
                self.0.read_line(&mut size)?;
                first_chunk.get_or_insert_with(|| started.elapsed());
                let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
                received.resize(size + 2, 0);
                self.0.read_exact(&mut received)?;
                if size == 0 {
                    break;
                }
            },
        }
        if !is_good {
            bail!("{line}{}", String::from_utf8_lossy(&received));
        }
        let whole = started.elapsed();
        Ok(Timing {
            first_chunk: first_chunk.unwrap_or(whole),
            whole,
        })
    }
}
