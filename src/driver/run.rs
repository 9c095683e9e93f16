//! A shard's loop: turns between a kernel and a host, inside a runtime.
//!
//! A turn enters the kernel if there is a reason to, handles arrivals, looks again a limited number
//! of times, and then sends. Between turns the shard rests (`sleep.rs`). The loop is the future
//! given to `block_on` and owns the shard; no other thread touches it.

#![expect(unsafe_code, reason = "the kernel reads what the host has lent")]

use super::accept::Listener;
use super::accept_backoff::AcceptBackoff;
use super::clock::Clock;
use super::errno::{ECANCELED, ENOBUFS};
use super::kernel::{Completion, Kernel, LentBytes, Operation};
use super::sockets::Sockets;
use super::stage::Stages;
use super::staged;
use super::stop::StopFlag;
use super::stop_stages::StopStages;
use super::turn::{self, TurnSteps};
use super::{IdleFunction, TurnLimits};
use crate::host::{Host, Moment};
use crate::mailbox::Exchange;
use crate::runtime::fault::Fault;
use crate::shard::CloseStep;
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::Tick;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The state of a shard's thread.
pub(super) struct Loop<K, C> {
    /// First, so that it is dropped before the host, whose memory the kernel may still read. That
    /// holds on an error and on a panic too.
    pub(super) kernel: K,
    pub(super) clock: C,
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
    pub(super) stages: Stages,
    pub(super) stopping: StopStages,
    started: Instant,
    /// Receive completions of sessions deferred while other shards' mailboxes were full, in order.
    pub(super) deferred: VecDeque<Completion>,
    /// Connections whose receive ended because no receive buffer was free.
    without_buffer: Vec<ConnectionId>,
    /// Closing connections whose operations were cancelled, with the time of that.
    pub(super) cancelled: VecDeque<(Instant, ConnectionId)>,
    pub(super) accept_backoff: AcceptBackoff,
    /// This shard has reported to the others that nothing is left here.
    reported_done: bool,
    /// Memory was freed since it was last returned to the system.
    pub(super) shrank: bool,
    pub(super) turns_since_yield: u32,
    /// The last reading of the clock.
    pub(super) now: Instant,
    /// Time at which a turn last had work.
    pub(super) worked_at: Instant,
}

impl LoopState {
    /// Creates the state of a loop that starts at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sockets: Sockets::default(),
            stages: Stages::default(),
            stopping: StopStages::default(),
            started: now,
            deferred: VecDeque::new(),
            without_buffer: Vec::new(),
            cancelled: VecDeque::new(),
            accept_backoff: AcceptBackoff::default(),
            reported_done: false,
            shrank: false,
            turns_since_yield: 0,
            now,
            worked_at: now,
        }
    }
}

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Runs until the gateway has stopped and every connection has ended; returns the counters.
    ///
    /// # Errors
    ///
    /// Fails if the kernel or its wake-up fails.
    pub(super) async fn run(mut self) -> io::Result<Counters> {
        self.start_accepting()?;
        let looks_max = self.limits.looks_per_turn_max;
        loop {
            Fault::Loop.provoke(self.fault);
            turn::turn(&mut self, looks_max)?;
            if self.is_finished() {
                return Ok(self.host.all_counters());
            }
            self.rest().await?;
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
                    self.kernel.filled(buffer, 0);
                    self.kernel.return_buffer(buffer);
                }
            }
        }
        let mut count = 0;
        while count < COMPLETIONS_PER_PASS_MAX
            && let Some(completion) = self.kernel.next_completion()
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
                self.state.stages.remove(id);
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
            let bytes = self.kernel.filled(buffer, len);
            if still_wanted && !self.state.sockets.is_closing(id) {
                if self.state.sockets.is_staged(id) {
                    staged::receive(&mut self.state.stages, &mut self.host, now, id, bytes);
                } else {
                    self.host.handle_received(now, id, bytes);
                }
            }
            self.kernel.return_buffer(buffer);
        } else if let Some(buffer) = completion.buffer {
            self.kernel.filled(buffer, 0);
            self.kernel.return_buffer(buffer);
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
            0 if self.state.sockets.is_staged(id) => self.on_staged_end(now, id),
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
        if self.state.sockets.is_staged(id) {
            self.on_staged_sent(now, id, completion);
        } else if let Ok(taken) = u32::try_from(completion.result) {
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
            self.kernel.receive(token)?;
        }
        Ok(())
    }

    fn send_to_sessions(&mut self) -> io::Result<()> {
        let mut left = self.limits.sends_per_turn_max;
        loop {
            let per_enter = self.limits.sends_per_enter_max;
            let most = per_enter.min(left).min(self.kernel.room_to_send());
            let mut count = 0;
            while count < most
                && let Some((id, bytes)) = self.host.poll_send()
            {
                let bytes = LentBytes::from(bytes);
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
            self.kernel.cancel(token)?;
        }
        Ok(())
    }

    /// Submits a send of bytes lent by the host, or gives them to the connection's stage.
    #[inline]
    fn send(&mut self, id: ConnectionId, bytes: LentBytes) -> io::Result<()> {
        if self.state.sockets.is_staged(id) {
            staged::lend(&mut self.state.stages, id, bytes);
            return Ok(());
        }
        let token = self.state.sockets.begin_send(id);
        // SAFETY: what `Host::poll_send` and `Host::poll_http_send` lend stays where it is until
        // `Host::handle_sent`, which is called when the completion has been taken; and the kernel
        // is dropped before the host.
        unsafe { self.kernel.send(token, bytes) }
    }

    /// Submits a send of bytes that the connection's stage has made.
    pub(super) fn send_staged(&mut self, id: ConnectionId, bytes: LentBytes) -> io::Result<()> {
        let token = self.state.sockets.begin_send(id);
        // SAFETY: what `Stages::next_send` returns stays where it is until `Stages::sent` or
        // `Stages::abandon`, which are called when the completion has been taken.
        unsafe { self.kernel.send(token, bytes) }
    }

    /// Returns when a tick begins.
    pub(super) fn begin_of(&self, tick: Tick) -> Instant {
        self.state.started + Duration::from_millis(tick.begins_at_ms())
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
            && (self.host.tasks_count() == 0 || self.state.stopping.has_aborted())
    }

    /// Returns whether another turn would find something to do.
    pub(super) fn has_work(&mut self) -> bool {
        self.kernel.wants_enter()
            || self.kernel.has_completions()
            || self.host.has_arrivals()
            || ((self.host.wants_to_send() || self.state.stages.has_work())
                && self.kernel.room_to_send() > 0)
            || (!self.state.deferred.is_empty() && !self.host.is_blocked())
            || self.can_advance_stop()
            || (self.state.reported_done && self.exchange.all_done())
    }
}

