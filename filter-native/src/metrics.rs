//! The metrics of this Envoy.
//!
//! A module has to define them while its configuration is read, before providers are known. So a
//! name that the stages compose, such as `opentracy.gateway.provider.openai.tokens_input`, is
//! parted into a metric and its labels, as `stats_config` does for the wasm filter. Prometheus gets
//! the same names and labels.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use opentracy_filter_core::host::{MetricId, MetricKind};
use opentracy_filter_core::metric_names;

use crate::cluster_calls::{LabeledMetric, MetricsPtr};

const PROVIDER: &str = "opentracy_provider";
const STATUS: &str = "opentracy_status";
const EVENT: &str = "opentracy_event";

const COUNTERS: [(&str, &[&str]); 5] = [
    ("opentracy.gateway.requests", &[PROVIDER, STATUS]),
    ("opentracy.gateway.tokens_input", &[PROVIDER]),
    ("opentracy.gateway.tokens_output", &[PROVIDER]),
    ("opentracy.gateway.events", &[PROVIDER, EVENT]),
    ("opentracy.gateway.events", &[EVENT]),
];
const HISTOGRAMS: [(&str, &[&str]); 2] = [
    ("opentracy.gateway.latency_ms", &[PROVIDER]),
    ("opentracy.gateway.time_to_first_token_ms", &[PROVIDER]),
];
const GAUGES: [&str; 1] = ["opentracy.vm_memory_bytes"];
const DROPPED: &str = "opentracy.records_dropped";

static METRICS: RwLock<Option<Metrics>> = RwLock::new(None);

struct Metrics {
    envoy: MetricsPtr,
    /// The ids of what was defined, by name and labels.
    defined: HashMap<(String, Vec<&'static str>), usize>,
    /// The ids of the metrics that the stages know, by name.
    known: HashMap<String, MetricId>,
    /// The metrics, by id.
    metrics: Vec<Metric>,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    Counter(usize),
    Gauge(usize),
    Labeled(LabeledMetric),
}

/// Defines all metrics, while a configuration is read.
pub fn define_all(envoy: MetricsPtr) {
    let mut defined = HashMap::new();
    for (name, labels) in COUNTERS {
        if let Some(id) = envoy.define_counter(name, labels) {
            defined.insert((name.to_owned(), labels.to_vec()), id);
        }
    }
    for (name, labels) in HISTOGRAMS {
        if let Some(id) = envoy.define_histogram(name, labels) {
            defined.insert((name.to_owned(), labels.to_vec()), id);
        }
    }
    let reasons = metric_names::of_all_reasons();
    for name in reasons.into_iter().chain([DROPPED.to_owned()]) {
        if let Some(id) = envoy.define_counter(&name, &[]) {
            defined.insert((name, Vec::new()), id);
        }
    }
    for name in GAUGES {
        if let Some(id) = envoy.define_gauge(name) {
            defined.insert((name.to_owned(), Vec::new()), id);
        }
    }
    let mut metrics = METRICS.write().unwrap_or_else(PoisonError::into_inner);
    *metrics = Some(Metrics {
        envoy,
        defined,
        known: HashMap::new(),
        metrics: Vec::new(),
    });
}

/// Forgets Envoy's metrics, because they go.
pub fn forget_all() {
    *METRICS.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Returns the id of a metric; `None` for one that isn't defined.
pub fn define(kind: MetricKind, name: &str) -> Option<MetricId> {
    let mut metrics = METRICS.write().unwrap_or_else(PoisonError::into_inner);
    metrics.as_mut()?.define(kind, name)
}

/// Adds to a counter or a gauge.
pub fn increment(metric: MetricId, amount: i64) {
    with(metric, |envoy, metric| match metric {
        Metric::Counter(id) => envoy.add_to_counter(id, amount.unsigned_abs()),
        Metric::Gauge(id) => envoy.add_to_gauge(id, amount),
        Metric::Labeled(metric) => metric.add(amount.unsigned_abs()),
    });
}

/// Adds a value to a histogram.
pub fn record(metric: MetricId, value: u64) {
    with(metric, |_, metric| {
        if let Metric::Labeled(metric) = metric {
            metric.record(value);
        }
    });
}

fn with(metric: MetricId, act: impl FnOnce(MetricsPtr, Metric)) {
    let metrics = METRICS.read().unwrap_or_else(PoisonError::into_inner);
    let Some(metrics) = metrics.as_ref() else {
        return;
    };
    let index = usize::try_from(metric).unwrap_or(usize::MAX);
    if let Some(metric) = metrics.metrics.get(index) {
        act(metrics.envoy, *metric);
    }
}

impl Metrics {
    fn define(&mut self, kind: MetricKind, name: &str) -> Option<MetricId> {
        if let Some(id) = self.known.get(name) {
            return Some(*id);
        }
        let metric = self.find(kind, name);
        if metric.is_none() {
            log::error!("the metric {name} isn't defined");
        }
        let id = u32::try_from(self.metrics.len()).ok()?;
        self.metrics.push(metric?);
        self.known.insert(name.to_owned(), id);
        Some(id)
    }

    fn find(&self, kind: MetricKind, name: &str) -> Option<Metric> {
        let (base, labels) = part(name);
        let (names, values): (Vec<_>, Vec<_>) = labels.into_iter().unzip();
        let id = self.id(&base, &names)?;
        Some(match (kind, values.is_empty()) {
            (MetricKind::Counter, true) => Metric::Counter(id),
            (MetricKind::Gauge, _) => Metric::Gauge(id),
            (MetricKind::Counter, false) => Metric::Labeled(self.envoy.counter(id, &values)?),
            (MetricKind::Histogram, _) => Metric::Labeled(self.envoy.histogram(id, &values)?),
        })
    }

    fn id(&self, base: &str, labels: &[&'static str]) -> Option<usize> {
        let is_it = |(known, of_it): &(String, Vec<&str>)| *known == base && of_it == labels;
        let entry = self.defined.iter().find(|(key, _)| is_it(key));
        entry.map(|(_, id)| *id)
    }
}

/// Parts a name into the metric and its labels.
fn part(name: &str) -> (String, Vec<(&'static str, &str)>) {
    const GATEWAY: &str = "opentracy.gateway.";
    let mut labels = Vec::new();
    let Some(mut rest) = name.strip_prefix(GATEWAY) else {
        return (name.to_owned(), labels);
    };
    for (word, label) in [
        ("provider.", PROVIDER),
        ("status.", STATUS),
        ("event.", EVENT),
    ] {
        let labeled = rest
            .strip_prefix(word)
            .and_then(|rest| rest.split_once('.'));
        if let Some((value, after)) = labeled {
            labels.push((label, value));
            rest = after;
        }
    }
    (format!("{GATEWAY}{rest}"), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_as_stats_config_parts_them() {
        for (name, base, labels) in [
            (
                "opentracy.gateway.provider.openai.status.2xx.requests",
                "opentracy.gateway.requests",
                &[(PROVIDER, "openai"), (STATUS, "2xx")][..],
            ),
            (
                "opentracy.gateway.provider.none.latency_ms",
                "opentracy.gateway.latency_ms",
                &[(PROVIDER, "none")],
            ),
            (
                "opentracy.gateway.event.circuit_opened.events",
                "opentracy.gateway.events",
                &[(EVENT, "circuit_opened")],
            ),
            (
                "opentracy.gateway.denied.invalid_api_key",
                "opentracy.gateway.denied.invalid_api_key",
                &[],
            ),
        ] {
            assert_eq!(part(name), (base.to_owned(), labels.to_vec()));
        }
    }
}
