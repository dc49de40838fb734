//! Learning from outcomes: fits packs in the background, and updates the active pack between fits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentracy_router::fit::{self, Training};
use opentracy_router::{LabeledOutcome, Pack, Point};
use opentracy_translate::openai::envelope::Envelope;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::embed::{Embed, Urgency};
use crate::service::Router;
use opentracy_base::clock;
use opentracy_base::worker_thread::Background;
use opentracy_store::{Feedback, Micros, Record, Store, StoreError};

/// Maximum number of feedback entries that a fit or the catch-up at startup reads, newest first.
const MAX_FEEDBACK: u32 = 100_000;
/// Capacity of the queue of outcomes. Outcomes beyond it are picked up at the next start.
pub const MAX_WAITING: usize = 10_000;
const MAX_AT_ONCE: usize = 1000;
/// Maximum number of jobs that are listed.
const MAX_JOBS: usize = 100;

/// Runs fits, one at a time.
pub struct Fits {
    background: Background,
    jobs: Mutex<BTreeMap<Uuid, Job>>,
}

/// A fitting job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    pub id: Uuid,
    pub state: FitState,
    /// Number of outcomes that it learns from.
    pub outcomes: usize,
    /// The version of the new pack, once it exists.
    pub pack: Option<String>,
    /// The error, if the fit failed.
    pub error: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    pub finished_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitState {
    Running,
    Done,
    Failed,
}

/// Options of a fit.
#[derive(Debug, Clone)]
pub struct FitOrder {
    /// Keeps the active pack's clusters, and fits only the profiles of the models that have
    /// outcomes.
    pub keep_clusters: bool,
    pub clusters: usize,
    /// Activates the new pack.
    pub activate: bool,
    pub description: String,
    pub source: String,
}

impl Fits {
    pub fn start() -> std::io::Result<Self> {
        Ok(Self {
            background: Background::start("fit")?,
            jobs: Mutex::default(),
        })
    }

    pub fn get(&self, id: Uuid) -> Option<Job> {
        self.held().get(&id).cloned()
    }

    /// Returns the jobs, newest first.
    pub fn list(&self) -> Vec<Job> {
        self.held().values().rev().cloned().collect()
    }

    /// Starts a fit and returns its job.
    pub fn begin(
        self: &Arc<Self>,
        router: Arc<Router>,
        outcomes: Vec<LabeledOutcome>,
        order: FitOrder,
    ) -> Job {
        let job = Job {
            id: Uuid::now_v7(),
            state: FitState::Running,
            outcomes: outcomes.len(),
            pack: None,
            error: None,
            started_at: clock::now().timestamp(),
            finished_at: None,
        };
        let mut jobs = self.held();
        jobs.insert(job.id, job.clone());
        if jobs.len() > MAX_JOBS {
            jobs.pop_first();
        }
        drop(jobs);
        let (fits, id) = (Arc::clone(self), job.id);
        tokio::spawn(async move {
            let fitted = fits.fit(&router, outcomes, &order).await;
            let mut jobs = fits.held();
            let Some(job) = jobs.get_mut(&id) else { return };
            job.finished_at = Some(clock::now().timestamp());
            match fitted {
                Ok(version) => {
                    job.state = FitState::Done;
                    job.pack = Some(version);
                }
                Err(error) => {
                    tracing::error!("fitting a router pack failed: {error:#}");
                    job.state = FitState::Failed;
                    job.error = Some(format!("{error:#}"));
                }
            }
        });
        job
    }

