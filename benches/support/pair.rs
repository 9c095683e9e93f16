//! Two shards of one process on one thread: the near one publishes to one session on the far one.

use crate::bound_sessions::BoundSessions;
use campanile::id::ShardId;
use campanile::mailbox::{Exchange, MailboxEndpoint};
use std::sync::Arc;

/// The two shards and their mailboxes.
pub(crate) struct Pair {
    near: BoundSessions,
    sender: MailboxEndpoint,
    receiver: MailboxEndpoint,
    pub(crate) far: BoundSessions,
}

/// Returns the mailbox endpoints of two shards, with `messages_max` messages per mailbox.
pub(crate) fn endpoints(messages_max: usize) -> (MailboxEndpoint, MailboxEndpoint) {
    let exchange = Exchange::simulated(2, messages_max, u64::MAX, 1);
    let near = MailboxEndpoint::new(ShardId::new(0), Arc::clone(&exchange));
    (near, MailboxEndpoint::new(ShardId::new(1), exchange))
}

impl Pair {
    /// Creates the shards with mailboxes of `messages_max` messages.
    pub(crate) fn new(messages_max: usize) -> Self {
        let (sender, receiver) = endpoints(messages_max);
        let (near, far) = (ShardId::new(0), ShardId::new(1));
        Self {
            near: BoundSessions::on(near, 2, 0),
            sender,
            receiver,
            far: BoundSessions::on(far, 2, 1),
        }
    }

    /// Publishes on the near shard.
    pub(crate) fn publish(&mut self, payload: &[u8]) {
        self.near.publish(payload);
    }

    /// Moves pending messages to the far shard, which applies them.
    pub(crate) fn cross(&mut self) {
        while let Some((to, message)) = self.near.shard.poll_message() {
            self.sender.send(to, message);
        }
        self.sender.flush();
        while let Some(message) = self.receiver.receive() {
            self.far.shard.handle_message(&message);
        }
    }
}
