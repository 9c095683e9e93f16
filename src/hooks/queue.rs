//! The queue of one kind of hook to one backend, shared by all shards.
//!
//! ```text
//!   a hook --> waiting --> in flight (requests_in_flight_max) --> answered
//!     |          requests_waiting_max, requests_waiting_bytes_max   \-> failed
//!     \-> refused at once if the queue is full
//! ```
//!
//! Hooks of one kind never wait for another kind. A dropped hook, in any state, removes itself from
//! the counts. Refused hooks are counted; the log has one line when the queue becomes full and one
//! when it has room again.

use super::HookError;
use super::requests::Hook;
use crate::vocabulary::limits::BackendLimits;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

/// The waiting and in-flight hooks of one kind, and the kind's counters.
#[derive(Debug)]
pub(super) struct HookQueue {
    backend: Box<str>,
    hook: Hook,
    permits: Semaphore,
    in_flight_max: u32,
    /// The number of waiting hooks and their bytes, packed into one number so that one operation
    /// checks both limits.
    waiting: AtomicU64,
    waiting_max: u32,
    waiting_bytes_max: u32,
    begun: AtomicU64,
    answered: AtomicU64,
    /// Hooks without a response, including refused ones.
    failed: AtomicU64,
    rejected: AtomicU64,
    /// Hooks dropped before their response: their caller stopped waiting, or the gateway stopped.
    abandoned: AtomicU64,
    /// Whether hooks were refused since the queue last had room. Checked before `overflow`, which
    /// has a lock.
    is_full: AtomicBool,
    overflow: watch::Sender<Overflow>,
}

/// The state of the log lines about refused hooks.
#[derive(Debug, Default)]
struct Overflow {
    is_full: bool,
    /// Whether the line for "full" was written, so that the line for "room again" must follow.
    is_logged: bool,
    /// The time of the last line for "full".
    logged_at: Option<Instant>,
    /// Refused hooks that no line has reported yet.
    uncounted: u64,
}

/// A running hook. If it is dropped before [`RunningHook::end`], it counts as abandoned.
#[derive(Debug)]
pub(super) struct RunningHook<'q>(Option<&'q HookQueue>);

impl HookQueue {
    pub(super) fn new(backend: &str, hook: Hook, limits: &BackendLimits) -> Self {
        Self {
            backend: backend.into(),
            hook,
            permits: Semaphore::new(limits.requests_in_flight_max as usize),
            in_flight_max: limits.requests_in_flight_max,
            waiting: AtomicU64::new(0),
            waiting_max: limits.requests_waiting_max,
            waiting_bytes_max: limits.requests_waiting_bytes_max,
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            overflow: watch::Sender::default(),
        }
    }

