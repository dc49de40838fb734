//! The deadline of a stream.

use std::time::{Duration, Instant};

use crate::host::Host;

/// The time by which a stream has to make progress.
///
/// Progress is only marked, and the next tick counts the timeout from there: a chunk of a stream
/// doesn't read the clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deadline {
    timeout: Duration,
    until: Option<Instant>,
    has_progressed: bool,
}

impl Deadline {
    /// Returns the deadline that is `timeout` from now.
    pub fn after(host: &impl Host, timeout: Duration) -> Self {
        Self {
            timeout,
            until: Some(host.now() + timeout),
            has_progressed: false,
        }
    }

    /// Starts the timeout again, or ends the deadline with the stream.
    pub fn progress(&mut self, end_of_stream: bool) {
        if end_of_stream {
            self.until = None;
        } else {
            self.has_progressed = true;
        }
    }

    /// Returns true once, if the deadline has passed.
    pub fn expire(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.has_progressed) && self.until.is_some() {
            self.until = Some(now + self.timeout);
        }
        self.until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::FakeEnvoy;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_deadline_passes_once_and_progress_starts_it_again() {
        let mut deadline = Deadline::after(&FakeEnvoy::new(), SECOND);
        let start = deadline.until.unwrap() - SECOND;
        assert!(!deadline.expire(start));
        deadline.progress(false);
        assert!(!deadline.expire(start + SECOND));
        assert!(!deadline.expire(start + SECOND.mul_f32(1.9)));
        assert!(deadline.expire(start + SECOND * 2));
        deadline.progress(false);
        assert!(!deadline.expire(start + SECOND * 4), "it has passed");
        let mut ended = Deadline::after(&FakeEnvoy::new(), SECOND);
        ended.progress(true);
        assert!(!ended.expire(start + SECOND * 4));
    }
}
