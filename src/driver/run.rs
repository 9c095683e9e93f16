//! One shard's loop: turns of the data ring inside a tokio-uring runtime.
//!
//! A turn enters the kernel while there is a reason to, handles what came, looks again a bounded
//! number of times, and only then sends. The shard sleeps by the rule of `sleep.rs`. The loop is
//! the future given to `block_on` and owns everything; nobody else touches the shard.

#![expect(unsafe_code, reason = "the kernel reads what the host has lent")]

use super::accept::Listener;
use super::errno::{ECANCELED, ENOBUFS};
use super::refuse::Spare;
use super::stop::StopFlag;
use super::stopping::Stopping;
use super::turn::{self, Steps};
use super::uring::ring::{Completion, DataRing, Lent, Operation};
use super::uring::socket::{Sockets, reset_on_close, shut_sending, unacknowledged_bytes};
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

/// Everything that one shard's thread owns.
pub(super) struct Loop {
    /// First, so that it is gone before the memory that the kernel may still read: what the host
    /// has lent. That holds for an error and for a panic too.
    pub(super) ring: DataRing,
    pub(super) id: ShardId,
    pub(super) host: Host,
    /// For each address; completions name them by their place.
    pub(super) listeners: Vec<Listener>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) on_idle: Option<Arc<IdleFunction>>,
    pub(super) fault: Option<Fault>,
    pub(super) stop: Arc<StopFlag>,
    pub(super) limits: TurnLimits,
    pub(super) state: LoopState,
}

/// What a loop remembers between turns.
pub(super) struct LoopState {
    pub(super) sockets: Sockets,
    pub(super) stopping: Stopping,
    started: Instant,
    /// Receives that came while other shards' mailboxes were full, in order.
    held: VecDeque<Completion>,
    /// Sockets whose receive ended for want of buffers.
    starved: Vec<ConnectionId>,
    /// Connections whose operations were cancelled, to be closed when they have ended; since when.
    pub(super) cancelled: VecDeque<(Instant, ConnectionId)>,
    pub(super) accept_again_at: Option<Instant>,
    pub(super) spare: Spare,
    /// The other shards know that nothing is left here.
    said_done: bool,
    /// Memory was given up; collected when the shard has been idle for a second.
    shrank: bool,
    turns_since_yield: u32,
    /// The clock, as it was last read.
    pub(super) now: Instant,
    /// When something was last handled.
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
            held: VecDeque::new(),
            starved: Vec::new(),
            cancelled: VecDeque::new(),
            accept_again_at: None,
            spare: Spare::new(),
            said_done: false,
            shrank: false,
            turns_since_yield: 0,
            now,
            worked_at: now,
        }
    }
}

