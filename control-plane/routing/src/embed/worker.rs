//! The dedicated thread that runs the embedding model, so that inference never blocks another
//! thread.

use async_trait::async_trait;
use opentracy_router::pack;
use tokio::sync::{mpsc, oneshot};

use super::onnx::OnnxModel;
use super::{Embed, EmbedError, Urgency};

/// Maximum number of queued requests. In a longer queue the last result would come too late.
const MAX_WAITING: usize = 64;
/// Maximum number of texts in a batch. A larger batch delays its first text.
const MAX_BATCH: usize = 8;

pub struct Worker {
    identity: pack::EmbeddingModel,
    requests: mpsc::Sender<Job>,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    texts: Vec<String>,
    answer: oneshot::Sender<Result<Vec<Vec<f32>>, EmbedError>>,
}

impl Worker {
    pub fn start(mut model: OnnxModel) -> std::io::Result<Self> {
        let (requests, mut urgent) = mpsc::channel::<Job>(MAX_WAITING);
        let (jobs, mut patient) = mpsc::channel::<Job>(1);
        let identity = model.identity.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let run = move || {
            runtime.block_on(async {
                while let Some(first) = next(&mut urgent, &mut patient).await {
                    let mut batch = vec![first];
                    // Batches the requests that arrived during the last run.
                    while batch.iter().map(|job| job.texts.len()).sum::<usize>() < MAX_BATCH
                        && let Ok(job) = urgent.try_recv()
                    {
                        batch.push(job);
                    }
                    // Drops requests whose caller no longer waits.
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

fn answer(model: &mut OnnxModel, batch: Vec<Job>) {
    let texts: Vec<String> = batch
        .iter()
        .flat_map(|job| job.texts.iter().cloned())
        .collect();
    match model.embed(&texts) {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for job in batch {
                let own = embeddings.by_ref().take(job.texts.len()).collect();
                // An error means that the caller no longer waits.
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
    fn identity(&self) -> &pack::EmbeddingModel {
        &self.identity
    }

    async fn embed(
        &self,
        texts: Vec<String>,
        urgency: Urgency,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let stopped = || EmbedError::Failed("the embedder's thread has stopped".to_owned());
        if urgency == Urgency::Request {
            let (answer, answered) = oneshot::channel();
            let job = Job { texts, answer };
            self.requests.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EmbedError::Busy,
                mpsc::error::TrySendError::Closed(_) => stopped(),
            })?;
            return answered.await.map_err(|_| stopped())?;
        }
        // Small batches, so that requests can run in between.
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
