//! Time: firing of deadlines.
//!
//! Input does not touch the wheel. When a connection's deadline fires, its timers are checked, and
//! its next deadline is filed.

use super::connection::{HttpPhase, Phase};
use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;

impl Shard {
    /// Sets the clock to `now`, unless that is earlier. Fires no deadline: input that has arrived
    /// is handled first.
    pub fn set_time(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    /// Restarts all timers of all connections except pings, after a pause of the process that ended
    /// at `now`. Input of that time may not have been read, so it does not count as idle.
    pub fn restart_timers(&mut self, now: Tick) {
        self.resumed_at = now;
    }

    /// Sets whether reads of all sessions are paused, so that none counts as idle.
    pub fn set_reads_paused(&mut self, are_paused: bool) {
        self.are_reads_paused = are_paused;
    }

    /// Fires every deadline up to `until`. All input that had arrived by then must have been
    /// handled.
    pub fn fire_deadlines(&mut self, until: Tick) {
        let mut due = std::mem::take(&mut self.slots);
        self.wheel.advance(until.0, &mut due);
        for slot in due.drain(..) {
            if let Some(id) = self.connections.id_of(slot) {
                self.check_timers(id, until);
            }
        }
        self.slots = due;
        self.close_drained(until);
    }

    /// Returns when [`Shard::fire_deadlines`] must be called at the latest; `None` if there is no
    /// deadline.
    #[must_use]
    pub fn poll_wake(&self) -> Option<Tick> {
        let timers = self.wheel.next_wake().map(Tick);
        timers.into_iter().chain(self.drain_due()).min()
    }

    /// Files the deadline of a connection's next timer; cancels it if there is none.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let connection = self
            .connections
            .get(id)
            .expect("a scheduled connection exists");
        match self.deadline_of(id, connection) {
            Some(deadline) => self.wheel.schedule(id.slot(), deadline.0),
            None => self.wheel.cancel(id.slot()),
        }
    }

    /// Checks a connection's timers after its deadline fired.
    fn check_timers(&mut self, id: ConnectionId, until: Tick) {
        let (now, resumed_at) = (self.now, self.resumed_at);
        let is_message_late = self.is_message_late(id, until);
        let connection = self
            .connections
            .get_mut(id)
            .expect("deadlines are cancelled with their connection");
        match connection.phase {
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last) => {
                self.check_close_grace(id, until);
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
