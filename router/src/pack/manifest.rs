//! `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clusters::Assignment;

/// The version of the folder's layout.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub kind: Kind,
    pub description: String,
    /// RFC 3339.
    pub created_at: String,
    pub embedder: Embedder,
    pub clusters: usize,
    pub assignment: Assignment,
    /// Points whose cosine with every centroid is less are far from what the pack was fitted on.
    pub far_below: f32,
    /// The SHA-256 of every other file, in hexadecimal, by path.
    pub files: BTreeMap<String, String>,
}

/// What the figures rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Published benchmarks: something to begin with.
    Prior,
    /// Outcomes.
    Fitted,
    /// Another router's pack.
    Imported,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Fitted => "fitted",
            Self::Imported => "imported",
        }
    }
}

/// What made the embeddings. A pack is of no use with another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedder {
    pub model: String,
    pub dimensions: usize,
}
