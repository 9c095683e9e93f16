//! The stages of a shard's stop, as its loop goes through them (`stop.rs` has the picture).
//!
//! A shard comes from one stage to the next in a turn of its loop: when the time of the stage is
//! over, or when the last shard has come as far and wakes the others.

use super::run::Loop;
use super::stop::StopPlan;
use std::io;
use std::time::Instant;

/// How far a shard has come.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    stage: Stage,
    /// When everything that is left is cut; `None` before listeners close.
    cut_at: Option<Instant>,
    /// The grace is over, and what had not ended was cut.
    pub(super) was_cut: bool,
    /// The other shards know that there is nothing but idle HTTP connections here.
    has_become_idle: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// Nobody wants to stop.
    #[default]
    Running,
    /// `/health` says that the gateway is stopping; everything else goes on.
    Delaying { until: Instant },
    /// No new work is taken, and what was accepted before is done.
    Finishing { since: Instant, until: Instant },
    /// It is done, or has taken too long. Other shards may have messages for this one yet, but are
    /// not waited for beyond `until`.
    Settled { since: Instant, until: Instant },
    /// Sessions are being closed, or have been.
    Draining,
    /// There are no sessions left on any shard, and idle HTTP connections have been closed.
    Closing,
}

impl Stopping {
    /// Whether the listeners are closed, or about to be.
    pub(super) fn closes_listeners(&self) -> bool {
        self.cut_at.is_some()
    }

    /// Whether the shard has been told to close its sessions, so that it may have come to its end.
    pub(super) fn has_begun_to_close(&self) -> bool {
        matches!(self.stage, Stage::Draining | Stage::Closing)
    }

    /// When the loop must look at the stop even if nothing arrives.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Delaying { until }
            | Stage::Finishing { until, .. }
            | Stage::Settled { until, .. } => Some(until),
            Stage::Running | Stage::Draining | Stage::Closing => None,
        };
        let cut = self.cut_at.filter(|_| !self.was_cut);
        stage.into_iter().chain(cut).min()
    }
}

impl Loop {
    /// Whether the stop can go on without waiting for time or for more to arrive.
    pub(super) fn can_step_stop(&mut self) -> bool {
        match self.state.stopping.stage {
            Stage::Running => self.stop.plan().is_some(),
            Stage::Settled { .. } => self.stop.all_settled(),
            Stage::Draining => self.stop.all_idle() || self.has_just_become_idle(),
            Stage::Delaying { .. } | Stage::Finishing { .. } | Stage::Closing => false,
        }
    }

    /// Goes as far with the stop as can be at `now`.
    pub(super) fn step_stop(&mut self, now: Instant) -> io::Result<()> {
        let Some(plan) = self.stop.plan().copied() else {
            return Ok(());
        };
        while let Some(next) = self.next_stage(&plan, now)? {
            self.state.stopping.stage = next;
        }
        let cut_at = &mut self.state.stopping.cut_at;
        if self.host.take_resumed() && cut_at.is_some() {
            // The process was paused, and clients could not be heard.
            *cut_at = Some(now + plan.grace);
        }
        if cut_at.is_some_and(|at| at <= now) {
            self.state.stopping.was_cut = true;
            self.host.cut_all();
        }
        Ok(())
    }

    /// Does what leads to the next stage, and returns that; `None` if it cannot be done yet.
    fn next_stage(&mut self, plan: &StopPlan, now: Instant) -> io::Result<Option<Stage>> {
        Ok(match self.state.stopping.stage {
            Stage::Running => {
                self.host.announce_stop();
                let until = now + plan.delay;
                Some(Stage::Delaying { until })
            }
            Stage::Delaying { until } if until <= now => {
                self.state.stopping.cut_at = Some(now + plan.grace);
                self.close_listeners()?;
                self.host.begin_stop();
                let until = now + plan.settling_max();
                Some(Stage::Finishing { since: now, until })
            }
            Stage::Finishing { since, until } if self.host.finish_accepted() || until <= now => {
                if self.stop.settle(self.host.sessions_count()) {
                    self.exchange.wake_all();
                }
                Some(Stage::Settled { since, until })
            }
            Stage::Settled { since, until } if until <= now || self.stop.all_settled() => {
                let spent = now.duration_since(since);
                let own = self.host.sessions_count();
                let pace = plan.pace(own, self.stop.sessions(), spent);
                self.host.begin_drain(pace);
                Some(Stage::Draining)
            }
            Stage::Draining => {
                self.become_idle();
                if self.stop.all_idle() {
                    self.host.close_idle();
                    Some(Stage::Closing)
                } else {
                    None
                }
            }
            Stage::Delaying { .. }
            | Stage::Finishing { .. }
            | Stage::Settled { .. }
            | Stage::Closing => None,
        })
    }

    /// Whether there is nothing but idle HTTP connections here and the others do not know. A
    /// connection that was just accepted is not idle before the kernel was asked what it has sent.
    fn has_just_become_idle(&mut self) -> bool {
        !self.state.stopping.has_become_idle
            && self.has_closed_listeners()
            && !self.ring.wants_enter()
            && !self.ring.has_completions()
            && self.host.is_idle()
    }

    /// Tells the other shards once there is nothing but idle HTTP connections here.
    fn become_idle(&mut self) {
        if self.has_just_become_idle() {
            self.state.stopping.has_become_idle = true;
            if self.stop.become_idle() {
                self.exchange.wake_all();
            }
        }
    }
}