    /// Counts the begin of a hook.
    pub(super) fn begin(&self) -> RunningHook<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        RunningHook(Some(self))
    }

    /// Waits until a hook with a body of `body_bytes` bytes may be sent, in FIFO order. The permit
    /// is released when it is dropped.
    ///
    /// # Errors
    ///
    /// [`HookError::Busy`] if the queue is full.
    pub(super) async fn turn(&self, body_bytes: usize) -> Result<SemaphorePermit<'_>, HookError> {
        if let Ok(permit) = self.permits.try_acquire() {
            self.note_room(); // no hook waits
            return Ok(permit);
        }
        let Some(_slot) = WaitingSlot::take(self, body_bytes) else {
            self.note_rejected();
            return Err(HookError::Busy);
        };
        Ok(self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed"))
    }

    /// Counts a refused hook, and logs the first one.
    fn note_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let mut is_first = false;
        self.overflow.send_modify(|overflow| {
            self.is_full.store(true, Ordering::Relaxed);
            overflow.uncounted += 1;
            if !std::mem::replace(&mut overflow.is_full, true) {
                let now = Instant::now();
                let is_old = |at: Instant| now.duration_since(at) >= LOG_INTERVAL;
                is_first = overflow.logged_at.is_none_or(is_old);
                if is_first {
                    (overflow.is_logged, overflow.logged_at) = (true, Some(now));
                }
            }
        });
        if is_first {
            let (backend, hook) = (&self.backend, self.hook.as_str());
            let (waiting, waiting_bytes) = self.waiting();
            tracing::warn!(
                backend,
                hook,
                waiting,
                waiting_bytes,
                "the queue of hooks is full, more are rejected; check the backend, or raise \
                 requests_waiting_max or requests_waiting_bytes_max"
            );
        }
    }

    /// Logs that the queue has room again, once it is at most half full.
    fn note_room(&self) {
        if !self.is_full.load(Ordering::Relaxed) {
            return; // the usual case
        }
        let (waiting, waiting_bytes) = self.waiting();
        let (waiting_max, bytes_max) = (self.waiting_max.into(), self.waiting_bytes_max.into());
        if waiting * 2 > waiting_max || waiting_bytes * 2 > bytes_max {
            return;
        }
        let mut rejected = None;
        self.overflow.send_modify(|overflow| {
            self.is_full.store(false, Ordering::Relaxed);
            overflow.is_full = false;
            if std::mem::take(&mut overflow.is_logged) {
                rejected = Some(std::mem::take(&mut overflow.uncounted));
            }
        });
        if let Some(rejected) = rejected {
            let (backend, hook) = (&self.backend, self.hook.as_str());
            tracing::warn!(
                backend,
                hook,
                refused = rejected,
                "the queue of hooks has room again"
            );
        }
    }

    /// Returns the number of waiting hooks and their bytes.
    fn waiting(&self) -> (u64, u64) {
        unpack(self.waiting.load(Ordering::Relaxed))
    }

    fn in_flight(&self) -> u64 {
        let free = self.permits.available_permits() as u64;
        u64::from(self.in_flight_max).saturating_sub(free)
    }

    /// Adds this kind's counts to those of the backend.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.in_flight += self.in_flight();
        totals.waiting += self.waiting().0;
        totals.answered += self.answered.load(Ordering::Relaxed);
        totals.failed += self.failed.load(Ordering::Relaxed);
        totals.rejected += self.rejected.load(Ordering::Relaxed);
        totals.abandoned += self.abandoned.load(Ordering::Relaxed);
    }

    /// Returns the kind's name and its counts as JSON; `None` if there was no hook of this kind.
    pub(super) fn report(&self) -> Option<(&'static str, Value)> {
        let mut totals = Totals::default();
        self.add_to(&mut totals);
        let (_, waiting_bytes) = self.waiting();
        let report = json!({
            "in_flight": totals.in_flight,
            "waiting": totals.waiting,
            "waiting_bytes": waiting_bytes,
            "answered": totals.answered,
            "failed": totals.failed,
            "refused": totals.rejected,
            "abandoned": totals.abandoned,
        });
        (totals != Totals::default()).then(|| (self.hook.as_str(), report))
    }

    /// Logs how many hooks of this kind were lost, if any. Call it after the gateway has stopped;
    /// some of its tasks may not have been dropped yet.
    pub(super) fn log_lost(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let over = count(&self.answered) + count(&self.failed);
        let unanswered = count(&self.begun).saturating_sub(over);
        let rejected = count(&self.rejected);
        // A client that leaves abandons its own hooks, which is no loss. A `close` hook without a
        // response is a lost event.
        let failed = count(&self.failed);
        let is_loss = self.hook == Hook::Close && unanswered + failed > 0;
        if rejected > 0 || is_loss {
            let (backend, hook) = (&self.backend, self.hook.as_str());
            tracing::warn!(
                backend,
                hook,
                refused = rejected,
                failed,
                unanswered,
                "hooks were refused, have failed, or were not answered before the gateway stopped"
            );
        }
    }
}

/// Counts of one kind of hook, or of all kinds of a backend.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Totals {
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) rejected: u64,
    pub(super) abandoned: u64,
}

impl RunningHook<'_> {
    /// Counts the end of the hook, with a response or without one.
    pub(super) fn end(mut self, is_answered: bool) {
        let queue = self.0.take().expect("a hook ends once");
        let count = if is_answered {
            &queue.answered
        } else {
            &queue.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for RunningHook<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A waiting hook's share of the queue's limits, returned on drop.
struct WaitingSlot<'q> {
    queue: &'q HookQueue,
    taken: u64,
}

impl<'q> WaitingSlot<'q> {
    /// Takes a slot for a hook; `None` if the queue is full.
    fn take(queue: &'q HookQueue, body_bytes: usize) -> Option<Self> {
        let bytes = body_bytes as u64 + WAITING_BYTES;
        let one_more = |packed| {
            let (count, held) = unpack(packed);
            let fits = count < queue.waiting_max.into()
                && bytes <= u64::from(queue.waiting_bytes_max).saturating_sub(held);
            fits.then(|| pack(count + 1, held + bytes))
        };
        let waiting = &queue.waiting;
        let before = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        before.ok().map(|_| Self {
            queue,
            taken: pack(1, bytes),
        })
    }
}

impl Drop for WaitingSlot<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(self.taken, Ordering::Relaxed);
        self.queue.note_room();
    }
}

/// Packs a count and bytes into one number. Neither overflows: their limits are below 2^20 and
/// 2^44.
fn pack(count: u64, bytes: u64) -> u64 {
    count << BYTES_BITS | bytes
}

fn unpack(packed: u64) -> (u64, u64) {
    (packed >> BYTES_BITS, packed & ((1 << BYTES_BITS) - 1))
}

const BYTES_BITS: u32 = 44;

/// Memory of a waiting hook besides its body, in bytes: its task and the functions waiting in it.
pub(super) const WAITING_BYTES: u64 = 2_048;

