//! Work that can wait: on a thread of its own, and behind those who answer requests where there is too little CPU for both.

use tokio::sync::{mpsc, oneshot};

/// Linux's nice value: a tenth of the share of a thread that answers.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after the other.
#[derive(Debug, Clone)]
pub struct Background {
    jobs: mpsc::Sender<Job>,
}

/// The thread has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a background thread has stopped; restart the control plane")]
pub struct Stopped;

impl Background {
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(1);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                step_back();
                while let Some(job) = waiting.blocking_recv() {
                    job();
                }
            })?;
        Ok(Self { jobs })
    }

    /// Does something, as soon as all that came before is done.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (done, finished) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A caller that has gone does not want to know.
            let _ = done.send(work());
        });
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        finished.await.map_err(|_| Stopped)
    }
}

/// Lets others go first from here on.
fn step_back() {
    let me = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(me), NICE) {
        tracing::debug!("a thread keeps its priority: {error}");
    }
}
