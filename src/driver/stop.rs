//! The request to stop, which all shards see, and the state that they share while stopping.
//!
//! ```text
//!   set --delay--> listeners close, no new work --all shards have finished accepted work-->
//!       sessions are closed at a pace --no shard has more than idle HTTP connections--> those too
//!   `grace` after the listeners close, all remaining connections are aborted
//! ```

use crate::host::Pace;
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::{TICK_MS, Ticks};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// The timing of a gateway's stop.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct StopPlan {
    /// Time from the request to stop to the close of the listeners.
    pub(crate) delay: Duration,
    /// Time from the close of the listeners until all remaining connections are aborted.
    pub(crate) grace: Duration,
    /// Time over which 10,000 sessions are closed.
    pub(crate) drain: Duration,
    /// Time that a client has to respond to a close frame.
    pub(crate) close_grace: Duration,
}

/// The state of a stop that all shards share. It is set at most once.
#[derive(Debug)]
pub(crate) struct StopFlag {
    plan: OnceLock<StopPlan>,
    /// Receives two [`Ending`]s from each shard.
    endings: OnceLock<Sender<Ending>>,
    /// Each shard has stopped taking work, and has finished or posted what it had accepted.
    work_finished: Milestone,
    /// Sessions of the shards that have reached `work_finished`.
    sessions: AtomicUsize,
    /// Each shard has only idle HTTP connections, or none.
    idle: Milestone,
}

/// A point that every shard reaches once.
#[derive(Debug)]
struct Milestone {
    /// Shards that have not reached it.
    missing: AtomicUsize,
}

/// A report of a shard's thread at its end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The loop has ended, with these counters.
    Counted(Counters),
    /// The runtime is gone, with its tasks and blocking work.
    Gone,
}

impl StopPlan {
    /// Returns the pace at which a shard closes its `own` sessions of the process's `all`, after
    /// `spent` of the grace period.
    ///
    /// The first [`AT_ONCE_MAX`] sessions of the process are closed at once. The others are closed
    /// over `drain`, in proportion to [`DRAIN_SESSIONS`], but early enough that the last one has
    /// its close grace, or half of `grace` if that is less, before it is aborted.
    pub(crate) fn pace(&self, own: usize, all: usize, spent: Duration) -> Pace {
        let all = all.max(own);
        if all <= AT_ONCE_MAX {
            return Pace::AT_ONCE;
        }
        let wanted_ms = self.drain.as_millis() * all as u128 / DRAIN_SESSIONS;
        let last_ms = self.close_grace.min(self.grace / 2);
        let left_ms = self.grace.saturating_sub(last_ms).saturating_sub(spent);
        let ticks = wanted_ms.min(left_ms.as_millis()) / u128::from(TICK_MS);
        Pace {
            at_once: AT_ONCE_MAX * own / all,
            over: Ticks(u32::try_from(ticks).unwrap_or(u32::MAX)),
        }
    }

    /// Returns the longest time for which a shard waits for the others to finish accepted work. A
    /// handler that blocks one shard must not delay the sessions of the others.
    pub(crate) fn finish_wait_max(&self) -> Duration {
        FINISH_WAIT_MAX.min(self.grace / 4)
    }
}

