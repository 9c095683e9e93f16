//! What a shard does when time passes.
//!
//! Activity does not touch the wheel: a connection's deadline is looked at again when it comes, and
//! filed anew if the peer has said something since.

use super::connection::{HttpPhase, Phase};
use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;

impl Shard {
    /// Sets the time. Fires nothing: what has arrived by now is handled before.
    pub fn set_time(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    /// Begins every timer of every connection again: the process was paused until `now`, so nobody
    /// can say that a peer was silent. Sessions whose time has come meanwhile are pinged.
    pub fn restart_timers(&mut self, now: Tick) {
        self.resumed_at = now;
    }

    /// Says whether sessions are not read for now, so that none counts as silent.
    pub fn set_reads_paused(&mut self, is_held: bool) {
        self.are_reads_paused = is_held;
    }

    /// Fires every deadline that has come at `until`: all that had arrived then was handled.
    pub fn fire_deadlines(&mut self, until: Tick) {
        let mut due = std::mem::take(&mut self.slots);
        self.wheel.advance(until.0, &mut due);
        for slot in due.drain(..) {
            if let Some(id) = self.connections.id_of(slot) {
                self.look_at(id, until);
            }
        }
        self.slots = due;
        self.close_drained(until);
    }

    /// When [`Shard::fire_deadlines`] must be called at the latest; `None` while nothing is due.
    #[must_use]
    pub fn poll_wake(&self) -> Option<Tick> {
        let timers = self.wheel.next_wake().map(Tick);
        timers.into_iter().chain(self.drain_due()).min()
    }

    /// Files the soonest of a connection's timers, or none.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let connection = self
            .connections
            .get(id)
            .expect("only what is there has timers");
        match self.deadline_of(id, connection) {
            Some(deadline) => self.wheel.schedule(id.slot(), deadline.0),
            None => self.wheel.cancel(id.slot()),
        }
    }

    /// A deadline has come; whether anything is due is looked at only now.
    fn look_at(&mut self, id: ConnectionId, until: Tick) {
        let (now, resumed_at) = (self.now, self.resumed_at);
        let is_message_late = self.is_message_late(id, until);
        let connection = self
            .connections
            .get_mut(id)
            .expect("cancelled with its connection");
        match connection.phase {
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last) => {
                self.look_at_end(id, until);
            }
            Phase::Http(phase)
                if connection
                    .deadline(&self.settings, resumed_at)
                    .is_some_and(|at| at <= until) =>
            {
                self.expire_http(id, phase);
            }
            Phase::Open => {
                let route = &self.settings.routes[usize::from(connection.route)];
                if connection.is_waiting() || self.are_reads_paused {
                    connection.last_input = now;
                }
                let is_due = |at: Option<Tick>| at.is_some_and(|at| at <= until);
                if is_due(connection.idle_due(route, resumed_at)) {
                    self.end(id, CloseCause::IdleTimeout);
                } else if is_message_late {
                    self.end(id, CloseCause::MessageTimeout);
                } else if is_due(connection.registration_due(route, resumed_at)) {
                    self.end(id, CloseCause::RegistrationTimeout);
                } else {
                    if is_due(connection.ping_due(route)) {
                        connection.last_ping = now;
                        self.ping(id);
                    }
                    self.schedule(id);
                }
            }
            Phase::Http(_) | Phase::Gone => self.schedule(id),
        }
    }
}
