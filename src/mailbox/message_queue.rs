//! The queue of one mailbox: lock-free, limited in messages and in bytes.

use crate::shard::message::MailboxMessage;
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering};

/// A queue of messages from many shards to one.
///
/// Invariant: `bytes` is the sum of [`MailboxMessage::bytes`] over the messages in the queue and
/// those being pushed or popped.
#[derive(Debug)]
pub(super) struct MessageQueue {
    messages: ArrayQueue<MailboxMessage>,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl MessageQueue {
    pub(super) fn new(messages_max: usize, bytes_max: u64) -> Self {
        Self {
            messages: ArrayQueue::new(messages_max),
            bytes: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// Appends a message.
    ///
    /// # Errors
    ///
    /// Returns the message if the queue has no room for it.
    pub(super) fn push(&self, message: MailboxMessage) -> Result<(), MailboxMessage> {
        let bytes = message.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let pushed = if self.has_room_beside(before, bytes) {
            self.messages.push(message)
        } else {
            Err(message)
        };
        if pushed.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
        pushed
    }

    pub(super) fn pop(&self) -> Option<MailboxMessage> {
        let message = self.messages.pop()?;
        self.bytes.fetch_sub(message.bytes(), Ordering::SeqCst);
        Some(message)
    }

    /// Returns whether the queue has room for a message.
    pub(super) fn has_room_for(&self, message: &MailboxMessage) -> bool {
        let bytes = self.bytes.load(Ordering::SeqCst);
        !self.messages.is_full() && self.has_room_beside(bytes, message.bytes())
    }

    /// Returns whether at most half of each limit is used.
    pub(super) fn is_half_empty(&self) -> bool {
        self.messages.len() <= self.messages.capacity() / 2
            && self.bytes.load(Ordering::SeqCst) <= self.bytes_max / 2
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns whether `bytes` fit in addition to `before`. An empty queue accepts a message of any
    /// size.
    fn has_room_beside(&self, before: u64, bytes: u64) -> bool {
        before == 0 || before.saturating_add(bytes) <= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::content::{Content, Data};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::{Audience, OwnedPublication, Publication, PublicationId};
    use std::sync::Arc;

    fn message(bytes: usize) -> MailboxMessage {
        let data = vec![b'x'; bytes];
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 1,
            },
            position: None,
            audience: Audience::Everyone {
                namespace: 0,
                except: &[],
            },
            content: Content {
                data: Data::Bytes(&data),
                ..Content::default()
            },
            nonce: 0,
        };
        MailboxMessage::Publication {
            publication: Arc::new(OwnedPublication::copy(&publication)),
            count_request: None,
        }
    }

    #[test]
    fn a_queue_is_full_at_either_limit_and_takes_one_message_of_any_size() {
        let each = message(1_000).bytes();
        let queue = MessageQueue::new(4, 3 * each);
        for _ in 0..3 {
            queue.push(message(1_000)).expect("there is room");
        }
        assert!(queue.push(message(1_000)).is_err(), "the bytes are full");
        assert!(!queue.has_room_for(&message(1_000)));
        assert!(!queue.is_half_empty());
        while queue.pop().is_some() {}
        assert!(queue.is_half_empty());

        for _ in 0..4 {
            queue.push(message(0)).expect("there is room");
        }
        assert!(queue.push(message(0)).is_err(), "the messages are full");
        while queue.pop().is_some() {}

        queue
            .push(message(100_000))
            .expect("an empty queue accepts any size");
        assert!(queue.push(message(0)).is_err());
        assert!(queue.pop().is_some() && queue.is_empty());
        queue.push(message(0)).expect("there is room again");
        assert_eq!(queue.len(), 1);
    }
}
