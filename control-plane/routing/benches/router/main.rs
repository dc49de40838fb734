//! `cargo xtask bench router`: the value of routing decisions on held-out prompts, and their cost.
//!
//! Quality is measured on real prompts, labelled with whether two models answered them correctly
//! (RouteLLM's evaluation data: MMLU and GSM8K). The pack is fitted on one part and measured on the
//! other, beside simpler routers with the same embeddings in the same run. Learning is measured in
//! synthetic worlds whose truth is known.

mod baselines;
mod prompts;
mod speed;
mod worlds;

use anyhow::Result;
use opentracy_base::health::HealthRegistry;
use opentracy_config as config;
use opentracy_router::fit::{self, Training};
use opentracy_router::quality::{Calibration, GapCurve, Pair};
use opentracy_router::{LabeledOutcome, Point};
use opentracy_routing::embed;

use prompts::{Labelled, STRONG, WEAK};

/// Ratio of the two models' prices in USD per token, input and output alike, when the data was
/// made; the cost of a share of calls depends on it.
const PRICE_RATIO: f64 = 0.24 / 24.7;

/// A router's estimate for a prompt: the probability of an error of each model.
#[derive(Debug, Clone, Copy)]
pub struct Guess {
    pub weak: f64,
    pub strong: f64,
}

fn main() -> Result<()> {
    let embedder = embed::open(&config::Embedder::default(), &HealthRegistry::default())?;
    let runtime = tokio::runtime::Runtime::new()?;
    match &embedder {
        None => println!(
            "No embedder found; `cargo xtask bench router` downloads one. Skipping quality and embedding."
        ),
        Some(embedder) => {
            runtime.block_on(speed::embedding(&**embedder))?;
            match prompts::load(embedder.as_ref(), &runtime)? {
                Some((train, dev)) => quality(&train, &dev, embedder.identity())?,
                None => println!(
                    "No labelled prompts found (OPENTRACY_ROUTING_DATA); skipping quality."
                ),
            }
        }
    }
    speed::decision();
    worlds::run();
    Ok(())
}

fn quality(
    train: &[Labelled],
    dev: &[Labelled],
    identity: &opentracy_router::pack::EmbeddingModel,
) -> Result<()> {
    println!(
        "\nfitted on {} prompts, measured on {} others\n\n{:28} {:>7} {:>8} {:>8} {:>7} {:>7} {:>9}",
        train.len(),
        dev.len(),
        "router",
        "APGR",
        "CPT(50)",
        "CPT(80)",
        "ECE",
        "strong",
        "cost"
    );
    for (name, router) in baselines::ALL {
        report(name, &router(train, dev), dev);
    }
    let outcomes = train.iter().flat_map(|prompt| {
        [(WEAK, prompt.weak_error), (STRONG, prompt.strong_error)].map(|(model, error)| {
            LabeledOutcome {
                prompt: prompt.text.clone(),
                model: model.to_owned(),
                error,
            }
        })
    });
    let training = Training::collect(outcomes);
    let by_text: std::collections::HashMap<&str, &Labelled> = train
        .iter()
        .map(|prompt| (prompt.text.as_str(), prompt))
        .collect();
    let embeddings = training
        .prompts()
        .iter()
        .map(|text| by_text[text.as_str()].embedding.clone())
        .collect();
    let options = fit::FitOptions {
        embedder: identity.clone(),
        clusters: fit::CLUSTERS,
        seed: 1,
        description: "benchmark".to_owned(),
        source: "RouteLLM".to_owned(),
        now: "2026-01-01T00:00:00Z".to_owned(),
    };
    let started = std::time::Instant::now();
    let pack = fit::fit(&training.with_embeddings(embeddings), &options)?;
    let took = started.elapsed();
    let guesses = |with_heads: bool| -> Vec<Guess> {
        let mut pack = pack.clone();
        if !with_heads {
            pack.profiles
                .iter_mut()
                .for_each(|profile| profile.head = None);
        }
        let place = |model: &str| pack.profile_of(model).expect("it was fitted");
        let (weak, strong) = (place(WEAK), place(STRONG));
        let guess = |prompt: &Labelled| {
            let point = Point {
                embedding: &prompt.embedding,
                text: Some(&prompt.text),
            };
            let assessment = pack.assess(&point).expect("it is of the pack's dimensions");
            Guess {
                weak: assessment.estimates[weak].error,
                strong: assessment.estimates[strong].error,
            }
        };
        dev.iter().map(guess).collect()
    };
    report("ours, clusters alone", &guesses(false), dev);
    report("ours", &guesses(true), dev);
    println!(
        "\nthe fit took {:.1} s; measured within it, on folds of the training prompts:",
        took.as_secs_f64()
    );
    for (model, calibration) in &pack.calibration {
        println!(
            "  {model}: expected calibration error {:.3}, Brier score {:.4} ({:.4} with the mean alone)",
            calibration.expected_calibration_error, calibration.brier, calibration.brier_of_mean
        );
    }
    Ok(())
}

fn report(name: &str, guesses: &[Guess], dev: &[Labelled]) {
    let pairs: Vec<Pair> = guesses
        .iter()
        .zip(dev)
        .map(|(guess, prompt)| Pair {
            preference: guess.weak - guess.strong,
            weak_error: prompt.weak_error,
            strong_error: prompt.strong_error,
        })
        .collect();
    let curve = GapCurve::measure(&pairs).expect("the strong model is better");
    let calibration = |guess: fn(&Guess) -> f64, truth: fn(&Labelled) -> f64| {
        let pairs: Vec<(f64, f64)> = guesses
            .iter()
            .map(guess)
            .zip(dev.iter().map(truth))
            .collect();
        Calibration::measure(&pairs).expected_calibration_error
    };
    let ece = (calibration(|guess| guess.weak, |prompt| prompt.weak_error)
        + calibration(|guess| guess.strong, |prompt| prompt.strong_error))
        / 2.0;
    let strong = curve.share_for(1.0);
    println!(
        "{name:28} {:7.3} {:8.3} {:8.3} {ece:7.3} {strong:7.3} {:8.0} %",
        curve.apgr(),
        curve.share_for(0.5),
        curve.share_for(0.8),
        100.0 * (strong + (1.0 - strong) * PRICE_RATIO)
    );
}
