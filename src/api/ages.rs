//! How old remembered answers are, in steps of the time that the process has run.
//!
//! ```text
//!   stored at step 3 --> 4 --> 5 --> .. --> 11: remembered --> 12: forgotten
//!                          a pause of the process is no step
//! ```
//!
//! A request that was repeated in time and has come while the process was paused is answered as it
//! would have been then. The steps are counted by a task of whichever shard stores an answer while
//! nobody counts; it ends when all is forgotten, so an idle process is not woken for it.

use crate::runtime::deadline::within;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// The steps since the process started, as long as something is remembered.
#[derive(Clone, Debug)]
pub(super) struct Ages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    step: Duration,
    now: AtomicU64,
    /// The step at which something was stored last.
    stored_at: AtomicU64,
    is_counting: AtomicBool,
}

impl Ages {
    /// What is stored is remembered for `ttl`, and at most an eighth longer.
    pub(super) fn new(ttl: Duration) -> Self {
        let steps = u32::try_from(STEPS).expect("there are few");
        Self(Arc::new(Shared {
            step: ttl / steps,
            now: AtomicU64::new(0),
            stored_at: AtomicU64::new(0),
            is_counting: AtomicBool::new(false),
        }))
    }

    /// The step at which something is stored now. `on_step` is called after each later one, with
    /// the oldest step that is remembered, until nothing is.
    ///
    /// Outside of a runtime no steps are counted.
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

    /// Whether what was stored at that step is forgotten.
    pub(super) fn is_over(&self, stored_at: u64) -> bool {
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
                // Something may have been stored since, by somebody who saw this task count.
                if is_empty() || self.is_counting.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }
}

/// The oldest step whose answers are remembered.
fn oldest(now: u64) -> u64 {
    now.saturating_sub(STEPS)
}

/// Whole steps for which an answer is remembered.
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
            let ages = Ages::new(Duration::from_millis(STEPS));
            let mut first = 0;
            for _ in 0..2 {
                let (sender, mut steps) = unbounded_channel();
                let stored_at = ages.store(move |oldest| {
                    sender.send(oldest).expect("it is received below");
                });
                assert_eq!(stored_at, first);
                let mut count = 0;
                while let Some(oldest) = steps.recv().await {
                    count += 1;
                    let is_over = ages.is_over(stored_at);
                    assert!(is_over || oldest <= stored_at, "{oldest} of {stored_at}");
                }
                assert!(ages.is_over(stored_at));
                assert_eq!(count, STEPS + 1);
                first += count;
            }
        });
    }

    #[test]
    fn without_a_runtime_nothing_is_forgotten() {
        let ages = Ages::new(Duration::from_millis(STEPS));
        let stored_at = ages.store(|_| {});
        assert!(!ages.is_over(stored_at));
    }
}
