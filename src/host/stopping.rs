//! The stop of a host: its sessions, HTTP connections and commands.

use super::Host;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Ticks;

/// The pace at which a shard closes its sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// Number of sessions closed at once.
    pub(crate) at_once: usize,
    /// Time over which the others are closed.
    pub(crate) over: Ticks,
}

impl Pace {
    /// Closes all sessions at once.
    pub(crate) const AT_ONCE: Self = Self {
        at_once: usize::MAX,
        over: Ticks(0),
    };
}

impl Host {
    /// Makes `/health` report that the gateway is stopping. Nothing else changes.
    pub fn announce_stop(&mut self) {
        self.context.is_stopping.set(true);
    }

    /// Stops accepting sessions and work. Upgrades and pushes are rejected with 503, and new
    /// commands of handles fail. [`Host::finish_accepted`] runs the commands issued before.
    /// Sessions stay open.
    pub fn begin_stop(&mut self) {
        self.is_stopping = true;
        self.context.is_full.set(true);
        self.context.is_stopping.set(true);
        self.context.rejects_work.set(true);
        self.commands_before_stop = self.handle.commands().count(self.id);
    }

    /// Runs the commands from before the stop and sends their messages to other shards. Returns
    /// `false` if the mailboxes have no room for all of them; the driver then calls this again.
    pub fn finish_accepted(&mut self) -> bool {
        while self.commands_before_stop > 0 && !self.is_blocked() {
            if self.do_commands() == 0 {
                self.commands_before_stop = 0; // the queue was closed, with its commands
            }
        }
        self.flush_messages();
        self.commands_before_stop == 0 && !self.is_blocked()
    }

    /// Delivers messages from other shards, then begins to close the sessions.
    pub(crate) fn begin_drain(&mut self, pace: Pace) {
        self.commands_before_stop = 0; // commands that found no room in time are dropped
        self.handle_messages_so_far();
        self.shard.drain(pace.at_once, pace.over);
        self.process_ended_sessions();
    }

    /// Begins to close all sessions, over `over` ticks. For the simulator.
    pub fn drain_over(&mut self, over: Ticks) {
        self.begin_drain(Pace { at_once: 0, over });
    }

    /// Returns whether there are only HTTP connections, none of which has begun a request or has a
    /// response pending.
    pub(crate) fn is_idle(&self) -> bool {
        let is_at_rest = |id: ConnectionId| match &self.http[id.index()] {
            Some(http) => http.is_at_rest(),
            None => true,
        };
        let was_http = |id: ConnectionId| self.http_ends.contains(&id.slot());
        !self.shard.is_draining() && self.shard.is_idle(is_at_rest, was_http)
    }

    /// Closes idle HTTP connections, and from now on each one as soon as it is idle.
    pub fn close_idle(&mut self) {
        self.closes_idle = true;
        let (shard, http) = (&mut self.shard, &self.http);
        shard.end_http(|id| http[id.index()].is_none());
        let ids: Vec<ConnectionId> = self.http_ids().collect();
        for id in ids {
            self.after_http(id);
        }
    }
}
