//! The queue and the pool of one kind of hook to one backend, for all shards together.
//!
//! ```text
//!   a hook --> waiting --> in flight (requests_in_flight_max) --> answered
//!     |          requests_waiting_max, requests_waiting_bytes_max   \-> failed
//!     \-> refused at once, if the queue has no room for it
//! ```
//!
//! No kind of hook waits for another. A hook that is given up, wherever it is, takes itself out of
//! the counts. What is refused is counted, and there is a log line when that begins and one when it
//! is over.

use super::HookError;
use super::asks::Hook;
use crate::vocabulary::limits::BackendLimits;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

/// The hooks of one kind that wait or are in flight, and what was counted of this kind.
#[derive(Debug)]
pub(super) struct HookQueue {
    backend: Box<str>,
    hook: Hook,
    turns: Semaphore,
    in_flight_max: u32,
    /// Those that wait and their bytes, in one number so that both are checked at once.
    waiting: AtomicU64,
    waiting_max: u32,
    waiting_bytes_max: u32,
    begun: AtomicU64,
    answered: AtomicU64,
    /// Without an answer, the refused among them.
    failed: AtomicU64,
    refused: AtomicU64,
    /// Dropped before there was an answer: nobody waits for it any more, or the gateway has
    /// stopped.
    abandoned: AtomicU64,
    /// Whether hooks were refused since there was room. Guards `overflow`, which has a lock.
    is_full: AtomicBool,
    overflow: watch::Sender<Overflow>,
}

/// What the log is told about refused hooks.
#[derive(Debug, Default)]
struct Overflow {
    is_full: bool,
    /// The line at the begin was written, so that there will be one at the end.
    is_logged: bool,
    /// When the last such line was written.
    logged_at: Option<Instant>,
    /// Refused hooks that no line has counted yet.
    uncounted: u64,
}

/// A hook from its begin to its end. One that is dropped before [`Progress::end`] was abandoned.
#[derive(Debug)]
pub(super) struct Progress<'q>(Option<&'q HookQueue>);

impl HookQueue {
    pub(super) fn new(backend: &str, hook: Hook, limits: &BackendLimits) -> Self {
        Self {
            backend: backend.into(),
            hook,
            turns: Semaphore::new(limits.requests_in_flight_max as usize),
            in_flight_max: limits.requests_in_flight_max,
            waiting: AtomicU64::new(0),
            waiting_max: limits.requests_waiting_max,
            waiting_bytes_max: limits.requests_waiting_bytes_max,
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            overflow: watch::Sender::default(),
        }
    }

    /// A hook of this kind begins.
    pub(super) fn begin(&self) -> Progress<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Progress(Some(self))
    }

    /// Waits for the turn of a hook with a body of so many bytes, first come, first served. The
    /// turn lasts until what is returned is dropped. [`HookError::Busy`] if the queue has no room.
    pub(super) async fn turn(&self, body_bytes: usize) -> Result<SemaphorePermit<'_>, HookError> {
        if let Ok(permit) = self.turns.try_acquire() {
            self.note_room(); // nobody waits for it
            return Ok(permit);
        }
        let Some(_place) = Place::take(self, body_bytes) else {
            self.note_refused();
            return Err(HookError::Busy);
        };
        Ok(self.turns.acquire().await.expect("it is never closed"))
    }

    /// Counts a refused hook, and logs the first one.
    fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
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
                "the queue of hooks is full, more are refused; check the backend, or raise \
                 requests_waiting_max or requests_waiting_bytes_max"
            );
        }
    }

    /// Logs that the queue has room again, once it is at most half full.
    fn note_room(&self) {
        if !self.is_full.load(Ordering::Relaxed) {
            return; // as a rule
        }
        let (waiting, waiting_bytes) = self.waiting();
        let (waiting_max, bytes_max) = (self.waiting_max.into(), self.waiting_bytes_max.into());
        if waiting * 2 > waiting_max || waiting_bytes * 2 > bytes_max {
            return;
        }
        let mut refused = None;
        self.overflow.send_modify(|overflow| {
            self.is_full.store(false, Ordering::Relaxed);
            overflow.is_full = false;
            if std::mem::take(&mut overflow.is_logged) {
                refused = Some(std::mem::take(&mut overflow.uncounted));
            }
        });
        if let Some(refused) = refused {
            let (backend, hook) = (&self.backend, self.hook.as_str());
            tracing::warn!(backend, hook, refused, "the queue of hooks has room again");
        }
    }

    /// How many wait, and their bytes.
    fn waiting(&self) -> (u64, u64) {
        unpack(self.waiting.load(Ordering::Relaxed))
    }

    fn in_flight(&self) -> u64 {
        let free = self.turns.available_permits() as u64;
        u64::from(self.in_flight_max).saturating_sub(free)
    }

    /// Adds this kind's counts to those of the backend.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.in_flight += self.in_flight();
        totals.waiting += self.waiting().0;
        totals.answered += self.answered.load(Ordering::Relaxed);
        totals.failed += self.failed.load(Ordering::Relaxed);
        totals.refused += self.refused.load(Ordering::Relaxed);
        totals.abandoned += self.abandoned.load(Ordering::Relaxed);
    }

    /// The counts of this kind by their names; `None` if there was no hook of it.
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
            "refused": totals.refused,
            "abandoned": totals.abandoned,
        });
        (totals != Totals::default()).then(|| (self.hook.as_str(), report))
    }

    /// Logs how many hooks of this kind were lost, if any. To be called
    /// when the gateway has stopped, also if its tasks are still being dropped.
    pub(super) fn log_lost(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let over = count(&self.answered) + count(&self.failed);
        let unanswered = count(&self.begun).saturating_sub(over);
        let refused = count(&self.refused);
        // A client that leaves abandons the hooks that only it waits for; an end is told or lost.
        let failed = count(&self.failed);
        let is_loss = self.hook == Hook::Close && unanswered + failed > 0;
        if refused > 0 || is_loss {
            let (backend, hook) = (&self.backend, self.hook.as_str());
            tracing::warn!(
                backend,
                hook,
                refused,
                failed,
                unanswered,
                "hooks were refused, have failed, or were not answered before the gateway stopped"
            );
        }
    }
}

