//! The reasons why an attempt at a provider failed.

use serde::{Deserialize, Serialize};

/// The reason for a failed attempt, in traces and in `error.attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptError {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    /// Another client error.
    Refused,
    Timeout,
    RateLimit,
    Overloaded,
    ServerError,
    ConnectionFailed,
    ConnectionReset,
    NoHealthyHost,
    /// Envoy's configuration has no cluster for the provider.
    NoCluster,
    Unreachable,
    /// The stream ended early.
    BrokeOff,
    /// The gateway could not make the request.
    RefusedByGateway,
    /// The client left, or another attempt was faster.
    Abandoned,
    /// The filter trapped in the attempt.
    TranslatorFailed,
    /// No reason is known.
    Failed,
}

impl AttemptError {
    /// Returns the reason for a provider's status.
    pub const fn of_status(status: u16) -> Self {
        match status {
            400 | 422 => Self::InvalidRequest,
            401 => Self::Authentication,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..500 => Self::Refused,
            _ => Self::ServerError,
        }
    }

    /// Returns the name in traces, which serialization uses too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::ConnectionFailed => "connection_failed",
            Self::ConnectionReset => "connection_reset",
            Self::NoHealthyHost => "no_healthy_host",
            Self::NoCluster => "no_cluster",
            Self::Unreachable => "unreachable",
            Self::BrokeOff => "broke_off",
            Self::RefusedByGateway => "refused_by_gateway",
            Self::Abandoned => "abandoned",
            Self::TranslatorFailed => "translator_failed",
            Self::Failed => "failed",
        }
    }

    /// Returns true if the failure counts against the model's reliability.
    pub const fn is_models_fault(self) -> bool {
        match self {
            Self::InvalidRequest
            | Self::Authentication
            | Self::Permission
            | Self::NotFound
            | Self::TooLarge
            | Self::Refused
            | Self::RefusedByGateway
            | Self::Abandoned
            | Self::TranslatorFailed => false,
            Self::Timeout
            | Self::RateLimit
            | Self::Overloaded
            | Self::ServerError
            | Self::ConnectionFailed
            | Self::ConnectionReset
            | Self::NoHealthyHost
            | Self::NoCluster
            | Self::Unreachable
            | Self::BrokeOff
            | Self::Failed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_serialized_by_its_name() {
        for status in [400, 401, 403, 404, 408, 413, 418, 429, 500, 503] {
            let error = AttemptError::of_status(status);
            let json = serde_json::to_string(&error).unwrap();
            assert_eq!(json, format!("\"{}\"", error.as_str()));
        }
        let json = serde_json::to_string(&AttemptError::NoHealthyHost).unwrap();
        assert_eq!(json, "\"no_healthy_host\"");
    }
}
