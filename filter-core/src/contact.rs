//! This VM's view of the control plane: the time and the status of its last answer, and whether
//! requests should wait for it now.

use crate::host::Host;
use crate::vm::vm_local;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use opentracy_proto::constants::POLL_EVERY;
use opentracy_proto::v1;

/// The silence after which the control plane counts as unreachable: five polls.
pub const UNREACHABLE_AFTER: Duration = POLL_EVERY.saturating_mul(5);

/// Consecutive unanswered calls after which requests go on without calling the control plane.
const MAX_UNANSWERED: u32 = 2;
/// The pause before the next request calls the control plane again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

vm_local! {
    static QUESTIONS: Cell<Questions> = const { Cell::new(Questions::NONE) };
    /// The time of the last answer, or the start of this VM if there was none yet.
    static LAST_ANSWER: Cell<Option<Instant>> = const { Cell::new(None) };
    static STATUS: RefCell<Option<v1::ControlPlaneStatus>> = const { RefCell::new(None) };
}

/// Starts the clock. A VM that replaces another has its configuration before the control plane
/// answers.
pub fn begin(host: &impl Host) {
    LAST_ANSWER.set(Some(host.now()));
}

/// Records an answer to a poll.
pub fn answered(host: &impl Host, status: Option<v1::ControlPlaneStatus>) {
    LAST_ANSWER.set(Some(host.now()));
    if let Some(status) = status {
        STATUS.set(Some(status));
    }
}

/// A circuit breaker for calls that requests wait for, since a control plane that hangs would hold
/// each request until its deadline.
#[derive(Debug, Clone, Copy)]
struct Questions {
    unanswered: u32,
    pause_until: Option<Instant>,
}

impl Questions {
    const NONE: Self = Self {
        unanswered: 0,
        pause_until: None,
    };

    fn may_ask(&mut self, now: Instant) -> bool {
        if self.unanswered < MAX_UNANSWERED {
            return true;
        }
        let is_paused = self.pause_until.is_some_and(|until| now < until);
        if !is_paused {
            // This call probes on behalf of all that come before its answer.
            self.pause_until = Some(now + ASK_AGAIN_AFTER);
        }
        !is_paused
    }

    fn note(&mut self, is_answered: bool, now: Instant) {
        if is_answered {
            *self = Self::NONE;
        } else {
            self.unanswered = self.unanswered.saturating_add(1);
            self.pause_until = Some(now + ASK_AGAIN_AFTER);
        }
    }
}

/// Returns whether a request may wait for an answer now.
pub fn may_ask(host: &impl Host) -> bool {
    let mut questions = QUESTIONS.get();
    let may_ask = questions.may_ask(host.now());
    QUESTIONS.set(questions);
    may_ask
}

/// Records whether a request that waited got its answer.
pub fn note_question(host: &impl Host, is_answered: bool) {
    let mut questions = QUESTIONS.get();
    questions.note(is_answered, host.now());
    QUESTIONS.set(questions);
}

/// Returns the time since the control plane last answered.
pub fn silence(host: &impl Host) -> Duration {
    let last = LAST_ANSWER.get();
    last.map_or(Duration::ZERO, |last| host.now().duration_since(last))
}

/// Returns the control plane's last reported status; `None` until it has answered this VM.
pub fn status() -> Option<v1::ControlPlaneStatus> {
    STATUS.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_unanswered_questions_stop_others_but_one_a_second() {
        let mut questions = Questions::NONE;
        let start = Instant::now();
        questions.note(false, start);
        assert!(questions.may_ask(start), "one failure may be chance");
        questions.note(false, start);
        assert!(!questions.may_ask(start));
        let later = start + ASK_AGAIN_AFTER;
        assert!(questions.may_ask(later));
        assert!(!questions.may_ask(later), "one probe at a time");
        questions.note(true, later);
        assert!(questions.may_ask(later) && questions.may_ask(later));
    }
}
