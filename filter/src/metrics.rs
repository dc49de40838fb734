//! What Envoy counts of calls, in its own `/stats`.
//!
//! A metric's labels are part of its name; `stats_config` in Envoy's configuration takes them out again.

use std::cell::RefCell;
use std::collections::HashMap;

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::host;

thread_local! {
    /// Envoy's numbers of the metrics met so far.
    static KNOWN: RefCell<HashMap<String, u32>> = RefCell::default();
}

/// The outcome of a call, or of a record.
pub struct Call<'a> {
    /// Empty where none was reached.
    pub provider: &'a str,
    pub status: u16,
    pub latency_micros: u64,
    pub time_to_first_token_micros: Option<u64>,
    pub tokens: Option<(u64, u64)>,
}

/// Counts a call.
pub fn count(call: &Call<'_>) {
    let provider = match call.provider {
        "" => "none",
        provider => provider,
    };
    let class = match call.status {
        0 => "none".to_owned(),
        status => format!("{}xx", status / 100),
    };
    let of_provider = format!("opentracy.gateway.provider.{provider}");
    add(&format!("{of_provider}.status.{class}.requests"), 1);
    record(
        &format!("{of_provider}.latency_ms"),
        call.latency_micros / 1000,
    );
    if let Some(micros) = call.time_to_first_token_micros {
        record(
            &format!("{of_provider}.time_to_first_token_ms"),
            micros / 1000,
        );
    }
    if let Some((input, output)) = call.tokens {
        add(&format!("{of_provider}.tokens_input"), input);
        add(&format!("{of_provider}.tokens_output"), output);
    }
}

/// A record that was dropped because too many wait.
pub fn count_dropped() {
    add("opentracy.records_dropped", 1);
}

/// Makes the counter that operators alert on, so that it is there before anything is dropped.
pub fn announce() {
    add("opentracy.records_dropped", 0);
}

fn add(name: &str, amount: u64) {
    let Some(metric) = metric(MetricType::Counter, name) else {
        return;
    };
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    host::complain("count", hostcalls::increment_metric(metric, amount));
}

fn record(name: &str, value: u64) {
    if let Some(metric) = metric(MetricType::Histogram, name) {
        host::complain("record", hostcalls::record_metric(metric, value));
    }
}

fn metric(kind: MetricType, name: &str) -> Option<u32> {
    if let Some(known) = KNOWN.with_borrow(|known| known.get(name).copied()) {
        return Some(known);
    }
    let made = hostcalls::define_metric(kind, name).ok()?;
    KNOWN.with_borrow_mut(|known| known.insert(name.to_owned(), made));
    Some(made)
}
