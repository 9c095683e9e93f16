//! A shard's loop: turns of the data ring inside a tokio-uring runtime.
//!
//! A turn enters the kernel if there is a reason to, handles arrivals, looks again a limited number
//! of times, and then sends. The shard sleeps by the protocol of `sleep.rs`. The loop is the future
//! given to `block_on` and owns the shard; no other thread touches it.

#![expect(unsafe_code, reason = "the kernel reads what the host has lent")]

use super::accept::Listener;
use super::errno::{ECANCELED, ENOBUFS};
use super::overload::SpareDescriptor;
use super::stop::StopFlag;
use super::stopping::Stopping;
use super::turn::{self, TurnSteps};
use super::uring::ring::{Completion, DataRing, Operation, SendBytes};
use super::uring::socket::{Sockets, reset_on_close, shutdown_write, unacknowledged_bytes};
use super::{IdleFunction, TurnLimits};
use crate::host::{Host, Moment};
use crate::logging::limited;
use crate::mailbox::Exchange;
use crate::runtime::fault::Fault;
use crate::runtime::panic::guarded;
use crate::shard::CloseStep;
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::Tick;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// The state of a shard's thread.
pub(super) struct Loop {
    /// First, so that it is dropped before the host, whose memory the kernel may still read. That
    /// holds on an error and on a panic too.
    pub(super) ring: DataRing,
    pub(super) id: ShardId,
    pub(super) host: Host,
    /// One for each address; completions carry the index.
    pub(super) listeners: Vec<Listener>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) on_idle: Option<Arc<IdleFunction>>,
    pub(super) fault: Option<Fault>,
    pub(super) stop: Arc<StopFlag>,
    pub(super) limits: TurnLimits,
    pub(super) state: LoopState,
}

/// The state that a loop keeps between turns.
pub(super) struct LoopState {
    pub(super) sockets: Sockets,
    pub(super) stopping: Stopping,
    started: Instant,
    /// Receive completions of sessions deferred while other shards' mailboxes were full, in order.
    deferred: VecDeque<Completion>,
    /// Connections whose receive ended because no receive buffer was free.
    without_buffer: Vec<ConnectionId>,
    /// Closing connections whose operations were cancelled, with the time of that.
    pub(super) cancelled: VecDeque<(Instant, ConnectionId)>,
    /// End of the pause after a failed accept.
    pub(super) accept_again_at: Option<Instant>,
    pub(super) spare: SpareDescriptor,
    /// This shard has reported to the others that nothing is left here.
    reported_done: bool,
    /// Memory was freed since it was last returned to the system.
    shrank: bool,
    turns_since_yield: u32,
    /// The last reading of the clock.
    pub(super) now: Instant,
    /// Time at which a turn last had work.
    worked_at: Instant,
}

impl LoopState {
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            sockets: Sockets::default(),
            stopping: Stopping::default(),
            started: now,
            deferred: VecDeque::new(),
            without_buffer: Vec::new(),
            cancelled: VecDeque::new(),
            accept_again_at: None,
            spare: SpareDescriptor::new(),
            reported_done: false,
            shrank: false,
            turns_since_yield: 0,
            now,
            worked_at: now,
        }
    }
}

impl Loop {
    /// Runs until the gateway has stopped and every connection has ended; returns the counters.
    ///
    /// # Errors
    ///
    /// Fails if the ring or the eventfd fails.
    pub(super) async fn run(mut self) -> io::Result<Counters> {
        let eventfd = self.ring.async_eventfd()?;
        self.start_accepting()?;
        let looks_max = self.limits.looks_per_turn_max;
        loop {
            Fault::Loop.provoke(self.fault);
            turn::turn(&mut self, looks_max)?;
            if self.is_finished() {
                return Ok(self.host.all_counters());
            }
            if self.host.take_tasks_ready() {
                self.state.turns_since_yield = 0;
                tokio::task::yield_now().await;
            } else if self.has_work() {
                self.yield_periodically().await;
            } else if self.busy_poll_once() {
                if !self.has_work() {
                    self.state.turns_since_yield = 0;
                    tokio::task::yield_now().await;
                }
            } else {
                self.sleep(&eventfd).await?;
            }
        }
    }

