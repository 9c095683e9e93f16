//! The wish to stop, seen by every shard, and what the shards tell each other and whoever has it.
//!
//! ```text
//!   set --delay--> listeners close, no new work --all shards have finished what was accepted-->
//!       sessions are closed at a pace --nothing but idle HTTP connections anywhere--> those too
//!   ... and after `grace`, from the close of the listeners on, whatever is left is cut
//! ```

use crate::host::Pace;
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::{TICK_MS, Ticks};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How a gateway stops.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct StopPlan {
    /// From the wish to stop to the close of the listeners.
    pub(crate) delay: Duration,
    /// From the close of the listeners until everything that is left is cut.
    pub(crate) grace: Duration,
    /// In which 10,000 sessions are closed.
    pub(crate) drain: Duration,
    /// That a client has to answer a close frame.
    pub(crate) close_grace: Duration,
}

/// Unset, or set once with a plan.
#[derive(Debug)]
pub(crate) struct StopFlag {
    plan: OnceLock<StopPlan>,
    /// Who hears of the shards' ends.
    endings: OnceLock<Sender<Ending>>,
    /// No shard takes new work, and what was accepted before is in mailboxes or done.
    settled: Milestone,
    /// Sessions of the shards that have settled.
    sessions: AtomicUsize,
    /// No shard has anything but idle HTTP connections.
    idle: Milestone,
}

/// Something that every shard comes to once.
#[derive(Debug)]
struct Milestone {
    /// Shards that have not.
    missing: AtomicUsize,
}

/// What a shard's thread says at its end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its loop has ended; this is what it has counted.
    Counted(Counters),
    /// The tasks of its runtime are gone, and no work that blocks is left.
    Gone,
}

impl StopPlan {
    /// How a shard with `own` of the `all` sessions of the process closes them, if `spent` of the
    /// grace is over.
    ///
    /// The first [`AT_ONCE_MAX`] of the process are closed at once and the others in the share of
    /// `drain` that they are of [`DRAIN_SESSIONS`], but early enough that the last one has its
    /// close grace, or half of `grace` if that is less, before it is cut.
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

    /// How long a shard waits for the others to finish what they have accepted, at most: one whose
    /// handler holds it must not hold up the others' sessions.
    pub(crate) fn settling_max(&self) -> Duration {
        SETTLING_MAX.min(self.grace / 4)
    }
}

impl StopFlag {
    /// For a gateway of so many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            plan: OnceLock::new(),
            endings: OnceLock::new(),
            settled: Milestone::of(shards),
            sessions: AtomicUsize::new(0),
            idle: Milestone::of(shards),
        }
    }

    /// Asks every shard to stop; the shards must be woken then. The first call counts.
    pub(crate) fn set(&self, plan: StopPlan) {
        if self.plan.set(plan).is_err() {
            tracing::debug!("already stopping");
        }
    }

    /// [`StopFlag::set`] for somebody who waits for the shards, each of which says two things.
    pub(crate) fn set_and_hear(&self, plan: StopPlan, endings: Sender<Ending>) {
        if self.endings.set(endings).is_err() {
            tracing::debug!("somebody hears of it already");
        }
        self.set(plan);
    }

    /// Tells whoever waits for the shards, if anybody does.
    pub(crate) fn say(&self, ending: Ending) {
        if let Some(endings) = self.endings.get() {
            drop(endings.send(ending)); // nobody need wait any more
        }
    }

    /// How to stop; `None` while nobody wants to.
    pub(crate) fn plan(&self) -> Option<&StopPlan> {
        self.plan.get()
    }

    /// A shard with so many sessions takes no new work, and has done or posted what it had
    /// accepted. Returns whether it is the last one.
    pub(crate) fn settle(&self, sessions: usize) -> bool {
        self.sessions.fetch_add(sessions, Ordering::Relaxed);
        self.settled.reach()
    }

    /// Whether every shard has settled: whatever was accepted before is in the mailboxes.
    pub(crate) fn all_settled(&self) -> bool {
        self.settled.is_reached()
    }

    /// How many sessions there were on the shards that have settled.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// A shard has nothing but idle HTTP connections. Returns whether it is the last one.
    pub(crate) fn become_idle(&self) -> bool {
        self.idle.reach()
    }

    /// Whether no shard has anything but idle HTTP connections.
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

/// The number of sessions that the config's `drain_ms` is for.
const DRAIN_SESSIONS: u128 = 10_000;
/// Sessions of a process that are closed at once.
const AT_ONCE_MAX: usize = 100;
const SETTLING_MAX: Duration = Duration::from_secs(1);

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
