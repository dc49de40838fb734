//! Metrics of calls in Envoy's own `/stats`.
//!
//! A metric's labels are part of its name; `stats_config` in Envoy's configuration extracts them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use opentracy_proto::v1;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::host;

thread_local! {
    /// Envoy's ids of the metrics of each provider called so far.
    static KNOWN: RefCell<HashMap<String, OfProvider>> = RefCell::default();
    /// The counters of events and refusals, by name.
    static COUNTERS: RefCell<HashMap<String, Metric>> = RefCell::default();
    static DROPPED: Metric = define(MetricType::Counter, "opentracy.records_dropped");
    /// The memory of all VMs together: each VM adds what it allocates and subtracts what it frees.
    static MEMORY: Metric = define(MetricType::Gauge, "opentracy.vm_memory_bytes");
    /// The bytes that this VM has added.
    static MEMORY_REPORTED: Cell<usize> = const { Cell::new(0) };
}

/// Envoy's id of a metric; `None` if Envoy refused to define it.
type Metric = Option<u32>;

/// The metrics of one provider.
struct OfProvider {
    /// Indexed by the first digit of the status; index 0 counts calls without a status.
    requests: [Metric; 6],
    latency: Metric,
    time_to_first_token: Metric,
    tokens_input: Metric,
    tokens_output: Metric,
}

impl OfProvider {
    fn new(provider: &str) -> Self {
        const REQUESTS: [&str; 6] = [
            "status.none.requests",
            "status.1xx.requests",
            "status.2xx.requests",
            "status.3xx.requests",
            "status.4xx.requests",
            "status.5xx.requests",
        ];
        let define = |kind, what| {
            let parts = ["opentracy.gateway.provider.", provider, ".", what];
            define(kind, &parts.concat())
        };
        Self {
            requests: REQUESTS.map(|what| define(MetricType::Counter, what)),
            latency: define(MetricType::Histogram, "latency_ms"),
            time_to_first_token: define(MetricType::Histogram, "time_to_first_token_ms"),
            tokens_input: define(MetricType::Counter, "tokens_input"),
            tokens_output: define(MetricType::Counter, "tokens_output"),
        }
    }

    fn count(&self, trace: &v1::Trace) {
        let class = usize::try_from(trace.status / 100).unwrap_or_default();
        add(self.requests.get(class).copied().flatten(), 1);
        record(self.latency, trace.latency_micros / 1000);
        if let Some(micros) = trace.time_to_first_token_micros {
            record(self.time_to_first_token, micros / 1000);
        }
        if let Some(usage) = &trace.usage {
            add(self.tokens_input, usage.input);
            add(self.tokens_output, usage.output);
        }
    }
}

/// Counts a call. Its provider is empty if it reached none.
pub fn count(trace: &v1::Trace) {
    let provider = match trace.provider.as_str() {
        "" => "none",
        provider => provider,
    };
    KNOWN.with_borrow_mut(|known| match known.get(provider) {
        Some(of_provider) => of_provider.count(trace),
        None => {
            let of_provider = OfProvider::new(provider);
            of_provider.count(trace);
            known.insert(provider.to_owned(), of_provider);
        }
    });
}

/// Counts a request that was denied, by reason.
pub fn count_denied(reason: &str) {
    count_one("denied", reason);
}

/// Counts a request that a limit refused, by the error code.
pub fn count_limited(code: &str) {
    count_one("limited", code);
}

/// Counts an event. `provider` must be one of the configuration's.
pub fn count_event(event: &'static str, provider: Option<&str>) {
    COUNTERS.with_borrow_mut(|counters| {
        let name = event_name(event, provider);
        let counter = counters
            .entry(name)
            .or_insert_with_key(|name| define(MetricType::Counter, name));
        add(*counter, 1);
    });
}

/// Returns the name of an event's counter, including its labels.
fn event_name(event: &str, provider: Option<&str>) -> String {
    match provider {
        Some(provider) => format!("opentracy.gateway.provider.{provider}.event.{event}.events"),
        None => format!("opentracy.gateway.event.{event}.events"),
    }
}

fn count_one(what: &'static str, why: &str) {
    COUNTERS.with_borrow_mut(|counters| {
        let name = ["opentracy.gateway.", what, ".", why].concat();
        let counter = counters
            .entry(name)
            .or_insert_with_key(|name| define(MetricType::Counter, name));
        add(*counter, 1);
    });
}

/// Counts a record that was dropped because the outbox was full.
pub fn count_dropped() {
    add(DROPPED.with(|dropped| *dropped), 1);
}

/// Reports the bytes of memory that this VM has allocated.
pub fn report_memory(bytes: usize) {
    let change = bytes.cast_signed() - MEMORY_REPORTED.replace(bytes).cast_signed();
    if let Some(metric) = MEMORY.with(|metric| *metric).filter(|_| change != 0) {
        let change = i64::try_from(change).unwrap_or(0);
        host::complain(
            "report the memory",
            hostcalls::increment_metric(metric, change),
        );
    }
}

/// Defines the counter that operators alert on before anything is dropped.
pub fn announce() {
    DROPPED.with(|_| ());
}

fn define(kind: MetricType, name: &str) -> Metric {
    hostcalls::define_metric(kind, name).ok()
}

fn add(metric: Metric, amount: u64) {
    // An increment by 0 is an error in Envoy.
    let Some(metric) = metric.filter(|_| amount > 0) else {
        return;
    };
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    host::complain("count", hostcalls::increment_metric(metric, amount));
}

fn record(metric: Metric, value: u64) {
    if let Some(metric) = metric {
        host::complain("record", hostcalls::record_metric(metric, value));
    }
}
