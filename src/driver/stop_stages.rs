//! The stages of a shard's stop, as a state machine without a kernel, a clock or a host
//! (`stop.rs` has the diagram).
//!
//! It is told what is so and says what to do next. A shard enters the next stage when the time of a
//! stage is over, or when the last shard has reached the same point and wakes the others.

use super::stop::StopPlan;
use std::time::{Duration, Instant};

/// The state of a shard's stop.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StopStages {
    stage: Stage,
    /// Time at which remaining connections are aborted; `None` before the listeners close.
    abort_at: Option<Instant>,
    /// The grace period is over and remaining connections were aborted.
    has_aborted: bool,
    /// This shard has reported that it has only idle HTTP connections.
    reported_idle: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// No stop is requested.
    #[default]
    Running,
    /// `/health` reports the stop; everything else goes on.
    Delaying { until: Instant },
    /// No new work is accepted, and accepted work is being finished.
    Finishing { since: Instant, until: Instant },
    /// Accepted work is finished or has taken too long. The shard waits until `until` for the
    /// others, which may still send messages to it.
    Waiting { since: Instant, until: Instant },
    /// Sessions are being closed, or have been.
    Draining,
    /// No shard has sessions left, and idle HTTP connections have been closed.
    Closing,
}

/// What is so on this shard and the others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StopFacts {
    /// All shards have finished accepted work.
    pub(super) all_work_finished: bool,
    /// This shard has only idle HTTP connections and has not reported it. `false` unless
    /// [`StopStages::asks_whether_idle`].
    pub(super) is_idle: bool,
    /// All shards have reported that they have only idle HTTP connections.
    pub(super) all_idle: bool,
}

/// The next thing to do for a stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StopStep {
    /// Report the stop in `/health`.
    Announce,
    /// Close the listeners and accept no new work.
    CloseListeners,
    /// Report that accepted work is finished or has taken too long.
    ReportFinished,
    /// Begin to close the sessions, after this part of the grace period.
    Drain { spent: Duration },
    /// Report that this shard has only idle HTTP connections.
    ReportIdle,
    /// Close idle HTTP connections.
    CloseIdle,
}

impl StopStages {
    /// Returns whether the listeners are closed or about to be.
    pub(super) fn closes_listeners(&self) -> bool {
        self.abort_at.is_some()
    }

    /// Returns whether the shard has begun to close its sessions.
    pub(super) fn has_begun_to_close(&self) -> bool {
        matches!(self.stage, Stage::Draining | Stage::Closing)
    }

    /// Returns whether remaining connections were aborted.
    pub(super) fn has_aborted(&self) -> bool {
        self.has_aborted
    }

    /// Returns whether the next step depends on whether this shard is idle.
    pub(super) fn asks_whether_idle(&self) -> bool {
        self.stage == Stage::Draining && !self.reported_idle
    }

