//! Fault injection for tests, which check that the process ends if a shard fails.

/// A place in which a test injects a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(hidden)]
pub enum Fault {
    /// A panic in the shard's loop.
    Loop,
    /// A panic in one of the gateway's HTTP handlers, polled by the loop.
    Http,
    /// A panic in a task on the shard's runtime.
    Task,
    /// No panic: cancellations do not reach the kernel.
    Cancel,
}

impl Fault {
    /// Panics if `injected` is this fault.
    pub(crate) fn provoke(self, injected: Option<Self>) {
        assert!(injected != Some(self), "provoked in {self:?}");
    }
}
