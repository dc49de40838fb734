//! The latency of a decision.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use opentracy_router::decide::{Candidate, Weights, decide};
use opentracy_router::fit::{self, Training};
use opentracy_router::{LabeledOutcome, Point, matrix, pack};
use opentracy_routing::embed::{Embed, Urgency};

const ROUNDS: usize = 2000;
const MODELS: usize = 20;

/// Measures the embedding of a 64-token prompt that isn't cached, as a request waits for it.
pub async fn embedding(embedder: &dyn Embed) -> Result<()> {
    for words in [14, 62, 254] {
        let mut times = Vec::new();
        for round in 0..200 {
            let text = std::iter::repeat_n(["river", "stone", "cloud"][round % 3], words);
            let text = text.collect::<Vec<_>>().join(" ");
            let started = Instant::now();
            embedder.embed(vec![text], Urgency::Request).await?;
            times.push(started.elapsed());
        }
        println!(
            "embedding {} tokens: {}",
            words + 2,
            percentiles(&mut times)
        );
    }
    Ok(())
}

/// Measures a decision without the embedding: a fitted pack with heads and twenty models.
pub fn decision() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut vector = || {
        let mut vector: Vec<f32> = (0..384).map(|_| random.f32() - 0.5).collect();
        matrix::normalize(&mut vector);
        vector
    };
    let embeddings: Vec<Vec<f32>> = (0..2000).map(|_| vector()).collect();
    let outcomes = (0..embeddings.len()).flat_map(|prompt| {
        (0..MODELS).map(move |model| LabeledOutcome {
            prompt: format!("What is {prompt}?"),
            model: format!("maker/model-{model}"),
            error: f64::from((prompt * 31 + model * 17).is_multiple_of(5)),
        })
    });
    let options = fit::FitOptions {
        embedder: pack::EmbeddingModel {
            model: "random".to_owned(),
            dimensions: 384,
        },
        clusters: fit::CLUSTERS,
        seed: 1,
        description: String::new(),
        source: String::new(),
        now: String::new(),
    };
    let training = Training::collect(outcomes).with_embeddings(embeddings.clone());
    let pack = fit::fit(&training, &options).expect("there are enough outcomes");
    let candidates: Vec<Candidate> = (0..MODELS)
        .map(|model| Candidate {
            profile: pack.profile_of(&format!("maker/model-{model}")),
            cost: Some(model as f64),
            latency: Some(1.0),
        })
        .collect();
    let weights = Weights {
        cost: 0.1,
        latency: 0.01,
        exploration: 0.0,
    };
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let point = Point {
            embedding: &embeddings[round % embeddings.len()],
            text: Some(
                "What is the seventh prime, and why is it not the eighth? Answer in one sentence.",
            ),
        };
        let started = Instant::now();
        let assessment = pack.assess(&point).expect("it is of the pack's dimensions");
        black_box(decide(&assessment, &candidates, &weights, || 1.0));
        times.push(started.elapsed());
    }
    println!(
        "\na decision among {MODELS} models, {} clusters, {} features, without the embedding: {}",
        pack.clusters.len(),
        pack.basis
            .as_ref()
            .map_or(0, opentracy_router::basis::Basis::len),
        percentiles(&mut times)
    );
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.3} ms, p95 {:.3} ms", at(0.5), at(0.95))
}
