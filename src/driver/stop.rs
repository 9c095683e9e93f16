//! The wish to stop, seen by every shard, and what whoever has it hears of them.

use crate::metrics::Counters;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Unset, or set once with the time that connections have to end.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    /// Milliseconds of grace plus one; zero is unset.
    grace: AtomicU64,
    /// Who hears of the shards' ends.
    endings: OnceLock<Sender<Ending>>,
}

/// What a shard's thread says at its end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its loop has ended; this is what it has counted.
    Counted(Counters),
    /// The tasks of its runtime are gone, and no work that blocks is left.
    Gone,
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

    /// [`StopFlag::set`] for somebody who waits for the shards, each of which says two things.
    pub(crate) fn set_and_hear(&self, grace: Duration, endings: Sender<Ending>) {
        if self.endings.set(endings).is_err() {
            tracing::debug!("somebody hears of it already");
        }
        self.set(grace);
    }

    /// Tells whoever waits for the shards, if anybody does.
    pub(crate) fn say(&self, ending: Ending) {
        if let Some(endings) = self.endings.get() {
            drop(endings.send(ending)); // nobody need wait any more
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
