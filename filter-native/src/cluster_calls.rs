//! Safe calls of Envoy about the module's cluster, which exists for what filters can't do: events
//! for all workers, and metrics that any thread may change at any time.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::abi::{self, EnvoyPtr, ModuleBuffer};
use crate::buffers::to_envoy;

/// The way to the cluster's main thread; `None` before there is a cluster and after its end.
static MAIN_THREAD: Mutex<Option<ClusterScheduler>> = Mutex::new(None);
/// Events that the main thread hasn't passed on yet: [`WorkerEvent::Answers`] and
/// [`WorkerEvent::Tick`]. More of the same would only pile up.
static WAITING: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

/// An event for all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEvent {
    /// Answers to calls have arrived.
    Answers,
    /// It is time for what stages do from time to time.
    Tick,
}

impl WorkerEvent {
    /// Returns the event with this number.
    pub const fn of(number: u64) -> Self {
        if number == Self::Tick.number() {
            Self::Tick
        } else {
            Self::Answers
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::Answers => 1,
            Self::Tick => 2,
        }
    }

    const fn is_waiting(self) -> &'static AtomicBool {
        let [answers, tick] = &WAITING;
        match self {
            Self::Answers => answers,
            Self::Tick => tick,
        }
    }
}

struct ClusterScheduler(EnvoyPtr);

// SAFETY: Envoy's schedulers are for other threads; they hold a weak reference to their cluster.
unsafe impl Send for ClusterScheduler {}

impl Drop for ClusterScheduler {
    fn drop(&mut self) {
        // SAFETY: the scheduler is this module's, and nobody uses it any more.
        unsafe { abi::envoy_dynamic_module_callback_cluster_scheduler_delete(self.0) }
    }
}

/// Envoy's object for the cluster, on the main thread, during a hook.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPtr(EnvoyPtr);

impl ClusterPtr {
    /// Wraps the pointer that a hook got.
    pub const fn new(cluster: EnvoyPtr) -> Self {
        Self(cluster)
    }

    /// Makes [`notify_workers`] use this cluster.
    pub fn notifies_workers(self) {
        // SAFETY: see `ClusterPtr`.
        let scheduler = unsafe { abi::envoy_dynamic_module_callback_cluster_scheduler_new(self.0) };
        let scheduler = (!scheduler.is_null()).then_some(ClusterScheduler(scheduler));
        let mut main = MAIN_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        *main = scheduler;
    }

    /// Tells Envoy that the cluster has all its hosts: it has none.
    pub fn is_complete(self) {
        // SAFETY: see `ClusterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_cluster_pre_init_complete(self.0) }
    }

    /// Calls the hook for worker events on each worker.
    pub fn run_on_all_workers(self, event: WorkerEvent) {
        event.is_waiting().store(false, Ordering::SeqCst);
        let event = event.number();
        // SAFETY: see `ClusterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_cluster_run_on_all_workers(self.0, event) }
    }
}

/// Sends all workers an event. For any thread. Returns false without a cluster.
pub fn notify_workers(event: WorkerEvent) -> bool {
    let main = MAIN_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(scheduler) = main.as_ref() else {
        return false;
    };
    if !event.is_waiting().swap(true, Ordering::SeqCst) {
        // SAFETY: the scheduler lives until it is dropped.
        unsafe {
            abi::envoy_dynamic_module_callback_cluster_scheduler_commit(
                scheduler.0,
                event.number(),
            );
        }
    }
    true
}