    /// Handles deferred receives, then completions of the ring; returns the number of the latter.
    fn handle_completions(&mut self, now: &Moment) -> io::Result<usize> {
        if !self.host.is_blocked() {
            while let Some(completion) = self.state.deferred.pop_front() {
                // The connection may be closed by now; its last completion must be handled all the
                // same.
                if !completion.more || self.state.sockets.is_current(completion.connection()) {
                    self.on_receive(now, completion)?;
                } else if let Some(buffer) = completion.buffer {
                    self.ring.filled(buffer, 0);
                    self.ring.return_buffer(buffer);
                }
            }
        }
        let mut count = 0;
        while count < COMPLETIONS_PER_PASS_MAX
            && let Some(completion) = self.ring.next_completion()
        {
            count += 1;
            self.on_completion(now, completion)?;
        }
        // Buffers have been given back by now, except those of deferred receives.
        if self.state.deferred.is_empty() && !self.state.without_buffer.is_empty() {
            for id in std::mem::take(&mut self.state.without_buffer) {
                self.receive_again(id)?;
            }
        }
        Ok(count)
    }

    fn on_completion(&mut self, now: &Moment, completion: Completion) -> io::Result<()> {
        match completion.operation {
            Operation::Accept => self.on_accept(now, completion),
            Operation::CancelAccept => Ok(()),
            Operation::Receive => {
                let id = completion.connection();
                let is_read = self.host.is_session(id) && !self.state.sockets.is_closing(id);
                if is_read && self.host.is_blocked() {
                    self.state.deferred.push_back(completion);
                    return Ok(());
                }
                self.on_receive(now, completion)
            }
            Operation::Send => self.on_sent(now, completion),
            Operation::Cancel => {
                let id = completion.connection();
                self.state.sockets.cancel_ended(id);
                self.close_if_unused(id)
            }
            Operation::Close => {
                let id = completion.connection();
                self.state.sockets.remove(id);
                self.host.handle_closed(now, id);
                let count = self.exchange.connection_closed();
                self.note_connections(count);
                Ok(())
            }
        }
    }

    fn on_receive(&mut self, now: &Moment, completion: Completion) -> io::Result<()> {
        let id = completion.connection();
        let still_wanted = self.state.sockets.is_current(id);
        if let (Some(buffer), Ok(len @ 1..)) =
            (completion.buffer, usize::try_from(completion.result))
        {
            let bytes = self.ring.filled(buffer, len);
            if still_wanted && !self.state.sockets.is_closing(id) {
                self.host.handle_received(now, id, bytes);
            }
            self.ring.return_buffer(buffer);
        } else if let Some(buffer) = completion.buffer {
            self.ring.filled(buffer, 0);
            self.ring.return_buffer(buffer);
        }
        assert!(still_wanted, "a slot outlives its operations");

        if completion.more {
            return Ok(());
        }
        self.state.sockets.receive_ended(id);
        if self.state.sockets.is_closing(id) {
            return self.close_if_unused(id);
        }
        match completion.result {
            0 => self.host.handle_hangup(now, id, false),
            result if result == -ENOBUFS => self.state.without_buffer.push(id),
            result if result > 0 || result == -ECANCELED => self.receive_again(id)?,
            _ => self.host.handle_hangup(now, id, true),
        }
        Ok(())
    }

    fn on_sent(&mut self, now: &Moment, completion: Completion) -> io::Result<()> {
        let id = completion.connection();
        let is_closing = self.state.sockets.send_ended(id);
        if let Ok(taken) = u32::try_from(completion.result) {
            self.host.handle_sent(now, id, taken);
        } else {
            self.host.handle_sent(now, id, 0);
            if completion.result != -ECANCELED {
                self.host.handle_hangup(now, id, true);
            }
        }
        if is_closing {
            self.close_if_unused(id)?;
        }
        Ok(())
    }

    /// Arms a connection's receive, if its input is wanted and no receive is armed.
    pub(super) fn receive_again(&mut self, id: ConnectionId) -> io::Result<()> {
        if !self.state.sockets.is_current(id) {
            return Ok(());
        }
        if let Some(token) = self.state.sockets.begin_receive(id) {
            self.ring.receive(token)?;
        }
        Ok(())
    }

    fn send_to_sessions(&mut self) -> io::Result<()> {
        let mut left = self.limits.sends_per_turn_max;
        loop {
            let per_enter = self.limits.sends_per_enter_max;
            let most = per_enter.min(left).min(self.ring.room_to_send());
            let mut count = 0;
            while count < most
                && let Some((id, bytes)) = self.host.poll_send()
            {
                let bytes = SendBytes::from(bytes);
                self.send(id, bytes)?;
                count += 1;
            }
            if count < per_enter {
                return Ok(());
            }
            left -= count;
            self.look()?;
            let now = self.read_clock();
            self.handle_completions(&now)?;
        }
    }

