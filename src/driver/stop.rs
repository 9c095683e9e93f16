//! The wish to stop, seen by every shard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Unset, or set once with the time that connections have to end.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    /// Milliseconds of grace plus one; zero is unset.
    grace: AtomicU64,
}

impl StopFlag {
    /// Asks every shard to stop; the shards must be woken then. The first call counts.
    pub(crate) fn set(&self, grace: Duration) {
        let ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX - 1);
        let kept = self
            .grace
            .compare_exchange(0, ms + 1, Ordering::AcqRel, Ordering::Relaxed);
        if kept.is_err() {
            tracing::debug!("already stopping");
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.grace.load(Ordering::Acquire) > 0
    }

    /// How long connections have; `None` while nobody wants to stop.
    pub(crate) fn grace(&self) -> Option<Duration> {
        self.grace
            .load(Ordering::Acquire)
            .checked_sub(1)
            .map(Duration::from_millis)
    }
}
