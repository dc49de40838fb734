//! A VM beside others of the same Envoy.

use std::sync::mpsc;
use std::thread;

use crate::fake_envoy::{FakeEnvoy, Vm};

type Job = Box<dyn FnOnce(&mut Vm) + Send>;

/// A VM on a thread of its own. The stages keep their state in thread-locals, which are a VM's own
/// memory; so a thread that ends is a VM that is gone.
pub struct VmThread(mpsc::Sender<Job>);

impl VmThread {
    /// Starts a stage with this plugin configuration in an Envoy that other VMs use too.
    pub fn start(envoy: &FakeEnvoy, plugin: &'static str) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let envoy = envoy.another_vm();
        thread::spawn(move || {
            let mut vm = Vm::start(envoy, plugin);
            for job in queue {
                job(&mut vm);
            }
        });
        Self(jobs)
    }

    /// Does something with the VM, and waits for the result.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce(&mut Vm) -> R + Send + 'static) -> R {
        let (done, result) = mpsc::channel();
        let job = move |vm: &mut Vm| {
            let _ = done.send(job(vm));
        };
        self.0.send(Box::new(job)).expect("a VM that runs");
        result.recv().expect("a job that ends")
    }
}
