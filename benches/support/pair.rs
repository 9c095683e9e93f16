//! Two shards of one process on one thread: what is published on the near one has one subscriber,
//! who is on the far one.

use crate::room::Room;
use campanile::id::ShardId;
use campanile::mailbox::{Exchange, MailboxEndpoint};
use std::sync::Arc;

/// The shards and their mailboxes.
pub(crate) struct Pair {
    near: Room,
    sender: MailboxEndpoint,
    receiver: MailboxEndpoint,
    pub(crate) far: Room,
}

/// The mailboxes' ends of two shards, of `messages_max` messages each: to send from the first to
/// the second.
pub(crate) fn posts(messages_max: usize) -> (MailboxEndpoint, MailboxEndpoint) {
    let exchange = Exchange::simulated(2, messages_max, u64::MAX, 1);
    let near = MailboxEndpoint::new(ShardId::new(0), Arc::clone(&exchange));
    (near, MailboxEndpoint::new(ShardId::new(1), exchange))
}

impl Pair {
    /// With mailboxes of so many messages.
    pub(crate) fn new(messages_max: usize) -> Self {
        let (sender, receiver) = posts(messages_max);
        let (near, far) = (ShardId::new(0), ShardId::new(1));
        Self {
            near: Room::on(near, 2, 0),
            sender,
            receiver,
            far: Room::on(far, 2, 1),
        }
    }

    /// Publishes on the near shard.
    pub(crate) fn publish(&mut self, payload: &[u8]) {
        self.near.publish(payload);
    }

    /// Carries what was published to the far shard, which applies it.
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
