//! What a session is owed but the socket has not taken yet.
//!
//! An outbox is a list of spans of shared batches. The first of them lies in the outbox itself, so
//! that a session that keeps up is owed something at the price of a few stores: no node, no memory
//! of its own, no look at the batch. Those behind it have nodes from one pool per shard, and a
//! frame that lies right behind the last one only makes that one longer. At most one span is lent
//! to the kernel at a time. Nothing in here ever waits, and no frame is ever cut in two or left
//! half sent, but for a cut connection.

use super::batches::{Batches, Span};

/// One session's share.
///
/// ```text
///   first [ .. frame][frame]      lent as a whole; sent bytes go from its beginning
///
///   tail ------------------------------------.
///         .-> [frame] -> [frame][frame] -> [frame] --.    the spans behind the first, in a ring
///         \------------------------------------------/    whose last one leads to its first
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Outbox {
    /// Without meaning while nothing is owed.
    first: Span,
    /// The last of the spans behind the first, or [`NONE`].
    tail: u32,
    bytes: u32,
    pub(super) marks: Marks,
}

/// What is true of an outbox, one bit each, so that a fan-out looks at all of them at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Marks(u8);

/// The outboxes' common store: batches and list nodes.
///
/// Invariants, checked by [`Outboxes::invariants`] for one outbox:
///
/// - `bytes` is what its spans hold, and every span holds something.
/// - What is lent is the first span, and nothing is added to it meanwhile.
/// - Every span ends where a frame does, and begins where one does, but for the first.
#[derive(Debug)]
pub struct Outboxes {
    /// The frames themselves.
    pub batches: Batches,
    nodes: Vec<Node>,
    free: u32,
    nodes_used: u32,
    gather_bytes_max: u32,
    scratch: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    span: Span,
    next: u32,
}

impl Outbox {
    /// An outbox that owes nothing.
    pub const EMPTY: Self = Self {
        first: Span::EMPTY,
        tail: NONE,
        bytes: 0,
        marks: Marks::NONE,
    };

    /// Bytes owed and not yet taken by the socket.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes sure that [`Outboxes::drop_unsent`] keeps the first frame: nothing that comes behind
    /// it would mean anything without it.
    pub fn keep_first(&mut self) {
        assert!(!self.is_empty());
        self.marks.set(Marks::KEPT);
    }

    /// Whether a send is under way.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.marks.have(Marks::LENT)
    }

    /// Whether nothing is owed and its session stands in no queue.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.marks == Marks::NONE
    }

    /// Owes a frame where nothing was owed: [`Outboxes::push_unheld`] for what [is
    /// idle](Outbox::is_idle), which has room for anything.
    #[inline]
    pub(super) fn begin(&mut self, frame: Span) {
        self.first = frame;
        self.bytes = frame.len;
    }

    /// Owes a frame that lies right behind all that is owed, if it does and there is room:
    /// [`Outboxes::push_unheld`] for what has been owed something else in this turn. It is queued
    /// already, since nothing of an open batch is lent.
    #[inline]
    pub(super) fn extend(&mut self, frame: Span, bytes_max: u32) -> bool {
        let bytes = self.bytes.saturating_add(frame.len);
        let is_next = self.first.batch == frame.batch && self.first.end() == frame.start;
        let extends = self.tail == NONE && !self.is_empty() && is_next && bytes <= bytes_max;
        if extends {
            self.first.len += frame.len;
            self.bytes = bytes;
        }
        extends
    }

    /// Whether something is owed and no send is under way.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.is_empty() && !self.is_lent()
    }
}

