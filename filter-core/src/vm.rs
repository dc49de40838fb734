//! This VM.

use uuid::Uuid;

thread_local! {
    static NAME: String = Uuid::new_v4().to_string();
}

/// Returns this VM's random name, which stays the same for the VM's lifetime.
pub fn name() -> String {
    NAME.with(Clone::clone)
}
