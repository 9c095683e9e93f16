//! When a shard may sleep, as one small type (io.md 2).
//!
//! ```text
//!   sleeper                              waker
//!   lie_down: sleeping = true, fence     push into the queue
//!   look at every queue once more        must_ring: fence, sleeping.swap(false)
//!   all empty: wait for the bell         if it was true: ring the bell
//!   get_up: sleeping = false
//! ```
//!
//! Whichever of the two fences comes first, either the sleeper sees what was pushed or the waker
//! sees that it must ring. `tests/sleep_loom.rs` tries every interleaving.

use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The atomics that a [`SleepFlag`] is made of: the machine's, or those of a model checker.
pub trait Memory {
    /// An atomic boolean.
    type Flag;
    /// A new one that is false.
    fn flag() -> Self::Flag;
    /// Stores a value.
    fn store(flag: &Self::Flag, value: bool);
    /// Stores a value and returns the one before.
    fn swap(flag: &Self::Flag, value: bool) -> bool;
    /// A sequentially consistent fence.
    fn fence();
}

/// The machine's own atomics.
#[derive(Debug)]
pub struct Machine;

impl Memory for Machine {
    type Flag = AtomicBool;

    fn flag() -> AtomicBool {
        AtomicBool::new(false)
    }

    fn store(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::Release);
    }

    fn swap(flag: &AtomicBool, value: bool) -> bool {
        flag.swap(value, Ordering::AcqRel)
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// Whether a shard sleeps, or is about to.
#[derive(Debug)]
pub struct SleepFlag<M: Memory = Machine> {
    sleeping: M::Flag,
}

impl<M: Memory> SleepFlag<M> {
    /// Awake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sleeping: M::flag(),
        }
    }

    /// Says that the shard is about to sleep. It must look at its queues once more after this, and
    /// may sleep only if all are empty.
    pub fn begin_sleep(&self) {
        M::store(&self.sleeping, true);
        M::fence();
    }

    /// Says that the shard is awake: pushing into its queues is enough from now on.
    pub fn end_sleep(&self) {
        M::store(&self.sleeping, false);
    }

    /// Whether the bell must be rung; to be asked after each push, or once after several.
    ///
    /// Of several pushers that ask while the shard sleeps, one is told to ring.
    pub fn take_sleeping(&self) -> bool {
        M::fence();
        M::swap(&self.sleeping, false)
    }
}

impl<M: Memory> Default for SleepFlag<M> {
    fn default() -> Self {
        Self::new()
    }
}
