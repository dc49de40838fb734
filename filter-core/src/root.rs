//! The root context, which lives as long as its VM: polls the configuration, delivers records and
//! opens the streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use opentracy_proto::constants::POLL_EVERY;

use crate::configuration;
use crate::contact;
use crate::delivery;
use crate::events;
use crate::faults::FaultKind;
use crate::gateway::GatewayStage;
use crate::gateway::limits::{self, PendingReturns};
use crate::health;
use crate::host::{CallId, Host};
use crate::ids;
use crate::metrics;
use crate::plugin::{self, StageName};
use crate::provider::{ProviderStage, attempt_log};
use crate::siblings;
use crate::snapshot;
use crate::stream::{Stream, Streams};
use crate::vm::vm_local;

/// The interval at which Envoy is to call [`Root::on_tick`].
pub const TICK: Duration = Duration::from_millis(100);

const POLL_TIMEOUT: Duration = Duration::from_secs(10);
const GRPC_INVALID_ARGUMENT: u32 = 3;
/// The pause in deliveries, or in reports of returned units, after one failed.
const BACK_OFF: Duration = Duration::from_secs(1);

vm_local! {
    static LAST_POLL: Cell<Option<Instant>> = const { Cell::new(None) };
}

pub struct Root<H> {
    /// The id of this context.
    id: u32,
    host: H,
    /// `None` until it is configured.
    stage: Option<StageName>,
    streams: Streams<H>,
    poll: Option<CallId>,
    /// The time when the control plane was last reported unreachable.
    last_report: Option<Instant>,
    pause_deliveries_until: Option<Instant>,
    /// The report of returned units in flight.
    returns: Option<PendingReturns>,
    pause_returns_until: Option<Instant>,
}

impl<H: Host> Root<H> {
    pub fn new(host: H, id: u32) -> Self {
        Self {
            id,
            host,
            stage: None,
            streams: Streams::default(),
            poll: None,
            last_report: None,
            pause_deliveries_until: None,
            returns: None,
            pause_returns_until: None,
        }
    }

    /// Reads the plugin's configuration. Returns false if it is invalid.
    pub fn on_configure(&mut self, configuration: &[u8]) -> bool {
        match plugin::configure(configuration) {
            Ok(stage) => self.stage = Some(stage),
            Err(message) => {
                log::error!("{message}");
                return false;
            }
        }
        configuration::activate_shared(&self.host);
        metrics::announce(&self.host);
        contact::begin(&self.host);
        true
    }

    /// Opens the stream with this id; `None` without a configuration.
    pub fn open_stream(&self, id: u32) -> Option<Stream<H>> {
        Some(match self.stage? {
            StageName::Gateway => self
                .streams
                .open(id, Rc::new(RefCell::new(GatewayStage::default()))),
            StageName::Provider => self
                .streams
                .open(id, Rc::new(RefCell::new(ProviderStage::default()))),
        })
    }

    pub fn on_tick(&mut self) {
        self.streams.on_tick(&self.host, self.id);
        metrics::flush(&self.host);
        metrics::report_memory(&self.host, self.host.memory_in_use());
        if self.stage == Some(StageName::Gateway) {
            siblings::on_tick(&self.host);
        }
        self.poll_snapshot();
        self.look_at_control_plane();
        events::on_tick(&self.host);
        self.deliver();
        health::on_tick(&self.host);
        self.give_back();
        attempt_log::forget_old(&self.host);
    }

    /// Handles the answer to a gRPC call of this context.
    pub fn on_grpc_answer(&mut self, call: CallId, status: u32, size: usize) {
        if self.poll == Some(call) {
            self.poll = None;
            configuration::on_poll_answer(&self.host, status, size);
            return;
        }
        if let Some(returns) = self.returns.take_if(|returns| returns.is_call(call)) {
            returns.on_answer(&self.host, status, size);
            self.pause_returns_until = (status != 0).then(|| self.host.now() + BACK_OFF);
            return;
        }
        // Records that the control plane rejects as invalid would fail again and block those behind
        // them.
        let is_refused = status == GRPC_INVALID_ARGUMENT;
        let is_acknowledged = status == 0 || is_refused;
        if is_refused {
            log::error!(
                "the control plane refused records with impossible numbers; they are not sent again"
            );
        }
        if delivery::on_answer(call, is_acknowledged) {
            self.pause_deliveries_until = (!is_acknowledged).then(|| self.host.now() + BACK_OFF);
            // Under load more than one batch is always waiting.
            if delivery::is_full_batch_waiting() {
                self.deliver();
            }
        }
    }

    /// Handles the end of the VM.
    pub fn on_done(&mut self) {
        metrics::flush(&self.host);
        self.pause_deliveries_until = None;
        self.deliver();
    }

    fn poll_snapshot(&mut self) {
        if self.poll.is_some() {
            return;
        }
        let (now, last) = (self.host.now(), LAST_POLL.get());
        let due = snapshot::current().is_none()
            || limits::take_introduction_due()
            || last.is_none_or(|last| now.duration_since(last) >= POLL_EVERY);
        if !due {
            return;
        }
        LAST_POLL.set(Some(now));
        let vm = match self.stage {
            Some(StageName::Gateway) => ids::of_vm(&self.host),
            _ => String::new(),
        };
        self.poll = configuration::ask(&self.host, vm, POLL_TIMEOUT);
    }

    /// Returns unused units of limits, one report at a time.
    fn give_back(&mut self) {
        if self.returns.is_some() || self.is_before(self.pause_returns_until) {
            return;
        }
        if let Some(snapshot) = snapshot::current() {
            self.returns = limits::give_back(&self.host, &snapshot);
        }
    }

    /// Reports an unreachable control plane, at most once per [`POLL_EVERY`].
    fn look_at_control_plane(&mut self) {
        let silence = contact::silence(&self.host);
        if self.stage != Some(StageName::Gateway) || silence < contact::UNREACHABLE_AFTER {
            return;
        }
        let now = self.host.now();
        let last = self.last_report;
        if last.is_none_or(|last| now.duration_since(last) >= POLL_EVERY) {
            self.last_report = Some(now);
            let detail = format!("silent_seconds={}", silence.as_secs());
            events::report(
                &self.host,
                FaultKind::ControlPlaneUnreachable,
                None,
                "",
                &detail,
            );
        }
    }

    fn deliver(&self) {
        if !self.is_before(self.pause_deliveries_until) {
            delivery::send_batches(&self.host);
        }
    }

    /// Returns whether a pause lasts.
    fn is_before(&self, end: Option<Instant>) -> bool {
        end.is_some_and(|end| self.host.now() < end)
    }
}
