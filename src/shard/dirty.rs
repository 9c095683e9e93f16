//! Who is to be sent to next: the sessions that are owed something, in the order in which they
//! became so.
//!
//! There are two queues, and the urgent one goes first: what a session itself has asked for does not
//! wait behind a publication to ten thousand others. A session stands in each of them at most once.
//! Whether it is still owed something is looked at when its turn comes.

use super::outbox::Outbox;

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
        if !(outbox.is_lent() | outbox.queued | outbox.queued_urgent) {
            outbox.queued = true;
            self.usual.push(slot);
        }
    }

    /// The same in the queue that goes first.
    pub(super) fn mark_urgent(&mut self, outbox: &mut Outbox, slot: u32) {
        if !outbox.is_lent() && !outbox.queued_urgent {
            outbox.queued_urgent = true;
            self.urgent.push(slot);
        }
    }

    /// Who is next, and whether it is urgent.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u32, bool)> {
        if !self.urgent.is_empty()
            && let Some(slot) = self.urgent.pop()
        {
            return Some((slot, true));
        }
        self.usual.pop().map(|slot| (slot, false))
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
