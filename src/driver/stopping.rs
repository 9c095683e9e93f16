//! The steps of a shard's stop (`stop_stages.rs` decides which is next).

use super::clock::Clock;
use super::kernel::Kernel;
use super::run::Loop;
use super::stop::StopPlan;
use super::stop_stages::{StopFacts, StopStep};
use std::io;
use std::time::Instant;

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Returns whether the next step can be done without waiting for time or arrivals.
    pub(super) fn can_advance_stop(&mut self) -> bool {
        if self.state.stopping.is_running() {
            return self.stop.plan().is_some();
        }
        let facts = self.stop_facts();
        self.state.stopping.can_advance(facts)
    }

    /// Does all steps that can be done at `now`, and aborts connections when the grace is over.
    pub(super) fn advance_stop(&mut self, now: Instant) -> io::Result<()> {
        let Some(plan) = self.stop.plan().copied() else {
            return Ok(());
        };
        loop {
            let facts = self.stop_facts();
            let finish_accepted = || self.host.finish_accepted();
            let stages = &mut self.state.stopping;
            let Some(step) = stages.next_step(&plan, now, facts, finish_accepted) else {
                break;
            };
            self.do_stop_step(step, &plan)?;
        }
        if self.host.take_resumed() {
            self.state.stopping.restart_grace(&plan, now);
        }
        if self.state.stopping.aborts(now) {
            self.host.abort_all();
        }
        Ok(())
    }

    fn do_stop_step(&mut self, step: StopStep, plan: &StopPlan) -> io::Result<()> {
        match step {
            StopStep::Announce => self.host.announce_stop(),
            StopStep::CloseListeners => {
                self.close_listeners()?;
                self.host.begin_stop();
            }
            StopStep::ReportFinished => {
                if self.stop.finish_work(self.host.sessions_count()) {
                    self.exchange.wake_all();
                }
            }
            StopStep::Drain { spent } => {
                let own = self.host.sessions_count();
                self.host
                    .begin_drain(plan.pace(own, self.stop.sessions(), spent));
            }
            StopStep::ReportIdle => {
                if self.stop.report_idle() {
                    self.exchange.wake_all();
                }
            }
            StopStep::CloseIdle => self.host.close_idle(),
        }
        Ok(())
    }

    fn stop_facts(&mut self) -> StopFacts {
        StopFacts {
            all_work_finished: self.stop.all_work_finished(),
            is_idle: self.state.stopping.asks_whether_idle() && self.is_idle(),
            all_idle: self.stop.all_idle(),
        }
    }

    /// Returns whether this shard has only idle HTTP connections. A connection just accepted is
    /// idle only after the kernel was entered to look for its input.
    fn is_idle(&mut self) -> bool {
        self.has_closed_listeners()
            && !self.kernel.wants_enter()
            && !self.kernel.has_completions()
            && self.host.is_idle()
    }
}
