//! The control plane's knowledge of this VM: what the VM holds, and which of its requests count.

/// The state of the introduction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Introduced {
    #[default]
    No,
    /// The VM has sent the introduction of this number.
    Sent(u64),
    /// The control plane has the introduction of this number.
    Known(u64),
}

#[derive(Debug, Default)]
pub struct Acquaintance {
    introduced: Introduced,
    /// Set once any control plane knew this VM.
    was_known: bool,
    /// Set if the VM should introduce itself at once.
    is_introduction_due: bool,
    /// The number of the last request to the control plane.
    last_request: u64,
    /// The requests whose answer will not arrive, until that is acknowledged.
    unanswered: Vec<u64>,
}

impl Acquaintance {
    /// Returns the number of the next request to the control plane.
    pub fn next_request(&mut self) -> u64 {
        self.last_request = self.last_request.saturating_add(1);
        self.last_request
    }

    /// Returns whether the control plane knows what this VM holds, as far as the VM can tell. Until
    /// then nothing is requested or returned, so the units held stay those of the introduction.
    pub fn is_known(&self) -> bool {
        matches!(self.introduced, Introduced::Known(_))
    }

    /// Returns whether a request is of before the introduction, so that its answer is void.
    pub fn is_void(&self, number: u64) -> bool {
        match self.introduced {
            Introduced::No => false,
            Introduced::Sent(since) | Introduced::Known(since) => number < since,
        }
    }

    /// Begins an introduction. Returns its number, and whether a control plane knew this VM before.
    pub fn introduce(&mut self) -> (u64, bool) {
        let number = self.next_request();
        self.introduced = Introduced::Sent(number);
        (number, self.was_known)
    }

    /// Records whether the control plane asks for an introduction. Returns whether it now knows
    /// this VM and didn't before.
    pub fn on_contact(&mut self, is_asked: bool) -> bool {
        match self.introduced {
            Introduced::Sent(number) if !is_asked => {
                self.introduced = Introduced::Known(number);
                self.was_known = true;
                true
            }
            Introduced::Known(_) if is_asked => {
                self.introduced = Introduced::No;
                self.is_introduction_due = true;
                false
            }
            _ => false,
        }
    }

    /// Returns once that the VM should introduce itself before its next regular poll.
    pub fn take_introduction_due(&mut self) -> bool {
        std::mem::take(&mut self.is_introduction_due)
    }

    /// Records that the answer to a request will not arrive.
    pub fn note_unanswered(&mut self, number: u64) {
        self.unanswered.push(number);
    }

    /// Returns the requests without an answer that the control plane has not acknowledged.
    pub fn unanswered(&self) -> &[u64] {
        &self.unanswered
    }

    /// Records that the control plane knows that these requests have no answer.
    pub fn acknowledge(&mut self, unanswered: &[u64]) {
        self.unanswered
            .retain(|number| !unanswered.contains(number));
    }
}
