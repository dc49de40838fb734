//! `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clusters::Assignment;

/// Version of the folder layout.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub kind: PackKind,
    pub description: String,
    /// RFC 3339 timestamp.
    pub created_at: String,
    pub embedder: EmbeddingModel,
    pub clusters: usize,
    pub assignment: Assignment,
    /// A point whose cosine with every centroid is below this is far from the fitted data.
    pub far_below: f32,
    /// SHA-256 of every other file, in hexadecimal, by path.
    pub files: BTreeMap<String, String>,
}

/// Source of the pack's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackKind {
    /// Published benchmarks: a starting point.
    Prior,
    /// Outcomes.
    Fitted,
    /// Imported from another router's pack.
    Imported,
}

impl PackKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Fitted => "fitted",
            Self::Imported => "imported",
        }
    }
}

/// The embedding model. A pack works only with embeddings of the same model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Embedder", deny_unknown_fields)]
pub struct EmbeddingModel {
    pub model: String,
    pub dimensions: usize,
}
