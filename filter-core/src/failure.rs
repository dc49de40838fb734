//! Classification of failed attempts, by Envoy's response code details or the provider's status.

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;

/// Returns whether a failure with this status may succeed at another candidate. A client error
/// fails everywhere.
pub const fn is_retriable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// Returns the outcome of a call by Envoy's response code details.
pub fn outcome(is_complete: bool, details: &str) -> v1::Outcome {
    if is_complete {
        v1::Outcome::Completed
    } else if is_clients_end(details) {
        v1::Outcome::ClientDisconnected
    } else {
        v1::Outcome::UpstreamBrokeOff
    }
}

/// Returns whether the client ended the response.
pub fn is_clients_end(details: &str) -> bool {
    details.contains("downstream")
}

/// Returns why an attempt ended without an answer. `is_late` is set if its time was over.
pub fn of_unanswered(details: &str, is_late: bool) -> AttemptError {
    match is_clients_end(details) {
        true if is_late => AttemptError::Timeout,
        true => AttemptError::Abandoned,
        false => of_envoy_reply("", details).1,
    }
}

/// Returns the error for the client and the reason if a provider takes too long.
pub fn timeout(provider: &str) -> (ApiError, AttemptError) {
    of_envoy_reply(provider, "timeout")
}

/// Returns the error for the client and the reason if the translation for a provider panicked.
pub fn panic(provider: &str) -> (ApiError, AttemptError) {
    of_envoy_reply(provider, "wasm")
}

/// Returns the error for the client and the reason for a reply that Envoy generated because the
/// provider gave no answer.
///
/// Source: Envoy's documentation, "response code details".
pub fn of_envoy_reply(provider: &str, details: &str) -> (ApiError, AttemptError) {
    let (status, reason, what) = if details.contains("timeout") {
        (504, AttemptError::Timeout, "did not answer in time")
    } else if details.contains("overflow") {
        (
            503,
            AttemptError::Overloaded,
            "has too many requests waiting for it",
        )
    } else if details.contains("no_healthy_upstream") {
        (502, AttemptError::NoHealthyHost, "has no healthy host")
    } else if details.contains("cluster_not_found") {
        (
            502,
            AttemptError::NoCluster,
            "has no cluster in this Envoy; regenerate Envoy's configuration and restart it",
        )
    } else if details.contains("connection_failure") || details.contains("connection failure") {
        (502, AttemptError::ConnectionFailed, "could not be reached")
    } else if details.contains("reset") || details.contains("termination") {
        (
            502,
            AttemptError::ConnectionReset,
            "closed the connection before it answered",
        )
    } else if details.contains("wasm") {
        (
            500,
            AttemptError::TranslatorFailed,
            "could not be called, because the translation failed",
        )
    } else {
        (502, AttemptError::Unreachable, "could not be reached")
    };
    let error = ApiError::new(status, format!("{provider} {what}")).with_code(match reason {
        AttemptError::Timeout => "upstream_timeout",
        _ => "upstream_unavailable",
    });
    (error, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_words_are_understood() {
        for (details, status, word) in [
            ("upstream_per_try_timeout", 504, AttemptError::Timeout),
            ("response_timeout", 504, AttemptError::Timeout),
            ("no_healthy_upstream", 502, AttemptError::NoHealthyHost),
            (
                "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}",
                502,
                AttemptError::ConnectionFailed,
            ),
            (
                "upstream_reset_before_response_started{connection_termination}",
                502,
                AttemptError::ConnectionReset,
            ),
            (
                "upstream_reset_before_response_started{overflow}",
                503,
                AttemptError::Overloaded,
            ),
        ] {
            let (error, found) = of_envoy_reply("openai", details);
            assert_eq!((error.status, found), (status, word), "{details}");
        }
    }

    #[test]
    fn only_what_another_provider_may_do_better_is_tried_again() {
        for status in [408, 429, 500, 502, 503, 504, 529] {
            assert!(is_retriable(status), "{status}");
        }
        for status in [200, 400, 401, 403, 404, 413, 422] {
            assert!(!is_retriable(status), "{status}");
        }
    }
}
