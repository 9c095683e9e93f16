//! Mailbox messages to and from other shards, and the drop of a user on all of them.

use super::core::Shard;
use super::message::{CountRequestId, DropTarget, MailboxMessage};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ShardId;
use std::sync::Arc;

impl Shard {
    /// Handles a mailbox message from another shard. If the message has a count request,
    /// [`Shard::poll_count`] returns the resulting number of sessions.
    pub fn handle_message(&mut self, message: &MailboxMessage) {
        let (count_request, count) = match message {
            MailboxMessage::Publication {
                publication,
                count_request,
            } => (*count_request, self.receive(&publication.borrow())),
            MailboxMessage::Drop {
                target,
                count_request,
            } => (*count_request, self.drop_local(target)),
            MailboxMessage::Claim(claim) => {
                self.handle_claim(claim.clone());
                return;
            }
            MailboxMessage::Taps { namespace, more } => {
                self.count_taps(*namespace, *more);
                return;
            }
            MailboxMessage::Moved { session, shard } => {
                self.note_move(*session, *shard);
                return;
            }
        };
        if let Some(count_request) = count_request {
            self.counts.push_back((count_request, count));
        }
    }

    /// Closes the sessions of a user on all shards. Returns and reports the number of sessions as
    /// [`Shard::publish`] does.
    pub fn drop_user(&mut self, target: DropTarget, count_request: Option<CountRequestId>) -> u32 {
        let target = Arc::new(target);
        self.send_to_other_shards(|| MailboxMessage::Drop {
            target: Arc::clone(&target),
            count_request,
        });
        self.drop_local(&target)
    }

    fn drop_local(&mut self, target: &DropTarget) -> u32 {
        let mut slots = std::mem::take(&mut self.slots);
        let event = target.event.as_deref();
        self.users
            .slots(target.namespace, &target.name, event, &mut slots);
        let dropped = u32::try_from(slots.len()).expect("slots fit a u32");
        for slot in slots.drain(..) {
            let id = self.connections.id_of(slot);
            let id = id.expect("bound sessions are open");
            // This session may be closed by now: the leave announcement of an earlier session in
            // `slots` may have filled its outbox.
            self.close_session(id, CloseCause::Dropped);
        }
        self.slots = slots;
        dropped
    }

    pub(super) fn send_to_other_shards(&mut self, message: impl Fn() -> MailboxMessage) {
        for index in 0..self.shards {
            if index != self.id.index() {
                self.messages.push_back((ShardId::new(index), message()));
            }
        }
    }
}