    fn set_reading(&mut self, id: ConnectionId, on: bool) -> io::Result<()> {
        if !self.state.sockets.is_current(id) {
            return Ok(());
        }
        self.state.sockets.set_wants_input(id, on);
        if on {
            return self.receive_again(id);
        }
        if let Some(token) = self.state.sockets.begin_cancel_receive(id) {
            self.ring.cancel(token)?;
        }
        Ok(())
    }

    /// Submits a send of bytes lent by the host.
    #[inline]
    fn send(&mut self, id: ConnectionId, bytes: SendBytes) -> io::Result<()> {
        let token = self.state.sockets.begin_send(id);
        // SAFETY: what `Host::poll_send` and `Host::poll_http_send` lend stays where it is until
        // `Host::handle_sent`, which is called when the completion has been taken; and the ring is
        // dropped before the host.
        unsafe { self.ring.send(token, bytes) }
    }

    fn tick_at(&self, now: Instant) -> Tick {
        let elapsed = now.duration_since(self.state.started).as_millis();
        Tick::containing(u64::try_from(elapsed).expect("milliseconds since the start fit"))
    }

    /// Returns whether no shard has anything left. A shard that is done earlier continues to drain
    /// its mailbox, since other shards wait for its counts.
    fn is_finished(&mut self) -> bool {
        if self.is_done() && !std::mem::replace(&mut self.state.reported_done, true) {
            self.exchange.shard_done();
        }
        self.state.reported_done && self.exchange.all_done()
    }

    fn is_done(&self) -> bool {
        self.state.stopping.has_begun_to_close()
            && self.has_closed_listeners()
            && self.host.connections_count() == 0
            && self.state.deferred.is_empty()
            // Handlers run on until the grace period is over.
            && (self.host.tasks_count() == 0 || self.state.stopping.has_aborted)
    }

    /// Returns whether another turn would find something to do.
    fn has_work(&mut self) -> bool {
        self.ring.wants_enter()
            || self.ring.has_completions()
            || self.host.has_arrivals()
            || (self.host.wants_to_send() && self.ring.room_to_send() > 0)
            || (!self.state.deferred.is_empty() && !self.host.is_blocked())
            || self.can_advance_stop()
            || (self.state.reported_done && self.exchange.all_done())
    }

