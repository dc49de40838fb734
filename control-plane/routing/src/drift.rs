//! Drift detection: measures how many prompts are unlike those that the pack was fitted on.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Number of most recent prompts that the share covers.
const WINDOW: usize = 1000;
/// Minimum number of prompts for a meaningful share.
const LEAST: usize = 100;

/// The most recent prompts, as flags: `true` if far from everything that the pack was fitted on.
#[derive(Debug, Default)]
pub struct Drift(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    far: VecDeque<bool>,
    is_alarmed: bool,
}

impl Drift {
    /// Records a prompt, and logs a warning when the share exceeds `alert`.
    pub fn note(&self, is_far: bool, alert: f64) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.far.len() >= WINDOW {
            recent.far.pop_front();
        }
        recent.far.push_back(is_far);
        let is_over = recent.share().is_some_and(|share| share > alert);
        if is_over && !recent.is_alarmed {
            tracing::warn!(
                "more than {:.0} % of prompts are unlike those that the router's pack was fitted on; fit a new pack",
                alert * 100.0
            );
        }
        recent.is_alarmed = is_over;
    }

    /// Returns the share of recent prompts that were far, or `None` if there are too few.
    pub fn share(&self) -> Option<f64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .share()
    }

    /// Discards the figures of the previous pack.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Recent::default();
    }
}

impl Recent {
    fn share(&self) -> Option<f64> {
        let far = self.far.iter().filter(|far| **far).count();
        (self.far.len() >= LEAST).then(|| far as f64 / self.far.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_last_prompts() {
        let drift = Drift::default();
        (0..LEAST - 1).for_each(|_| drift.note(true, 0.5));
        assert_eq!(drift.share(), None);
        drift.note(true, 0.5);
        assert_eq!(drift.share(), Some(1.0));
        (0..WINDOW).for_each(|index| drift.note(index % 4 == 0, 0.5));
        assert_eq!(drift.share(), Some(0.25));
    }
}