impl Marks {
    pub(super) const NONE: Self = Self(0);
    /// A send is under way.
    const LENT: Self = Self(1);
    /// The first frame may not be dropped, although nothing of it may have been sent.
    const KEPT: Self = Self(2);
    /// The session stands in the queue of those to be sent to.
    pub(super) const QUEUED: Self = Self(4);
    /// The same for the queue that goes first.
    pub(super) const QUEUED_URGENT: Self = Self(8);
    /// The frames behind the first one are to be dropped, as far as the send under way leaves them.
    const CURTAILED: Self = Self(16);
    /// What a send that took everything ends.
    const LENT_AND_MORE: Self = Self(1 | 2 | 16);
    /// The session need not be queued.
    pub(super) const LENT_OR_QUEUED: Self = Self(1 | 4 | 8);
    /// The session need not be queued to go first.
    pub(super) const LENT_OR_URGENT: Self = Self(1 | 8);

    /// Whether any of these is among them.
    #[inline]
    pub(super) fn have(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, marks: Self) {
        self.0 |= marks.0;
    }

    #[inline]
    pub(super) fn clear(&mut self, marks: Self) {
        self.0 &= !marks.0;
    }
}

impl Outboxes {
    /// An empty store. Scattered spans of together at most `gather_bytes_max` bytes are copied
    /// into one, so that one send takes them.
    #[must_use]
    pub fn new(batch_bytes_max: usize, gather_bytes_max: u32) -> Self {
        Self {
            batches: Batches::new(batch_bytes_max),
            nodes: Vec::new(),
            free: NONE,
            nodes_used: 0,
            gather_bytes_max,
            scratch: Vec::new(),
        }
    }

    /// Owes one more frame, unless more than a greeting or a pong is owed already and both together
    /// are more than `bytes_max`. A session that keeps up can be sent a message of any size.
    ///
    /// A refused frame leaves no trace.
    pub fn push(
        &mut self,
        outbox: &mut Outbox,
        frame: Span,
        bytes_max: u32,
    ) -> Result<(), Overflow> {
        if self.push_unheld(outbox, frame, bytes_max)? == Pushed::Holds {
            self.batches.hold(frame.batch);
        }
        Ok(())
    }

    /// [`Outboxes::push`] for a caller that adds one frame to many outboxes and counts those that
    /// hold its batch once more now itself, by [`Batches::hold_by`], before the batch is sealed.
    #[inline]
    pub fn push_unheld(
        &mut self,
        outbox: &mut Outbox,
        frame: Span,
        bytes_max: u32,
    ) -> Result<Pushed, Overflow> {
        let before = outbox.bytes;
        let bytes = before.checked_add(frame.len).ok_or(Overflow)?;
        if bytes > bytes_max && before > HEADROOM_BYTES {
            return Err(Overflow);
        }
        if before == 0 {
            outbox.begin(frame);
            return Ok(Pushed::Holds);
        }
        outbox.bytes = bytes;
        let last = match outbox.tail {
            NONE => &mut outbox.first,
            tail => &mut self.nodes[tail as usize].span,
        };
        // Frames are only ever added to an open batch, and nothing of an open batch is lent.
        if last.batch == frame.batch && last.end() == frame.start {
            last.len += frame.len;
            return Ok(Pushed::HeldBefore);
        }
        self.append(outbox, frame);
        Ok(Pushed::Holds)
    }

    /// Lends the bytes to be sent next; they stay where they are until [`Outboxes::settle`].
    ///
    /// # Panics
    ///
    /// If nothing is owed, a send is under way, or the frames' batch was not sealed.
    #[inline]
    pub fn lend(&mut self, outbox: &mut Outbox) -> &[u8] {
        assert!(outbox.is_dirty(), "one send at a time, of something");
        if outbox.tail != NONE {
            self.gather_few(outbox);
        }
        outbox.marks.set(Marks::LENT);
        self.batches.sealed_bytes(outbox.first)
    }

