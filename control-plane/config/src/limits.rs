//! `limits`: rate limits, and those of a key, an alias or a model.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use opentracy_proto::v1;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use utoipa::ToSchema;

/// Rate and concurrency limits. A value that is not set means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, Args)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    #[arg(long)]
    pub requests_per_minute: Option<u64>,
    /// Estimated when a request arrives, corrected with the provider's count.
    #[arg(long, help = None)]
    pub tokens_per_minute: Option<u64>,
    #[arg(long)]
    pub concurrent_requests: Option<u64>,
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        let Limits {
            requests_per_minute,
            tokens_per_minute,
            concurrent_requests,
        } = limits;
        Self {
            requests_per_minute,
            tokens_per_minute,
            concurrent_requests,
        }
    }
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

#[cfg(test)]
mod tests {
    use opentracy_proto::limit_kinds::LimitKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_limit_is_a_key_and_reaches_the_filter() {
        for kind in LimitKind::all() {
            let limits: Limits = serde_json::from_value(json!({kind.key: 7})).unwrap();
            assert_eq!(v1::Limits::from(limits), kind.only(7), "{}", kind.key);
        }
    }

    #[test]
    fn every_kind_of_limit_is_documented() {
        let page = include_str!("../../../docs/access.md");
        for kind in LimitKind::all() {
            let row = format!("| `{}` |", kind.key);
            let row = page.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("docs/access.md has no row for {}", kind.key));
            let names = kind
                .headers
                .iter()
                .flat_map(|names| [names.limit, names.remaining, names.reset]);
            for name in names.chain([kind.error_code]) {
                assert!(row.contains(&format!("`{name}`")), "{name} is not in {row}");
            }
        }
    }
}
