//! Synthetic worlds whose truth is known: the regret against an oracle, as outcomes arrive.

use opentracy_router::decide::{Candidate, Weights, decide};
use opentracy_router::fit::{self, Training};
use opentracy_router::{LabeledOutcome, Pack, Point, matrix, pack};

const DIMENSIONS: usize = 64;
const TOPICS: usize = 12;
const STEPS: [usize; 4] = [100, 300, 1000, 3000];
const TESTED: usize = 2000;
const COST_WEIGHT: f64 = 0.15;

/// A synthetic world. Prompts are about topics; a model's error rate depends on the topic and on
/// the prompt's position in it.
struct World {
    topics: Vec<Vec<f32>>,
    /// Log-odds of an error and a direction that changes them, by model and topic.
    skills: Vec<Vec<(f64, Vec<f32>)>>,
    costs: Vec<f64>,
}

struct Prompt {
    embedding: Vec<f32>,
    topic: usize,
}

impl World {
    fn new(models: usize, random: &mut fastrand::Rng) -> Self {
        let vectors = |count: usize, random: &mut fastrand::Rng| -> Vec<Vec<f32>> {
            (0..count).map(|_| vector(random)).collect()
        };
        Self {
            topics: vectors(TOPICS, random),
            skills: (0..models)
                .map(|model| {
                    // More expensive models are better on average, but not on every topic.
                    let level = 0.5 - 2.0 * model as f64 / models as f64;
                    (0..TOPICS)
                        .map(|_| (level + 3.0 * (random.f64() - 0.5), vector(random)))
                        .collect()
                })
                .collect(),
            costs: (0..models).map(|model| 1.0 + model as f64).collect(),
        }
    }

    fn prompt(&self, random: &mut fastrand::Rng) -> Prompt {
        let topic = random.usize(..TOPICS);
        let noise = vector(random);
        let mut embedding: Vec<f32> = self.topics[topic]
            .iter()
            .zip(&noise)
            .map(|(center, noise)| center + 0.6 * noise)
            .collect();
        matrix::normalize(&mut embedding);
        Prompt { embedding, topic }
    }

    fn error(&self, model: usize, prompt: &Prompt) -> f64 {
        let (level, direction) = &self.skills[model][prompt.topic];
        let shift = f64::from(matrix::dot(direction, &prompt.embedding));
        opentracy_router::logistic::sigmoid(level + 4.0 * shift)
    }

    fn score(&self, model: usize, prompt: &Prompt) -> f64 {
        let dearest = self.costs.iter().copied().fold(0.0, f64::max);
        self.error(model, prompt) + COST_WEIGHT * self.costs[model] / dearest
    }

    /// Returns the mean regret against the oracle's choice.
    fn regret(&self, tested: &[Prompt], choose: impl Fn(&Prompt) -> usize) -> f64 {
        let lost = |prompt: &Prompt| {
            let best = (0..self.costs.len())
                .map(|model| self.score(model, prompt))
                .fold(f64::MAX, f64::min);
            self.score(choose(prompt), prompt) - best
        };
        tested.iter().map(lost).sum::<f64>() / tested.len() as f64
    }
}

pub fn run() {
    println!(
        "\nregret against an oracle, in worlds whose truth is known, by outcomes of each model"
    );
    print!("{:12}{:>15}", "models", "best one model");
    STEPS.iter().for_each(|step| print!("{step:>9}"));
    println!();
    for models in [3, 8, 20] {
        let mut random = fastrand::Rng::with_seed(models as u64);
        let world = World::new(models, &mut random);
        let tested: Vec<Prompt> = (0..TESTED).map(|_| world.prompt(&mut random)).collect();
        let best_one = (0..models)
            .map(|model| world.regret(&tested, |_| model))
            .fold(f64::MAX, f64::min);
        print!("{models:<12}{best_one:>15.4}");
        for step in STEPS {
            let pack = learn(&world, step, &mut random);
            let regret = world.regret(&tested, |prompt| choose(&pack, &world, prompt));
            print!("{regret:>9.4}");
        }
        println!();
    }
}

fn learn(world: &World, prompts: usize, random: &mut fastrand::Rng) -> Pack {
    let asked: Vec<Prompt> = (0..prompts).map(|_| world.prompt(random)).collect();
    let mut outcomes = Vec::with_capacity(prompts * world.costs.len());
    for (number, prompt) in asked.iter().enumerate() {
        for model in 0..world.costs.len() {
            outcomes.push(LabeledOutcome {
                prompt: format!("prompt {number}"),
                model: name(model),
                error: f64::from(random.f64() < world.error(model, prompt)),
            });
        }
    }
    let options = fit::FitOptions {
        embedder: pack::EmbeddingModel {
            model: "world".to_owned(),
            dimensions: DIMENSIONS,
        },
        clusters: fit::CLUSTERS,
        seed: 1,
        description: String::new(),
        source: String::new(),
        now: String::new(),
    };
    let embeddings = asked.into_iter().map(|prompt| prompt.embedding).collect();
    let training = Training::collect(outcomes).with_embeddings(embeddings);
    fit::fit(&training, &options).expect("there are enough outcomes")
}

fn choose(pack: &Pack, world: &World, prompt: &Prompt) -> usize {
    let candidates: Vec<Candidate> = world
        .costs
        .iter()
        .enumerate()
        .map(|(model, &cost)| Candidate {
            profile: pack.profile_of(&name(model)),
            cost: Some(cost),
            latency: None,
        })
        .collect();
    let weights = Weights {
        cost: COST_WEIGHT,
        latency: 0.0,
        exploration: 0.0,
    };
    let point = Point {
        embedding: &prompt.embedding,
        text: None,
    };
    let assessment = pack.assess(&point).expect("it is of the pack's dimensions");
    decide(&assessment, &candidates, &weights, || 1.0).order[0]
}

fn name(model: usize) -> String {
    format!("world/{model:02}")
}

fn vector(random: &mut fastrand::Rng) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect();
    matrix::normalize(&mut vector);
    vector
}
