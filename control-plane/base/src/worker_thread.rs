//! Background work on a separate thread, at a lower priority than the threads that serve requests.

use tokio::sync::{mpsc, oneshot};

/// Linux's nice value: a tenth of the CPU share of a serving thread.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that runs jobs one after the other.
#[derive(Debug, Clone)]
pub struct Background {
    jobs: mpsc::Sender<Job>,
}

/// An error: the thread has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a background thread has stopped; restart the control plane")]
pub struct StoppedThread;

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

    /// Runs a job after all earlier ones.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoppedThread> {
        let (done, finished) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A caller that is gone needs no result.
            let _ = done.send(work());
        });
        self.jobs.send(job).await.map_err(|_| StoppedThread)?;
        finished.await.map_err(|_| StoppedThread)
    }
}

/// Lowers the priority of the current thread.
fn step_back() {
    let me = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(me), NICE) {
        tracing::debug!("a thread keeps its priority: {error}");
    }
}
