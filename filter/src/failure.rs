//! Classification of failed attempts, by Envoy's response code details or the provider's status.

use opentracy_translate::error::ApiError;

/// Returns the reason for a failed attempt's status, as it appears in traces and `error.attempts`.
pub const fn word_of_status(status: u16) -> &'static str {
    match status {
        400 | 422 => "invalid_request",
        401 => "authentication",
        403 => "permission",
        404 => "not_found",
        408 | 504 => "timeout",
        413 => "too_large",
        429 => "rate_limit",
        503 | 529 => "overloaded",
        400..500 => "refused",
        _ => "server_error",
    }
}

/// Returns whether a failure with this status may succeed at another candidate. A client error
/// fails everywhere.
pub const fn is_retriable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// Returns whether a failure reason counts against the model's reliability.
pub fn is_models_fault(word: &str) -> bool {
    !matches!(
        word,
        "invalid_request"
            | "authentication"
            | "permission"
            | "not_found"
            | "too_large"
            | "refused"
            | "refused_by_gateway"
            | "abandoned"
            | "translator_failed"
    )
}

/// Returns the error for the client and the reason for a reply that Envoy generated because the
/// provider gave no answer.
///
/// Source: Envoy's documentation, "response code details".
pub fn of_envoy_reply(provider: &str, details: &str) -> (ApiError, &'static str) {
    let (status, word, what) = if details.contains("timeout") {
        (504, "timeout", "did not answer in time")
    } else if details.contains("overflow") {
        (503, "overloaded", "has too many requests waiting for it")
    } else if details.contains("no_healthy_upstream") {
        (502, "no_healthy_host", "has no healthy host")
    } else if details.contains("cluster_not_found") {
        (
            502,
            "no_cluster",
            "has no cluster in this Envoy; regenerate Envoy's configuration and restart it",
        )
    } else if details.contains("connection_failure") || details.contains("connection failure") {
        (502, "connection_failed", "could not be reached")
    } else if details.contains("reset") || details.contains("termination") {
        (
            502,
            "connection_reset",
            "closed the connection before it answered",
        )
    } else if details.contains("wasm") {
        (
            500,
            "translator_failed",
            "could not be called, because the translation failed",
        )
    } else {
        (502, "unreachable", "could not be reached")
    };
    let error = ApiError::new(status, format!("{provider} {what}")).with_code(match word {
        "timeout" => "upstream_timeout",
        _ => "upstream_unavailable",
    });
    (error, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_words_are_understood() {
        for (details, status, word) in [
            ("upstream_per_try_timeout", 504, "timeout"),
            ("response_timeout", 504, "timeout"),
            ("no_healthy_upstream", 502, "no_healthy_host"),
            (
                "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}",
                502,
                "connection_failed",
            ),
            (
                "upstream_reset_before_response_started{connection_termination}",
                502,
                "connection_reset",
            ),
            (
                "upstream_reset_before_response_started{overflow}",
                503,
                "overloaded",
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
