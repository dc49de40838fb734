//! `/healthz`, `/readyz` and `/health`, answered by the worker itself even if the control plane is
//! down.
//!
//! Anyone may call them. A client without a required key gets codes and counts, but no names of
//! providers or models.

use std::collections::BTreeMap;

use opentracy_proto::v1::CircuitBreakerState;
use opentracy_proto::v1::{ControlPlaneStatus, HealthReason};
use serde::Serialize;

use crate::delivery;
use crate::faults::{Fault, FaultKind};
use crate::gateway::access;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::snapshot::Snapshot;
use crate::{clock, contact, events, health, snapshot};

/// The bytes of waiting records in a worker from which they are a fault: some seconds of traffic.
const MANY_WAITING_BYTES: usize = 4 << 20;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    reasons: Vec<Reason>,
    /// The access policy, as the control plane last reported it; `null` until it has.
    access: Option<&'a str>,
    version: &'a str,
    /// The fields from here on are the control plane's, as it last reported them; `null` until it
    /// has.
    router_initialized: Option<bool>,
    num_models: Option<u64>,
    num_clusters: Option<u64>,
    embedder_ready: Option<bool>,
    journal_backlog_bytes: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Reason {
    component: String,
    code: String,
    message: String,
    since: String,
    /// The number of faults with this code, for callers that don't see each fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
}

impl From<HealthReason> for Reason {
    fn from(wire: HealthReason) -> Self {
        Self {
            component: wire.component,
            code: wire.code,
            message: wire.message,
            since: wire.since,
            count: None,
        }
    }
}