    /// Ends the send under way, of which the socket took `taken` bytes.
    ///
    /// # Panics
    ///
    /// If no send is under way, or more was taken than was lent.
    #[inline]
    pub fn settle(&mut self, outbox: &mut Outbox, taken: u32) {
        assert!(outbox.is_lent(), "no send to settle");
        let lent = outbox.first.len;
        outbox.bytes -= taken;
        if taken != lent {
            self.settle_part(outbox, taken);
            return;
        }
        outbox.marks.clear(Marks::LENT_AND_MORE);
        self.batches.release(outbox.first.batch);
        if outbox.tail != NONE {
            outbox.first = self.take_behind(outbox);
        }
    }

    /// The socket took less than it was lent: the rest begins somewhere in the span.
    #[cold]
    fn settle_part(&self, outbox: &mut Outbox, taken: u32) {
        assert!(taken < outbox.first.len);
        outbox.marks.clear(Marks::LENT);
        let frame_end = self.batches.first_frame_end(outbox.first);
        outbox.first.start += taken;
        outbox.first.len -= taken;
        if outbox.first.start >= frame_end {
            outbox.marks.clear(Marks::KEPT);
        }
    }

    /// Forgets every frame of which nothing has been sent or lent; returns how many bytes.
    ///
    /// A frame that is partly sent must still go out whole: a client that got half a frame can make
    /// nothing of what follows. What is under way stays where it is; of what the socket does not
    /// take of it, [`Outboxes::drop_left`] drops the rest.
    pub fn drop_unsent(&mut self, outbox: &mut Outbox) -> u32 {
        if outbox.is_empty() {
            return 0;
        }
        let len = if outbox.is_lent() {
            outbox.marks.set(Marks::CURTAILED);
            outbox.first.len
        } else {
            self.begun_len(outbox)
        };
        self.truncate(outbox, len)
    }

    /// Forgets the frames that [`Outboxes::drop_unsent`] had to leave to a send under way, as far
    /// as that has not begun them; returns how many bytes. What was added since then stays.
    pub fn drop_left(&mut self, outbox: &mut Outbox) -> u32 {
        if outbox.is_lent() || !outbox.marks.have(Marks::CURTAILED) {
            return 0;
        }
        outbox.marks.clear(Marks::CURTAILED);
        let len = self.begun_len(outbox);
        let dropped = outbox.first.len - len;
        outbox.bytes -= dropped;
        outbox.first.len = len;
        if len == 0 {
            self.batches.release(outbox.first.batch);
            if outbox.tail != NONE {
                outbox.first = self.take_behind(outbox);
            }
        }
        dropped
    }

    /// How much of the first span is the rest of a frame that must go out.
    fn begun_len(&self, outbox: &Outbox) -> u32 {
        let first = outbox.first;
        if outbox.marks.have(Marks::KEPT) || !self.batches.begins_with_frame(first) {
            self.batches.first_frame_end(first) - first.start
        } else {
            0
        }
    }

    /// Forgets everything.
    ///
    /// # Panics
    ///
    /// If a send is under way: the kernel still reads those bytes.
    pub fn clear(&mut self, outbox: &mut Outbox) {
        assert!(!outbox.is_lent(), "what the kernel holds is not freed");
        outbox.marks.clear(Marks::LENT_AND_MORE);
        if !outbox.is_empty() {
            self.truncate(outbox, 0);
        }
    }

    /// Forgets what is behind the first `len` bytes of the first span; returns how many bytes.
    fn truncate(&mut self, outbox: &mut Outbox, len: u32) -> u32 {
        let before = outbox.bytes;
        self.forget_behind(outbox);
        (outbox.first.len, outbox.bytes) = (len, len);
        if outbox.is_empty() {
            self.batches.release(outbox.first.batch);
        }
        before - outbox.bytes
    }

    /// Whether the session has fallen more than one batch behind.
    #[must_use]
    pub fn is_behind(&self, outbox: &Outbox) -> bool {
        !outbox.is_empty() && self.batches.is_old(outbox.first.batch)
    }

