//! The thread that an embedding model runs on, so that no other ever waits for it.

use async_trait::async_trait;
use opentracy_router::pack;
use tokio::sync::{mpsc, oneshot};

use super::onnx::Model;
use super::{Embed, EmbedError, Urgency};

/// Requests that may wait. With more, the last would come too late for anyone.
const MAX_WAITING: usize = 64;
/// What is embedded at once. More makes the first wait for the last.
const MAX_BATCH: usize = 8;

pub struct Worker {
    identity: pack::Embedder,
    requests: mpsc::Sender<Job>,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    texts: Vec<String>,
    answer: oneshot::Sender<Result<Vec<Vec<f32>>, EmbedError>>,
}

impl Worker {
    pub fn start(mut model: Model) -> std::io::Result<Self> {
        let (requests, mut urgent) = mpsc::channel::<Job>(MAX_WAITING);
        let (jobs, mut patient) = mpsc::channel::<Job>(1);
        let identity = model.identity.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let run = move || {
            runtime.block_on(async {
                while let Some(first) = next(&mut urgent, &mut patient).await {
                    let mut batch = vec![first];
                    // Those that came while the last batch ran go together.
                    while batch.iter().map(|job| job.texts.len()).sum::<usize>() < MAX_BATCH
                        && let Ok(job) = urgent.try_recv()
                    {
                        batch.push(job);
                    }
                    // Who has stopped waiting needs no answer.
                    batch.retain(|job| !job.answer.is_closed());
                    answer(&mut model, batch);
                }
            });
        };
        std::thread::Builder::new()
            .name("embed".to_owned())
            .spawn(run)?;
        Ok(Self {
            identity,
            requests,
            jobs,
        })
    }
}

async fn next(urgent: &mut mpsc::Receiver<Job>, patient: &mut mpsc::Receiver<Job>) -> Option<Job> {
    tokio::select! {
        biased;
        job = urgent.recv() => job,
        Some(job) = patient.recv() => Some(job),
    }
}

fn answer(model: &mut Model, batch: Vec<Job>) {
    let texts: Vec<String> = batch
        .iter()
        .flat_map(|job| job.texts.iter().cloned())
        .collect();
    match model.embed(&texts) {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for job in batch {
                let own = embeddings.by_ref().take(job.texts.len()).collect();
                // An error means that nobody waits any more.
                let _ = job.answer.send(Ok(own));
            }
        }
        Err(error) => {
            tracing::error!("the embedder failed: {error:#}");
            for job in batch {
                let _ = job.answer.send(Err(EmbedError::Failed(error.to_string())));
            }
        }
    }
}

#[async_trait]
impl Embed for Worker {
    fn identity(&self) -> &pack::Embedder {
        &self.identity
    }

    async fn embed(
        &self,
        texts: Vec<String>,
        urgency: Urgency,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let stopped = || EmbedError::Failed("its thread has stopped".to_owned());
        if urgency == Urgency::Request {
            let (answer, answered) = oneshot::channel();
            let job = Job { texts, answer };
            self.requests.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EmbedError::Busy,
                mpsc::error::TrySendError::Closed(_) => stopped(),
            })?;
            return answered.await.map_err(|_| stopped())?;
        }
        // In small pieces, so that a request gets its turn between them.
        let mut embeddings = Vec::with_capacity(texts.len());
        for piece in texts.chunks(MAX_BATCH) {
            let (answer, answered) = oneshot::channel();
            let texts = piece.to_vec();
            let job = Job { texts, answer };
            self.jobs.send(job).await.map_err(|_| stopped())?;
            embeddings.extend(answered.await.map_err(|_| stopped())??);
        }
        Ok(embeddings)
    }
}
