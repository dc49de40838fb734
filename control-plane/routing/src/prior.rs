//! The default pack, made from published benchmarks and sample prompts that represent them.
//!
//! It distinguishes kinds of prompts rather than single prompts; its kind is `prior`. A missing
//! benchmark result is estimated from the model's results elsewhere and from the benchmark's
//! difficulty for other models.

use std::collections::BTreeMap;

use opentracy_router::clusters::{Assignment, Clusters};
use opentracy_router::logistic::{logit, sigmoid};
use opentracy_router::pack::{EmbeddingModel, PackKind, PackMetadata};
use opentracy_router::{Matrix, Pack, Profile, matrix};
use serde::Deserialize;

use crate::embed::{Embed, Urgency};

/// Weight of a published figure, in outcomes: a few dozen of the user's own outcomes outweigh it.
const PUBLISHED: f64 = 50.0;
const FILLED_IN: f64 = 5.0;
const STRENGTH: f64 = 5.0;
/// Spreads the memberships over several clusters, because domains are broad.
const TEMPERATURE: f32 = 0.15;
const DATE: &str = "2026-11-21";

#[derive(Deserialize)]
struct Facts {
    domains: Vec<Domain>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Domain {
    /// The benchmark that measures this domain, if any.
    benchmark: Option<String>,
    prompts: Vec<String>,
}

#[derive(Deserialize)]
struct Model {
    model: String,
    source: String,
    /// Percent, by benchmark.
    accuracy: BTreeMap<String, f64>,
}

/// Makes the pack, with one cluster per domain.
pub async fn make(embedder: &dyn Embed) -> anyhow::Result<Pack> {
    let facts: Facts = serde_json::from_str(include_str!("../prior.json"))?;
    let EmbeddingModel { dimensions, .. } = *embedder.identity();
    let mut centroids = Vec::new();
    for domain in &facts.domains {
        let embeddings = embedder.embed(domain.prompts.clone(), Urgency::Job).await?;
        // A sum works as well as a mean, because centroids are scaled.
        centroids.push(matrix::sum(
            dimensions,
            embeddings.iter().map(Vec::as_slice),
        ));
    }
    let centroids = Matrix::from_rows(dimensions, centroids.iter().map(Vec::as_slice));
    let assignment = Assignment::Soft {
        temperature: TEMPERATURE,
    };
    let clusters = Clusters::new(centroids, assignment, -1.0);
    let mut profiles = profiles(&facts);
    profiles.sort_by(|a, b| a.model.cmp(&b.model));
    Ok(Pack {
        version: String::new(),
        metadata: PackMetadata {
            kind: PackKind::Prior,
            description: "Published benchmarks: a prior, until outcomes of your own are there"
                .to_owned(),
            created_at: format!("{DATE}T00:00:00Z"),
            embedder: embedder.identity().clone(),
        },
        clusters: clusters.ok_or_else(|| anyhow::anyhow!("the embedder returned empty vectors"))?,
        basis: None,
        profiles,
        calibration: BTreeMap::new(),
    })
}

fn profiles(facts: &Facts) -> Vec<Profile> {
    let filled = fill_in(facts);
    let profile = |model: &Model| {
        let error = |domain: &Domain| {
            let benchmark = domain.benchmark.as_ref()?;
            Some(match model.accuracy.get(benchmark) {
                Some(accuracy) => (1.0 - accuracy / 100.0, PUBLISHED),
                None => (filled(model, benchmark), FILLED_IN),
            })
        };
        let errors: Vec<Option<(f64, f64)>> = facts.domains.iter().map(error).collect();
        let known = errors.iter().flatten();
        let mean_error = known.clone().map(|(error, _)| error).sum::<f64>() / known.count() as f64;
        let names: Vec<&str> = model.accuracy.keys().map(String::as_str).collect();
        Profile {
            model: model.model.clone(),
            mean_error,
            errors: errors
                .iter()
                .map(|error| error.map_or(mean_error, |(error, _)| error))
                .collect(),
            counts: errors
                .iter()
                .map(|error| error.map_or(0.0, |(_, count)| count))
                .collect(),
            strength: STRENGTH,
            source: format!("{}: {}", model.source, names.join(", ")),
            date: DATE.to_owned(),
            output_tokens: None,
            head: None,
        }
    };
    facts.models.iter().map(profile).collect()
}

/// Estimates missing errors: in log-odds, the benchmark's difficulty minus the model's ability,
/// both fitted by least squares.
fn fill_in(facts: &Facts) -> impl Fn(&Model, &str) -> f64 {
    const ROUNDS: usize = 50;
    let cells: Vec<(&str, &str, f64)> = facts
        .models
        .iter()
        .flat_map(|model| {
            model.accuracy.iter().map(|(benchmark, accuracy)| {
                let error = logit(1.0 - accuracy / 100.0);
                (model.model.as_str(), benchmark.as_str(), error)
            })
        })
        .collect();
    let mut skill: BTreeMap<String, f64> = BTreeMap::new();
    let mut hardness: BTreeMap<String, f64> = BTreeMap::new();
    for _ in 0..ROUNDS {
        hardness = means(cells.iter().map(|(model, benchmark, error)| {
            (
                *benchmark,
                error + skill.get(*model).copied().unwrap_or(0.0),
            )
        }));
        skill = means(cells.iter().map(|(model, benchmark, error)| {
            (
                *model,
                hardness.get(*benchmark).copied().unwrap_or(0.0) - error,
            )
        }));
    }
    move |model, benchmark| {
        let skill = skill.get(&model.model).copied().unwrap_or(0.0);
        sigmoid(hardness.get(benchmark).copied().unwrap_or(0.0) - skill)
    }
}

fn means<'a>(pairs: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, value) in pairs {
        let (sum, count) = sums.entry(name).or_default();
        *sum += value;
        *count += 1.0;
    }
    let mean = |(name, (sum, count)): (&str, (f64, f64))| (name.to_owned(), sum / count);
    sums.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_whole_and_filled_in_with_sense() {
        let facts: Facts = serde_json::from_str(include_str!("../prior.json")).unwrap();
        let benchmarks: Vec<&str> = facts
            .domains
            .iter()
            .filter_map(|domain| domain.benchmark.as_deref())
            .collect();
        for model in &facts.models {
            assert!(!model.source.is_empty() && !model.accuracy.is_empty());
            for (name, accuracy) in &model.accuracy {
                assert!(benchmarks.contains(&name.as_str()), "{name} has no prompts");
                assert!((0.0..=100.0).contains(accuracy));
            }
        }
        let profiles = profiles(&facts);
        let of = |name: &str| {
            profiles
                .iter()
                .find(|profile| profile.model == name)
                .unwrap()
        };
        assert!(
            profiles
                .iter()
                .all(|profile| profile.problem(facts.domains.len(), 0).is_none())
        );
        // Its only published figure is better than the other model's.
        assert!(of("claude-sonnet-4-5").mean_error < of("claude-3-haiku").mean_error);
    }
}
