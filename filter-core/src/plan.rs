//! The gateway stage's decisions, in the form that the provider stage reads.

use std::borrow::Cow;

use opentracy_translate::client::Api;
use opentracy_translate::error::AttemptSummary;
use serde::{Deserialize, Serialize};

/// The value of the plan header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan<'a> {
    #[serde(borrow)]
    pub trace_id: Cow<'a, str>,
    /// The API that the client uses.
    #[serde(default)]
    pub api: Api,
    /// The models in the order of the attempts, each as `provider/model`.
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
    /// Counts from 1.
    pub number: u32,
    pub summary: AttemptSummary,
}
