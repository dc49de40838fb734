//! An Envoy for tests. It holds what a real one holds for the streams of a VM, makes the callbacks,
//! and is asked for the outcome: what reached the upstream, and what reached the client.

mod exchange;
mod host;
mod internal_listener;
mod vm;
mod vm_thread;

pub use exchange::{Exchange, LOCAL_REPLY, SentMessage};
pub use host::FakeEnvoy;
pub use internal_listener::{InternalListener, Upstream, play_passes};
pub use vm::{GATEWAY, PROVIDER, Vm};
pub use vm_thread::VmThread;
