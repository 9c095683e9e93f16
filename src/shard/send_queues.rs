//! The queues of sessions that have bytes to send: an urgent and a normal one, each first in, first
//! out. The urgent queue is emptied first.
//!
//! Replies and control frames are urgent, so that they do not wait behind a publication to ten
//! thousand other sessions. A session is in each queue at most once. The caller of
//! [`SendQueues::pop`] checks whether bytes are still pending.

use super::outbox::{Outbox, OutboxFlags};

/// The send queues of a shard, by slot.
#[derive(Debug, Default)]
pub(super) struct SendQueues {
    normal: SlotQueue,
    urgent: SlotQueue,
}

/// A FIFO of slots.
///
/// ```text
///   slots  [ . . . 17 4 9 ]
///                  ^ next
/// ```
///
/// A turn usually fills and empties it, so it is a list with a read position, which restarts when
/// the whole list was read.
#[derive(Debug, Default)]
struct SlotQueue {
    slots: Vec<u32>,
    next: usize,
}

impl SendQueues {
    /// Queues a session with pending bytes, unless it is queued or a send is in flight.
    #[inline]
    pub(super) fn queue(&mut self, outbox: &mut Outbox, slot: u32) {
        if !outbox.flags.contains_any(OutboxFlags::SENDING_OR_QUEUED) {
            outbox.flags.set(OutboxFlags::QUEUED);
            self.normal.push(slot);
        }
    }

    /// Queues a session whose outbox was [idle](Outbox::is_idle).
    #[inline]
    pub(super) fn queue_idle(&mut self, outbox: &mut Outbox, slot: u32) {
        outbox.flags = OutboxFlags::QUEUED;
        self.normal.push(slot);
    }

    /// Queues a session as urgent, unless it is queued as urgent or a send is in flight.
    pub(super) fn queue_urgent(&mut self, outbox: &mut Outbox, slot: u32) {
        if !outbox.flags.contains_any(OutboxFlags::SENDING_OR_URGENT) {
            outbox.flags.set(OutboxFlags::QUEUED_URGENT);
            self.urgent.push(slot);
        }
    }

    /// Removes and returns the next slot, and the flag of its queue, which the caller clears.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u32, OutboxFlags)> {
        if !self.urgent.is_empty() {
            let slot = self.urgent.pop()?;
            return Some((slot, OutboxFlags::QUEUED_URGENT));
        }
        let slot = self.normal.pop()?;
        Some((slot, OutboxFlags::QUEUED))
    }

    /// Returns whether both queues are empty.
    pub(super) fn is_empty(&self) -> bool {
        self.normal.is_empty() && self.urgent.is_empty()
    }

    /// Frees the queues' memory if both are empty.
    pub(super) fn free_spare(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl SlotQueue {
    fn is_empty(&self) -> bool {
        self.next == self.slots.len()
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        if let Some(&slot) = self.slots.get(self.next) {
            self.next += 1;
            return Some(slot);
        }
        self.slots.clear();
        self.next = 0;
        None
    }

    #[inline]
    fn push(&mut self, slot: u32) {
        if self.slots.len() == self.slots.capacity() {
            self.make_room();
        }
        self.slots.push(slot);
    }

    /// Makes room in a full list: removes the read part if it is more than half, else grows.
    #[cold]
    fn make_room(&mut self) {
        if self.next > self.slots.len() / 2 {
            self.slots.drain(..self.next);
            self.next = 0;
        }
        self.slots.reserve(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::VecDeque;

    /// Compares random operations with two plain queues, and checks that read entries are reused.
    #[test]
    fn agrees_with_two_plain_queues() {
        for seed in 0..50 {
            let mut prng = Prng::from_seed(seed);
            let mut queues = SendQueues::default();
            let mut outboxes = [Outbox::EMPTY; 40];
            let (mut normal, mut urgent) = (VecDeque::new(), VecDeque::new());
            for _ in 0..2000 {
                let slot = prng.range(0, 39);
                let outbox = &mut outboxes[slot as usize];
                if prng.chance(1, 2) {
                    let expected = match urgent.pop_front() {
                        Some(slot) => Some((slot, OutboxFlags::QUEUED_URGENT)),
                        None => normal.pop_front().map(|slot| (slot, OutboxFlags::QUEUED)),
                    };
                    let next = queues.pop();
                    assert_eq!(next, expected, "seed {seed}");
                    if let Some((slot, queue)) = next {
                        outboxes[slot as usize].flags.clear(queue);
                    }
                } else if prng.chance(1, 5) {
                    if !urgent.contains(&slot) {
                        urgent.push_back(slot);
                    }
                    queues.queue_urgent(outbox, slot);
                } else {
                    if !normal.contains(&slot) && !urgent.contains(&slot) {
                        normal.push_back(slot);
                    }
                    queues.queue(outbox, slot);
                }
                assert_eq!(queues.is_empty(), normal.is_empty() && urgent.is_empty());
                assert!(queues.normal.slots.capacity() <= 4 * outboxes.len());
            }
        }
    }
}
