//! A router pack: a folder with all that a router has learned.
//!
//! | file | what it holds |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: what the pack is of, and the SHA-256 of every other file |
//! | `clusters.safetensors` | `centroids`, clusters by dimensions |
//! | `basis.safetensors` | the projection and the landmarks of the heads; only in a fitted pack |
//! | `heads.safetensors` | a vector for each profile that has a head: its weights, then its bias |
//! | `profiles/*.json` | [`Profile`], one for each model |
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
pub use manifest::{Embedder, Kind, Manifest};

/// What a router has learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// A digest of the content: packs of one version are the same.
    pub version: String,
    pub about: About,
    pub clusters: Clusters,
    pub basis: Option<Basis>,
    /// In the order of their models' names.
    pub profiles: Vec<Profile>,
    /// How well the estimates hold, by model.
    pub calibration: BTreeMap<String, Calibration>,
}

/// What a pack tells of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    pub kind: Kind,
    pub description: String,
    /// RFC 3339.
    pub created_at: String,
    pub embedder: Embedder,
}

/// Why a pack can't be used.
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
    #[error("{} is damaged: {reason}. Take the pack from where it came again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} is no pack that this version can use: {reason}", path.display())]
    Unsupported { path: PathBuf, reason: String },
}

impl Pack {
    /// The place of a model's profile: of `provider/model` itself, of the model whoever serves it, or of the version that it
    /// is a later one of.
    pub fn profile_of(&self, id: &str) -> Option<usize> {
        names::find(&self.profiles, id)
    }
}
