//! Age of stored responses, counted in steps of the time that the process has run.
//!
//! ```text
//!   stored at step 3 --> 4 --> 5 --> .. --> 11: kept --> 12: expired
//!                          a pause of the process is not counted
//! ```
//!
//! So a request that was repeated in time and arrives while the process is paused still gets the
//! stored response. The shard that stores a response starts a task that counts the steps, unless
//! one runs. The task ends when everything has expired, so that it does not wake an idle process.

use crate::runtime::deadline::within;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// A counter of steps, which runs while a response is stored.
#[derive(Clone, Debug)]
pub(super) struct ExpiryClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    step: Duration,
    now: AtomicU64,
    /// The step at which a response was stored last.
    stored_at: AtomicU64,
    is_counting: AtomicBool,
}

impl ExpiryClock {
    /// Creates a counter. Responses are kept for `ttl`, and at most an eighth longer.
    pub(super) fn new(ttl: Duration) -> Self {
        let steps = u32::try_from(STEPS).expect("there are few");
        Self(Arc::new(Shared {
            step: ttl / steps,
            now: AtomicU64::new(0),
            stored_at: AtomicU64::new(0),
            is_counting: AtomicBool::new(false),
        }))
    }

    /// Returns the current step, at which the caller stores a response. `on_step` is called after
    /// each later step, with the oldest step that has not expired, until everything has expired.
    ///
    /// Outside of a tokio runtime no steps are counted.
    pub(super) fn store(&self, on_step: impl Fn(u64) + Send + 'static) -> u64 {
        let shared = &self.0;
        let now = shared.now.load(Ordering::SeqCst);
        shared.stored_at.fetch_max(now, Ordering::SeqCst);
        if let Ok(runtime) = Handle::try_current()
            && !shared.is_counting.swap(true, Ordering::SeqCst)
        {
            drop(runtime.spawn(Arc::clone(shared).count(on_step)));
        }
        now
    }

    /// Returns whether a response stored at that step has expired.
    pub(super) fn is_expired(&self, stored_at: u64) -> bool {
        stored_at < oldest(self.0.now.load(Ordering::SeqCst))
    }
}

impl Shared {
    async fn count(self: Arc<Self>, on_step: impl Fn(u64) + Send + 'static) {
        loop {
            match within(self.step, pending::<()>()).await {
                None | Some(()) => {}
            }
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            on_step(oldest(now));
            let is_empty = || self.stored_at.load(Ordering::SeqCst) < oldest(now);
            if is_empty() {
                self.is_counting.store(false, Ordering::SeqCst);
                // Another thread may have stored a response since, and seen that this task counts.
                if is_empty() || self.is_counting.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }
}

/// Returns the oldest step that has not expired.
fn oldest(now: u64) -> u64 {
    now.saturating_sub(STEPS)
}

/// Steps after which a response expires.
const STEPS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn steps_are_counted_until_all_is_forgotten_and_then_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let expiry = ExpiryClock::new(Duration::from_millis(STEPS));
            let mut first = 0;
            for _ in 0..2 {
                let (sender, mut steps) = unbounded_channel();
                let stored_at = expiry.store(move |oldest| {
                    sender.send(oldest).expect("it is received below");
                });
                assert_eq!(stored_at, first);
                let mut count = 0;
                while let Some(oldest) = steps.recv().await {
                    count += 1;
                    let is_over = expiry.is_expired(stored_at);
                    assert!(is_over || oldest <= stored_at, "{oldest} of {stored_at}");
                }
                assert!(expiry.is_expired(stored_at));
                assert_eq!(count, STEPS + 1);
                first += count;
            }
        });
    }

    #[test]
    fn without_a_runtime_nothing_is_forgotten() {
        let expiry = ExpiryClock::new(Duration::from_millis(STEPS));
        let stored_at = expiry.store(|_| {});
        assert!(!expiry.is_expired(stored_at));
    }
}
