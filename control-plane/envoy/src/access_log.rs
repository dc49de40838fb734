//! Envoy's access log: one JSON line per client request, and one per attempt behind the internal
//! listener.
//!
//! The filter replaces the client's headers with the provider's, so it keeps the client's own in
//! filter state. No line contains a query string, a body, or a header that may hold a key.

use serde_json::{Value, json};

use opentracy_config::AccessLog;

/// Returns the access log of the listener for applications, or nothing if the log is off.
pub fn edge(log: &AccessLog) -> Vec<Value> {
    sink(
        log,
        json!({
            "listener": "gateway",
            "time": "%START_TIME%",
            "method": "%REQ(:METHOD)%",
            "path": "%FILTER_STATE(wasm.opentracy_path:PLAIN)%",
            "protocol": "%PROTOCOL%",
            "status": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "duration_ms": "%DURATION%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "trace_id": "%RESP(X-OPENTRACY-TRACE-ID)%",
            "model": "%RESP(X-OPENTRACY-SELECTED-MODEL)%",
            "upstream_cluster": "%UPSTREAM_CLUSTER%",
            "user_agent": "%FILTER_STATE(wasm.opentracy_user_agent:PLAIN)%",
        }),
    )
}

/// Returns the access log of the internal listener, or nothing if the log is off.
pub fn internal(log: &AccessLog) -> Vec<Value> {
    sink(
        log,
        json!({
            "listener": "attempt",
            "time": "%START_TIME%",
            "status": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "duration_ms": "%DURATION%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "trace_id": "%FILTER_STATE(wasm.opentracy_trace_id:PLAIN)%",
            "model": "%FILTER_STATE(wasm.opentracy_model:PLAIN)%",
            "upstream_cluster": "%UPSTREAM_CLUSTER%",
        }),
    )
}

fn sink(log: &AccessLog, fields: Value) -> Vec<Value> {
    let format = json!({"json_format": fields});
    match log {
        AccessLog::Off => Vec::new(),
        AccessLog::Stdout => vec![json!({
            "name": "envoy.access_loggers.stdout",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": format,
            },
        })],
        AccessLog::File(path) => vec![json!({
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": path.display().to_string(),
                "log_format": format,
            },
        })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_has_what_may_hold_a_key() {
        assert!(edge(&AccessLog::Off).is_empty() && internal(&AccessLog::Off).is_empty());
        for line in [edge(&AccessLog::Stdout), internal(&AccessLog::Stdout)] {
            let line = json!(line).to_string().to_ascii_uppercase();
            for secret in [
                "AUTHORIZATION",
                "API-KEY",
                "COOKIE",
                "REQ(:PATH",
                "%PATH",
                "TOKEN",
            ] {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
        }
    }
}