/// The counts of all kinds of hook.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Totals {
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) abandoned: u64,
}

impl Progress<'_> {
    /// The hook is over, with an answer or without one.
    pub(super) fn end(mut self, is_answered: bool) {
        let queue = self.0.take().expect("it ends once");
        let count = if is_answered {
            &queue.answered
        } else {
            &queue.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A place in a queue, until it is dropped.
struct Place<'q> {
    queue: &'q HookQueue,
    taken: u64,
}

impl<'q> Place<'q> {
    /// `None`: the queue has no room for it.
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

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(self.taken, Ordering::Relaxed);
        self.queue.note_room();
    }
}

/// A count and bytes in one number: neither can overflow into the other, since their bounds have
/// ranges below 2^20 and 2^44.
fn pack(count: u64, bytes: u64) -> u64 {
    count << BYTES_BITS | bytes
}

fn unpack(packed: u64) -> (u64, u64) {
    (packed >> BYTES_BITS, packed & ((1 << BYTES_BITS) - 1))
}

const BYTES_BITS: u32 = 44;

/// What a waiting hook takes beside its body: its task and the functions that wait in it.
pub(super) const WAITING_BYTES: u64 = 2_048;

/// The least time between two lines that say that a queue is full.
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

    /// In flight, waiting, refused.
    fn counts(queue: &HookQueue) -> [u64; 3] {
        let mut totals = Totals::default();
        queue.add_to(&mut totals);
        [totals.in_flight, totals.waiting, totals.refused]
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
        let refused = pin!(queue.turn(21)).poll(cx);
        assert!(matches!(refused, Poll::Ready(Err(HookError::Busy))));
        let mut third = pin!(queue.turn(20));
        assert!(third.as_mut().poll(cx).is_pending());
        let refused = pin!(queue.turn(0)).poll(cx);
        assert!(matches!(refused, Poll::Ready(Err(HookError::Busy))));
        assert_eq!(counts(&queue), [1, 2, 2]);
    }

    #[test]
    fn what_is_refused_is_counted_until_the_queue_is_half_empty() {
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
        for refused in 1..=3 {
            assert!(pin!(queue.turn(0)).poll(cx).is_ready());
            assert_eq!(is_full(), (true, refused));
        }
        for expected in [(true, 3), (false, 0)] {
            drop(held.replace(Poll::Pending));
            held = Some(waiting.remove(0).as_mut().poll(cx));
            assert_eq!(is_full(), expected);
        }
        drop(held);
        assert!(pin!(queue.turn(0)).poll(cx).is_pending(), "in their order");
        // Soon after a line there is no other, and its hooks are counted by a later one.
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
