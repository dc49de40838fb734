//! A router pack: a folder with everything that a router has learned.
//!
//! | file | contents |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: description of the pack, and the SHA-256 of every other file |
//! | `clusters.safetensors` | `centroids`, clusters by dimensions |
//! | `basis.safetensors` | projection and landmarks of the heads; only in a fitted pack |
//! | `heads.safetensors` | one vector per profile that has a head: its weights, then its bias |
//! | `profiles/*.json` | [`Profile`], one per model |
//! | `calibration.json` | [`Calibration`], by model; only in a fitted pack |

mod files;
mod import;
mod manifest;
mod names;
mod npy;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::basis::Basis;
use crate::clusters::Clusters;
use crate::profile::Profile;
use crate::quality::Calibration;

pub use files::{load, save};
pub use import::import;
pub use manifest::{EmbeddingModel, Manifest, PackKind};

/// The learned state of a router.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// Digest of the content: packs with the same version are identical.
    pub version: String,
    pub metadata: PackMetadata,
    pub clusters: Clusters,
    pub basis: Option<Basis>,
    /// Sorted by model name.
    pub profiles: Vec<Profile>,
    /// Measured accuracy of the estimates, by model.
    pub calibration: BTreeMap<String, Calibration>,
}

/// Metadata of a pack.
#[derive(Debug, Clone, PartialEq)]
pub struct PackMetadata {
    pub kind: PackKind,
    pub description: String,
    /// RFC 3339 timestamp.
    pub created_at: String,
    pub embedder: EmbeddingModel,
}

/// The reason why a pack can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{} can't be read: {error}", path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{} can't be written: {error}", path.display())]
    Unwritable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{} is damaged: {reason}. Get the pack from its source again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} is not a pack that this version can use: {reason}", path.display())]
    Unsupported { path: PathBuf, reason: String },
}

impl Pack {
    /// Returns the index of a model's profile: of `provider/model` itself, of the model at any
    /// provider, or of the name without a version suffix.
    pub fn profile_of(&self, id: &str) -> Option<usize> {
        names::find(&self.profiles, id)
    }
}
