//! Faults that tests provoke, to see that the process does not go on with half a gateway.

/// A place where a panic could hide: the tests provoke one in each and see the process end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(hidden)]
pub enum Fault {
    /// In the shard's loop.
    Loop,
    /// In an HTTP handler of our own, polled by the loop.
    Http,
    /// In a task spawned on the shard's runtime.
    Task,
    /// No panic: cancellations are lost on their way to the kernel.
    Cancel,
}

impl Fault {
    /// Panics if a test asked for a panic in this place.
    pub(crate) fn provoke(self, asked_for: Option<Self>) {
        assert!(asked_for != Some(self), "provoked in {self:?}");
    }
}
