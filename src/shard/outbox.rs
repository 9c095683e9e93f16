//! What a session is owed but the socket has not taken yet.
//!
//! An outbox is a list of ranges of frames in shared batches. Its nodes come from one pool per
//! shard, so a session that is owed nothing owns no memory, and adding a frame that lies right
//! behind the last one costs two stores. At most one range is lent to the kernel at a time. Nothing
//! in here ever waits, and no frame is ever cut in two or left half sent, but for a cut connection.

use super::batches::{Batches, FrameRef};

/// One session's share: where its list begins and how far its first range has been sent.
///
/// ```text
///            taken     bytes of the first frame that the socket has
///            |
///   head -> [frame .. | .. ][frame][frame] -> [frame][frame] -> tail
///           \____________________________/
///             lent: held by the send in flight
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Outbox {
    head: u32,
    tail: u32,
    taken: u32,
    bytes: u32,
    lent: u32,
    /// The first frame may not be dropped, as a rule because the socket has its beginning already.
    torn: bool,
}

/// The outboxes' common store: batches and list nodes.
///
/// Invariants, checked by [`Outboxes::invariants`] for one outbox:
///
/// - `bytes` is what its ranges hold, less `taken`.
/// - `taken` is less than the length of the first frame.
/// - `lent` is zero, or what was left of the first range when it was lent.
#[derive(Debug)]
pub struct Outboxes {
    /// The frames themselves.
    pub batches: Batches,
    ranges: Vec<Range>,
    free: u32,
    ranges_used: u32,
    gather_bytes_max: u32,
    scratch: Vec<(FrameRef, u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    batch: u32,
    first: u32,
    last: u32,
    next: u32,
}

impl Outbox {
    /// An outbox that owes nothing.
    pub const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        taken: 0,
        bytes: 0,
        lent: 0,
        torn: false,
    };

    /// Bytes owed and not yet taken by the socket.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Makes sure that [`Outboxes::drop_unsent`] keeps the first frame: nothing that comes behind
    /// it would mean anything without it.
    pub fn keep_first(&mut self) {
        assert!(!self.is_empty());
        self.torn = true;
    }

    /// Whether a send is under way.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.lent > 0
    }
}

impl Outboxes {
    /// An empty store. Scattered ranges of together at most `gather_bytes_max` bytes are copied
    /// into one, so that one send takes them.
    #[must_use]
    pub fn new(batch_bytes_max: usize, gather_bytes_max: u32) -> Self {
        Self {
            batches: Batches::new(batch_bytes_max),
            ranges: Vec::new(),
            free: NONE,
            ranges_used: 0,
            gather_bytes_max,
            scratch: Vec::new(),
        }
    }

    /// Owes one more frame of `len` bytes, unless more than a greeting or a pong is owed already
    /// and both together are more than `bytes_max`. A session that keeps up can be sent a message
    /// of any size.
    ///
    /// A refused frame leaves no trace.
    pub fn push(
        &mut self,
        outbox: &mut Outbox,
        frame: FrameRef,
        len: u32,
        bytes_max: u32,
    ) -> Result<(), Overflow> {
        let holds = self.push_unheld(outbox, frame, len, bytes_max)?;
        self.batches.hold_by(frame.batch, u32::from(holds));
        Ok(())
    }

