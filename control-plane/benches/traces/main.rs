//! `cargo bench -p opentracy`: the speed of accepting, storing and searching traces.
//!
//! The control plane runs as its users run it, as a separate process; traces of 4 KB arrive over
//! gRPC, as from Envoy, and queries over REST. SQLite's own limit is measured in the same run: rows
//! of the same size, in large transactions, without an index or a search.

mod bulk;
mod questions;
mod server;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::Result;
use prost::Message as _;

use server::{Backend, BenchServer};
use traffic::Traffic;

/// Number of traces that are stored before the first query.
const TRACES: usize = 1_000_000;
/// Number of those that are sent as fast as the journal accepts them.
const BURST: usize = 100_000;

fn main() -> Result<()> {
    let count = setting("TRACES", TRACES)?;
    let burst = BURST.min(count);
    let backend = match std::env::var("CLICKHOUSE_URL") {
        Ok(url) => Backend::ClickHouse(url),
        Err(_) => Backend::Sqlite,
    };
    let folder = tempfile::tempdir()?;
    let mut server = BenchServer::start(folder.path(), &backend)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut traffic = Traffic::new(server.grpc.clone());

    let batches = traffic.batches(burst);
    let sample = batches[0].clone();
    let size = sample.encoded_len() / sample.traces.len();
    println!(
        "traces of {size} bytes on the wire, into {}",
        backend.name()
    );
    let started = Instant::now();
    runtime.block_on(traffic.send(batches))?;
    let taken = started.elapsed();
    report("accepted by the journal", burst, taken);
    server.settle()?;
    report("accepted and stored, the burst", burst, started.elapsed());

    let mut busy = Duration::ZERO;
    let mut left = count - burst;
    while left > 0 {
        let next = left.min(burst);
        left -= next;
        let batches = traffic.batches(next);
        let started = Instant::now();
        runtime.block_on(traffic.send(batches))?;
        server.settle()?;
        busy += started.elapsed();
    }
    report("accepted and stored, the rest", count - burst, busy);
    println!(
        "memory of the control plane: {} MB at most",
        server.peak_memory_mb()?
    );
    if matches!(backend, Backend::Sqlite) {
        let bulk = bulk::run(folder.path(), &sample.traces, burst.min(50_000))?;
        report("SQLite alone, bulk insert", burst.min(50_000), bulk);
    }
    backend.calm_down()?;
    questions::ask(&server, &sample.traces[0].id, traffic.start_micros)?;
    println!(
        "memory of the control plane: {} MB at most",
        server.peak_memory_mb()?
    );
    server.stop()
}

fn setting(name: &str, default: usize) -> Result<usize> {
    Ok(match std::env::var(name) {
        Ok(text) => text.parse()?,
        Err(_) => default,
    })
}

fn report(what: &str, count: usize, time: Duration) {
    let rate = count as f64 / time.as_secs_f64();
    println!(
        "{what}: {count} in {:.1} s, {rate:.0}/s",
        time.as_secs_f64()
    );
}
