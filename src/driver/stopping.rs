//! The stages of a shard's stop (`stop.rs` has the diagram).
//!
//! A shard enters the next stage in a turn of its loop: when the time of a stage is over, or when
//! the last shard has reached the same point and wakes the others.

use super::run::Loop;
use super::stop::StopPlan;
use std::io;
use std::time::Instant;

/// The state of a shard's stop.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    stage: Stage,
    /// Time at which remaining connections are aborted; `None` before the listeners close.
    abort_at: Option<Instant>,
    /// The grace period is over and remaining connections were aborted.
    pub(super) has_aborted: bool,
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

impl Stopping {
    /// Returns whether the listeners are closed or about to be.
    pub(super) fn closes_listeners(&self) -> bool {
        self.abort_at.is_some()
    }

    /// Returns whether the shard has begun to close its sessions.
    pub(super) fn has_begun_to_close(&self) -> bool {
        matches!(self.stage, Stage::Draining | Stage::Closing)
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
}

impl Loop {
    /// Returns whether the next stage can begin without waiting for time or arrivals.
    pub(super) fn can_advance_stop(&mut self) -> bool {
        match self.state.stopping.stage {
            Stage::Running => self.stop.plan().is_some(),
            Stage::Waiting { .. } => self.stop.all_work_finished(),
            Stage::Draining => self.stop.all_idle() || self.is_newly_idle(),
            Stage::Delaying { .. } | Stage::Finishing { .. } | Stage::Closing => false,
        }
    }

    /// Enters all stages that can be entered at `now`, and aborts connections when the grace is
    /// over.
    pub(super) fn advance_stop(&mut self, now: Instant) -> io::Result<()> {
        let Some(plan) = self.stop.plan().copied() else {
            return Ok(());
        };
        while let Some(next) = self.next_stage(&plan, now)? {
            self.state.stopping.stage = next;
        }
        let abort_at = &mut self.state.stopping.abort_at;
        if self.host.take_resumed() && abort_at.is_some() {
            // The process was paused, so its clients have not had the grace period.
            *abort_at = Some(now + plan.grace);
        }
        if abort_at.is_some_and(|at| at <= now) {
            self.state.stopping.has_aborted = true;
            self.host.abort_all();
        }
        Ok(())
    }

    /// Does the work that leads to the next stage and returns that stage; `None` if it cannot begin
    /// yet.
    fn next_stage(&mut self, plan: &StopPlan, now: Instant) -> io::Result<Option<Stage>> {
        Ok(match self.state.stopping.stage {
            Stage::Running => {
                self.host.announce_stop();
                let until = now + plan.delay;
                Some(Stage::Delaying { until })
            }
            Stage::Delaying { until } if until <= now => {
                self.state.stopping.abort_at = Some(now + plan.grace);
                self.close_listeners()?;
                self.host.begin_stop();
                let until = now + plan.finish_wait_max();
                Some(Stage::Finishing { since: now, until })
            }
            Stage::Finishing { since, until } if self.host.finish_accepted() || until <= now => {
                if self.stop.finish_work(self.host.sessions_count()) {
                    self.exchange.wake_all();
                }
                Some(Stage::Waiting { since, until })
            }
            Stage::Waiting { since, until } if until <= now || self.stop.all_work_finished() => {
                let spent = now.duration_since(since);
                let own = self.host.sessions_count();
                let pace = plan.pace(own, self.stop.sessions(), spent);
                self.host.begin_drain(pace);
                Some(Stage::Draining)
            }
            Stage::Draining => {
                self.report_idle();
                if self.stop.all_idle() {
                    self.host.close_idle();
                    Some(Stage::Closing)
                } else {
                    None
                }
            }
            Stage::Delaying { .. }
            | Stage::Finishing { .. }
            | Stage::Waiting { .. }
            | Stage::Closing => None,
        })
    }

    /// Returns whether this shard has only idle HTTP connections and has not reported it. A
    /// connection just accepted is idle only after the kernel was entered to look for its input.
    fn is_newly_idle(&mut self) -> bool {
        !self.state.stopping.reported_idle
            && self.has_closed_listeners()
            && !self.ring.wants_enter()
            && !self.ring.has_completions()
            && self.host.is_idle()
    }

    /// Reports once that this shard has only idle HTTP connections.
    fn report_idle(&mut self) {
        if self.is_newly_idle() {
            self.state.stopping.reported_idle = true;
            if self.stop.report_idle() {
                self.exchange.wake_all();
            }
        }
    }
}
