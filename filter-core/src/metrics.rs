//! Metrics of calls in Envoy's own `/stats`.
//!
//! A metric's labels are part of its name; `stats_config` in Envoy's configuration extracts them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use opentracy_proto::v1;

use crate::host::{Host, MetricId, MetricKind};
use crate::metric_names;
use crate::vm::vm_local;

vm_local! {
    /// Envoy's ids of the metrics of each provider called so far.
    static KNOWN: RefCell<BTreeMap<String, OfProvider>> = RefCell::default();
    /// The amounts that this VM has counted since the last tick.
    static COUNTED: RefCell<BTreeMap<MetricId, u64>> = RefCell::default();
    /// The values of histograms since the last tick.
    static RECORDED: RefCell<Vec<(MetricId, u64)>> = RefCell::default();
    /// The other metrics, by name.
    static DEFINED: RefCell<BTreeMap<String, Metric>> = RefCell::default();
    /// The bytes that this VM has added to [`MEMORY`].
    static MEMORY_REPORTED: Cell<usize> = const { Cell::new(0) };
}

const DROPPED: &str = "opentracy.records_dropped";
/// The memory of all VMs together: each VM adds what it allocates and subtracts what it frees.
const MEMORY: &str = "opentracy.vm_memory_bytes";

/// `None` if Envoy refused to define it.
type Metric = Option<MetricId>;

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
    fn new(host: &impl Host, provider: &str) -> Self {
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
            host.define_metric(kind, &parts.concat())
        };
        Self {
            requests: REQUESTS.map(|what| define(MetricKind::Counter, what)),
            latency: define(MetricKind::Histogram, "latency_ms"),
            time_to_first_token: define(MetricKind::Histogram, "time_to_first_token_ms"),
            tokens_input: define(MetricKind::Counter, "tokens_input"),
            tokens_output: define(MetricKind::Counter, "tokens_output"),
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
pub fn count(host: &impl Host, trace: &v1::Trace) {
    let provider = match trace.provider.as_str() {
        "" => "none",
        provider => provider,
    };
    KNOWN.with_borrow_mut(|known| match known.get(provider) {
        Some(of_provider) => of_provider.count(trace),
        None => {
            let of_provider = OfProvider::new(host, provider);
            of_provider.count(trace);
            known.insert(provider.to_owned(), of_provider);
        }
    });
}

/// Counts a request that was denied, by reason.
pub fn count_denied(host: &impl Host, reason: &str) {
    count_one(host, metric_names::denied(reason));
}

/// Counts a request that a limit refused, by the error code.
pub fn count_limited(host: &impl Host, code: &str) {
    count_one(host, metric_names::limited(code));
}

/// Counts an event. `provider` must be one of the configuration's.
pub fn count_event(host: &impl Host, event: &'static str, provider: Option<&str>) {
    count_one(host, event_name(event, provider));
}

/// Returns the name of an event's counter, including its labels.
fn event_name(event: &str, provider: Option<&str>) -> String {
    match provider {
        Some(provider) => format!("opentracy.gateway.provider.{provider}.event.{event}.events"),
        None => format!("opentracy.gateway.event.{event}.events"),
    }
}

fn count_one(host: &impl Host, name: String) {
    add(defined(host, MetricKind::Counter, name), 1);
}

/// Returns a metric and defines it on its first use.
fn defined(host: &impl Host, kind: MetricKind, name: String) -> Metric {
    DEFINED.with_borrow_mut(|defined| {
        *defined
            .entry(name)
            .or_insert_with_key(|name| host.define_metric(kind, name))
    })
}

/// Counts a record that was dropped because the outbox was full.
pub fn count_dropped(host: &impl Host) {
    count_one(host, DROPPED.to_owned());
}

/// Reports the bytes of memory that this VM has allocated.
pub fn report_memory(host: &impl Host, bytes: usize) {
    let change = bytes.cast_signed() - MEMORY_REPORTED.replace(bytes).cast_signed();
    let metric = defined(host, MetricKind::Gauge, MEMORY.to_owned());
    if let Some(metric) = metric.filter(|_| change != 0) {
        host.increment_metric(metric, i64::try_from(change).unwrap_or(0));
    }
}

/// Defines the counter that operators alert on before anything is dropped.
pub fn announce(host: &impl Host) {
    defined(host, MetricKind::Counter, DROPPED.to_owned());
}

/// Adds to a counter. The next tick passes it on: a call of the host costs more than a sum.
fn add(metric: Metric, amount: u64) {
    if let Some(metric) = metric {
        COUNTED.with_borrow_mut(|counted| {
            let sum = counted.entry(metric).or_default();
            *sum = sum.saturating_add(amount);
        });
    }
}

/// Passes the sums of the counters and the values of the histograms on.
pub fn flush(host: &impl Host) {
    RECORDED.with_borrow_mut(|recorded| {
        for (metric, value) in recorded.drain(..) {
            host.record_metric(metric, value);
        }
    });
    COUNTED.with_borrow_mut(|counted| {
        for (metric, sum) in counted {
            // An increment by 0 is an error in Envoy.
            let sum = std::mem::take(sum);
            if sum > 0 {
                host.increment_metric(*metric, i64::try_from(sum).unwrap_or(i64::MAX));
            }
        }
    });
}

/// Adds a value to a histogram. The next tick passes it on, since calls in a row cost less.
fn record(metric: Metric, value: u64) {
    if let Some(metric) = metric {
        RECORDED.with_borrow_mut(|recorded| recorded.push((metric, value)));
    }
}
