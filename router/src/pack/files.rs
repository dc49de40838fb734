//! Reads and writes a pack on disk.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::manifest::{FORMAT, Manifest};
use super::{Pack, PackError, PackMetadata};
use crate::basis::Basis;
use crate::clusters::Clusters;
use crate::matrix::Matrix;
use crate::profile::{Head, Profile};
use crate::surface;

const MANIFEST: &str = "manifest.json";
const CLUSTERS: &str = "clusters.safetensors";
const BASIS: &str = "basis.safetensors";
const HEADS: &str = "heads.safetensors";
const CALIBRATION: &str = "calibration.json";
const PROFILES: &str = "profiles/";

/// Reads a pack and verifies all of it.
pub fn load(folder: &Path) -> Result<Pack, PackError> {
    let bytes = read(&folder.join(MANIFEST))?;
    let version = digest(&bytes)[..12].to_owned();
    let manifest: Manifest = json(&folder.join(MANIFEST), &bytes)?;
    if manifest.format != FORMAT {
        return Err(PackError::Unsupported {
            path: folder.to_owned(),
            reason: format!("its format is {}, expected {FORMAT}", manifest.format),
        });
    }
    let mut files = Files {
        folder,
        contents: BTreeMap::new(),
    };
    for (name, expected) in &manifest.files {
        files.read(name, expected)?;
    }
    files.pack(version, manifest)
}

/// Writes a pack to a new folder and returns its version.
///
/// The write is atomic: the folder appears complete or not at all.
pub fn save(pack: &Pack, folder: &Path) -> Result<String, PackError> {
    let files = contents(pack);
    let manifest = Manifest {
        format: FORMAT,
        kind: pack.metadata.kind,
        description: pack.metadata.description.clone(),
        created_at: pack.metadata.created_at.clone(),
        embedder: pack.metadata.embedder.clone(),
        clusters: pack.clusters.len(),
        assignment: pack.clusters.assignment(),
        far_below: pack.clusters.far_below(),
        files: files
            .iter()
            .map(|(name, bytes)| (name.clone(), digest(bytes)))
            .collect(),
    };
    let manifest = pretty(&manifest);
    let version = digest(&manifest)[..12].to_owned();
    let unfinished = folder.with_extension("unfinished");
    let write = |name: &str, bytes: &[u8]| {
        let path = unfinished.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&unfinished))
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|error| PackError::Unwritable { path, error })
    };
    for (name, bytes) in &files {
        write(name, bytes)?;
    }
    write(MANIFEST, &manifest)?;
    std::fs::rename(&unfinished, folder).map_err(|error| PackError::Unwritable {
        path: folder.to_owned(),
        error,
    })?;
    Ok(version)
}

/// Returns every file except the manifest.
fn contents(pack: &Pack) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let centroids = pack.clusters.centroids();
    let clusters = tensors([("centroids", shape(centroids), centroids.values())]);
    files.insert(CLUSTERS.to_owned(), clusters);
    if let Some(basis) = &pack.basis {
        let figures = vec![surface::FEATURES];
        let bytes = tensors([
            ("mean", vec![basis.mean.len()], basis.mean.as_slice()),
            (
                "components",
                shape(&basis.components),
                basis.components.values(),
            ),
            ("surface_mean", figures.clone(), &basis.surface_mean),
            ("surface_scale", figures, &basis.surface_scale),
            (
                "landmarks",
                shape(&basis.landmarks),
                basis.landmarks.values(),
            ),
        ]);
        files.insert(BASIS.to_owned(), bytes);
    }
    let heads: Vec<(&str, Vec<f32>)> = pack
        .profiles
        .iter()
        .filter_map(|profile| {
            let head = profile.head.as_ref()?;
            Some((&*profile.model, [&*head.weights, &[head.bias]].concat()))
        })
        .collect();
    if !heads.is_empty() {
        let views = heads
            .iter()
            .map(|(model, values)| (*model, vec![values.len()], values.as_slice()));
        files.insert(HEADS.to_owned(), tensors(views));
    }
    for (number, profile) in pack.profiles.iter().enumerate() {
        files.insert(
            format!("{PROFILES}{number:03}-{}.json", file_name(&profile.model)),
            pretty(profile),
        );
    }
    if !pack.calibration.is_empty() {
        files.insert(CALIBRATION.to_owned(), pretty(&pack.calibration));
    }
    files
}

/// The name is for readers; the number in front of it keeps file names unique.
fn file_name(model: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    model
        .chars()
        .map(|character| if is_plain(character) { character } else { '-' })
        .collect()
}

