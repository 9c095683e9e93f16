//! Guards around embedders' code, which catch its panics.
//!
//! The panic hook reports a panic in an embedder's function or destructor before it is caught here.
//! The panic affects neither the shard nor any session.

use std::cell::Cell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An embedder's function panicked. The panic hook has reported it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Panicked;

/// Returns whether embedder code is running on this thread.
#[must_use]
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Drops a value of an embedder's and catches a panic of its destructor. Drop each value by a call
/// of its own: two panics at once abort the process.
pub(crate) fn discard<T>(value: T) {
    match guarded(|| drop(value)) {
        Ok(()) | Err(Panicked) => {}
    }
}

/// Runs a function of an embedder's and catches its panic.
///
/// # Errors
///
/// Returns [`Panicked`] if the function panics. The panic's payload is dropped guarded as well.
pub(crate) fn guarded<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = RUNNING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(function)).map_err(|payload| {
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Box::leak(another); // its destructor could panic again, without end
        }
        Panicked
    });
    RUNNING.set(before);
    result
}

/// A value of an embedder's whose destructor runs guarded.
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
    fn a_panic_payload_may_panic_when_dropped() {
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
