//! Decisions with the active pack.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use moka::future::Cache;
use opentracy_router::decide::{Score, Weights, decide};
use opentracy_router::{Assessment, Pack, Point};
use sha2::{Digest as _, Sha256};

use crate::candidates::{Excluded, Named};
use crate::drift::Drift;
use crate::embed::{Embed, EmbedError, Urgency};
use crate::library::{Library, LibraryError};
use opentracy_config as config;

/// Makes decisions. Each one uses a single pack from beginning to end, even if another is
/// activated.
pub struct Router {
    embedder: Option<Arc<dyn Embed>>,
    active: ArcSwapOption<Active>,
    /// Held while the active pack is replaced, so that a change applies to the pack it was made
    /// for.
    changing: Mutex<()>,
    library: Library,
    cache: config::RouterCache,
    drift_alert: f64,
    pub drift: Drift,
}

/// A pack, with a cache of its assessments. A new pack starts with an empty cache.
pub struct Active {
    pub pack: Pack,
    assessed: Cache<[u8; 32], Arc<Assessment>>,
}

/// The input of a decision.
#[derive(Debug, Clone)]
pub enum About {
    Text(String),
    /// An embedding from the pack's embedder.
    Embedding(Vec<f32>),
}

/// A request for a decision, without the candidates.
#[derive(Debug, Clone)]
pub struct Question {
    pub about: About,
    pub weights: Weights,
}

/// A decision.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `provider/model`, best first.
    pub order: Vec<String>,
    /// In the order of `order`.
    pub scores: Vec<Score>,
    pub excluded: Vec<Excluded>,
    pub assessment: Arc<Assessment>,
    pub pack: String,
    pub cost_weight: f64,
    pub is_cached: bool,
    pub is_exploration: bool,
    pub embedding: Duration,
    pub routing: Duration,
}

/// The reason why no decision was made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoutingError {
    #[error("the router is off because it has no embedder")]
    Off,
    #[error("no router pack is active")]
    NoPack,
    #[error(transparent)]
    Embedder(#[from] EmbedError),
    #[error("the embedding has {found} numbers, but the pack's embedder returns {expected}")]
    Dimensions { found: usize, expected: usize },
    #[error("the candidate list is empty")]
    NoCandidate,
}

impl RoutingError {
    /// Returns the reason as an identifier, for headers and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "router_off",
            Self::NoPack => "no_pack",
            Self::Embedder(EmbedError::Busy) => "embedder_busy",
            Self::Embedder(EmbedError::Failed(_)) => "embedder_failed",
            Self::Dimensions { .. } => "embedding_of_another_length",
            Self::NoCandidate => "no_candidate",
        }
    }
}

