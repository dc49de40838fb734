//! The lease of one limit: the units that this VM may take without asking.

use std::time::Instant;

use opentracy_proto::limit_kinds::LimitKind;

#[derive(Debug)]
pub struct Lease {
    /// Negative if requests used more than they had estimated.
    pub left: i64,
    /// The units left at the control plane, as of its last answer.
    pub remaining: u64,
    pub ends: Instant,
    /// Until then, the control plane's last denial holds.
    pub denied_until: Instant,
    /// The units that the control plane has granted, of the present window, and that were not
    /// returned.
    pub held: u64,
    /// The end of the window that `held` is of. Concurrent requests have none.
    pub held_until: Instant,
    /// The total of returned units since the VM introduced itself.
    pub released: u64,
    pub in_use: u64,
    /// The part of `released` that the control plane has acknowledged.
    pub acknowledged: u64,
    /// The slots that this VM granted itself. They are never returned to the control plane.
    pub own_slots: u64,
    /// The time when this VM last granted its share without the control plane.
    pub alone_since: Option<Instant>,
}

impl Lease {
    pub fn new(now: Instant) -> Self {
        Self {
            left: 0,
            remaining: 0,
            ends: now,
            denied_until: now,
            held: 0,
            held_until: now,
            released: 0,
            in_use: 0,
            acknowledged: 0,
            own_slots: 0,
            alone_since: None,
        }
    }

    /// Rolls over to a new window, in which earlier grants are void. Units taken beyond them stay
    /// deducted.
    pub fn turn(&mut self, kind: &LimitKind, now: Instant) {
        if kind.window.is_some() && self.ends <= now {
            self.left = self.left.min(0);
            self.denied_until = now;
        }
    }

    /// Returns the units that the control plane has granted and that still count.
    pub fn held(&self, kind: &LimitKind, now: Instant) -> u64 {
        let is_current = kind.window.is_none() || now < self.held_until;
        if is_current { self.held } else { 0 }
    }

    /// Voids the share of a window that this VM granted itself.
    pub fn end_own_share(&mut self, kind: &LimitKind, now: Instant) {
        if self.alone_since.take().is_some() && kind.window.is_some() {
            self.left = self.left.min(0);
            self.ends = now;
            self.denied_until = now;
        }
    }
}
