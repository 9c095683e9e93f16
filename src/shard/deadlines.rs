//! What a shard does when time passes.
//!
//! Activity does not touch the wheel: a connection's deadline is looked at again when it comes, and
//! filed anew if the peer has said something since.

use super::connection::{HttpPhase, Phase};
use super::core::Shard;
use crate::close::End;
use crate::id::ConnectionId;
use crate::time::Tick;

impl Shard {
    /// It is `now`. Fires every deadline that has come.
    pub fn handle_tick(&mut self, now: Tick) {
        if now > self.now {
            self.now = now;
            let mut due = std::mem::take(&mut self.slots);
            self.wheel.advance(now.0, &mut due);
            for slot in due.drain(..) {
                if let Some(id) = self.connections.id_of(slot) {
                    self.look_at(id);
                }
            }
            self.slots = due;
        }
    }

    /// When [`Shard::handle_tick`] must be called at the latest; `None` while nothing is due.
    #[must_use]
    pub fn poll_wake(&self) -> Option<Tick> {
        self.wheel.next_wake().map(Tick)
    }

    /// Files the soonest of a connection's timers, or none.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let connection = self
            .connections
            .get(id)
            .expect("only what is there has timers");
        match connection.deadline(&self.settings) {
            Some(deadline) => self.wheel.schedule(id.slot(), deadline.0),
            None => self.wheel.cancel(id.slot()),
        }
    }

    /// A deadline has come; whether anything is due is looked at only now.
    fn look_at(&mut self, id: ConnectionId) {
        let now = self.now;
        let connection = self
            .connections
            .get_mut(id)
            .expect("cancelled with its connection");
        match connection.phase {
            Phase::Http(phase)
                if connection
                    .deadline(&self.settings)
                    .is_some_and(|at| at <= now) =>
            {
                if phase != HttpPhase::Idle {
                    self.counters.count_end(End::HandshakeTimeout);
                }
                self.finish(id);
            }
            Phase::Closing | Phase::Draining => self.finish(id),
            Phase::Open => {
                let route = &self.settings.routes[usize::from(connection.route)];
                if connection.is_waiting() {
                    connection.last_input = now;
                }
                let is_due = |at: Option<Tick>| at.is_some_and(|at| at <= now);
                if is_due(connection.idle_due(route)) {
                    self.end(id, End::IdleTimeout);
                } else if is_due(connection.registration_due(route)) {
                    self.end(id, End::RegistrationTimeout);
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
