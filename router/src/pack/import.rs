//! Imports the common layout of UniRoute-style packs: centroids in an `.npz`, and a JSON file per
//! model.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{EmbeddingModel, Pack, PackError, PackKind, PackMetadata, npy};
use crate::clusters::{Assignment, Clusters};
use crate::profile::Profile;

/// Shrinkage: number of outcomes at the mean rate added to each cluster.
const STRENGTH: f64 = 10.0;

/// A model's JSON. Error rates by cluster are under the first of these names, counts under the
/// second.
#[derive(Deserialize)]
struct Model {
    #[serde(alias = "model_id", alias = "model_name", alias = "name")]
    model: Option<String>,
    #[serde(
        alias = "psi",
        alias = "psi_vector",
        alias = "cluster_errors",
        alias = "error_rates"
    )]
    errors: Vec<f64>,
    #[serde(default, alias = "cluster_counts", alias = "num_samples_per_cluster")]
    counts: Vec<f64>,
    #[serde(alias = "overall_error", alias = "mean")]
    mean_error: Option<f64>,
    source: Option<String>,
    date: Option<String>,
}

/// Reads a folder with one `.npz` and a `.json` per model, at its top level or one folder below.
///
/// A model without counts gets as many outcomes in each cluster as it takes to trust its rates.
pub fn import(folder: &Path, embedder: EmbeddingModel) -> Result<Pack, PackError> {
    let unsupported = |path: &Path, reason: String| PackError::Unsupported {
        path: path.to_owned(),
        reason,
    };
    let mut centroids = None;
    let mut profiles = BTreeMap::new();
    let mut created_at = String::new();
    for path in files(folder)? {
        let bytes = std::fs::read(&path).map_err(|error| PackError::Unreadable {
            path: path.clone(),
            error,
        })?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => {
                let matrix = npy::matrix_of_npz(&bytes, "centroids")
                    .map_err(|reason| unsupported(&path, reason))?;
                if centroids.replace(matrix).is_some() {
                    return Err(unsupported(folder, "it has two .npz files".to_owned()));
                }
            }
            Some("json") => {
                // Packs contain other JSON files too.
                if let Ok(model) = serde_json::from_slice::<Model>(&bytes) {
                    let profile = profile(model, &path);
                    created_at = created_at.max(profile.date.clone());
                    profiles.insert(profile.model.clone(), profile);
                }
            }
            _ => {}
        }
    }
    let centroids = centroids
        .ok_or_else(|| unsupported(folder, "it has no .npz file with the centroids".to_owned()))?;
    if centroids.width() != embedder.dimensions {
        let reason = format!(
            "its centroids have {} dimensions, but {} returns {}",
            centroids.width(),
            embedder.model,
            embedder.dimensions
        );
        return Err(unsupported(folder, reason));
    }
    let clusters = Clusters::new(centroids, Assignment::Hard, -1.0)
        .ok_or_else(|| unsupported(folder, "its centroids are not finite".to_owned()))?;
    if profiles.is_empty() {
        let reason = "it has no .json file with `errors`, one rate per cluster";
        return Err(unsupported(folder, reason.to_owned()));
    }
    for profile in profiles.values() {
        if let Some(problem) = profile.problem(clusters.len(), 0) {
            let reason = format!("the profile of {}: {problem}", profile.model);
            return Err(unsupported(folder, reason));
        }
    }
    Ok(Pack {
        version: String::new(),
        metadata: PackMetadata {
            kind: PackKind::Imported,
            description: format!("imported from {}", folder.display()),
            created_at,
            embedder,
        },
        clusters,
        basis: None,
        profiles: profiles.into_values().collect(),
        calibration: BTreeMap::new(),
    })
}

fn profile(model: Model, path: &Path) -> Profile {
    let clusters = model.errors.len();
    let counts = match model.counts.is_empty() {
        true => vec![STRENGTH; clusters],
        false => model.counts,
    };
    let outcomes: f64 = counts.iter().sum();
    let wrong: f64 = model
        .errors
        .iter()
        .zip(&counts)
        .map(|(error, count)| error * count)
        .sum();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Profile {
        model: model.model.unwrap_or_else(|| stem.into_owned()),
        mean_error: model.mean_error.unwrap_or(wrong / outcomes.max(1.0)),
        errors: model.errors,
        counts,
        strength: STRENGTH,
        source: model
            .source
            .unwrap_or_else(|| "an imported pack".to_owned()),
        date: model.date.unwrap_or_default(),
        output_tokens: None,
        head: None,
    }
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>, PackError> {
    let list = |folder: &Path| {
        std::fs::read_dir(folder)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|error| PackError::Unreadable {
                path: folder.to_owned(),
                error,
            })
    };
    let mut files = Vec::new();
    for path in list(folder)? {
        match path.is_dir() {
            true => files.extend(list(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_pack_of_npz_and_json_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut npy = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
        npy.extend(
            format!(
                "{:<69}\n",
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
            )
            .bytes(),
        );
        npy.extend(
            [1.0_f32, 0.0, 0.0, 1.0]
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        let mut archive =
            zip::ZipWriter::new(std::fs::File::create(folder.path().join("c.npz")).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file("cluster_centers.npy", options).unwrap();
        archive.write_all(&npy).unwrap();
        archive.finish().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        std::fs::write(
            models.join("gpt-4o.json"),
            r#"{"psi_vector":[0.1,0.3],"num_samples_per_cluster":[10,30]}"#,
        )
        .unwrap();
        std::fs::write(models.join("notes.json"), "{}").unwrap();
        let embedder = EmbeddingModel {
            model: "e".to_owned(),
            dimensions: 2,
        };
        let pack = import(folder.path(), embedder.clone()).unwrap();
        assert_eq!((pack.clusters.len(), pack.profiles.len()), (2, 1));
        assert_eq!(pack.profiles[0].model, "gpt-4o");
        assert!((pack.profiles[0].mean_error - 0.25).abs() < 1e-9);

        let other = EmbeddingModel {
            dimensions: 3,
            ..embedder
        };
        let error = import(folder.path(), other).unwrap_err().to_string();
        assert!(error.contains("2 dimensions, but e returns 3"), "{error}");
    }
}
