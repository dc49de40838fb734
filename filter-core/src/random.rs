//! Random bytes for the hosts, from a generator of each VM.

use std::cell::RefCell;

use crate::vm::vm_local;

vm_local! {
    /// Seeded once: in wasm, a read of the system's random source costs as much as a header map.
    static GENERATOR: RefCell<fastrand::Rng> =
        RefCell::new(fastrand::Rng::with_seed(system_seed()));
}

/// Returns random bytes, which are unique but not secret.
pub fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    GENERATOR.with_borrow_mut(|generator| generator.fill(&mut bytes));
    bytes
}

fn system_seed() -> u64 {
    let mut bytes = [0; 8];
    if let Err(error) = getrandom::fill(&mut bytes) {
        log::error!("could not read random bytes: {error}");
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm;

    #[test]
    fn vms_get_different_bytes() {
        let mine = [bytes(), bytes()];
        let others = vm::enter(1, || [bytes(), bytes()]);
        let mut all = [mine, others].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