impl Router {
    /// Loads the active pack. If it can't be used, logs an error and starts without one.
    pub fn new(
        config: &config::RouterConfig,
        embedder: Option<Arc<dyn Embed>>,
        library: Library,
    ) -> Self {
        let router = Self {
            embedder,
            active: ArcSwapOption::empty(),
            changing: Mutex::default(),
            library,
            cache: config.cache.clone(),
            drift_alert: config.drift_alert,
            drift: Drift::default(),
        };
        match router.library.active() {
            Ok(Some(pack)) => {
                if let Err(error) = router.put_in_force(pack) {
                    tracing::error!("the router's pack can't be used: {error}");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!("the router's pack can't be used: {error}"),
        }
        router
    }

    pub fn library(&self) -> &Library {
        &self.library
    }

    pub fn embedder(&self) -> Option<&Arc<dyn Embed>> {
        self.embedder.as_ref()
    }

    pub fn active(&self) -> Option<Arc<Active>> {
        self.active.load_full()
    }

    /// Activates a pack of the library; the choice survives a restart.
    pub fn activate(&self, version: &str) -> Result<(), LibraryError> {
        let pack = self.library.load(version)?;
        self.check(&pack)?;
        self.library.set_active(version)?;
        self.put_in_force(pack)
    }

    /// Returns to the previously active pack, and returns its version.
    pub fn roll_back(&self) -> Result<String, LibraryError> {
        let version = self.library.previous().ok_or(LibraryError::NoPrevious)?;
        let pack = self.library.load(&version)?;
        self.check(&pack)?;
        self.library.step_back()?;
        self.put_in_force(pack)?;
        Ok(version)
    }

    /// Changes the active pack in memory; the copy on disk stays as it is.
    pub fn amend(&self, change: impl FnOnce(&mut Pack)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = self.active() {
            let mut pack = active.pack.clone();
            change(&mut pack);
            self.active.store(Some(Arc::new(self.with_cache(pack))));
        }
    }

    fn check(&self, pack: &Pack) -> Result<(), LibraryError> {
        match &self.embedder {
            Some(embedder) if *embedder.identity() != pack.metadata.embedder => {
                Err(LibraryError::OtherEmbedder {
                    pack: pack.metadata.embedder.model.clone(),
                    ours: embedder.identity().model.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn put_in_force(&self, pack: Pack) -> Result<(), LibraryError> {
        self.check(&pack)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(
            "activated router pack {}: {} clusters, {} models",
            pack.version,
            pack.clusters.len(),
            pack.profiles.len()
        );
        self.active.store(Some(Arc::new(self.with_cache(pack))));
        self.drift.clear();
        Ok(())
    }

    fn with_cache(&self, pack: Pack) -> Active {
        Active {
            pack,
            assessed: Cache::builder()
                .max_capacity(self.cache.entries)
                .time_to_live(self.cache.ttl)
                .build(),
        }
    }

    /// Decides which model to use. `candidates` returns the eligible models, with their indexes in
    /// the pack, and the excluded ones.
    pub async fn decide(
        &self,
        question: &Question,
        candidates: impl FnOnce(&Pack) -> (Vec<Named>, Vec<Excluded>),
    ) -> Result<Answer, RoutingError> {
        let asked = Instant::now();
        let active = self.active().ok_or(match self.embedder {
            None => RoutingError::Off,
            Some(_) => RoutingError::NoPack,
        })?;
        let mut embedding = Duration::ZERO;
        let (assessment, is_cached) = match &question.about {
            About::Text(text) => {
                let entry = active
                    .assessed
                    .entry(Sha256::digest(text.as_bytes()).into())
                    .or_try_insert_with(async {
                        let asked = Instant::now();
                        let assessment = self.assess(&active.pack, text).await;
                        embedding = asked.elapsed();
                        assessment.map(Arc::new)
                    })
                    .await
                    .map_err(|error| RoutingError::clone(&error))?;
                let is_fresh = entry.is_fresh();
                (entry.into_value(), !is_fresh)
            }
            About::Embedding(embedding) => {
                let point = Point {
                    embedding,
                    text: None,
                };
                (Arc::new(assess(&active.pack, &point)?), false)
            }
        };
        self.drift.note(assessment.is_far, self.drift_alert);
        let (named, excluded) = candidates(&active.pack);
        if named.is_empty() {
            return Err(RoutingError::NoCandidate);
        }
        let known: Vec<_> = named.iter().map(|named| named.candidate.clone()).collect();
        let decision = decide(&assessment, &known, &question.weights, fastrand::f64);
        Ok(Answer {
            order: decision
                .order
                .iter()
                .map(|&index| named[index].id.clone())
                .collect(),
            scores: decision
                .order
                .iter()
                .map(|&index| decision.scores[index])
                .collect(),
            excluded,
            assessment,
            pack: active.pack.version.clone(),
            cost_weight: question.weights.cost,
            is_cached,
            is_exploration: decision.is_exploration,
            embedding,
            routing: asked.elapsed().saturating_sub(embedding),
        })
    }

    async fn assess(&self, pack: &Pack, text: &str) -> Result<Assessment, RoutingError> {
        let embedder = self.embedder.as_ref().ok_or(RoutingError::Off)?;
        let embedded = embedder
            .embed(vec![text.to_owned()], Urgency::Request)
            .await?;
        let embedding = embedded.first().map(Vec::as_slice).unwrap_or_default();
        let point = Point {
            embedding,
            text: Some(text),
        };
        assess(pack, &point)
    }
}

fn assess(pack: &Pack, point: &Point<'_>) -> Result<Assessment, RoutingError> {
    pack.assess(point).ok_or(RoutingError::Dimensions {
        found: point.embedding.len(),
        expected: pack.clusters.dimensions(),
    })
}

impl Answer {
    /// Returns how the choice was made, as an identifier.
    pub fn outcome(&self) -> &'static str {
        match (self.is_exploration, self.is_cached) {
            (true, _) => "explored",
            (false, true) => "cached",
            (false, false) => "decided",
        }
    }

    /// Explains the choice to people.
    pub fn reason(&self) -> String {
        let (Some(first), Some(score)) = (self.order.first(), self.scores.first()) else {
            return String::new();
        };
        let figures = |score: &Score| {
            format!(
                "expected error {:.3}, {:.0} % of the most expensive candidate's cost",
                score.error,
                score.cost_share * 100.0
            )
        };
        let mut reason = format!(
            "cluster {}: {first} has {}",
            self.assessment.membership.cluster,
            figures(score)
        );
        if let (Some(second), Some(score)) = (self.order.get(1), self.scores.get(1)) {
            reason.push_str(&format!("; next is {second} with {}", figures(score)));
        }
        if self.is_exploration {
            reason.push_str("; chosen to explore, because little is known of it in this cluster");
        }
        reason
    }
}