impl StopFlag {
    /// Creates the flag of a gateway with `shards` shards, not set.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            plan: OnceLock::new(),
            endings: OnceLock::new(),
            work_finished: Milestone::of(shards),
            sessions: AtomicUsize::new(0),
            idle: Milestone::of(shards),
        }
    }

    /// Requests the stop. The caller must wake the shards. Later calls do nothing.
    pub(crate) fn set(&self, plan: StopPlan) {
        if self.plan.set(plan).is_err() {
            tracing::debug!("already stopping");
        }
    }

    /// Requests the stop as [`StopFlag::set`] does, and has each shard send two [`Ending`]s.
    pub(crate) fn set_and_report(&self, plan: StopPlan, endings: Sender<Ending>) {
        if self.endings.set(endings).is_err() {
            tracing::debug!("the end of the shards is already awaited");
        }
        self.set(plan);
    }

    /// Sends an [`Ending`] to the receiver, if there is one.
    pub(crate) fn send_ending(&self, ending: Ending) {
        if let Some(endings) = self.endings.get() {
            drop(endings.send(ending)); // the receiver may have stopped waiting
        }
    }

    /// Returns the plan; `None` until a stop is requested.
    pub(crate) fn plan(&self) -> Option<&StopPlan> {
        self.plan.get()
    }

    /// Records that a shard with `sessions` sessions takes no new work, and has finished or posted
    /// what it had accepted. Returns whether it is the last shard to do so.
    pub(crate) fn finish_work(&self, sessions: usize) -> bool {
        self.sessions.fetch_add(sessions, Ordering::Relaxed);
        self.work_finished.reach()
    }

    /// Returns whether every shard has finished accepted work, so that all of its messages are in
    /// the mailboxes.
    pub(crate) fn all_work_finished(&self) -> bool {
        self.work_finished.is_reached()
    }

    /// Returns the number of sessions of the shards that have finished accepted work.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Records that a shard has only idle HTTP connections. Returns whether it is the last shard.
    pub(crate) fn report_idle(&self) -> bool {
        self.idle.reach()
    }

    /// Returns whether all shards have only idle HTTP connections.
    pub(crate) fn all_idle(&self) -> bool {
        self.idle.is_reached()
    }
}

impl Milestone {
    fn of(shards: usize) -> Self {
        Self {
            missing: AtomicUsize::new(shards),
        }
    }

    fn reach(&self) -> bool {
        let before = self.missing.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "each shard comes here once");
        before == 1
    }

    fn is_reached(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }
}

/// Number of sessions to which the config's `drain_ms` refers.
const DRAIN_SESSIONS: u128 = 10_000;
/// Sessions of the process that are closed at once.
const AT_ONCE_MAX: usize = 100;
const FINISH_WAIT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const PLAN: StopPlan = StopPlan {
        delay: Duration::ZERO,
        grace: ms(64_000),
        drain: ms(6_400),
        close_grace: ms(6_400),
    };

    #[track_caller]
    fn check(plan: &StopPlan, own: usize, all: usize, at_once: usize, over: u32) {
        let pace = Pace {
            at_once,
            over: Ticks(over),
        };
        assert_eq!(plan.pace(own, all, Duration::ZERO), pace, "{own} of {all}");
    }

    #[test]
    fn the_pace_is_in_proportion_to_the_sessions_of_the_process() {
        for (own, all) in [(0, 0), (1, 1), (50, 100), (100, 100), (100, 0)] {
            assert_eq!(PLAN.pace(own, all, Duration::ZERO), Pace::AT_ONCE);
        }
        check(&PLAN, 10_000, 10_000, 100, 100);
        check(&PLAN, 5_000, 10_000, 50, 100);
        check(&PLAN, 2_500, 2_500, 100, 25);
        check(&PLAN, 0, 2_500, 0, 25);
        check(&PLAN, 20_000, 20_000, 100, 200);
        // Less than a tick is no time.
        check(&PLAN, 101, 101, 100, 1);
        check(
            &StopPlan {
                drain: ms(63),
                ..PLAN
            },
            9_999,
            9_999,
            100,
            0,
        );
    }

    #[test]
    fn the_last_session_has_its_close_grace_before_the_end() {
        let most = (64_000 - 6_400) / 64;
        check(&PLAN, 1_000_000, 1_000_000, 100, most);
        let forever = StopPlan {
            close_grace: ms(600_000),
            ..PLAN
        };
        check(&forever, 1_000_000, 1_000_000, 100, 32_000 / 64);
        let pace = PLAN.pace(1_000_000, 1_000_000, ms(640));
        assert_eq!(pace.over, Ticks(most - 10), "what is spent is not there");
        let pace = PLAN.pace(1_000_000, 1_000_000, ms(1 << 40));
        assert_eq!(pace.over, Ticks(0));
        let endless = StopPlan {
            grace: Duration::from_secs(1 << 32),
            drain: Duration::from_secs(1 << 32),
            ..PLAN
        };
        check(&endless, 1 << 40, 1 << 40, 100, u32::MAX);
    }
}
