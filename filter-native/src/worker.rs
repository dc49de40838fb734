//! The VMs of a worker thread: one for each stage.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentracy_filter_core::host::MetricKind;
use opentracy_filter_core::root::Root;

use crate::configuration::Configuration;
use crate::envoy::{self, NativeEnvoy};
use crate::filter_calls::FilterPtr;
use crate::handles::{self, VmHandle};
use crate::stage_filter::StageFilter;
use crate::{active_stream, allocator, metrics, panics};

/// The longest time that the end of a worker waits for its last records to be acknowledged.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// The id of root contexts. No stream has it.
const ROOT: u32 = 0;

thread_local! {
    static VMS: RefCell<Vec<Rc<Vm>>> = const { RefCell::new(Vec::new()) };
}

struct Vm {
    handle: Rc<VmHandle>,
    /// Gone once Envoy has dropped all filters with it.
    configuration: Weak<Configuration>,
    root: RefCell<Root<NativeEnvoy>>,
}

impl Vm {
    /// Starts a stage; `None` if its configuration is invalid.
    fn start(configuration: &Arc<Configuration>) -> Option<Rc<Self>> {
        let vm = Rc::new(Self {
            handle: Rc::new(VmHandle {
                number: configuration.vm,
                client: configuration.client.clone(),
                inbox: Arc::default(),
            }),
            configuration: Arc::downgrade(configuration),
            root: RefCell::new(Root::new(NativeEnvoy, ROOT)),
        });
        let is_configured = vm.run(|root| root.on_configure(&configuration.plugin));
        (is_configured == Some(true)).then_some(vm)
    }

    /// Runs a callback of the root context. Returns `None` if it panics.
    fn run<R>(&self, callback: impl FnOnce(&mut Root<NativeEnvoy>) -> R) -> Option<R> {
        let result = handles::during(&self.handle, None, || {
            panics::catch(AssertUnwindSafe(|| callback(&mut self.root.borrow_mut())))
        });
        active_stream::perform_restarts();
        result
    }

    fn take_answers(&self) {
        for answer in self.handle.inbox.take() {
            let size = envoy::set_message(answer.message);
            self.run(|root| root.on_grpc_answer(answer.call, answer.status, size));
        }
    }
}

/// Returns an error if no stage can run with this configuration.
pub fn check(configuration: &Arc<Configuration>) -> Result<(), String> {
    match Vm::start(configuration) {
        Some(_) => Ok(()),
        None => Err("the plugin's configuration is invalid; see the line before".to_owned()),
    }
}

/// Adds a filter for a new stream; `None` if its stage can't run.
pub fn open_filter(configuration: &Arc<Configuration>, envoy: FilterPtr) -> Option<StageFilter> {
    let vm = vm_of(configuration)?;
    StageFilter::open(&vm.handle, envoy, |id| {
        vm.run(|root| root.open_stream(id)).flatten()
    })
}

/// Lets all stages do what they do from time to time.
pub fn tick() {
    VMS.with_borrow_mut(|vms| {
        vms.retain(|vm| {
            let is_used = vm.configuration.strong_count() > 0;
            if !is_used {
                vm.run(Root::on_done);
                allocator::remove_vm();
            }
            is_used
        });
    });
    for configuration in Configuration::all() {
        vm_of(&configuration);
    }
    for vm in vms() {
        vm.take_answers();
        vm.run(Root::on_tick);
    }
    count_panics();
}

/// Adds the panics since the last tick to their counter.
fn count_panics() {
    const PANICS: &str = "opentracy.gateway.event.gateway_panicked.events";
    let count = i64::try_from(panics::take_count()).unwrap_or(i64::MAX);
    if count > 0
        && let Some(metric) = metrics::define(MetricKind::Counter, PANICS)
    {
        metrics::increment(metric, count);
    }
}

/// Hands the answers that have arrived to the root contexts.
pub fn take_answers() {
    for vm in vms() {
        vm.take_answers();
    }
}

/// Ends all stages, because the worker ends.
pub fn finish() {
    let ended = VMS.take();
    for vm in &ended {
        vm.run(Root::on_done);
        allocator::remove_vm();
    }
    for vm in &ended {
        vm.handle.client.finish(FINISH_WITHIN);
    }
}

fn vms() -> Vec<Rc<Vm>> {
    VMS.with_borrow(Clone::clone)
}

/// Returns the stage with this configuration, and starts it first if it doesn't run.
fn vm_of(configuration: &Arc<Configuration>) -> Option<Rc<Vm>> {
    let is_of_it =
        |vm: &&Rc<Vm>| std::ptr::eq(vm.configuration.as_ptr(), Arc::as_ptr(configuration));
    let running = VMS.with_borrow(|vms| vms.iter().find(is_of_it).cloned());
    if running.is_some() {
        return running;
    }
    let vm = Vm::start(configuration)?;
    allocator::add_vm();
    VMS.with_borrow_mut(|vms| vms.push(Rc::clone(&vm)));
    Some(vm)
}
