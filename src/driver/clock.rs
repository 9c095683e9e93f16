//! The clock of a shard's loop.

use std::time::Instant;

/// A source of time.
pub(super) trait Clock {
    /// Returns the time. It never goes back.
    fn now(&self) -> Instant;

    /// Awaits `work`, at most until `at`; `None` if that came first.
    async fn within<T>(&self, at: Instant, work: impl Future<Output = T>) -> Option<T>;
}

/// The machine's clock: `CLOCK_MONOTONIC`, which stands still while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn within<T>(&self, at: Instant, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(at.into(), work).await.ok()
    }
}