/// Forgets the cluster, because it goes.
pub fn forget_cluster() {
    *MAIN_THREAD.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Envoy's object for the cluster's configuration, which has the metrics.
#[derive(Debug, Clone, Copy)]
pub struct MetricsPtr(EnvoyPtr);

// SAFETY: Envoy's metrics may be changed on any thread. What they need a lock for is done under the
// lock of `crate::metrics`.
unsafe impl Send for MetricsPtr {}
// SAFETY: as above.
unsafe impl Sync for MetricsPtr {}

/// A metric with the values of its labels.
#[derive(Debug, Clone, Copy)]
pub struct LabeledMetric(EnvoyPtr);

// SAFETY: as for `MetricsPtr`.
unsafe impl Send for LabeledMetric {}
// SAFETY: as for `MetricsPtr`.
unsafe impl Sync for LabeledMetric {}

type Define = unsafe fn(EnvoyPtr, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
type Resolve = unsafe fn(EnvoyPtr, usize, *const ModuleBuffer, usize, *mut EnvoyPtr) -> u32;

impl MetricsPtr {
    /// Wraps the pointer that a hook got. It is valid until the configuration's end.
    pub const fn new(config: EnvoyPtr) -> Self {
        Self(config)
    }

    pub fn define_counter(self, name: &str, labels: &[&str]) -> Option<usize> {
        self.define(
            abi::envoy_dynamic_module_callback_cluster_config_define_counter,
            name,
            labels,
        )
    }

    pub fn define_gauge(self, name: &str) -> Option<usize> {
        self.define(
            abi::envoy_dynamic_module_callback_cluster_config_define_gauge,
            name,
            &[],
        )
    }

    pub fn define_histogram(self, name: &str, labels: &[&str]) -> Option<usize> {
        self.define(
            abi::envoy_dynamic_module_callback_cluster_config_define_histogram,
            name,
            labels,
        )
    }

    fn define(self, define: Define, name: &str, labels: &[&str]) -> Option<usize> {
        let labels: Vec<_> = labels
            .iter()
            .map(|label| to_envoy(label.as_bytes()))
            .collect();
        let mut id = 0;
        // SAFETY: the pointer is valid, see `new`; `id` is valid for writes.
        let result = unsafe {
            define(
                self.0,
                to_envoy(name.as_bytes()),
                labels.as_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        (result == abi::SUCCESS).then_some(id)
    }

    pub fn counter(self, id: usize, labels: &[&str]) -> Option<LabeledMetric> {
        let resolve = abi::envoy_dynamic_module_callback_cluster_config_resolve_counter_vec;
        self.resolve(resolve, id, labels)
    }

    pub fn histogram(self, id: usize, labels: &[&str]) -> Option<LabeledMetric> {
        let resolve = abi::envoy_dynamic_module_callback_cluster_config_resolve_histogram_vec;
        self.resolve(resolve, id, labels)
    }

    fn resolve(self, resolve: Resolve, id: usize, labels: &[&str]) -> Option<LabeledMetric> {
        let labels: Vec<_> = labels
            .iter()
            .map(|label| to_envoy(label.as_bytes()))
            .collect();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is valid, see `new`; `handle` is valid for writes.
        let result = unsafe { resolve(self.0, id, labels.as_ptr(), labels.len(), &raw mut handle) };
        (result == abi::SUCCESS && !handle.is_null()).then_some(LabeledMetric(handle))
    }

    pub fn add_to_counter(self, id: usize, amount: u64) {
        // SAFETY: the pointer is valid, see `new`; a metric without labels has no values of them.
        unsafe {
            abi::envoy_dynamic_module_callback_cluster_config_increment_counter(
                self.0,
                id,
                std::ptr::null(),
                0,
                amount,
            );
        }
    }

    pub fn add_to_gauge(self, id: usize, amount: i64) {
        let change = if amount < 0 {
            abi::envoy_dynamic_module_callback_cluster_config_decrement_gauge
        } else {
            abi::envoy_dynamic_module_callback_cluster_config_increment_gauge
        };
        // SAFETY: as for counters.
        unsafe { change(self.0, id, std::ptr::null(), 0, amount.unsigned_abs()) };
    }
}

impl LabeledMetric {
    pub fn add(self, amount: u64) {
        // SAFETY: Envoy keeps the metric as long as its scope, which outlives all calls.
        unsafe { abi::envoy_dynamic_module_callback_cluster_metric_counter_add(self.0, amount) }
    }

    pub fn record(self, value: u64) {
        // SAFETY: as for counters.
        unsafe { abi::envoy_dynamic_module_callback_cluster_metric_histogram_record(self.0, value) }
    }
}
