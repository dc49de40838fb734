//! The root context, which lives as long as its VM: polls the configuration, delivers records and
//! creates the HTTP contexts.

use std::cell::Cell;
use std::time::{Duration, Instant};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType};

use crate::configuration;
use crate::contact;
use crate::deadline::{self, Watched};
use crate::delivery;
use crate::events;
use crate::faults::Kind;
use crate::gateway::{Gateway, limits};
use crate::memory;
use crate::metrics;
use crate::plugin::{self, Stage};
use crate::provider::{ProviderStage, attempt_log};
use crate::snapshot;
use crate::vm;

const TICK: Duration = Duration::from_millis(100);
const POLL_EVERY: Duration = Duration::from_secs(1);
const POLL_TIMEOUT: Duration = Duration::from_secs(10);
const GRPC_INVALID_ARGUMENT: u32 = 3;
/// The pause in deliveries after one failed.
const BACK_OFF: Duration = Duration::from_secs(1);

thread_local! {
    static LAST_POLL: Cell<Option<Instant>> = const { Cell::new(None) };
}

pub struct Root {
    /// The id of this context.
    id: u32,
    poll: Option<u32>,
    /// The time when the control plane was last reported unreachable.
    last_report: Cell<Option<Instant>>,
    pause_deliveries_until: Option<Instant>,
}

impl Root {
    pub fn new(id: u32) -> Self {
        Self {
            id,
            poll: None,
            last_report: Cell::new(None),
            pause_deliveries_until: None,
        }
    }

    fn poll_snapshot(&mut self) {
        let due = LAST_POLL
            .get()
            .is_none_or(|last| last.elapsed() >= POLL_EVERY || snapshot::current().is_none());
        if self.poll.is_some() || !due {
            return;
        }
        LAST_POLL.set(Some(Instant::now()));
        let vm = match plugin::stage() {
            Some(Stage::Gateway) => vm::name(),
            _ => String::new(),
        };
        self.poll = configuration::ask(vm, POLL_TIMEOUT);
    }

    /// Reports an unreachable control plane, at most once per [`POLL_EVERY`].
    fn look_at_control_plane(&self) {
        let silence = contact::silence();
        if !matches!(plugin::stage(), Some(Stage::Gateway)) || silence < contact::UNREACHABLE_AFTER
        {
            return;
        }
        if self
            .last_report
            .get()
            .is_none_or(|last| last.elapsed() >= POLL_EVERY)
        {
            self.last_report.set(Some(Instant::now()));
            let detail = format!("silent_seconds={}", silence.as_secs());
            events::report(Kind::ControlPlaneUnreachable, None, "", &detail);
        }
    }

    fn deliver(&mut self) {
        if self
            .pause_deliveries_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        delivery::send_batches();
    }
}

impl Context for Root {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        if self.poll == Some(call) {
            self.poll = None;
            configuration::on_answer(status, size);
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
            self.pause_deliveries_until = (!is_acknowledged).then(|| Instant::now() + BACK_OFF);
            // Under load more than one batch is always waiting.
            if delivery::is_full_batch_waiting() {
                self.deliver();
            }
        }
    }

    fn on_done(&mut self) -> bool {
        self.pause_deliveries_until = None;
        self.deliver();
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default();
        if let Err(message) = plugin::configure(&configuration) {
            log::error!("{message}");
            return false;
        }
        configuration::activate_shared();
        metrics::announce();
        contact::begin();
        hostcalls::set_tick_period(TICK).is_ok()
    }

    fn on_tick(&mut self) {
        deadline::on_tick(self.id);
        metrics::report_memory(memory::taken());
        self.poll_snapshot();
        self.look_at_control_plane();
        events::on_tick();
        self.deliver();
        if let Some(snapshot) = snapshot::current() {
            limits::give_back(&snapshot);
        }
        attempt_log::forget_old();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match plugin::stage()? {
            Stage::Gateway => Box::new(Watched::<Gateway>::new(id)),
            Stage::Provider => Box::new(Watched::<ProviderStage>::new(id)),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