    /// What the session holds of the batches' memory, each batch divided among its holders: about
    /// what is freed when all of those who are behind are gone. Linear in its spans.
    #[must_use]
    pub fn share_bytes(&self, outbox: &Outbox) -> usize {
        let spans = self.spans(outbox);
        spans.map(|span| self.batches.share_bytes(span.batch)).sum()
    }

    /// Copies what is owed beyond the send under way out of the shared batches, so that these can
    /// go; returns how many bytes.
    pub fn copy_out(&mut self, outbox: &mut Outbox) -> u32 {
        if !outbox.is_lent() || outbox.tail == NONE {
            return 0;
        }
        let mut spans = std::mem::take(&mut self.scratch);
        spans.extend(self.spans_behind(outbox.tail));
        let copy = self.batches.gather(&spans);
        // Held before the old spans go, which may be the last holders of the same batch.
        self.batches.hold(copy.batch);
        self.forget_behind(outbox);
        self.append(outbox, copy);
        spans.clear();
        self.scratch = spans;
        copy.len
    }

    /// Frees what is kept for reuse, as far as nothing is in use; for an idle shard.
    pub fn free_spare(&mut self) {
        self.batches.free_spare();
        if self.nodes_used == 0 {
            self.nodes = Vec::new();
            self.free = NONE;
        }
    }

    /// Asserts what the type promises of one outbox. Linear in its spans: for tests.
    pub fn invariants(&self, outbox: &Outbox) {
        let is_clean = outbox.tail == NONE && !outbox.marks.have(Marks::LENT_AND_MORE);
        assert!(!outbox.is_empty() || is_clean);
        for (index, span) in self.spans(outbox).enumerate() {
            assert!(span.len > 0);
            let begins = self.batches.begins_with_frame(span);
            assert!(begins || index == 0, "only the first span may be torn");
        }
        let sum: u32 = self.spans(outbox).map(|span| span.len).sum();
        assert_eq!(sum, outbox.bytes);
    }

    /// What is owed, in order.
    fn spans(&self, outbox: &Outbox) -> impl Iterator<Item = Span> {
        let first = (!outbox.is_empty()).then_some(outbox.first);
        first.into_iter().chain(self.spans_behind(outbox.tail))
    }

    fn spans_behind(&self, tail: u32) -> impl Iterator<Item = Span> {
        let (mut at, mut is_over) = (tail, tail == NONE);
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            at = self.nodes[at as usize].next;
            is_over = at == tail;
            Some(self.nodes[at as usize].span)
        })
    }

    /// Adds a span behind all others.
    fn append(&mut self, outbox: &mut Outbox, span: Span) {
        let index = self.insert_node(span);
        if outbox.tail != NONE {
            let tail = &mut self.nodes[outbox.tail as usize];
            let first_behind = std::mem::replace(&mut tail.next, index);
            self.nodes[index as usize].next = first_behind;
        }
        outbox.tail = index;
    }

    /// Takes the span right behind the first one out of the list.
    ///
    /// # Panics
    ///
    /// If there is none.
    fn take_behind(&mut self, outbox: &mut Outbox) -> Span {
        let index = self.nodes[outbox.tail as usize].next;
        let Node { span, next } = self.nodes[index as usize];
        if index == outbox.tail {
            outbox.tail = NONE;
        } else {
            self.nodes[outbox.tail as usize].next = next;
        }
        self.nodes[index as usize].next = std::mem::replace(&mut self.free, index);
        self.nodes_used -= 1;
        span
    }

    fn forget_behind(&mut self, outbox: &mut Outbox) {
        while outbox.tail != NONE {
            let span = self.take_behind(outbox);
            self.batches.release(span.batch);
        }
    }

    /// Replaces all spans by one copy of them, if they are not too many bytes.
    ///
    /// A frame that is partly sent loses what was sent of it, and what is left is kept.
    #[cold]
    fn gather_few(&mut self, outbox: &mut Outbox) {
        if outbox.bytes > self.gather_bytes_max {
            return;
        }
        let mut spans = std::mem::take(&mut self.scratch);
        spans.extend(self.spans(outbox));
        let copy = self.batches.gather(&spans);
        // Held before the old spans go, which may be the last holders of the same batch.
        self.batches.hold(copy.batch);
        if !self.batches.begins_with_frame(outbox.first) {
            outbox.marks.set(Marks::KEPT);
        }
        self.forget_behind(outbox);
        self.batches.release(outbox.first.batch);
        outbox.first = copy;
        spans.clear();
        self.scratch = spans;
    }

    /// Makes a node that leads to itself.
    fn insert_node(&mut self, span: Span) -> u32 {
        self.nodes_used += 1;
        let index = self.free;
        if let Some(unused) = self.nodes.get_mut(index as usize) {
            self.free = unused.next;
            *unused = Node { span, next: index };
            return index;
        }
        let index = u32::try_from(self.nodes.len()).expect("bounded by the bytes owed");
        self.nodes.push(Node { span, next: index });
        index
    }
}

