//! Stop signal of the process, and waiting for it.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true on the first SIGTERM or SIGINT.
pub fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

/// Waits for the stop signal.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone because the process is ending.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Bounds a graceful shutdown, because the filter keeps its connection open.
pub async fn forced(stop: watch::Receiver<bool>) {
    stopped(stop).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}
