//! The sleep flag: the protocol by which a shard may sleep without losing a wake-up
//! (docs/design/io.md 2).
//!
//! ```text
//!   sleeper                              waker
//!   begin_sleep: sleeping = true, fence  push into a queue
//!   check every queue again              take_sleeping: fence, sleeping.swap(false)
//!   all empty: sleep                     if it was true: wake the sleeper
//!   end_sleep: sleeping = false
//! ```
//!
//! Whichever fence comes first, either the sleeper sees the pushed item or the waker sees the flag.
//! `tests/sleep_loom.rs` tries every interleaving.

use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The atomic operations of a [`SleepFlag`]: the machine's, or a model checker's.
pub trait Atomics {
    /// An atomic boolean.
    type Flag;
    /// Creates a flag with the value `false`.
    fn flag() -> Self::Flag;
    /// Stores a value.
    fn store(flag: &Self::Flag, value: bool);
    /// Stores a value and returns the previous one.
    fn swap(flag: &Self::Flag, value: bool) -> bool;
    /// Executes a sequentially consistent fence.
    fn fence();
}

/// The machine's atomics.
#[derive(Debug)]
pub struct StdAtomics;

impl Atomics for StdAtomics {
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

/// A flag of one shard: whether it sleeps or is about to.
#[derive(Debug)]
pub struct SleepFlag<M: Atomics = StdAtomics> {
    sleeping: M::Flag,
}

impl<M: Atomics> SleepFlag<M> {
    /// Creates the flag of an awake shard.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sleeping: M::flag(),
        }
    }

    /// Marks the shard as about to sleep. The shard must check its queues after this, and may sleep
    /// only if all are empty.
    pub fn begin_sleep(&self) {
        M::store(&self.sleeping, true);
        M::fence();
    }

    /// Marks the shard as awake: it checks its queues without being woken.
    pub fn end_sleep(&self) {
        M::store(&self.sleeping, false);
    }

    /// Clears the flag and returns whether it was set; if so, the caller must wake the shard.
    /// Called after each push, or once after several. One caller gets `true` per sleep.
    pub fn take_sleeping(&self) -> bool {
        M::fence();
        M::swap(&self.sleeping, false)
    }
}

impl<M: Atomics> Default for SleepFlag<M> {
    fn default() -> Self {
        Self::new()
    }
}