/// Answers a probe. Returns `false` if the request isn't a probe.
pub fn answer(host: &impl Host, path: &str, request: &HeaderList<'_>) -> bool {
    if !matches!(request.get(":method"), Some("GET" | "HEAD")) {
        return false;
    }
    match path {
        "/healthz" => {
            let mut headers = HeaderList::default();
            headers.push("content-type", "text/plain");
            host.reply(200, &headers, b"ok");
        }
        "/readyz" => match snapshot::current() {
            Some(_) => host.reply(200, &headers::json(), br#"{"status":"ready"}"#),
            None => reply_starting(host),
        },
        "/health" => match snapshot::current() {
            Some(snapshot) => reply_health(host, &snapshot, request),
            None => reply_starting(host),
        },
        _ => return false,
    }
    true
}

fn reply_starting(host: &impl Host) {
    let mut headers = headers::json();
    headers.push("retry-after", "1");
    host.reply(503, &headers, br#"{"status":"starting"}"#);
}

fn reply_health(host: &impl Host, snapshot: &Snapshot, request: &HeaderList<'_>) {
    let status = contact::status();
    let mut reasons = own_reasons(host);
    let of_control_plane = status.iter().flat_map(|status| status.reasons.clone());
    reasons.extend(of_control_plane.map(Reason::from));
    if !shows_details(host, snapshot, request) {
        reasons = counted(reasons);
    }
    let known = |field: fn(&ControlPlaneStatus) -> u64| status.as_ref().map(field);
    let health = Health {
        status: if reasons.is_empty() {
            "healthy"
        } else {
            "degraded"
        },
        reasons,
        access: status.as_ref().map(|status| status.access.as_str()),
        version: env!("CARGO_PKG_VERSION"),
        router_initialized: status.as_ref().map(|status| status.router_initialized),
        num_models: known(|status| status.num_models),
        num_clusters: known(|status| status.num_clusters),
        embedder_ready: status.as_ref().map(|status| status.embedder_ready),
        journal_backlog_bytes: known(|status| status.journal_backlog_bytes),
    };
    let body = serde_json::to_vec(&health).unwrap_or_default();
    host.reply(200, &headers::json(), &body);
}

/// Returns the faults that the workers of this Envoy have seen, and this worker's own.
fn own_reasons(host: &impl Host) -> Vec<Reason> {
    let now_ms = host.unix_millis();
    let mut faults = events::present(host);
    // Drops faults whose breaker has closed elsewhere. A model that isn't called any
    // more stays half-open and keeps its fault.
    faults.retain(|fault| {
        fault.kind != FaultKind::CircuitOpened
            || health::of(host, &fault.subject).state(now_ms) != CircuitBreakerState::Closed
    });
    let mut reasons: Vec<Reason> = faults
        .iter()
        .filter_map(|fault| reason(host, fault))
        .collect();
    let waiting = delivery::waiting_bytes();
    if waiting >= MANY_WAITING_BYTES {
        reasons.push(Reason {
            component: "gateway".to_owned(),
            code: "traces_waiting".to_owned(),
            message: format!("{waiting} bytes of traces wait in this worker for the control plane"),
            since: clock::rfc3339(now_ms),
            count: None,
        });
    }
    reasons
}

/// Describes a fault for people: the event, its effect and the fix.
fn reason(host: &impl Host, fault: &Fault) -> Option<Reason> {
    let (subject, detail, count) = (&fault.subject, &fault.detail, fault.count);
    let message = match fault.kind {
        FaultKind::ProviderFailed => {
            format!("{subject} failed {count} times and has not answered since ({detail})")
        }
        FaultKind::ProviderKeyRefused => format!(
            "{subject} refused the gateway's key {count} times ({detail}); check the provider's key in the secrets"
        ),
        FaultKind::CircuitOpened => {
            format!(
                "{subject} is not called, or only with one probe at a time, because its calls failed"
            )
        }
        FaultKind::ConfigurationRejected => {
            format!("{detail}; the previous configuration stays active")
        }
        FaultKind::ControlPlaneUnreachable => format!(
            "the control plane has not answered for {} s; calls go on with the last configuration, and traces wait",
            contact::silence(host).as_secs()
        ),
        FaultKind::TraceDropped => {
            format!("{count} traces were lost because too many waited for the control plane")
        }
        FaultKind::CircuitClosed => return None,
    };
    Some(Reason {
        component: fault.kind.component().to_owned(),
        code: fault.kind.code()?.to_owned(),
        message,
        since: clock::rfc3339(fault.since_ms),
        count: None,
    })
}

/// Returns whether a caller may see names: with a key, or if keys aren't required and the request
/// doesn't come from a foreign web page.
fn shows_details(host: &impl Host, snapshot: &Snapshot, request: &HeaderList<'_>) -> bool {
    access::admit(host, snapshot, request, "GET", "/health").is_ok()
}

/// Merges the reasons into one for each code, without names.
fn counted(reasons: Vec<Reason>) -> Vec<Reason> {
    let mut by_code: BTreeMap<String, Reason> = BTreeMap::new();
    for reason in reasons {
        let counted = by_code
            .entry(reason.code.clone())
            .or_insert_with(|| Reason {
                component: reason.component,
                code: reason.code,
                message: "send an API key to see the details".to_owned(),
                since: reason.since.clone(),
                count: Some(0),
            });
        counted.count = counted.count.map(|count| count + 1);
        // RFC 3339 in UTC sorts as text.
        counted.since = counted.since.clone().min(reason.since);
    }
    by_code.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_without_a_key_sees_codes_and_counts_and_no_names() {
        let reason = |code: &str, message: &str, since: &str| Reason {
            component: "provider".to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            since: since.to_owned(),
            count: None,
        };
        let counted = counted(vec![
            reason(
                "circuit_open",
                "secret-provider/model-a",
                "2026-01-02T00:00:00Z",
            ),
            reason(
                "circuit_open",
                "secret-provider/model-b",
                "2026-01-01T00:00:00Z",
            ),
            reason("traces_dropped", "9 traces", "2026-01-03T00:00:00Z"),
        ]);
        let text = serde_json::to_string(&counted).unwrap();
        assert!(
            !text.contains("secret-provider") && !text.contains('9'),
            "{text}"
        );
        let [circuits, dropped] = counted.as_slice() else {
            panic!("{text}");
        };
        assert_eq!((circuits.count, dropped.count), (Some(2), Some(1)));
        assert_eq!(circuits.since, "2026-01-01T00:00:00Z");
    }
}
