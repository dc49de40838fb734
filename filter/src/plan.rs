//! What the gateway stage decided, as the provider stage reads it.

use std::borrow::Cow;

use opentracy_translate::client::Api;
use opentracy_translate::error::AttemptSummary;
use serde::{Deserialize, Serialize};

/// The value of the plan header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan<'a> {
    #[serde(borrow)]
    pub trace_id: Cow<'a, str>,
    /// What the client speaks.
    #[serde(default)]
    pub api: Api,
    /// `provider/model`, one for each attempt, in order.
    #[serde(borrow)]
    pub attempts: Vec<Cow<'a, str>>,
    /// Overrides the providers' timeouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout_ms: Option<u32>,
}

impl Plan<'_> {
    pub fn to_header(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An attempt in the log that the provider stage hands to the gateway stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedAttempt {
    /// 1 is the first.
    pub number: u32,
    pub summary: AttemptSummary,
}
