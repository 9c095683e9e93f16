//! Requests that wait for what decides about their upgrade: a claim, or an embedder's function.

use super::{Host, WaitingUpgrade};
use crate::http::{Claim, Refused, Replied, Reply};
use crate::shard::Verdict;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;
use std::rc::Rc;

impl Host {
    /// A request wants its connection to be an exclusive user's session.
    pub(super) fn claim(&mut self, claim: Claim, reply: &Rc<Reply>) {
        let Claim {
            id,
            namespace,
            user,
            yields,
        } = claim;
        self.wait_for_upgrade(id, reply);
        // The user's session may have ended on another shard, as the client knows already: where
        // this is the home, that is heard first.
        self.handle_messages();
        self.shard.claim(id, namespace, &user, yields);
        self.hear_verdicts();
        self.notice_ends();
    }

    /// A request waits for something that decides about its upgrade, for as long as a handshake
    /// may take.
    pub(super) fn wait_for_upgrade(&mut self, id: ConnectionId, reply: &Rc<Reply>) {
        let waiting = WaitingUpgrade {
            id,
            reply: Rc::clone(reply),
            since: self.now,
        };
        let before = self.upgrades.insert(id.slot(), waiting);
        assert!(before.is_none(), "a request waits for one thing at a time");
    }

    /// A request need not wait any more; `false` if it has stopped before.
    pub(super) fn stop_waiting(&mut self, id: ConnectionId, reply: &Rc<Reply>) -> bool {
        let waiting = self.upgrades.get(&id.slot());
        let waits = waiting.is_some_and(|waiting| Rc::ptr_eq(&waiting.reply, reply));
        waits && self.upgrades.remove(&id.slot()).is_some()
    }

    /// Tells requests what was decided about them.
    pub(super) fn hear_verdicts(&mut self) {
        while let Some(Verdict { connection, ruling }) = self.shard.poll_verdict() {
            let slot = connection.slot();
            let waiting = self.upgrades.get(&slot).map(|waiting| waiting.id);
            // The connection may have closed since, and another may wait in its slot.
            if waiting == Some(connection)
                && let Some(waiting) = self.upgrades.remove(&slot)
            {
                waiting.reply.set(Replied::Ruling(ruling));
            }
        }
    }

    /// Answers requests that have waited for too long.
    pub(super) fn time_out_upgrades(&mut self, until: Tick) {
        loop {
            let is_due = |it: &&WaitingUpgrade| self.upgrade_due(it.since) <= until;
            let Some(id) = self.upgrades.values().find(is_due).map(|it| it.id) else {
                return;
            };
            let waiting = self.upgrades.remove(&id.slot()).expect("just seen");
            self.shard.give_up_claim(id);
            waiting.reply.set(Replied::Refused(Refused::TimedOut));
        }
    }

    /// When a request that has waited `since` then is not waited for any longer.
    pub(super) fn upgrade_due(&self, since: Tick) -> Tick {
        since
            .max(self.resumed_at)
            .after(self.settings.handshake_timeout)
    }
}