    async fn fit(
        &self,
        router: &Router,
        outcomes: Vec<LabeledOutcome>,
        order: &FitOrder,
    ) -> anyhow::Result<String> {
        let embedder = router
            .embedder()
            .ok_or_else(|| anyhow::anyhow!("the router has no embedder; set `router.embedder`"))?;
        let training = embed(Training::collect(outcomes), &**embedder).await?;
        let options = options(&**embedder, order);
        let base = match (order.keep_clusters, router.active()) {
            (true, Some(active)) => Some(active.pack.clone()),
            (true, None) => anyhow::bail!("no pack is active whose clusters could be kept"),
            (false, _) => None,
        };
        let pack = self
            .background
            .run(move || fit_pack(base.as_ref(), &training, &options))
            .await??;
        let version = router.library().add(&pack)?;
        if order.activate {
            router.activate(&version)?;
        }
        Ok(version)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fits a pack in the foreground, for `opentracy router fit`.
pub async fn fit_now(
    base: Option<&Pack>,
    embedder: &dyn Embed,
    outcomes: Vec<LabeledOutcome>,
    order: &FitOrder,
) -> anyhow::Result<Pack> {
    let training = embed(Training::collect(outcomes), embedder).await?;
    Ok(fit_pack(base, &training, &options(embedder, order))?)
}

fn fit_pack(
    base: Option<&Pack>,
    training: &Training,
    options: &fit::FitOptions,
) -> Result<Pack, fit::FitError> {
    match base {
        Some(pack) => fit::refit_models(pack, training, options),
        None => fit::fit(training, options),
    }
}

fn options(embedder: &dyn Embed, order: &FitOrder) -> fit::FitOptions {
    fit::FitOptions {
        embedder: embedder.identity().clone(),
        clusters: order.clusters,
        seed: 1,
        description: order.description.clone(),
        source: order.source.clone(),
        now: clock::now().timestamp(),
    }
}

async fn embed(training: Training, embedder: &dyn Embed) -> anyhow::Result<Training> {
    let embeddings = embedder
        .embed(training.prompts().to_vec(), Urgency::Job)
        .await?;
    Ok(training.with_embeddings(embeddings))
}

/// Returns the outcomes recorded as feedback on traces, newest first.
pub async fn outcomes_of_feedback(
    store: &dyn Store,
    since: Micros,
) -> Result<Vec<LabeledOutcome>, StoreError> {
    let mut outcomes = Vec::new();
    for feedback in store.feedback(since, MAX_FEEDBACK).await? {
        if let Some(trace) = store.get(feedback.trace_id).await? {
            outcomes.extend(outcome(&trace.record, &feedback));
        }
    }
    Ok(outcomes)
}

/// Returns `None` if the trace has no prompt or no model answered.
pub fn outcome(record: &Record, feedback: &Feedback) -> Option<LabeledOutcome> {
    Some(LabeledOutcome {
        prompt: subject(record)?,
        model: format!("{}/{}", record.provider.as_ref()?, record.model.as_ref()?),
        error: feedback.error,
    })
}

/// Extracts the text that the router decides on, from the recorded request.
pub fn subject(record: &Record) -> Option<String> {
    let body = record.request.as_ref()?.get().as_bytes();
    let envelope = Envelope::parse(record.api.api()?, body).ok()?;
    Some(envelope.subject().text).filter(|text| !text.is_empty())
}

/// Interval for collecting outcomes before the active pack is updated, because each update clears
/// its cache.
const GATHER: Duration = Duration::from_secs(2);

/// Starts the tasks that learn: from the feedback given since the active pack was made, and from
/// outcomes as they arrive, for the life of the process.
pub fn start(router: Arc<Router>, store: Arc<dyn Store>, heard: mpsc::Receiver<LabeledOutcome>) {
    tokio::spawn(catch_up(Arc::clone(&router), store));
    tokio::spawn(keep(router, heard));
}

/// Updates the active pack from the outcomes it receives.
async fn keep(router: Arc<Router>, mut heard: mpsc::Receiver<LabeledOutcome>) {
    let mut outcomes = Vec::new();
    while heard.recv_many(&mut outcomes, MAX_AT_ONCE).await > 0 {
        tokio::time::sleep(GATHER).await;
        while let Ok(outcome) = heard.try_recv() {
            outcomes.push(outcome);
        }
        if let Err(error) = observe(&router, &outcomes).await {
            tracing::warn!(
                "feedback is stored, but the active router pack is not updated yet: {error:#}"
            );
        }
        outcomes.clear();
    }
}

/// Adds outcomes to the active pack's figures, between fits.
async fn observe(router: &Router, outcomes: &[LabeledOutcome]) -> anyhow::Result<()> {
    let (Some(embedder), Some(_)) = (router.embedder(), router.active()) else {
        return Ok(());
    };
    let prompts = outcomes.iter().map(|outcome| outcome.prompt.clone());
    let embeddings = embedder.embed(prompts.collect(), Urgency::Job).await?;
    router.amend(|pack| {
        for (outcome, embedding) in outcomes.iter().zip(&embeddings) {
            let point = Point {
                embedding,
                text: Some(&outcome.prompt),
            };
            let Some(assessment) = pack.assess(&point) else {
                continue;
            };
            if let Some(place) = pack.profile_of(&outcome.model) {
                pack.profiles[place].observe(&assessment.membership, outcome.error);
            }
        }
    });
    Ok(())
}

/// Applies the feedback given since the active pack was made. Runs at startup.
async fn catch_up(router: Arc<Router>, store: Arc<dyn Store>) {
    let Some(active) = router.active() else {
        return;
    };
    let made: jiff::Timestamp = active.pack.metadata.created_at.parse().unwrap_or_default();
    let caught_up = async {
        let since = Micros(made.as_microsecond());
        observe(&router, &outcomes_of_feedback(&*store, since).await?).await
    };
    if let Err(error) = caught_up.await {
        tracing::warn!(
            "the active router pack lacks the feedback given since it was made: {error:#}"
        );
    }
}