/// Minimum time between two log lines about a full queue.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn queue(in_flight: u32, waiting: u32, waiting_bytes: u64) -> HookQueue {
        let limits = BackendLimits {
            requests_in_flight_max: in_flight,
            requests_waiting_max: waiting,
            requests_waiting_bytes_max: u32::try_from(waiting_bytes).expect("in its range"),
            ..BackendLimits::default()
        };
        HookQueue::new("b", Hook::Close, &limits)
    }

    /// Returns the counts of hooks in flight, waiting and refused.
    fn counts(queue: &HookQueue) -> [u64; 3] {
        let mut totals = Totals::default();
        queue.add_to(&mut totals);
        [totals.in_flight, totals.waiting, totals.rejected]
    }

    #[test]
    fn turns_and_places_are_bounded_and_come_back() {
        let queue = queue(1, 1, 1 << 20);
        let cx = &mut Context::from_waker(Waker::noop());
        let first = pin!(queue.turn(10)).poll(cx);
        assert!(matches!(first, Poll::Ready(Ok(_))));
        {
            let mut second = pin!(queue.turn(10));
            assert!(second.as_mut().poll(cx).is_pending());
            assert_eq!(counts(&queue), [1, 1, 0]);
            assert_eq!(queue.waiting(), (1, 10 + WAITING_BYTES));
            let third = pin!(queue.turn(10)).poll(cx);
            assert!(matches!(third, Poll::Ready(Err(HookError::Busy))));
            drop(first);
            let turn = second.poll(cx);
            assert!(matches!(turn, Poll::Ready(Ok(_))));
            assert_eq!(counts(&queue), [1, 0, 1]);
        }
        assert_eq!(counts(&queue), [0, 0, 1]);
        assert_eq!(queue.waiting(), (0, 0));
    }

    #[test]
    fn who_gives_up_waiting_leaves_the_place_to_the_next() {
        let queue = queue(1, 1, 1 << 20);
        let cx = &mut Context::from_waker(Waker::noop());
        let first = pin!(queue.turn(0)).poll(cx);
        assert!(first.is_ready());
        for _ in 0..2 {
            let given_up = pin!(queue.turn(0)).poll(cx);
            assert!(given_up.is_pending());
        }
        assert_eq!(counts(&queue), [1, 0, 0]);
    }

    #[test]
    fn those_that_wait_are_bounded_in_bytes_to_the_byte() {
        let queue = queue(1, 1_000, 2 * WAITING_BYTES + 30);
        let cx = &mut Context::from_waker(Waker::noop());
        let first = pin!(queue.turn(1 << 30)).poll(cx);
        assert!(first.is_ready(), "it does not wait");
        let mut second = pin!(queue.turn(10));
        assert!(second.as_mut().poll(cx).is_pending());
        let rejected = pin!(queue.turn(21)).poll(cx);
        assert!(matches!(rejected, Poll::Ready(Err(HookError::Busy))));
        let mut third = pin!(queue.turn(20));
        assert!(third.as_mut().poll(cx).is_pending());
        let rejected = pin!(queue.turn(0)).poll(cx);
        assert!(matches!(rejected, Poll::Ready(Err(HookError::Busy))));
        assert_eq!(counts(&queue), [1, 2, 2]);
    }

    #[test]
    fn what_is_rejected_is_counted_until_the_queue_is_half_empty() {
        let queue = queue(1, 4, 1 << 20);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut held = Some(pin!(queue.turn(0)).poll(cx));
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(queue.turn(0))).collect();
        for turn in &mut waiting {
            assert!(turn.as_mut().poll(cx).is_pending());
        }
        let is_full = || {
            (
                queue.overflow.borrow().is_full,
                queue.overflow.borrow().uncounted,
            )
        };
        for rejected in 1..=3 {
            assert!(pin!(queue.turn(0)).poll(cx).is_ready());
            assert_eq!(is_full(), (true, rejected));
        }
        for expected in [(true, 3), (false, 0)] {
            drop(held.replace(Poll::Pending));
            held = Some(waiting.remove(0).as_mut().poll(cx));
            assert_eq!(is_full(), expected);
        }
        drop(held);
        assert!(pin!(queue.turn(0)).poll(cx).is_pending(), "in their order");
        // No second line within LOG_INTERVAL; a later line reports those hooks.
        let mut more: Vec<_> = (0..2).map(|_| Box::pin(queue.turn(0))).collect();
        for turn in &mut more {
            assert!(turn.as_mut().poll(cx).is_pending());
        }
        assert!(pin!(queue.turn(0)).poll(cx).is_ready());
        assert_eq!(is_full(), (true, 1));
        drop((more, waiting));
        assert_eq!(is_full(), (false, 1));
        assert_eq!(counts(&queue), [0, 0, 4]);
    }

    #[test]
    fn a_hook_that_does_not_come_to_its_end_was_abandoned() {
        let queue = queue(1, 1, 1 << 20);
        assert_eq!(queue.report(), None);
        queue.begin().end(true);
        queue.begin().end(false);
        drop(queue.begin());
        let (hook, report) = queue.report().expect("there were some");
        assert_eq!(hook, "close");
        for count in ["answered", "failed", "abandoned"] {
            assert_eq!(report[count], 1, "{count}");
        }
    }
}
