//! What becomes of sessions, requests and commands when the gateway stops.

use super::Host;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Ticks;

/// How a shard closes its sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// So many at once.
    pub(crate) at_once: usize,
    /// The others over this time.
    pub(crate) over: Ticks,
}

impl Pace {
    /// All sessions now.
    pub(crate) const AT_ONCE: Self = Self {
        at_once: usize::MAX,
        over: Ticks(0),
    };
}

impl Host {
    /// Has `/health` say that the gateway is stopping. Nothing else changes.
    pub fn announce_stop(&mut self) {
        self.context.is_stopping.set(true);
    }

    /// Takes no more sessions and no more work: from now on upgrades and pushes are answered with
    /// 503, and so is what handles ask from then on. What they have asked before is done by
    /// [`Host::finish_accepted`]. Sessions go on.
    pub fn begin_stop(&mut self) {
        self.is_stopping = true;
        self.context.is_full.set(true);
        self.context.is_stopping.set(true);
        self.context.refuses_work.set(true);
        self.commands_before_stop = self.handle.commands().count(self.id);
    }

    /// Does what was asked before the stop and posts it to the other shards; `false` if their
    /// mailboxes have no room for all of it yet, and this is to be called again.
    pub fn finish_accepted(&mut self) -> bool {
        while self.commands_before_stop > 0 && !self.is_blocked() {
            if self.do_commands() == 0 {
                self.commands_before_stop = 0; // whoever ended the gateway has taken them
            }
        }
        self.flush_messages();
        self.commands_before_stop == 0 && !self.is_blocked()
    }

    /// Delivers what other shards have sent, then begins to close the sessions.
    pub(crate) fn begin_drain(&mut self, pace: Pace) {
        self.commands_before_stop = 0; // those that found no room in time
        // They may go on sending what their clients publish, so not for as long as there is some.
        let mut left = self.post.exchange().inbox(self.id).messages_count();
        while left > 0 {
            let count = self.handle_messages();
            left = left.saturating_sub(count.max(1));
        }
        self.shard.drain(pace.at_once, pace.over);
        self.notice_ends();
    }

    /// [`Host::begin_drain`] for a simulation: all sessions over so many ticks.
    pub fn drain_over(&mut self, over: Ticks) {
        self.begin_drain(Pace { at_once: 0, over });
    }

    /// Whether there are only HTTP connections here, and none of them has begun to ask anything or
    /// is owed an answer.
    pub(crate) fn is_idle(&self) -> bool {
        let is_at_rest = |id: ConnectionId| match &self.http[id.index()] {
            Some(http) => http.is_at_rest(),
            None => true,
        };
        let was_http = |id: ConnectionId| self.http_ends.contains(&id.slot());
        !self.shard.is_draining() && self.shard.is_idle(is_at_rest, was_http)
    }

    /// Closes the connections that are idle, and from now on each of them as soon as it is.
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
