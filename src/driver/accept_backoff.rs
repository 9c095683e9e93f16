//! The pause of accepting after a failure, without a kernel or a clock.
//!
//! ```text
//!   accepting --failed: no descriptors or memory--> pausing --pause over--> accepting
//!             '-- no failure for RECOVERED_AFTER: recovered
//! ```

use super::errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
use std::time::{Duration, Instant};

/// The state of accepting on all listeners of a shard.
#[derive(Debug, Default)]
pub(super) struct AcceptBackoff {
    /// End of the pause after a failed accept.
    again_at: Option<Instant>,
    /// Time of the last failed accept; `None` after [`RECOVERED_AFTER`] without one.
    failed_at: Option<Instant>,
    /// Connections rejected since accepting began to fail.
    rejected: u64,
}

/// What to do after an accept failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AcceptFailure {
    /// The first failure since accepting last worked.
    pub(super) is_first: bool,
    /// Descriptors ran out: waiting connections are to be rejected.
    pub(super) rejects: bool,
}

impl AcceptBackoff {
    /// Records a failed accept, and begins a pause of [`PAUSE`] if descriptors or memory are
    /// missing. Other errors concern one connection: `None`.
    pub(super) fn failed(&mut self, errno: i32, now: Instant) -> Option<AcceptFailure> {
        if !matches!(errno, EMFILE | ENFILE | ENOBUFS | ENOMEM) {
            return None;
        }
        self.again_at = Some(now + PAUSE);
        Some(AcceptFailure {
            is_first: self.failed_at.replace(now).is_none(),
            rejects: matches!(errno, EMFILE | ENFILE),
        })
    }

    /// Counts rejected connections.
    pub(super) fn rejected(&mut self, count: u64) {
        self.rejected += count;
    }

    /// Records a successful accept. Returns the connections rejected since accepting began to fail,
    /// if that is over now.
    #[inline]
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<u64> {
        let failed_at = self.failed_at?;
        if now.duration_since(failed_at) < RECOVERED_AFTER {
            return None;
        }
        self.failed_at = None;
        Some(std::mem::take(&mut self.rejected))
    }

    /// Returns the end of the pause; `None` outside of one.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Ends a pause that is over at `now`; returns whether there was one.
    pub(super) fn end_pause(&mut self, now: Instant) -> bool {
        let is_over = self.again_at.is_some_and(|at| at <= now);
        if is_over {
            self.again_at = None;
        }
        is_over
    }
}

/// Pause before the next accept after one failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Time without a failed accept after which the failure is over.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_pauses_after_a_failure_and_recovers_after_the_last() {
        let began = super::super::tests::any_instant();
        let mut backoff = AcceptBackoff::default();
        let econnaborted = rustix::io::Errno::CONNABORTED.raw_os_error();
        assert_eq!(backoff.failed(econnaborted, began), None);
        assert!(!backoff.end_pause(began + PAUSE), "one connection failed");
        assert_eq!(backoff.succeeded(began), None);

        let failure = |is_first, rejects| Some(AcceptFailure { is_first, rejects });
        assert_eq!(backoff.failed(EMFILE, began), failure(true, true));
        backoff.rejected(3);
        assert_eq!(backoff.again_at(), Some(began + PAUSE));
        assert!(!backoff.end_pause(began + PAUSE / 2));
        assert!(backoff.end_pause(began + PAUSE));
        assert_eq!(backoff.again_at(), None);

        let again = began + PAUSE;
        assert_eq!(backoff.failed(ENOMEM, again), failure(false, false));
        backoff.rejected(1);
        assert_eq!(backoff.succeeded(began + RECOVERED_AFTER), None);
        assert_eq!(backoff.succeeded(again + RECOVERED_AFTER), Some(4));
        assert_eq!(backoff.succeeded(again + RECOVERED_AFTER), None);
        assert_eq!(backoff.failed(EMFILE, again), failure(true, true));
    }
}