    /// Returns whether no stop has begun.
    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Returns when the next stage is due even if nothing arrives.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Delaying { until }
            | Stage::Finishing { until, .. }
            | Stage::Waiting { until, .. } => Some(until),
            Stage::Running | Stage::Draining | Stage::Closing => None,
        };
        let abort = self.abort_at.filter(|_| !self.has_aborted);
        stage.into_iter().chain(abort).min()
    }

    /// Returns whether a begun stop has a next step that waits neither for time nor for arrivals.
    pub(super) fn can_advance(&self, facts: StopFacts) -> bool {
        match self.stage {
            Stage::Waiting { .. } => facts.all_work_finished,
            Stage::Draining => facts.all_idle || facts.is_idle,
            Stage::Running | Stage::Delaying { .. } | Stage::Finishing { .. } | Stage::Closing => {
                false
            }
        }
    }

    /// Returns the next step that can be done at `now`; `None` if there is none. The caller does
    /// it. `finish_accepted` continues accepted work and returns whether all is finished.
    pub(super) fn next_step(
        &mut self,
        plan: &StopPlan,
        now: Instant,
        facts: StopFacts,
        finish_accepted: impl FnOnce() -> bool,
    ) -> Option<StopStep> {
        let (stage, step) = match self.stage {
            Stage::Running => {
                let until = now + plan.delay;
                (Stage::Delaying { until }, StopStep::Announce)
            }
            Stage::Delaying { until } if until <= now => {
                self.abort_at = Some(now + plan.grace);
                let until = now + plan.finish_wait_max();
                let finishing = Stage::Finishing { since: now, until };
                (finishing, StopStep::CloseListeners)
            }
            Stage::Finishing { since, until } if finish_accepted() || until <= now => {
                (Stage::Waiting { since, until }, StopStep::ReportFinished)
            }
            Stage::Waiting { since, until } if until <= now || facts.all_work_finished => {
                let spent = now.duration_since(since);
                (Stage::Draining, StopStep::Drain { spent })
            }
            Stage::Draining if facts.is_idle => {
                self.reported_idle = true;
                (Stage::Draining, StopStep::ReportIdle)
            }
            Stage::Draining if facts.all_idle => (Stage::Closing, StopStep::CloseIdle),
            Stage::Delaying { .. }
            | Stage::Finishing { .. }
            | Stage::Waiting { .. }
            | Stage::Draining
            | Stage::Closing => return None,
        };
        self.stage = stage;
        Some(step)
    }

    /// Restarts the grace period, if it has begun: the process was paused, so its clients have not
    /// had it.
    pub(super) fn restart_grace(&mut self, plan: &StopPlan, now: Instant) {
        if let Some(abort_at) = &mut self.abort_at {
            *abort_at = now + plan.grace;
        }
    }

    /// Returns whether the grace period is over at `now`, so that remaining connections are to be
    /// aborted.
    pub(super) fn aborts(&mut self, now: Instant) -> bool {
        let is_over = self.abort_at.is_some_and(|at| at <= now);
        self.has_aborted |= is_over;
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::any_instant;

    const PLAN: StopPlan = StopPlan {
        delay: Duration::from_secs(2),
        grace: Duration::from_secs(8),
        drain: Duration::ZERO,
        close_grace: Duration::from_secs(1),
    };

    const NOTHING: StopFacts = StopFacts {
        all_work_finished: false,
        is_idle: false,
        all_idle: false,
    };

    fn next(stages: &mut StopStages, now: Instant, facts: StopFacts) -> Option<StopStep> {
        stages.next_step(&PLAN, now, facts, || false)
    }

    #[test]
    fn a_stop_goes_from_stage_to_stage_as_work_is_finished() {
        let (began, mut stages) = (any_instant(), StopStages::default());
        assert!(stages.is_running() && !stages.can_advance(NOTHING));
        assert_eq!(next(&mut stages, began, NOTHING), Some(StopStep::Announce));
        assert_eq!(next(&mut stages, began, NOTHING), None);
        assert_eq!(stages.wake_at(), Some(began + PLAN.delay));
        assert!(!stages.closes_listeners());

        let closed = began + PLAN.delay;
        let step = next(&mut stages, closed, NOTHING);
        assert_eq!(step, Some(StopStep::CloseListeners));
        assert!(stages.closes_listeners() && !stages.has_begun_to_close());
        assert_eq!(next(&mut stages, closed, NOTHING), None, "work goes on");
        let step = stages.next_step(&PLAN, closed, NOTHING, || true);
        assert_eq!(step, Some(StopStep::ReportFinished));

        assert!(!stages.can_advance(NOTHING));
        let finished = StopFacts {
            all_work_finished: true,
            ..NOTHING
        };
        assert!(stages.can_advance(finished));
        let spent = Duration::from_millis(10);
        let step = next(&mut stages, closed + spent, finished);
        assert_eq!(step, Some(StopStep::Drain { spent }));
        assert!(stages.has_begun_to_close());

        let idle = StopFacts {
            is_idle: true,
            ..finished
        };
        assert!(stages.asks_whether_idle() && stages.can_advance(idle));
        let step = next(&mut stages, closed + spent, idle);
        assert_eq!(step, Some(StopStep::ReportIdle));
        assert!(!stages.asks_whether_idle(), "it is reported once");
        assert_eq!(next(&mut stages, closed + spent, finished), None);
        let all_idle = StopFacts {
            all_idle: true,
            ..finished
        };
        let step = next(&mut stages, closed + spent, all_idle);
        assert_eq!(step, Some(StopStep::CloseIdle));
        assert_eq!(next(&mut stages, closed + spent, all_idle), None);
        assert_eq!(stages.wake_at(), Some(closed + PLAN.grace));
    }

    #[test]
    fn a_stop_waits_for_work_until_a_quarter_of_the_grace_is_over() {
        let (began, mut stages) = (any_instant(), StopStages::default());
        next(&mut stages, began, NOTHING);
        let closed = began + PLAN.delay;
        next(&mut stages, closed, NOTHING);
        let over = closed + PLAN.finish_wait_max();
        assert_eq!(stages.wake_at(), Some(over));
        let step = next(&mut stages, over, NOTHING);
        assert_eq!(step, Some(StopStep::ReportFinished));
        let spent = PLAN.finish_wait_max();
        let step = next(&mut stages, over, NOTHING);
        assert_eq!(step, Some(StopStep::Drain { spent }));
    }

    #[test]
    fn the_grace_restarts_after_a_pause_of_the_process() {
        let (began, mut stages) = (any_instant(), StopStages::default());
        next(&mut stages, began, NOTHING);
        stages.restart_grace(&PLAN, began);
        assert!(!stages.aborts(began + PLAN.grace), "it has not begun");
        let closed = began + PLAN.delay;
        next(&mut stages, closed, NOTHING);
        stages.restart_grace(&PLAN, closed + PLAN.grace);
        assert!(!stages.aborts(closed + PLAN.grace) && !stages.has_aborted());
        assert!(stages.aborts(closed + 2 * PLAN.grace) && stages.has_aborted());
    }
}
