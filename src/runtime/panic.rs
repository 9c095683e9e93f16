//! Guards around an embedder's code: its panics are caught, whatever it is called for.
//!
//! A panic in a function of an embedder's, or in the destructor of something of its own, has been
//! reported by the panic hook when it is caught here, and hurts neither the shard nor any session.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An embedder's function panicked; the panic hook has said what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Panicked;

/// Whether an embedder's code is running on this thread.
#[must_use]
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Drops something of an embedder's. A panic in its destructor has been reported then, and hurts
/// nobody; two at once would end the process, so each value is to go by itself.
pub(crate) fn discard<T>(value: T) {
    match guarded(|| drop(value)) {
        Ok(()) | Err(Panicked) => {}
    }
}

pub(crate) fn guarded<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = RUNNING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(function));
    RUNNING.set(before);
    result.map_err(|_| Panicked)
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_function_leaves_no_trace() {
        assert_eq!(guarded(|| panic!("on purpose")), Err::<(), _>(Panicked));
        assert!(!is_running());
        assert_eq!(guarded(is_running), Ok(true));
        assert!(!is_running());
    }
}
