//! Guards around an embedder's code: its panics are caught, whatever it is called for.
//!
//! A panic in a function of an embedder's, or in the destructor of something of its own, has been
//! reported by the panic hook when it is caught here, and hurts neither the shard nor any session.

use std::cell::Cell;
use std::ops::Deref;
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

/// Runs a function of an embedder's. What it panics with is dropped guarded too.
pub(crate) fn guarded<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = RUNNING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(function)).map_err(|payload| {
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Box::leak(another); // it could go on like this
        }
        Panicked
    });
    RUNNING.set(before);
    result
}

/// A value of an embedder's that is dropped guarded, wherever that happens.
#[derive(Clone, derive_more::Debug)]
#[debug("DropGuarded")]
pub(crate) struct DropGuarded<T>(Option<T>);

impl<T> DropGuarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for DropGuarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for DropGuarded<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
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

    #[test]
    fn what_a_function_panics_with_may_panic_when_it_is_dropped() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let panicked = guarded(|| std::panic::panic_any(Bad));
        assert_eq!(panicked, Err::<(), _>(Panicked));
        drop(DropGuarded::new(Bad));
        assert!(!is_running());
    }
}