/// The files of a pack that is being read.
struct Files<'a> {
    folder: &'a Path,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Files<'_> {
    fn read(&mut self, name: &str, expected: &str) -> Result<(), PackError> {
        let is_inside = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(self.damaged(
                MANIFEST,
                format!("it names {name:?}, which is outside the pack"),
            ));
        }
        let bytes = read(&self.folder.join(name))?;
        if digest(&bytes) != expected {
            return Err(self.damaged(name, "its SHA-256 differs from the manifest"));
        }
        self.contents.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn pack(self, version: String, manifest: Manifest) -> Result<Pack, PackError> {
        let clusters = self.clusters(&manifest)?;
        let basis = match self.contents.get(BASIS) {
            Some(bytes) => Some(self.basis(bytes, manifest.embedder.dimensions)?),
            None => None,
        };
        let features = basis.as_ref().map_or(0, Basis::len);
        let profiles = self.profiles(clusters.len(), features)?;
        let calibration = match self.contents.get(CALIBRATION) {
            Some(bytes) => json(&self.folder.join(CALIBRATION), bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Pack {
            version,
            metadata: PackMetadata {
                kind: manifest.kind,
                description: manifest.description,
                created_at: manifest.created_at,
                embedder: manifest.embedder,
            },
            clusters,
            basis,
            profiles,
            calibration,
        })
    }

    fn clusters(&self, manifest: &Manifest) -> Result<Clusters, PackError> {
        let bytes = self
            .contents
            .get(CLUSTERS)
            .ok_or_else(|| self.damaged(MANIFEST, format!("it does not list {CLUSTERS}")))?;
        let tensors = self.tensors(CLUSTERS, bytes)?;
        let centroids = self.matrix(CLUSTERS, &tensors, "centroids")?;
        if centroids.height() != manifest.clusters
            || centroids.width() != manifest.embedder.dimensions
        {
            let reason = "the number or length of the centroids differs from the manifest";
            return Err(self.damaged(CLUSTERS, reason));
        }
        Clusters::new(centroids, manifest.assignment, manifest.far_below)
            .ok_or_else(|| self.damaged(CLUSTERS, "no centroids, or a value is not finite"))
    }

    fn basis(&self, bytes: &[u8], dimensions: usize) -> Result<Basis, PackError> {
        let tensors = self.tensors(BASIS, bytes)?;
        let vector = |name| self.vector(BASIS, &tensors, name);
        let figures = |name| {
            vector(name)?
                .try_into()
                .map_err(|_| self.damaged(BASIS, format!("`{name}` has the wrong length")))
        };
        let mean = vector("mean")?;
        let is_of_embedder = mean.len() == dimensions;
        let components = self.matrix(BASIS, &tensors, "components")?;
        let landmarks = self.matrix(BASIS, &tensors, "landmarks")?;
        let (surface_mean, surface_scale) = (figures("surface_mean")?, figures("surface_scale")?);
        Basis::new(mean, components, surface_mean, surface_scale, landmarks)
            .filter(|_| is_of_embedder)
            .ok_or_else(|| self.damaged(BASIS, "the lengths of its parts don't match"))
    }

    fn profiles(&self, clusters: usize, features: usize) -> Result<Vec<Profile>, PackError> {
        let heads = match self.contents.get(HEADS) {
            Some(bytes) => Some(self.tensors(HEADS, bytes)?),
            None => None,
        };
        let of_profiles = self
            .contents
            .iter()
            .filter(|(name, _)| name.starts_with(PROFILES));
        let mut profiles = Vec::new();
        for (name, bytes) in of_profiles {
            let mut profile: Profile = json(&self.folder.join(name), bytes)?;
            if let Some(heads) = &heads
                && heads.names().contains(&profile.model.as_str())
            {
                let mut weights = self.vector(HEADS, heads, &profile.model)?;
                let bias = weights.pop().unwrap_or_default();
                profile.head = Some(Head { weights, bias });
            }
            if let Some(problem) = profile.problem(clusters, features) {
                return Err(self.damaged(name, problem));
            }
            profiles.push(profile);
        }
        profiles.sort_by(|a, b| a.model.cmp(&b.model));
        if let Some(pair) = profiles
            .windows(2)
            .find(|pair| pair[0].model == pair[1].model)
        {
            let reason = format!("there are two profiles of {}", pair[0].model);
            return Err(self.damaged(MANIFEST, reason));
        }
        Ok(profiles)
    }

    fn tensors<'b>(&self, name: &str, bytes: &'b [u8]) -> Result<SafeTensors<'b>, PackError> {
        SafeTensors::deserialize(bytes).map_err(|error| self.damaged(name, error.to_string()))
    }

    fn vector(
        &self,
        file: &str,
        tensors: &SafeTensors<'_>,
        name: &str,
    ) -> Result<Vec<f32>, PackError> {
        let tensor = tensors
            .tensor(name)
            .map_err(|error| self.damaged(file, error.to_string()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(self.damaged(file, format!("`{name}` must contain 32-bit floats")));
        }
        let values = floats(tensor.data());
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(self.damaged(file, format!("`{name}` has values that are not finite"))),
        }
    }

    fn matrix(
        &self,
        file: &str,
        tensors: &SafeTensors<'_>,
        name: &str,
    ) -> Result<Matrix, PackError> {
        let values = self.vector(file, tensors, name)?;
        let width = match tensors.tensor(name).map(|tensor| tensor.shape().to_vec()) {
            Ok(shape) if shape.len() == 2 => shape[1],
            _ => 0,
        };
        Matrix::new(width, values)
            .ok_or_else(|| self.damaged(file, format!("`{name}` is not a matrix")))
    }

    fn damaged(&self, name: &str, reason: impl Into<String>) -> PackError {
        PackError::Damaged {
            path: self.folder.join(name),
            reason: reason.into(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    std::fs::read(path).map_err(|error| PackError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

fn json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, PackError> {
    serde_json::from_slice(bytes).map_err(|error| PackError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("its keys are strings");
    bytes.push(b'\n');
    bytes
}

fn shape(matrix: &Matrix) -> Vec<usize> {
    vec![matrix.height(), matrix.width()]
}

/// Serializes a safetensors file.
fn tensors<'a>(parts: impl IntoIterator<Item = (&'a str, Vec<usize>, &'a [f32])>) -> Vec<u8> {
    let parts: Vec<(&str, Vec<usize>, Vec<u8>)> = parts
        .into_iter()
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = parts.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (
            *name,
            view.expect("there are as many bytes as the shape says"),
        )
    });
    let none: Option<HashMap<String, String>> = None;
    safetensors::serialize(views, none).expect("the names are strings")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
        .collect()
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
