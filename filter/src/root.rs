//! The root context, which lives as long as its VM: polls the configuration, delivers records and
//! creates the HTTP contexts.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use opentracy_proto::v1;
use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType};
use uuid::Uuid;

use crate::contact;
use crate::deadline::{self, Watched};
use crate::events;
use crate::faults::Kind;
use crate::gateway::{Gateway, limits};
use crate::headers;
use crate::health;
use crate::host;
use crate::memory;
use crate::metrics;
use crate::outbox::Outbox;
use crate::plugin::{self, Stage};
use crate::provider::ProviderStage;
use crate::snapshot::{self, Snapshot};

/// The Envoy cluster that leads to the control plane.
pub const CONTROL_PLANE: &str = "opentracy_control_plane";

/// The shared-data key of the configuration.
const SHARED_SNAPSHOT: &str = "snapshot";
const TICK: Duration = Duration::from_millis(100);
const POLL_EVERY: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const GRPC_INVALID_ARGUMENT: u32 = 3;
/// The longest time that a request waits for a newer configuration.
const NEWER_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause in deliveries after one failed.
const BACK_OFF: Duration = Duration::from_secs(1);

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
    static LAST_POLL: Cell<Option<Instant>> = const { Cell::new(None) };
    static NAME: String = Uuid::new_v4().to_string();
}

/// Returns this VM's random name, which stays the same for the VM's lifetime.
pub fn vm_name() -> String {
    NAME.with(Clone::clone)
}

/// Queues a record for delivery to the control plane.
pub fn record(record: v1::IngestRequest) {
    if OUTBOX
        .with_borrow_mut(|outbox| outbox.push(record))
        .is_err()
    {
        metrics::count_dropped();
        events::report(
            Kind::TraceDropped,
            None,
            "",
            "the control plane does not accept traces",
        );
    }
}

/// Returns the bytes of records that wait for the control plane.
pub fn waiting_bytes() -> usize {
    OUTBOX.with_borrow(Outbox::bytes)
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
            Some(Stage::Gateway) => vm_name(),
            _ => String::new(),
        };
        self.poll = ask_for_snapshot(vm, CALL_TIMEOUT);
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
        let send = |batch: &[u8]| call("opentracy.v1.TraceService", "Ingest", batch, CALL_TIMEOUT);
        while OUTBOX.with_borrow_mut(|outbox| outbox.send_batch(send)) {}
    }
}

/// Requests the configuration from the control plane and returns the id of the call. `vm` is empty
/// for a VM that serves no client requests.
fn ask_for_snapshot(vm: String, timeout: Duration) -> Option<u32> {
    let version = snapshot::current().map_or_else(String::new, |current| current.version.clone());
    let request = v1::GetSnapshotRequest {
        version,
        vm,
        circuit_breakers: health::circuit_breakers(),
        verifies_tokens: plugin::jwt_header().is_some(),
    }
    .encode_to_vec();
    call(
        "opentracy.v1.ConfigService",
        "GetSnapshot",
        &request,
        timeout,
    )
}

/// Requests the configuration on behalf of a client request that needs a newer one.
pub fn ask_for_newer_snapshot() -> Option<u32> {
    ask_for_snapshot(String::new(), NEWER_SNAPSHOT_TIMEOUT)
}

/// Handles the control plane's answer to [`ask_for_snapshot`].
pub fn on_snapshot(status: u32, size: usize) {
    let Some(bytes) = grpc_message(status, size) else {
        return;
    };
    if use_snapshot(&bytes, true) {
        // Lets a VM that replaces this one after a trap serve at once.
        host::complain(
            "share the configuration",
            hostcalls::set_shared_data(SHARED_SNAPSHOT, Some(&bytes), None),
        );
    }
}

/// Activates the configuration in the response, if it has one. `is_fresh` is set if the control
/// plane has just sent it.
fn use_snapshot(response: &[u8], is_fresh: bool) -> bool {
    match v1::GetSnapshotResponse::decode(response) {
        Ok(response) => {
            if is_fresh {
                contact::answered(response.status);
                events::resolve(Kind::ControlPlaneUnreachable, "");
                events::resolve(Kind::ConfigurationRejected, "");
            }
            limits::share_with(response.vms);
            let Some(wire) = response.snapshot else {
                return false;
            };
            log::info!("configuration {} is active", response.version);
            snapshot::replace(Snapshot::new(response.version, wire));
            true
        }
        Err(error) => {
            let detail = format!("the control plane's configuration can't be read: {error}");
            events::report(Kind::ConfigurationRejected, None, "", &detail);
            false
        }
    }
}

/// Calls the control plane and returns the id of the call; `None` if Envoy refused it at once.
pub fn call(service: &str, method: &str, message: &[u8], timeout: Duration) -> Option<u32> {
    let token = plugin::grpc_token();
    hostcalls::dispatch_grpc_call(
        CONTROL_PLANE,
        service,
        method,
        vec![(headers::TOKEN, token.as_bytes())],
        Some(message),
        timeout,
    )
    .ok()
}

/// Returns the message that the control plane answered with; `None` if the call failed.
pub fn grpc_message(status: u32, size: usize) -> Option<Vec<u8>> {
    if status != 0 {
        return None;
    }
    if size == 0 {
        // Envoy has no buffer for a message whose fields all have their default values.
        return Some(Vec::new());
    }
    hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size)
        .ok()
        .flatten()
}

impl Context for Root {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        if self.poll == Some(call) {
            self.poll = None;
            on_snapshot(status, size);
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
        if OUTBOX.with_borrow_mut(|outbox| outbox.on_answer(call, is_acknowledged)) {
            self.pause_deliveries_until = (!is_acknowledged).then(|| Instant::now() + BACK_OFF);
            // Under load more than one batch is always waiting.
            if OUTBOX.with_borrow(Outbox::is_full_batch_waiting) {
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
        if let Ok((Some(shared), _)) = hostcalls::get_shared_data(SHARED_SNAPSHOT) {
            use_snapshot(&shared, false);
        }
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
        crate::provider::attempt_log::forget_old();
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