impl Loop {
    /// Runs until the gateway stops and every connection has ended; returns what was counted.
    pub(super) async fn run(mut self) -> io::Result<Counters> {
        let bell = self.ring.watch_bell()?;
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
                self.yield_now_and_then().await;
            } else if self.keeps_awake() {
                if !self.has_work() {
                    self.state.turns_since_yield = 0;
                    tokio::task::yield_now().await;
                }
            } else {
                self.sleep(&bell).await?;
            }
        }
    }

    /// Takes completions out of the ring and acts on each; returns how many there were.
    fn handle_completions(&mut self, now: &Moment) -> io::Result<usize> {
        if !self.host.is_blocked() {
            while let Some(completion) = self.state.held.pop_front() {
                // What it is about may have been closed meanwhile; an operation that ends has not.
                if !completion.more || self.state.sockets.is_current(completion.connection()) {
                    self.on_receive(now, completion)?;
                } else if let Some(buffer) = completion.buffer {
                    self.ring.filled(buffer, 0);
                    self.ring.give_back(buffer);
                }
            }
        }
        let mut count = 0;
        while count < COMPLETIONS_PER_LOOK_MAX
            && let Some(completion) = self.ring.next_completion()
        {
            count += 1;
            self.on_completion(now, completion)?;
        }
        // Buffers have been given back by now, unless they are held.
        if self.state.held.is_empty() && !self.state.starved.is_empty() {
            for id in std::mem::take(&mut self.state.starved) {
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
                    self.state.held.push_back(completion);
                    return Ok(());
                }
                self.on_receive(now, completion)
            }
            Operation::Send => self.on_sent(now, completion),
            Operation::Cancel => {
                let id = completion.connection();
                self.state.sockets.operation_ended(id);
                self.close_if_quiet(id)
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
            self.ring.give_back(buffer);
        } else if let Some(buffer) = completion.buffer {
            self.ring.filled(buffer, 0);
            self.ring.give_back(buffer);
        }
        assert!(still_wanted, "a slot outlives its operations");

        if completion.more {
            return Ok(());
        }
        self.state.sockets.receive_ended(id);
        if self.state.sockets.is_closing(id) {
            return self.close_if_quiet(id);
        }
        match completion.result {
            0 => self.host.handle_hangup(now, id, false),
            result if result == -ENOBUFS => self.state.starved.push(id),
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
            self.close_if_quiet(id)?;
        }
        Ok(())
    }

    /// Arms a socket's receive, if it is wanted and not armed.
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
                let bytes = Lent::from(bytes);
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
        self.state.sockets.set_wanted(id, on);
        if on {
            return self.receive_again(id);
        }
        if let Some(token) = self.state.sockets.begin_cancel_receive(id) {
            self.ring.cancel(token)?;
        }
        Ok(())
    }

    /// Submits a send of what the host has lent.
    #[inline]
    fn send(&mut self, id: ConnectionId, bytes: Lent) -> io::Result<()> {
        let token = self.state.sockets.begin_send(id);
        // SAFETY: what `Host::poll_send` and `Host::poll_answer` lend stays where it is until
        // `Host::handle_sent`, which is called when the completion has been taken; and the ring is
        // dropped before the host.
        unsafe { self.ring.send(token, bytes) }
    }

    fn tick_at(&self, now: Instant) -> Tick {
        let elapsed = now.duration_since(self.state.started).as_millis();
        Tick::containing(u64::try_from(elapsed).expect("milliseconds since the start fit"))
    }

    /// Whether this shard and all others have nothing left. One that is done earlier goes on
    /// draining its mailbox: what others have asked of it is answered.
    fn is_finished(&mut self) -> bool {
        if self.is_done() && !std::mem::replace(&mut self.state.said_done, true) {
            self.exchange.shard_done();
        }
        self.state.said_done && self.exchange.all_done()
    }

    fn is_done(&self) -> bool {
        self.state.stopping.has_begun_to_close()
            && self.has_closed_listeners()
            && self.host.connections_count() == 0
            && self.state.held.is_empty()
            // Handlers go on until the grace is over.
            && (self.host.tasks_count() == 0 || self.state.stopping.was_cut)
    }

    /// Whether another turn would find something to do.
    fn has_work(&mut self) -> bool {
        self.ring.wants_enter()
            || self.ring.has_completions()
            || self.host.has_arrivals()
            || (self.host.wants_to_send() && self.ring.room_to_send() > 0)
            || (!self.state.held.is_empty() && !self.host.is_blocked())
            || self.can_step_stop()
            || (self.state.said_done && self.exchange.all_done())
    }

    /// Goes on looking for work instead of sleeping, as long as the config says since there was
    /// some; a little at a time, so that timers and tasks have their turn too. `false`: there has
    /// been none for too long, and the shard may sleep.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn keeps_awake(&mut self) -> bool {
        if self.limits.busy_poll.is_zero() {
            return false;
        }
        let until = self.state.worked_at + self.limits.busy_poll;
        let mut now = Instant::now();
        let slice_ends = until.min(now + BUSY_POLL_SLICE);
        while now < slice_ends {
            for _ in 0..SPINS_PER_LOOK {
                std::hint::spin_loop();
            }
            if self.has_work() {
                return true;
            }
            now = Instant::now();
        }
        now < until
    }

    /// Lets the runtime's own tasks and timers run. That costs two system calls, so a shard that is
    /// busy does it only every few turns; one that sleeps does it anyway.
    async fn yield_now_and_then(&mut self) {
        self.state.turns_since_yield += 1;
        if self.state.turns_since_yield >= TURNS_PER_YIELD {
            self.state.turns_since_yield = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Sleeps until something arrives or is due (io.md 2).
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    async fn sleep(&mut self, bell: &AsyncFd<OwnedFd>) -> io::Result<()> {
        let exchange = Arc::clone(&self.exchange);
        let flag = exchange.sleep_flag(self.id);
        self.ring.set_bell(true);
        flag.lie_down();
        if !self.has_work() {
            self.state.turns_since_yield = 0;
            let lay_down_at = Instant::now();
            let wake_at = self.wake_at(lay_down_at);
            let rung = async { bell.readable().await.map(|mut guard| guard.clear_ready()) };
            match wake_at {
                None => rung.await?,
                Some(at) => match tokio::time::timeout_at(at.into(), rung).await {
                    Ok(rung) => rung?,
                    Err(_) => self.on_idle(lay_down_at),
                },
            }
        }
        flag.get_up();
        self.ring.set_bell(false);
        Ok(())
    }

    /// When to wake even if nothing arrives.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let due = self
            .host
            .poll_wake()
            .map(|tick| self.state.started + Duration::from_millis(tick.begins_at_ms()));
        let collect = self.state.shrank.then_some(now + IDLE_BEFORE_COLLECT);
        let cancel = self.state.cancelled.front();
        let cancel = cancel.map(|&(since, _)| since + self.limits.cancel_patience);
        let accept = self.state.accept_again_at;
        let stop = self.state.stopping.wake_at();
        [due, collect, cancel, accept, stop]
            .into_iter()
            .flatten()
            .min()
    }

    /// Nothing arrived until now: gives memory back, if there may be some.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn on_idle(&mut self, lay_down_at: Instant) {
        let idle = Instant::now().duration_since(lay_down_at);
        if self.state.shrank && idle >= IDLE_BEFORE_COLLECT {
            self.state.shrank = false;
            self.host.free_spare();
            if self.state.held.is_empty() {
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

impl Steps for Loop {
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
        // CLOCK_MONOTONIC, which stands still while the machine is suspended.
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

    /// Does what is due on the shard and in the loop itself.
    fn fire_deadlines(&mut self, until: &Moment) -> io::Result<()> {
        let now = self.state.now;
        // Connections of other shards count too.
        let is_full = self.exchange.connections() > self.limits.sessions_max;
        self.host.set_full(is_full);
        self.host.fire_deadlines(until);
        self.look_after_cancels()?;
        self.state.shrank |= self.host.take_shrank() | self.ring.is_worth_releasing();
        if self.state.accept_again_at.is_some_and(|at| at <= now) {
            self.state.accept_again_at = None;
            self.start_accepting()?;
        }
        self.step_stop(now)
    }

    /// Tells the others, sends what is owed, shuts and closes.
    fn flush(&mut self) -> io::Result<()> {
        self.host.flush_messages();
        self.send_to_sessions()?;
        while self.ring.room_to_send() > 0 {
            let Some((id, bytes)) = self.host.poll_answer() else {
                break;
            };
            let bytes = Lent::from(bytes);
            self.send(id, bytes)?;
        }
        // Whoever is cut for what batches hold is closed below.
        self.host.relieve();
        while let Some((id, on)) = self.host.poll_reading() {
            self.set_reading(id, on)?;
        }
        while let Some((id, step)) = self.host.poll_close() {
            match step {
                CloseStep::Shutdown => shut_sending(self.state.sockets.descriptor(id)),
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

/// Completions handled before the ring is looked at again.
const COMPLETIONS_PER_LOOK_MAX: usize = 4096;
const IDLE_BEFORE_COLLECT: Duration = Duration::from_secs(1);
const TURNS_PER_YIELD: u32 = 32;
/// How long a shard looks for work before it looks after its timers and tasks.
const BUSY_POLL_SLICE: Duration = Duration::from_micros(50);
const SPINS_PER_LOOK: u32 = 16;