    /// [`Outboxes::push`] for a caller that adds one frame to many outboxes: true if the outbox
    /// holds the frame's batch once more now, which the caller is to count before the batch is
    /// sealed, by [`Batches::hold_by`].
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the loop of a fan-out; a tenth of its instructions"
    )]
    pub fn push_unheld(
        &mut self,
        outbox: &mut Outbox,
        frame: FrameRef,
        len: u32,
        bytes_max: u32,
    ) -> Result<bool, Overflow> {
        let bytes = outbox.bytes.checked_add(len).ok_or(Overflow)?;
        if bytes > bytes_max && outbox.bytes > HEADROOM_BYTES {
            return Err(Overflow);
        }
        outbox.bytes = bytes;
        if outbox.tail != NONE {
            let tail = &mut self.ranges[outbox.tail as usize];
            // Frames are only ever added to an open batch, and nothing of an open batch is lent.
            if tail.batch == frame.batch && tail.last + 1 == frame.frame {
                tail.last = frame.frame;
                return Ok(false);
            }
        }
        self.append_unheld(outbox, frame.batch, frame.frame, frame.frame);
        Ok(true)
    }

    /// Lends the bytes to be sent next; they stay where they are until [`Outboxes::settle`].
    ///
    /// # Panics
    ///
    /// If nothing is owed, a send is under way, or the frames' batch was not sealed.
    #[inline]
    pub fn lend(&mut self, outbox: &mut Outbox) -> &[u8] {
        assert!(!outbox.is_lent(), "one send at a time");
        let mut head = self.ranges[outbox.head as usize];
        if head.next != NONE && outbox.bytes <= self.gather_bytes_max {
            self.gather(outbox);
            head = self.ranges[outbox.head as usize];
        }
        let Range {
            batch, first, last, ..
        } = head;
        let bytes = self.batches.sealed_range(batch, first, last, outbox.taken);
        outbox.lent = u32::try_from(bytes.len()).expect("an outbox counts in u32");
        bytes
    }

    /// Ends the send under way, of which the socket took `taken` bytes.
    ///
    /// # Panics
    ///
    /// If no send is under way, or more was taken than was lent.
    #[inline]
    pub fn settle(&mut self, outbox: &mut Outbox, taken: u32) {
        assert!(outbox.is_lent(), "no send to settle");
        assert!(taken <= outbox.lent);
        let whole = taken == outbox.lent;
        outbox.lent = 0;
        outbox.bytes -= taken;
        if whole {
            (outbox.taken, outbox.torn) = (0, false);
            self.remove_head(outbox);
        } else {
            self.settle_part(outbox, taken);
        }
    }

    /// The socket took less than it was lent: finds where the rest begins.
    #[cold]
    fn settle_part(&mut self, outbox: &mut Outbox, taken: u32) {
        outbox.taken += taken;
        let head = &mut self.ranges[outbox.head as usize];
        loop {
            let frame_len = self.batches.range_len(head.batch, head.first, head.first);
            if outbox.taken < frame_len {
                break;
            }
            outbox.taken -= frame_len;
            outbox.torn = false;
            head.first += 1;
        }
    }

    /// Forgets every frame of which nothing has been sent or lent; returns how many bytes.
    ///
    /// What is under way, or partly sent, must still go out whole: a client that got half a frame
    /// can make nothing of what follows.
    pub fn drop_unsent(&mut self, outbox: &mut Outbox) -> u32 {
        let before = outbox.bytes;
        if outbox.is_empty() {
            return 0;
        }
        let keep_head = outbox.is_lent() || outbox.taken > 0 || outbox.torn;
        let mut next = outbox.head;
        if keep_head {
            let head = self.ranges[outbox.head as usize];
            let last = if outbox.is_lent() {
                head.last
            } else {
                head.first
            };
            self.ranges[outbox.head as usize].last = last;
            self.ranges[outbox.head as usize].next = NONE;
            outbox.tail = outbox.head;
            outbox.bytes = self.batches.range_len(head.batch, head.first, last) - outbox.taken;
            next = head.next;
        } else {
            *outbox = Outbox::EMPTY;
        }
        while next != NONE {
            let range = self.free_range(next);
            self.batches.release(range.batch);
            next = range.next;
        }
        before - outbox.bytes
    }

    /// Forgets everything.
    ///
    /// # Panics
    ///
    /// If a send is under way: the kernel still reads those bytes.
    pub fn clear(&mut self, outbox: &mut Outbox) {
        assert!(!outbox.is_lent(), "what the kernel holds is not freed");
        (outbox.taken, outbox.torn) = (0, false);
        self.drop_unsent(outbox);
    }

    /// Whether the session has fallen more than one batch behind.
    #[must_use]
    pub fn is_behind(&self, outbox: &Outbox) -> bool {
        !outbox.is_empty() && self.batches.is_old(self.ranges[outbox.head as usize].batch)
    }

    /// What the session holds of the batches' memory, each batch divided among its holders: about
    /// what is freed when all of those who are behind are gone. Linear in its ranges.
    #[must_use]
    pub fn share_bytes(&self, outbox: &Outbox) -> usize {
        let (mut sum, mut next) = (0, outbox.head);
        while next != NONE {
            let range = self.ranges[next as usize];
            sum += self.batches.share_bytes(range.batch);
            next = range.next;
        }
        sum
    }

    /// Copies what is owed beyond the send under way out of the shared batches, so that these can
    /// go; returns how many bytes.
    pub fn copy_out(&mut self, outbox: &mut Outbox) -> u32 {
        if !outbox.is_lent() {
            return 0;
        }
        let head = self.ranges[outbox.head as usize];
        if head.next == NONE {
            return 0;
        }
        // The head stays where it is; what is behind it becomes an outbox of its own for a moment.
        let mut behind = Outbox {
            head: head.next,
            tail: outbox.tail,
            bytes: outbox.bytes - outbox.lent,
            ..Outbox::EMPTY
        };
        self.gather(&mut behind);
        self.ranges[outbox.head as usize].next = behind.head;
        outbox.tail = behind.tail;
        behind.bytes
    }

    /// Frees what is kept for reuse, as far as nothing is in use; for an idle shard.
    pub fn free_spare(&mut self) {
        self.batches.free_spare();
        if self.ranges_used == 0 {
            self.ranges = Vec::new();
            self.free = NONE;
        }
    }

    /// Asserts what the type promises of one outbox. Linear in its ranges: for tests.
    pub fn invariants(&self, outbox: &Outbox) {
        assert_eq!(outbox.head == NONE, outbox.tail == NONE);
        let (mut sum, mut next) = (0, outbox.head);
        while next != NONE {
            let range = self.ranges[next as usize];
            assert!(range.first <= range.last);
            sum += self.batches.range_len(range.batch, range.first, range.last);
            assert_eq!(range.next == NONE, next == outbox.tail);
            next = range.next;
        }
        assert_eq!(sum - outbox.taken, outbox.bytes);
        if outbox.head == NONE {
            assert_eq!((outbox.taken, outbox.lent), (0, 0));
            return;
        }
        let head = self.ranges[outbox.head as usize];
        assert!(outbox.taken < self.batches.range_len(head.batch, head.first, head.first));
        let left = self.batches.range_len(head.batch, head.first, head.last) - outbox.taken;
        assert!(outbox.lent == 0 || outbox.lent == left);
    }

    fn append(&mut self, outbox: &mut Outbox, batch: u32, first: u32, last: u32) {
        self.batches.hold(batch);
        self.append_unheld(outbox, batch, first, last);
    }

    #[inline]
    fn append_unheld(&mut self, outbox: &mut Outbox, batch: u32, first: u32, last: u32) {
        let range = Range {
            batch,
            first,
            last,
            next: NONE,
        };
        let index = self.insert_range(range);
        if outbox.tail == NONE {
            outbox.head = index;
        } else {
            self.ranges[outbox.tail as usize].next = index;
        }
        outbox.tail = index;
    }

    #[inline]
    fn remove_head(&mut self, outbox: &mut Outbox) {
        let range = self.free_range(outbox.head);
        self.batches.release(range.batch);
        outbox.head = range.next;
        if range.next == NONE {
            outbox.tail = NONE;
        }
    }

    /// Replaces all ranges by one copy of them.
    ///
    /// A frame that is partly sent loses what was sent of it, and what is left is marked as torn.
    #[cold]
    fn gather(&mut self, outbox: &mut Outbox) {
        let mut ranges = std::mem::take(&mut self.scratch);
        let (mut skip, mut next) = (outbox.taken, outbox.head);
        while next != NONE {
            let range = self.ranges[next as usize];
            let first = FrameRef {
                batch: range.batch,
                frame: range.first,
            };
            ranges.push((first, range.last, std::mem::take(&mut skip)));
            next = range.next;
        }
        let bytes = outbox.bytes;
        let gathered = self.batches.gather(&ranges, bytes as usize);
        // Held before the old ranges go, which may be the last holders of the same batch.
        self.batches.hold(gathered.batch);
        ranges.clear();
        self.scratch = ranges;

        let torn = outbox.taken > 0 || outbox.torn;
        self.clear(outbox);
        self.append(outbox, gathered.batch, gathered.first, gathered.last);
        (outbox.bytes, outbox.torn) = (bytes, torn);
        self.batches.release(gathered.batch);
    }

    #[inline]
    fn insert_range(&mut self, range: Range) -> u32 {
        self.ranges_used += 1;
        let index = self.free;
        let Some(unused) = self.ranges.get_mut(index as usize) else {
            return self.grow(range);
        };
        self.free = unused.next;
        *unused = range;
        index
    }

    /// No node is free: makes one more.
    #[cold]
    fn grow(&mut self, range: Range) -> u32 {
        self.ranges.push(range);
        u32::try_from(self.ranges.len() - 1).expect("bounded by the bytes owed")
    }

    fn free_range(&mut self, index: u32) -> Range {
        self.ranges_used -= 1;
        let slot = &mut self.ranges[index as usize];
        let range = *slot;
        slot.next = std::mem::replace(&mut self.free, index);
        range
    }
}

