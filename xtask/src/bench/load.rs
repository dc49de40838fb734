//! A load generator: back-to-back requests over persistent connections.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::bench::cpu::ThreadTimes;
use crate::bench::statistics::{median, quantile, sorted};

/// Time in which the traces of the last requests are sent. They count toward the cost.
const DELIVERY: Duration = Duration::from_millis(500);
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Threads of clients only read and write.
const STACK_BYTES: usize = 256 * 1024;

/// Requests that are sent again and again.
pub struct RequestLoad {
    pub address: SocketAddr,
    /// A whole request, with its head.
    pub request: Vec<u8>,
    pub connections: u16,
}

/// The measurements of one run of a case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    pub requests_per_second: f64,
    pub cpu_micros: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
    /// The median time to the first chunk of a stream, with one request at a time.
    pub first_chunk_micros: Option<f64>,
}

/// The end of a run.
#[derive(Clone, Copy)]
pub enum Limit {
    Time(Duration),
    Requests(usize),
}

/// Arrival times of the parts of an answer.
struct Timing {
    first_chunk: Duration,
    whole: Duration,
}

impl RequestLoad {
    /// Sends requests for a while, and divides the CPU time of these processes by their number.
    pub fn measure(&self, pids: &[u32], duration: Duration) -> Result<Sample> {
        let before = ThreadTimes::read(pids)?;
        let started = Instant::now();
        let latencies = self.send(Limit::Time(duration))?;
        let elapsed = started.elapsed();
        std::thread::sleep(DELIVERY);
        let cpu = ThreadTimes::read(pids)?.since(&before);
        let count = latencies.len() as f64;
        let latencies = sorted(latencies.iter().map(|latency| micros(*latency)));
        let quantile = |share| quantile(&latencies, share).context("no request was answered");
        Ok(Sample {
            requests_per_second: count / elapsed.as_secs_f64(),
            cpu_micros: cpu as f64 / 1000.0 / count,
            p50_micros: quantile(0.5)?,
            p99_micros: quantile(0.99)?,
            first_chunk_micros: None,
        })
    }

    /// Sends requests over all connections, and returns the time that each of them took.
    pub fn send(&self, limit: Limit) -> Result<Vec<Duration>> {
        let started = Instant::now();
        let sent = AtomicUsize::new(0);
        let is_over = || match limit {
            Limit::Time(duration) => started.elapsed() >= duration,
            Limit::Requests(count) => sent.fetch_add(1, Ordering::Relaxed) >= count,
        };
        let ask = || -> Result<Vec<Duration>> {
            let mut connection = ClientConnection::open(self.address)?;
            let mut latencies = Vec::new();
            while !is_over() {
                latencies.push(connection.ask(&self.request)?.whole);
            }
            Ok(latencies)
        };
        std::thread::scope(|scope| {
            let start = |_| {
                let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, ask)
            };
            let threads: Vec<_> = (0..self.connections).map(start).collect::<Result<_, _>>()?;
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().expect("a client does not panic")?);
            }
            Ok(all)
        })
    }

    /// Returns the median time to the first chunk, with one request at a time.
    pub fn first_chunk_micros(&self, count: u16) -> Result<Option<f64>> {
        let mut connection = ClientConnection::open(self.address)?;
        let times: Vec<f64> = (0..count)
            .map(|_| Ok(micros(connection.ask(&self.request)?.first_chunk)))
            .collect::<Result<_>>()?;
        Ok(median(times))
    }

    /// Sends one request; an answer other than 200 is an error.
    pub fn try_once(&self) -> Result<()> {
        ClientConnection::open(self.address)?.ask(&self.request)?;
        Ok(())
    }
}

/// A connection to a gateway. It closes on drop.
struct ClientConnection(BufReader<TcpStream>);

impl ClientConnection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &[u8]) -> Result<Timing> {
        let started = Instant::now();
        self.0.get_mut().write_all(request)?;
        let status = self.line()?;
        let mut length = None;
        loop {
            let header = self.line()?;
            if header.is_empty() {
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
                let line = self.line()?;
                first_chunk.get_or_insert_with(|| started.elapsed());
                let size = usize::from_str_radix(line.trim(), 16).context("a chunk's size")?;
                received.resize(size + 2, 0);
                self.0.read_exact(&mut received)?;
                if size == 0 {
                    break;
                }
            },
        }
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{status}: {}", String::from_utf8_lossy(&received));
        }
        let whole = started.elapsed();
        Ok(Timing {
            first_chunk: first_chunk.unwrap_or(whole),
            whole,
        })
    }

    /// Reads a line of an answer's head, without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the connection was closed before the whole answer had arrived");
        }
        Ok(line.trim_end().to_owned())
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentracy_translate::client::Api;

    use super::{Limit, RequestLoad};
    use crate::bench::upstream;

    fn load(stream: bool) -> RequestLoad {
        let body = upstream::request(Api::CHAT_COMPLETIONS, "gpt-4o-mini", stream, 1);
        RequestLoad {
            address: upstream::start(0).unwrap().address,
            request: upstream::with_head("/v1/chat/completions", "", &body),
            connections: 3,
        }
    }

    #[test]
    fn a_run_ends_after_its_number_of_requests() {
        let latencies = load(false).send(Limit::Requests(100)).unwrap();
        assert_eq!(latencies.len(), 100);
    }

    #[test]
    fn a_stream_has_a_time_to_its_first_chunk() {
        let first_chunk = load(true).first_chunk_micros(5).unwrap();
        assert!(first_chunk.is_some_and(|micros| micros > 0.0));
    }

    #[test]
    fn a_sample_has_the_latencies_of_its_requests() {
        let own = [std::process::id()];
        let sample = load(false).measure(&own, Duration::from_millis(100));
        let sample = sample.unwrap();
        assert!(sample.p50_micros > 0.0 && sample.p50_micros <= sample.p99_micros);
    }

    #[test]
    fn an_answer_other_than_200_is_an_error() {
        let mut load = load(false);
        load.request = upstream::with_head("/missing", "", b"{}");
        assert!(load.try_once().is_err());
    }
}
