//! Upgrade requests that wait for a decision: an exclusive user's claim, or an embedder's function.

use super::{Host, WaitingUpgrade};
use crate::http::{CommandError, CommandResult, ResultSlot, UserClaim};
use crate::shard::ClaimResult;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;
use std::rc::Rc;

impl Host {
    /// Claims an exclusive user for an upgrade request.
    pub(super) fn claim(&mut self, claim: UserClaim, reply: &Rc<ResultSlot>) {
        let UserClaim {
            id,
            namespace,
            user,
            yields,
        } = claim;
        self.wait_for_upgrade(id, reply);
        // The user's session may have ended on another shard, and the client may know. If this
        // shard is the home, the message about that must be handled first.
        self.handle_messages();
        self.shard.claim(id, namespace, &user, yields);
        self.handle_claim_results();
        self.process_ended_sessions();
    }

    /// Records that an upgrade request waits for a decision, at most for the handshake timeout.
    pub(super) fn wait_for_upgrade(&mut self, id: ConnectionId, reply: &Rc<ResultSlot>) {
        let waiting = WaitingUpgrade {
            id,
            reply: Rc::clone(reply),
            since: self.now,
        };
        let before = self.upgrades.insert(id.slot(), waiting);
        assert!(before.is_none(), "a request waits for one thing at a time");
    }

    /// Ends the wait of an upgrade request; `false` if it was not waiting any more.
    pub(super) fn cancel_wait(&mut self, id: ConnectionId, reply: &Rc<ResultSlot>) -> bool {
        let waiting = self.upgrades.get(&id.slot());
        let waits = waiting.is_some_and(|waiting| Rc::ptr_eq(&waiting.reply, reply));
        waits && self.upgrades.remove(&id.slot()).is_some()
    }

    /// Passes decisions about claims to their upgrade requests.
    pub(super) fn handle_claim_results(&mut self) {
        while let Some(ClaimResult {
            connection,
            outcome,
        }) = self.shard.poll_claim_result()
        {
            let slot = connection.slot();
            let waiting = self.upgrades.get(&slot).map(|waiting| waiting.id);
            // The connection may have closed, and another may wait in its slot.
            if waiting == Some(connection)
                && let Some(waiting) = self.upgrades.remove(&slot)
            {
                waiting.reply.set(CommandResult::Claimed(outcome));
            }
        }
    }

    /// Fails upgrade requests that have waited for too long.
    pub(super) fn time_out_upgrades(&mut self, until: Tick) {
        loop {
            let is_due = |it: &&WaitingUpgrade| self.upgrade_due(it.since) <= until;
            let Some(id) = self.upgrades.values().find(is_due).map(|it| it.id) else {
                return;
            };
            let waiting = self.upgrades.remove(&id.slot()).expect("just seen");
            self.shard.release_claim(id);
            waiting
                .reply
                .set(CommandResult::Failed(CommandError::TimedOut));
        }
    }

    /// Returns when an upgrade request that waits `since` then times out. A pause of the process
    /// extends it.
    pub(super) fn upgrade_due(&self, since: Tick) -> Tick {
        since
            .max(self.resumed_at)
            .after(self.settings.handshake_timeout)
    }
}