/// The outbox had no room. The session is reading slower than it is being written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overflow;

/// Owed no more than this, a session counts as one that keeps up.
pub const HEADROOM_BYTES: u32 = 1024;

const NONE: u32 = u32::MAX;

const _: () = {
    assert!(size_of::<Outbox>() == 24);
    assert!(size_of::<Range>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;

    struct Model {
        outbox: Outbox,
        accepted: Vec<u8>,
        ends: Vec<usize>,
        delivered: Vec<u8>,
    }

    /// Whatever frames are shared among however many outboxes, and however short the sends are,
    /// each outbox gives out exactly what it accepted, once and in order, and in the end no memory
    /// is held.
    #[test]
    fn delivers_every_accepted_byte_once_and_in_order() {
        for seed in 0..64 {
            let mut prng = Prng::from_seed(seed);
            let mut store = Outboxes::new(200, prng.range(0, 300));
            let bytes_max = prng.range(HEADROOM_BYTES + 1, 3000);
            let mut models: Vec<Model> = (0..3).map(|_| Model::new()).collect();
            let mut counter = 0;

            for _ in 0..400 {
                if prng.chance(2, 3) {
                    let frame: Vec<u8> = (0..prng.range(1, 300))
                        .map(|_| next(&mut counter))
                        .collect();
                    let at = store
                        .batches
                        .put(frame.len(), |out| out.extend_from_slice(&frame));
                    for model in &mut models {
                        if prng.chance(1, 2) {
                            model.push(&mut store, at, &frame, bytes_max);
                        }
                    }
                } else {
                    store.batches.seal();
                    for model in &mut models {
                        model.step(&mut store, &mut prng);
                    }
                }
                store.batches.invariants();
                for model in &models {
                    store.invariants(&model.outbox);
                }
            }
            store.batches.seal();
            for model in &mut models {
                model.finish(&mut store);
                assert_eq!(model.delivered, model.accepted, "seed {seed}");
            }
            assert_eq!(
                (store.batches.len(), store.ranges_used),
                (0, 0),
                "seed {seed}"
            );
        }
    }

    impl Model {
        fn new() -> Self {
            Self {
                outbox: Outbox::EMPTY,
                accepted: Vec::new(),
                ends: Vec::new(),
                delivered: Vec::new(),
            }
        }

        fn push(&mut self, store: &mut Outboxes, at: FrameRef, frame: &[u8], bytes_max: u32) {
            let len = u32::try_from(frame.len()).expect("small");
            let owed = self.accepted.len() - self.delivered.len();
            let fits = owed + frame.len() <= bytes_max as usize;
            let expected = fits || owed <= HEADROOM_BYTES as usize;
            let pushed = store.push(&mut self.outbox, at, len, bytes_max);
            assert_eq!(pushed.is_ok(), expected);
            if expected {
                self.accepted.extend_from_slice(frame);
                self.ends.push(self.accepted.len());
            }
        }

        fn step(&mut self, store: &mut Outboxes, prng: &mut Prng) {
            if self.outbox.is_empty() {
                return;
            }
            if prng.chance(1, 10) {
                // Only the rest of a frame whose beginning is out stays.
                store.drop_unsent(&mut self.outbox);
                let out = self.delivered.len();
                let bounds = [&[0], &self.ends[..]].concat();
                let whole = bounds.into_iter().find(|&end| end >= out);
                self.truncate(whole.expect("what is delivered was accepted"));
                return;
            }
            let lent = store.lend(&mut self.outbox).to_vec();
            let taken = prng.range(0, u32::try_from(lent.len()).expect("small"));
            if prng.chance(1, 4) {
                let behind = self.outbox.bytes - u32::try_from(lent.len()).expect("small");
                assert!([0, behind].contains(&store.copy_out(&mut self.outbox)));
                store.invariants(&self.outbox);
            }
            if prng.chance(1, 10) {
                // Everything but the send under way is forgotten.
                store.drop_unsent(&mut self.outbox);
                self.truncate(self.delivered.len() + lent.len());
            }
            self.delivered.extend_from_slice(&lent[..taken as usize]);
            store.settle(&mut self.outbox, taken);
        }

        fn truncate(&mut self, len: usize) {
            self.accepted.truncate(len);
            self.ends.retain(|&end| end <= len);
        }

        fn finish(&mut self, store: &mut Outboxes) {
            while !self.outbox.is_empty() {
                let lent = store.lend(&mut self.outbox).to_vec();
                self.delivered.extend_from_slice(&lent);
                store.settle(&mut self.outbox, u32::try_from(lent.len()).expect("small"));
            }
        }
    }

    #[test]
    fn a_partly_sent_frame_survives_when_the_rest_is_forgotten() {
        let mut store = Outboxes::new(64, 0);
        let mut outbox = Outbox::EMPTY;
        for _ in 0..3 {
            let frame = store.batches.put(4, |out| out.extend_from_slice(b"abcd"));
            assert_eq!(store.push(&mut outbox, frame, 4, 100), Ok(()));
        }
        store.batches.seal();
        assert_eq!(store.lend(&mut outbox).len(), 12);
        store.settle(&mut outbox, 5);
        assert_eq!(store.drop_unsent(&mut outbox), 4);
        assert_eq!(store.lend(&mut outbox), b"bcd");
        store.settle(&mut outbox, 3);
        assert!(outbox.is_empty());
        assert!(store.batches.is_empty());
    }

    #[test]
    fn a_refused_frame_leaves_no_trace() {
        let mut store = Outboxes::new(64, 0);
        let mut outbox = Outbox::EMPTY;
        let frame = store.batches.put(4, |out| out.extend_from_slice(b"four"));
        assert_eq!(store.push(&mut outbox, frame, 4, 4), Ok(()));
        let large = store
            .batches
            .put(2000, |out| out.resize(out.len() + 2000, 0));
        assert_eq!(
            store.push(&mut outbox, large, 2000, 4),
            Ok(()),
            "it keeps up"
        );
        let more = store.batches.put(1, |out| out.push(b'!'));
        assert_eq!(store.push(&mut outbox, more, 1, 2004), Err(Overflow));
        store.invariants(&outbox);
        assert_eq!(outbox.bytes(), 2004);
    }

    fn next(counter: &mut u8) -> u8 {
        *counter = counter.wrapping_add(1);
        *counter
    }
}