impl<K: Kernel, C: Clock> TurnSteps for Loop<K, C> {
    type Error = io::Error;

    fn look(&mut self) -> io::Result<()> {
        if self.kernel.wants_enter() {
            self.kernel.enter()?;
        }
        Ok(())
    }

    fn read_clock(&mut self) -> Moment {
        self.state.now = self.clock.now();
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
        self.state.shrank |= self.host.take_shrank() | self.kernel.is_worth_releasing();
        if self.state.accept_backoff.end_pause(now) {
            self.start_accepting()?;
        }
        self.advance_stop(now)
    }

    /// Sends messages to other shards and pending bytes to clients, then pauses reads and closes
    /// sockets.
    fn flush(&mut self) -> io::Result<()> {
        self.host.flush_messages();
        self.send_to_sessions()?;
        while self.kernel.room_to_send() > 0 {
            let Some((id, bytes)) = self.host.poll_http_send() else {
                break;
            };
            let bytes = LentBytes::from(bytes);
            self.send(id, bytes)?;
        }
        self.flush_stages()?;
        // Sessions that this aborts are closed below.
        self.host.enforce_publication_limit();
        while let Some((id, on)) = self.host.poll_reading() {
            self.set_reading(id, on)?;
        }
        while let Some((id, step)) = self.host.poll_close() {
            match step {
                CloseStep::Shutdown if self.state.sockets.is_staged(id) => {
                    self.state.stages.shut(id);
                }
                CloseStep::Shutdown => {
                    let socket = self.state.sockets.open_socket(id);
                    self.kernel.shutdown_write(socket);
                }
                CloseStep::Finish => self.begin_close(id)?,
                CloseStep::Reset => {
                    let socket = self.state.sockets.open_socket(id);
                    self.kernel.reset_on_close(socket);
                    self.begin_close(id)?;
                }
                CloseStep::Measure => {
                    let socket = self.state.sockets.open_socket(id);
                    let bytes = self.kernel.unacknowledged_bytes(socket);
                    self.host.handle_unacknowledged(id, bytes);
                }
            }
        }
        self.flush_stages()?;
        if self.kernel.wants_enter() {
            self.kernel.enter()?;
        }
        Ok(())
    }
}

/// Completions handled before the kernel is entered again.
const COMPLETIONS_PER_PASS_MAX: usize = 4096;
