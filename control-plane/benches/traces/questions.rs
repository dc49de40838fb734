//! Queries, each run many times with changing values.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::server::BenchServer;
use crate::traffic::word;

/// A name, and the query string for a round.
type Case = (&'static str, Box<dyn Fn(u64) -> String>);

const ROUNDS: u64 = 20;

/// Returns filters for a part of the time range of the traces.
fn between(start_micros: u64, from_seconds: u64, seconds: u64) -> String {
    let at = |seconds: u64| {
        let micros = start_micros + seconds * 1_000_000;
        jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap_or_default())
            .unwrap_or_default()
            .to_string()
    };
    let from = at(from_seconds);
    format!("since={from}&until={}", at(from_seconds + seconds))
}

pub fn ask(server: &BenchServer, an_id: &str, start_micros: u64) -> Result<()> {
    let minute = between(start_micros, 100, 60);
    let mut all = Vec::new();
    println!("\n| search | p50 ms | p95 ms |\n|---|--:|--:|");
    let cases: Vec<Case> = vec![
        ("the newest", Box::new(|_| String::new())),
        ("a model", Box::new(|_| "model=openai/gpt-4o".into())),
        (
            "a provider and an alias",
            Box::new(|_| "provider=mistral&alias=smart".into()),
        ),
        ("a key", Box::new(|n| format!("key=team-{n}"))),
        ("a cluster", Box::new(|n| format!("cluster={n}"))),
        (
            "a session",
            Box::new(|n| format!("session=session-{}", n * 997)),
        ),
        ("a user", Box::new(|n| format!("user=user-{}", n * 31))),
        (
            "metadata",
            Box::new(|n| format!("metadata.tenant=t{}", n * 7)),
        ),
        (
            "metadata and a model",
            Box::new(|n| format!("metadata.tenant=t{}&model=gpt-4o", n * 7)),
        ),
        ("errors", Box::new(|_| "status=4xx".into())),
        (
            "an error's type and a model",
            Box::new(|_| "error_type=rate_limit_error&model=gpt-4o".into()),
        ),
        ("slow calls", Box::new(|_| "min_latency_ms=19000".into())),
        (
            "slower than any",
            Box::new(|_| "min_latency_ms=900000".into()),
        ),
        (
            "expensive calls of a key",
            Box::new(|n| format!("min_cost=0.00095&key=team-{n}")),
        ),
        ("many tokens", Box::new(|_| "min_tokens=1090".into())),
        (
            "a minute",
            Box::new({
                let minute = minute.clone();
                move |_| minute.clone()
            }),
        ),
        ("a common word", Box::new(|n| format!("q={}", word(n + 1)))),
        (
            "a rare word",
            Box::new(|n| format!("q={}", word(20_000 + n * 17))),
        ),
        (
            "two common words",
            Box::new(|n| format!("q={}+{}", word(n + 1), word(n + 30))),
        ),
        (
            "a common and a rare word",
            Box::new(|n| format!("q={}+{}", word(n + 1), word(9_000 + n))),
        ),
        (
            "a word at a model",
            Box::new(|n| format!("q={}&model=gpt-4o", word(50 + n))),
        ),
        (
            "a word among errors",
            Box::new(|n| format!("q={}&status=429", word(50 + n))),
        ),
        (
            "a word in a minute",
            Box::new(move |n| format!("q={}&{minute}", word(50 + n))),
        ),
        (
            "a word of a tenant",
            Box::new(|n| format!("q={}&metadata.tenant=t{n}", word(50 + n))),
        ),
    ];
    for (name, query) in &cases {
        let times = measure(ROUNDS, |round| {
            server
                .get(&format!("/v1/traces?{}", query(round)))
                .map(drop)
        })?;
        row(name, &times);
        all.extend(times);
    }
    let times = measure(ROUNDS, |_| {
        server.get(&format!("/v1/traces/{an_id}")).map(drop)
    })?;
    row("one by its id", &times);
    all.extend(times);
    all.sort();
    row("all of these", &all);
    let times = measure(3, |_| {
        server.get("/v1/analytics/summary?group_by=model").map(drop)
    })?;
    row("(summary of everything by model)", &times);
    let times = measure(3, |_| {
        server
            .get(&format!(
                "/v1/analytics/timeseries?group_by=model&interval=1m&{}",
                between(start_micros, 0, 7200)
            ))
            .map(drop)
    })?;
    row("(time series by model and minute)", &times);
    Ok(())
}

fn measure(rounds: u64, mut ask: impl FnMut(u64) -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let started = Instant::now();
        ask(round)?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

fn row(name: &str, sorted: &[Duration]) {
    let at = |share: f64| {
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len() - 1);
        sorted[index].as_secs_f64() * 1000.0
    };
    println!("| {name} | {:.1} | {:.1} |", at(0.5), at(0.95));
}
