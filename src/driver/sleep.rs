//! A loop without work: busy polling, yielding to the runtime, sleeping (docs/design/io.md 2).

use super::clock::Clock;
use super::kernel::Kernel;
use super::run::Loop;
use crate::logging::limited;
use crate::runtime::panic::guarded;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Continues at once if there is work, after tasks of the runtime had their turn; else sleeps.
    pub(super) async fn rest(&mut self) -> io::Result<()> {
        if self.host.take_tasks_ready() {
            self.yield_now().await;
        } else if self.has_work() {
            self.yield_periodically().await;
        } else if self.busy_poll_once() {
            if !self.has_work() {
                self.yield_now().await;
            }
        } else {
            self.sleep().await?;
        }
        Ok(())
    }

    async fn yield_now(&mut self) {
        self.state.turns_since_yield = 0;
        tokio::task::yield_now().await;
    }

    /// Yields to the runtime's tasks and timers every [`TURNS_PER_YIELD`] turns. A yield costs two
    /// system calls; a shard that sleeps yields anyway.
    async fn yield_periodically(&mut self) {
        self.state.turns_since_yield += 1;
        if self.state.turns_since_yield >= TURNS_PER_YIELD {
            self.yield_now().await;
        }
    }

    /// Busy-polls for at most 50 us, so that timers and tasks get their turn. Returns `false` if
    /// the shard may sleep: polling is off, or `limits.busy_poll_us` have passed since the last
    /// work.
    fn busy_poll_once(&mut self) -> bool {
        if self.limits.busy_poll.is_zero() {
            return false;
        }
        let until = self.state.worked_at + self.limits.busy_poll;
        let mut now = self.clock.now();
        let slice_ends = until.min(now + BUSY_POLL_SLICE);
        while now < slice_ends {
            for _ in 0..SPINS_PER_CHECK {
                std::hint::spin_loop();
            }
            if self.has_work() {
                return true;
            }
            now = self.clock.now();
        }
        now < until
    }

    /// Sleeps until something arrives or is due.
    async fn sleep(&mut self) -> io::Result<()> {
        let exchange = Arc::clone(&self.exchange);
        let flag = exchange.sleep_flag(self.id);
        self.kernel.set_wake_up_enabled(true);
        flag.begin_sleep();
        if !self.has_work() {
            self.state.turns_since_yield = 0;
            let slept_at = self.clock.now();
            match self.wake_at(slept_at) {
                None => self.kernel.woken().await?,
                Some(at) => match self.clock.within(at, self.kernel.woken()).await {
                    Some(woken) => woken?,
                    None => self.on_idle(slept_at),
                },
            }
        }
        flag.end_sleep();
        self.kernel.set_wake_up_enabled(false);
        Ok(())
    }

    /// Returns when to wake even if nothing arrives; `None` for never.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let due = self.host.poll_wake().map(|tick| self.begin_of(tick));
        let collect = self.state.shrank.then_some(now + IDLE_BEFORE_COLLECT);
        let cancel = self.state.cancelled.front();
        let cancel = cancel.map(|&(since, _)| since + self.limits.cancel_timeout);
        let accept = self.state.accept_backoff.again_at();
        let stop = self.state.stopping.wake_at();
        [due, collect, cancel, accept, stop]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns freed memory to the system after [`IDLE_BEFORE_COLLECT`] without work.
    fn on_idle(&mut self, slept_at: Instant) {
        let idle = self.clock.now().duration_since(slept_at);
        if self.state.shrank && idle >= IDLE_BEFORE_COLLECT {
            self.state.shrank = false;
            self.host.free_spare();
            self.state.stages.free_spare();
            if self.state.deferred.is_empty() {
                self.kernel.release_memory();
            }
            if let Some(function) = &self.on_idle
                && guarded(|| function()).is_err()
            {
                limited!(ERROR, "the idle function panicked");
            }
        }
    }
}

/// Idle time after which freed memory is returned to the system.
const IDLE_BEFORE_COLLECT: Duration = Duration::from_secs(1);
/// Turns of a busy shard between two yields to the runtime.
const TURNS_PER_YIELD: u32 = 32;
/// Length of one busy poll, after which timers and tasks get their turn.
const BUSY_POLL_SLICE: Duration = Duration::from_micros(50);
/// Spin-loop hints between two checks for work.
const SPINS_PER_CHECK: u32 = 16;