    /// Busy-polls for at most 50 us, so that timers and tasks get their turn. Returns `false` if
    /// the shard may sleep: polling is off, or `limits.busy_poll_us` have passed since the last
    /// work.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn busy_poll_once(&mut self) -> bool {
        if self.limits.busy_poll.is_zero() {
            return false;
        }
        let until = self.state.worked_at + self.limits.busy_poll;
        let mut now = Instant::now();
        let slice_ends = until.min(now + BUSY_POLL_SLICE);
        while now < slice_ends {
            for _ in 0..SPINS_PER_CHECK {
                std::hint::spin_loop();
            }
            if self.has_work() {
                return true;
            }
            now = Instant::now();
        }
        now < until
    }

    /// Yields to the runtime's tasks and timers every [`TURNS_PER_YIELD`] turns. A yield costs two
    /// system calls; a shard that sleeps yields anyway.
    async fn yield_periodically(&mut self) {
        self.state.turns_since_yield += 1;
        if self.state.turns_since_yield >= TURNS_PER_YIELD {
            self.state.turns_since_yield = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Sleeps until something arrives or is due (docs/design/io.md 2).
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    async fn sleep(&mut self, eventfd: &AsyncFd<OwnedFd>) -> io::Result<()> {
        let exchange = Arc::clone(&self.exchange);
        let flag = exchange.sleep_flag(self.id);
        self.ring.set_eventfd_enabled(true);
        flag.begin_sleep();
        if !self.has_work() {
            self.state.turns_since_yield = 0;
            let slept_at = Instant::now();
            let wake_at = self.wake_at(slept_at);
            let woken = async {
                eventfd
                    .readable()
                    .await
                    .map(|mut guard| guard.clear_ready())
            };
            match wake_at {
                None => woken.await?,
                Some(at) => match tokio::time::timeout_at(at.into(), woken).await {
                    Ok(woken) => woken?,
                    Err(_) => self.on_idle(slept_at),
                },
            }
        }
        flag.end_sleep();
        self.ring.set_eventfd_enabled(false);
        Ok(())
    }

    /// Returns when to wake even if nothing arrives; `None` for never.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let due = self
            .host
            .poll_wake()
            .map(|tick| self.state.started + Duration::from_millis(tick.begins_at_ms()));
        let collect = self.state.shrank.then_some(now + IDLE_BEFORE_COLLECT);
        let cancel = self.state.cancelled.front();
        let cancel = cancel.map(|&(since, _)| since + self.limits.cancel_timeout);
        let accept = self.state.accept_again_at;
        let stop = self.state.stopping.wake_at();
        [due, collect, cancel, accept, stop]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns freed memory to the system after [`IDLE_BEFORE_COLLECT`] without work.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn on_idle(&mut self, slept_at: Instant) {
        let idle = Instant::now().duration_since(slept_at);
        if self.state.shrank && idle >= IDLE_BEFORE_COLLECT {
            self.state.shrank = false;
            self.host.free_spare();
            if self.state.deferred.is_empty() {
                self.ring.release_memory();
            }
            if let Some(function) = &self.on_idle
                && guarded(|| function()).is_err()
            {
                limited!(ERROR, "the idle function panicked");
            }
        }
    }
}

impl TurnSteps for Loop {
    type Error = io::Error;

    fn look(&mut self) -> io::Result<()> {
        if self.ring.wants_enter() {
            self.ring.enter()?;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn read_clock(&mut self) -> Moment {
        // This is CLOCK_MONOTONIC, which stands still while the machine is suspended.
        self.state.now = Instant::now();
        self.host.set_time(self.tick_at(self.state.now))
    }

    fn handle(&mut self, now: &Moment) -> io::Result<usize> {
        let handled = self.handle_completions(now)? + self.host.handle_arrivals(now);
        if handled > 0 {
            self.state.worked_at = self.state.now;
        }
        Ok(handled)
    }

    /// Fires the deadlines of the host and of the loop itself.
    fn fire_deadlines(&mut self, until: &Moment) -> io::Result<()> {
        let now = self.state.now;
        // Other shards' connections change the count too.
        let is_full = self.exchange.connections() > self.limits.sessions_max;
        self.host.set_full(is_full);
        self.host.fire_deadlines(until);
        self.retry_late_cancels()?;
        self.state.shrank |= self.host.take_shrank() | self.ring.is_worth_releasing();
        if self.state.accept_again_at.is_some_and(|at| at <= now) {
            self.state.accept_again_at = None;
            self.start_accepting()?;
        }
        self.advance_stop(now)
    }

    /// Sends messages to other shards and pending bytes to clients, then pauses reads and closes
    /// sockets.
    fn flush(&mut self) -> io::Result<()> {
        self.host.flush_messages();
        self.send_to_sessions()?;
        while self.ring.room_to_send() > 0 {
            let Some((id, bytes)) = self.host.poll_http_send() else {
                break;
            };
            let bytes = SendBytes::from(bytes);
            self.send(id, bytes)?;
        }
        // Sessions that this aborts are closed below.
        self.host.enforce_publication_limit();
        while let Some((id, on)) = self.host.poll_reading() {
            self.set_reading(id, on)?;
        }
        while let Some((id, step)) = self.host.poll_close() {
            match step {
                CloseStep::Shutdown => shutdown_write(self.state.sockets.descriptor(id)),
                CloseStep::Finish => self.begin_close(id)?,
                CloseStep::Reset => {
                    reset_on_close(self.state.sockets.descriptor(id));
                    self.begin_close(id)?;
                }
                CloseStep::Measure => {
                    let bytes = unacknowledged_bytes(self.state.sockets.descriptor(id));
                    self.host.handle_unacknowledged(id, bytes);
                }
            }
        }
        if self.ring.wants_enter() {
            self.ring.enter()?;
        }
        Ok(())
    }
}

impl Completion {
    fn connection(&self) -> ConnectionId {
        self.id.expect("of a connection")
    }
}

/// Completions handled before the kernel is entered again.
const COMPLETIONS_PER_PASS_MAX: usize = 4096;
/// Idle time after which freed memory is returned to the system.
const IDLE_BEFORE_COLLECT: Duration = Duration::from_secs(1);
/// Turns of a busy shard between two yields to the runtime.
const TURNS_PER_YIELD: u32 = 32;
/// Length of one busy poll, after which timers and tasks get their turn.
const BUSY_POLL_SLICE: Duration = Duration::from_micros(50);
/// Spin-loop hints between two checks for work.
const SPINS_PER_CHECK: u32 = 16;
