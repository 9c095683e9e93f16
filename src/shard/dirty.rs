//! Who is to be sent to next: the sessions that are owed something, in the order in which they
//! became so.
//!
//! There are two queues, and the urgent one goes first: what a session itself has asked for does
//! not wait behind a publication to ten thousand others. A session stands in each of them at most
//! once. Whether it is still owed something is looked at when its turn comes.

use super::outbox::{Marks, Outbox};

/// The slots of the sessions to be sent to.
#[derive(Debug, Default)]
pub(super) struct DirtyQueues {
    usual: SlotQueue,
    urgent: SlotQueue,
}

/// Slots, first in, first out.
///
/// ```text
///   slots  [ . . . 17 4 9 ]
///                  ^ next
/// ```
///
/// A turn fills it and empties it, so it is a list that is read from the front and starts over when
/// all of it was read.
#[derive(Debug, Default)]
struct SlotQueue {
    slots: Vec<u32>,
    next: usize,
}

impl DirtyQueues {
    /// Queues a session that is owed something, unless it is queued or being sent to.
    #[inline]
    pub(super) fn mark(&mut self, outbox: &mut Outbox, slot: u32) {
        if !outbox.marks.have(Marks::LENT_OR_QUEUED) {
            outbox.marks.set(Marks::QUEUED);
            self.usual.push(slot);
        }
    }

    /// The same for one that is known not to be queued nor being sent to.
    #[inline]
    pub(super) fn mark_idle(&mut self, outbox: &mut Outbox, slot: u32) {
        outbox.marks = Marks::QUEUED;
        self.usual.push(slot);
    }

    /// [`DirtyQueues::mark`] in the queue that goes first.
    pub(super) fn mark_urgent(&mut self, outbox: &mut Outbox, slot: u32) {
        if !outbox.marks.have(Marks::LENT_OR_URGENT) {
            outbox.marks.set(Marks::QUEUED_URGENT);
            self.urgent.push(slot);
        }
    }

    /// Who is next, and the mark of the queue in which it stood; the caller is to clear it.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u32, Marks)> {
        if !self.urgent.is_empty() {
            let slot = self.urgent.pop()?;
            return Some((slot, Marks::QUEUED_URGENT));
        }
        let slot = self.usual.pop()?;
        Some((slot, Marks::QUEUED))
    }

    /// Whether nobody is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_empty() && self.urgent.is_empty()
    }

    /// Gives back the memory of queues in which nobody stands.
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

    /// The list is full. If half of it was read, that half is room enough; else there will be more.
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

    /// Random marks and turns against two plain queues; what is read takes no memory for long.
    #[test]
    fn agrees_with_two_plain_queues() {
        for seed in 0..50 {
            let mut prng = Prng::from_seed(seed);
            let mut queues = DirtyQueues::default();
            let mut outboxes = [Outbox::EMPTY; 40];
            let (mut usual, mut urgent) = (VecDeque::new(), VecDeque::new());
            for _ in 0..2000 {
                let slot = prng.range(0, 39);
                let outbox = &mut outboxes[slot as usize];
                if prng.chance(1, 2) {
                    let expected = match urgent.pop_front() {
                        Some(slot) => Some((slot, Marks::QUEUED_URGENT)),
                        None => usual.pop_front().map(|slot| (slot, Marks::QUEUED)),
                    };
                    let next = queues.pop();
                    assert_eq!(next, expected, "seed {seed}");
                    if let Some((slot, queue)) = next {
                        outboxes[slot as usize].marks.clear(queue);
                    }
                } else if prng.chance(1, 5) {
                    if !urgent.contains(&slot) {
                        urgent.push_back(slot);
                    }
                    queues.mark_urgent(outbox, slot);
                } else {
                    if !usual.contains(&slot) && !urgent.contains(&slot) {
                        usual.push_back(slot);
                    }
                    queues.mark(outbox, slot);
                }
                assert_eq!(queues.is_empty(), usual.is_empty() && urgent.is_empty());
                assert!(queues.usual.slots.capacity() <= 4 * outboxes.len());
            }
        }
    }
}