/// The frame is owed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pushed {
    /// The outbox holds its batch once more now.
    Holds,
    /// It lies right behind what was owed, and is held with it.
    HeldBefore,
}

/// The outbox had no room. The session is reading slower than it is being written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overflow;

/// Owed no more than this, a session counts as one that keeps up.
pub const HEADROOM_BYTES: u32 = 1024;

const NONE: u32 = u32::MAX;

const _: () = {
    assert!(size_of::<Outbox>() == 24);
    assert!(size_of::<Node>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;

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
                (store.batches.len(), store.nodes_used),
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

        fn push(&mut self, store: &mut Outboxes, at: Span, frame: &[u8], bytes_max: u32) {
            let owed = self.accepted.len() - self.delivered.len();
            let fits = owed + frame.len() <= bytes_max as usize;
            let expected = fits || owed <= HEADROOM_BYTES as usize;
            let pushed = store.push(&mut self.outbox, at, bytes_max);
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
            let is_curtailed = prng.chance(1, 10);
            if is_curtailed {
                // Everything but the send under way is forgotten, and later what it leaves.
                store.drop_unsent(&mut self.outbox);
                self.truncate(self.delivered.len() + lent.len());
            }
            let behind = is_curtailed && prng.chance(1, 2);
            if behind {
                let last = store.batches.put(4, |out| out.extend_from_slice(b"last"));
                self.push(store, last, b"last", u32::MAX);
                store.batches.seal();
            }
            self.delivered.extend_from_slice(&lent[..taken as usize]);
            store.settle(&mut self.outbox, taken);
            let before = self.accepted.len();
            let dropped = store.drop_left(&mut self.outbox) as usize;
            if is_curtailed && taken < u32::try_from(lent.len()).expect("small") {
                let last = if behind { &b"last"[..] } else { b"" };
                let bounds = [&[0], &self.ends[..]].concat();
                let out = self.delivered.len();
                let whole = bounds.into_iter().find(|&end| end >= out);
                self.truncate(whole.expect("what is delivered was accepted"));
                self.accepted.extend_from_slice(last);
                self.ends.push(self.accepted.len());
            }
            assert_eq!(dropped, before - self.accepted.len());
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
            assert_eq!(store.push(&mut outbox, frame, 100), Ok(()));
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
        assert_eq!(store.push(&mut outbox, frame, 4), Ok(()));
        let large = store
            .batches
            .put(2000, |out| out.resize(out.len() + 2000, 0));
        assert_eq!(store.push(&mut outbox, large, 4), Ok(()), "it keeps up");
        let more = store.batches.put(1, |out| out.push(b'!'));
        assert_eq!(store.push(&mut outbox, more, 2004), Err(Overflow));
        store.invariants(&outbox);
        assert_eq!(outbox.bytes(), 2004);
    }

    fn next(counter: &mut u8) -> u8 {
        *counter = counter.wrapping_add(1);
        *counter
    }
}
