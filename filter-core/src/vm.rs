//! The state of a VM, which its modules keep in variables of their own.
//!
//! A wasm VM has memory of its own, so a variable of a thread would do. A native host runs all
//! stages in one process: there a worker thread has several VMs, and the host says which one a
//! callback belongs to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread::LocalKey;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Runs a function in a VM of this thread. VMs are numbered from 0, and a thread starts in VM 0.
pub fn enter<R>(vm: usize, function: impl FnOnce() -> R) -> R {
    let _left_at_the_end = Entered(CURRENT.replace(vm));
    function()
}

/// Returns to the previous VM when it is dropped, even if a function panics.
struct Entered(usize);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The values of a variable in the VMs of a thread, by the VM's number.
pub type Values<T> = RefCell<Vec<Rc<T>>>;

/// A variable of which each VM has its own value. Declared by [`vm_local!`].
pub struct VmLocal<T: 'static> {
    values: &'static LocalKey<Values<T>>,
    initial: fn() -> T,
}

impl<T> VmLocal<T> {
    pub const fn new(values: &'static LocalKey<Values<T>>, initial: fn() -> T) -> Self {
        Self { values, initial }
    }

    /// Returns the value of the current VM.
    fn value(&self) -> Rc<T> {
        let vm = CURRENT.get();
        self.values.with_borrow_mut(|values| {
            while values.len() <= vm {
                values.push(Rc::new((self.initial)()));
            }
            match values.get(vm) {
                Some(value) => Rc::clone(value),
                None => Rc::new((self.initial)()),
            }
        })
    }
}

impl<T> VmLocal<RefCell<T>> {
    pub fn with_borrow<R>(&self, function: impl FnOnce(&T) -> R) -> R {
        function(&self.value().borrow())
    }

    pub fn with_borrow_mut<R>(&self, function: impl FnOnce(&mut T) -> R) -> R {
        function(&mut self.value().borrow_mut())
    }

    pub fn set(&self, value: T) {
        self.value().replace(value);
    }
}

impl<T> VmLocal<Cell<T>> {
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.value().get()
    }

    pub fn set(&self, value: T) {
        self.value().set(value);
    }

    pub fn replace(&self, value: T) -> T {
        self.value().replace(value)
    }
}

/// Declares variables of a VM, as `thread_local!` declares those of a thread.
macro_rules! vm_local {
    ($($(#[$attribute:meta])* static $name:ident: $kind:ty = $initial:expr;)+) => {
        $(
            $(#[$attribute])*
            static $name: $crate::vm::VmLocal<$kind> = {
                thread_local! {
                    static VALUES: $crate::vm::Values<$kind> =
                        const { std::cell::RefCell::new(Vec::new()) };
                }
                $crate::vm::VmLocal::new(&VALUES, || $initial)
            };
        )+
    };
}
pub(crate) use vm_local;

#[cfg(test)]
mod tests {
    use super::*;

    vm_local! {
        static COUNT: Cell<u32> = Cell::new(1);
    }

    #[test]
    fn each_vm_has_its_own_value_even_after_a_panic_in_one() {
        COUNT.set(5);
        enter(2, || {
            assert_eq!(COUNT.replace(7), 1);
            let panicked = std::panic::catch_unwind(|| enter(1, || panic!("in VM 1")));
            assert!(panicked.is_err());
            assert_eq!(COUNT.get(), 7);
        });
        assert_eq!(COUNT.get(), 5);
        assert_eq!(std::thread::spawn(|| COUNT.get()).join().unwrap(), 1);
    }
}
