//! `limits`: rate limits, and those of a key, an alias or a model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use utoipa::ToSchema;

/// Rate and concurrency limits. A value that is not set means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    /// Estimated when a request arrives, corrected with the provider's count.
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
}

/// The policy for all limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsPolicy {
    /// Limits of models, by `provider/model`.
    pub models: BTreeMap<String, Spanned<Limits>>,
    pub without_control_plane: WithoutControlPlane,
    /// The longest wait for the control plane's answer about a limit.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

/// The handling of requests with a limit while the control plane does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutControlPlane {
    /// Each Envoy worker enforces its share of the limit.
    #[default]
    Share,
    /// Returns a 503.
    Refuse,
}

impl Default for LimitsPolicy {
    fn default() -> Self {
        Self {
            models: BTreeMap::new(),
            without_control_plane: WithoutControlPlane::default(),
            deadline: Duration::from_millis(500),
        }
    }
}
