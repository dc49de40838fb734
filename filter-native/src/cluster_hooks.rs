//! The hooks of the module's cluster, and of the module itself.
//!
//! No request is sent to the cluster. By it, a thread of the module makes the stages of all workers
//! tick, also those of idle ones: Envoy gives filters no timers.

#![allow(unsafe_code)]

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use opentracy_filter_core::root::TICK;

use crate::abi::{self, EnvoyBuffer, EnvoyPtr, ModulePtr};
use crate::cluster_calls::{self, ClusterPtr, MetricsPtr, WorkerEvent};
use crate::{compatibility, logger, metrics, panics, worker};

/// The thread that reads configurations. It serves no requests.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// A pointer that is never read: the module has no object there, and null would be an error.
const NO_OBJECT: ModulePtr = std::ptr::dangling::<u8>().cast();

/// Starts the module. Envoy compares the result with its own version of the interface, and only
/// warns if they differ. It refuses the configuration if the result is null.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const std::ffi::c_char {
    logger::start();
    panics::log_places();
    let _ = MAIN.set(thread::current().id());
    match compatibility::check() {
        Ok(()) => abi::VERSION.as_ptr(),
        Err(message) => {
            log::error!("{message}");
            std::ptr::null()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_config_new(
    config: EnvoyPtr,
    _name: EnvoyBuffer,
    _text: EnvoyBuffer,
) -> ModulePtr {
    let defined = panics::catch(|| {
        compatibility::check()?;
        metrics::define_all(MetricsPtr::new(config));
        Ok::<_, String>(())
    });
    match defined {
        Some(Ok(())) => NO_OBJECT,
        Some(Err(message)) => {
            log::error!("{message}");
            std::ptr::null()
        }
        None => std::ptr::null(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_config_destroy(_module: ModulePtr) {
    panics::catch(metrics::forget_all);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_new(
    _module: ModulePtr,
    _cluster: EnvoyPtr,
) -> ModulePtr {
    NO_OBJECT
}

/// Starts the cluster. Envoy's schedulers work from here on, not before.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_init(cluster: EnvoyPtr, _module: ModulePtr) {
    panics::catch(|| {
        let cluster = ClusterPtr::new(cluster);
        cluster.notifies_workers();
        if let Err(error) = start_ticking() {
            log::error!("the thread that makes workers tick could not be started: {error}");
        }
        cluster.is_complete();
    });
}

/// Sends the workers ticks until the cluster ends.
fn start_ticking() -> std::io::Result<()> {
    let tick = || {
        while cluster_calls::notify_workers(WorkerEvent::Tick) {
            thread::sleep(TICK);
        }
    };
    thread::Builder::new()
        .name("opentracy_ticks".to_owned())
        .stack_size(64 << 10)
        .spawn(tick)
        .map(|_| ())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_destroy(_module: ModulePtr) {
    panics::catch(cluster_calls::forget_cluster);
}

/// Runs on the main thread, after [`cluster_calls::notify_workers`].
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_scheduled(
    cluster: EnvoyPtr,
    _module: ModulePtr,
    event: u64,
) {
    ClusterPtr::new(cluster).run_on_all_workers(WorkerEvent::of(event));
}

/// Runs on each worker, after the above.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_worker_event(
    _cluster: EnvoyPtr,
    _module: ModulePtr,
    event: u64,
) {
    panics::catch(|| match WorkerEvent::of(event) {
        WorkerEvent::Answers => worker::take_answers(),
        WorkerEvent::Tick => worker::tick(),
    });
}

/// Adds the load balancer of a thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_lb_new(
    _module: ModulePtr,
    _balancer: EnvoyPtr,
) -> ModulePtr {
    NO_OBJECT
}

/// Ends the stages of a thread with its load balancer.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_cluster_lb_destroy(_balancer: ModulePtr) {
    if MAIN.get() != Some(&thread::current().id()) {
        panics::catch(AssertUnwindSafe(worker::finish));
    }
}

/// Chooses no host: the cluster has none.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_cluster_lb_choose_host(
    _balancer: ModulePtr,
    _context: EnvoyPtr,
    host: *mut EnvoyPtr,
    waiting: *mut ModulePtr,
) {
    // SAFETY: Envoy passes places for the results.
    unsafe {
        host.write(std::ptr::null_mut());
        waiting.write(std::ptr::null());
    }
}
