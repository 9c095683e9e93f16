//! Outboxes: the bytes pending for each session, enqueued and not yet taken by the socket.
//!
//! An outbox is a list of spans of shared batches. The first span lies in the outbox itself, so
//! that enqueueing to a session that keeps up takes a few stores: no node, no allocation, no access
//! to the batch. Further spans have nodes in one pool per shard. A frame that directly follows the
//! last span extends it. At most one span per outbox is in flight to the kernel. No operation
//! waits, and no frame is split or left half sent, except when a connection is aborted.

use super::batches::{Batches, Span};
use super::export::PendingBytes;

/// The pending bytes of one session.
///
/// ```text
///   first [ .. frame][frame]      sent as a whole; sent bytes are removed from its beginning
///
///   tail ------------------------------------.
///         .-> [frame] -> [frame][frame] -> [frame] --.    the spans after the first, in a ring
///         \------------------------------------------/    whose last links to its first
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Outbox {
    /// Meaningless while the outbox is empty.
    first: Span,
    /// The last of the spans after the first, or [`NONE`].
    tail: u32,
    bytes: u32,
    pub(super) flags: OutboxFlags,
}

/// State bits of an outbox, in one byte, so that a fan-out tests several at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OutboxFlags(u8);

/// The storage that the outboxes of a shard share: batches and list nodes.
///
/// Invariants, checked by [`Outboxes::invariants`] for one outbox:
///
/// - `bytes` is the sum of the spans' lengths, and no span is empty.
/// - The span in flight is the first, and it does not grow meanwhile.
/// - Every span ends at the end of a frame. Every span but the first begins at the start of one.
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
    /// An empty outbox.
    pub const EMPTY: Self = Self {
        first: Span::EMPTY,
        tail: NONE,
        bytes: 0,
        flags: OutboxFlags::NONE,
    };

    /// Returns the pending bytes, those in flight included.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Returns whether no bytes are pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes [`Outboxes::drop_unsent`] keep the first frame: the greeting, without which no later
    /// byte has a meaning.
    ///
    /// # Panics
    ///
    /// If the outbox is empty.
    pub fn keep_first(&mut self) {
        assert!(!self.is_empty());
        self.flags.set(OutboxFlags::KEEP_FIRST);
    }

    /// Returns whether a send is in flight.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.flags.contains_any(OutboxFlags::SENDING)
    }

    /// Returns whether no bytes are pending and the session is in no send queue.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.flags == OutboxFlags::NONE
    }

    /// Enqueues a frame to an [idle](Outbox::is_idle) outbox, which has room for any size. A fast
    /// path of [`Outboxes::push_unretained`].
    #[inline]
    pub(super) fn set_first(&mut self, frame: Span) {
        self.first = frame;
        self.bytes = frame.len;
    }

    /// Enqueues a frame that directly follows the only span, if there is room. Returns whether it
    /// did. A fast path of [`Outboxes::push_unretained`] for a session that was enqueued to in this
    /// turn. Its session is queued already, since no byte of an open batch is in flight.
    #[inline]
    pub(super) fn try_extend(&mut self, frame: Span, bytes_max: u32) -> bool {
        let bytes = self.bytes.saturating_add(frame.len);
        let is_next = self.first.batch == frame.batch && self.first.end() == frame.start;
        let extends = self.tail == NONE && !self.is_empty() && is_next && bytes <= bytes_max;
        if extends {
            self.first.len += frame.len;
            self.bytes = bytes;
        }
        extends
    }

    /// Returns whether bytes are pending and no send is in flight.
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.is_empty() && !self.is_sending()
    }
}

impl OutboxFlags {
    pub(super) const NONE: Self = Self(0);
    /// A send is in flight.
    const SENDING: Self = Self(1);
    /// The first frame must not be dropped, even if no byte of it was sent.
    const KEEP_FIRST: Self = Self(2);
    /// The session is in the normal send queue.
    pub(super) const QUEUED: Self = Self(4);
    /// The session is in the urgent send queue.
    pub(super) const QUEUED_URGENT: Self = Self(8);
    /// Frames of the span in flight that the send does not start are dropped at its completion.
    const TRUNCATED: Self = Self(16);
    /// The flags that end when a send has taken the whole span.
    const SEND_STATE: Self = Self(1 | 2 | 16);
    /// With any of these, the session need not be queued.
    pub(super) const SENDING_OR_QUEUED: Self = Self(1 | 4 | 8);
    /// With any of these, the session need not be queued as urgent.
    pub(super) const SENDING_OR_URGENT: Self = Self(1 | 8);

    /// Returns whether any flag of `any` is set.
    #[inline]
    pub(super) fn contains_any(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    #[inline]
    pub(super) fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

impl Outboxes {
    /// Creates an empty storage. Outboxes of several spans and at most `gather_bytes_max` pending
    /// bytes are copied into one span before a send.
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

    /// Enqueues a frame and retains its batch.
    ///
    /// The limit is `bytes_max` pending bytes, the frame included. An outbox with at most
    /// [`HEADROOM_BYTES`] pending accepts a frame of any size.
    ///
    /// # Errors
    ///
    /// Returns [`OutboxFullError`] above the limit; the outbox is unchanged.
    pub fn push(
        &mut self,
        outbox: &mut Outbox,
        frame: Span,
        bytes_max: u32,
    ) -> Result<(), OutboxFullError> {
        if self.push_unretained(outbox, frame, bytes_max)? == Pushed::NeedsReference {
            self.batches.retain(frame.batch);
        }
        Ok(())
    }

    /// Enqueues a frame without retaining its batch, for a caller that enqueues one frame to many
    /// outboxes. That caller calls [`Batches::retain_many`] for all [`Pushed::NeedsReference`]
    /// before the batch is sealed.
    ///
    /// # Errors
    ///
    /// Returns [`OutboxFullError`] above the limit of [`Outboxes::push`].
    #[inline]
    pub fn push_unretained(
        &mut self,
        outbox: &mut Outbox,
        frame: Span,
        bytes_max: u32,
    ) -> Result<Pushed, OutboxFullError> {
        let before = outbox.bytes;
        let bytes = before.checked_add(frame.len).ok_or(OutboxFullError)?;
        if bytes > bytes_max && before > HEADROOM_BYTES {
            return Err(OutboxFullError);
        }
        if before == 0 {
            outbox.set_first(frame);
            return Ok(Pushed::NeedsReference);
        }
        outbox.bytes = bytes;
        let last = match outbox.tail {
            NONE => &mut outbox.first,
            tail => &mut self.nodes[tail as usize].span,
        };
        // Frames are only added to an open batch, and no byte of an open batch is in flight.
        if last.batch == frame.batch && last.end() == frame.start {
            last.len += frame.len;
            return Ok(Pushed::Merged);
        }
        self.append(outbox, frame);
        Ok(Pushed::NeedsReference)
    }

    /// Begins a send and returns its bytes. They keep their address until
    /// [`Outboxes::complete_send`].
    ///
    /// # Panics
    ///
    /// If no bytes are pending, a send is in flight, or the frames' batch is not sealed.
    #[inline]
    pub fn begin_send(&mut self, outbox: &mut Outbox) -> &[u8] {
        assert!(
            outbox.can_send(),
            "no pending bytes, or a send is in flight"
        );
        if outbox.tail != NONE {
            self.gather_small(outbox);
        }
        outbox.flags.set(OutboxFlags::SENDING);
        self.batches.sealed_bytes(outbox.first)
    }

    /// Completes the send in flight, of which the socket took `taken` bytes.
    ///
    /// # Panics
    ///
    /// If no send is in flight, or `taken` exceeds its length.
    #[inline]
    pub fn complete_send(&mut self, outbox: &mut Outbox, taken: u32) {
        assert!(outbox.is_sending(), "no send is in flight");
        let sending = outbox.first.len;
        outbox.bytes -= taken;
        if taken != sending {
            self.complete_part_of_send(outbox, taken);
            return;
        }
        outbox.flags.clear(OutboxFlags::SEND_STATE);
        self.batches.release(outbox.first.batch);
        if outbox.tail != NONE {
            outbox.first = self.pop_second(outbox);
        }
    }

    /// Completes a send of which the socket took less than the whole span.
    #[cold]
    fn complete_part_of_send(&self, outbox: &mut Outbox, taken: u32) {
        assert!(taken < outbox.first.len);
        outbox.flags.clear(OutboxFlags::SENDING);
        let frame_end = self.batches.first_frame_end(outbox.first);
        outbox.first.start += taken;
        outbox.first.len -= taken;
        if outbox.first.start >= frame_end {
            outbox.flags.clear(OutboxFlags::KEEP_FIRST);
        }
    }

    /// Drops every frame of which no byte was sent or is in flight. Returns the number of bytes
    /// dropped.
    ///
    /// A partly sent frame stays: without its rest the client could not decode what follows. After
    /// a send in flight, [`Outboxes::drop_deferred`] drops the frames that it did not start.
    pub fn drop_unsent(&mut self, outbox: &mut Outbox) -> u32 {
        if outbox.is_empty() {
            return 0;
        }
        let len = if outbox.is_sending() {
            outbox.flags.set(OutboxFlags::TRUNCATED);
            outbox.first.len
        } else {
            self.kept_frame_len(outbox)
        };
        self.truncate(outbox, len)
    }

    /// Drops the frames that [`Outboxes::drop_unsent`] left because they were in flight, except one
    /// that the send has started. Returns the number of bytes dropped. Frames enqueued since stay.
    pub fn drop_deferred(&mut self, outbox: &mut Outbox) -> u32 {
        if outbox.is_sending() || !outbox.flags.contains_any(OutboxFlags::TRUNCATED) {
            return 0;
        }
        outbox.flags.clear(OutboxFlags::TRUNCATED);
        let len = self.kept_frame_len(outbox);
        let dropped = outbox.first.len - len;
        outbox.bytes -= dropped;
        outbox.first.len = len;
        if len == 0 {
            self.batches.release(outbox.first.batch);
            if outbox.tail != NONE {
                outbox.first = self.pop_second(outbox);
            }
        }
        dropped
    }

    /// Returns the length of the frame at the start of the first span that must be sent; 0 if none
    /// must.
    fn kept_frame_len(&self, outbox: &Outbox) -> u32 {
        let first = outbox.first;
        if outbox.flags.contains_any(OutboxFlags::KEEP_FIRST)
            || !self.batches.begins_with_frame(first)
        {
            self.batches.first_frame_end(first) - first.start
        } else {
            0
        }
    }

    /// Drops all frames.
    ///
    /// # Panics
    ///
    /// If a send is in flight: the kernel still reads those bytes.
    pub fn clear(&mut self, outbox: &mut Outbox) {
        assert!(!outbox.is_sending(), "a send is in flight");
        outbox.flags.clear(OutboxFlags::SEND_STATE);
        if !outbox.is_empty() {
            self.truncate(outbox, 0);
        }
    }

    /// Drops all bytes after the first `len` bytes of the first span. Returns the number of bytes
    /// dropped.
    fn truncate(&mut self, outbox: &mut Outbox, len: u32) -> u32 {
        let before = outbox.bytes;
        self.clear_tail(outbox);
        (outbox.first.len, outbox.bytes) = (len, len);
        if outbox.is_empty() {
            self.batches.release(outbox.first.batch);
        }
        before - outbox.bytes
    }

    /// Returns whether the oldest pending bytes are more than one batch behind the latest batch.
    #[must_use]
    pub fn is_behind(&self, outbox: &Outbox) -> bool {
        !outbox.is_empty() && self.batches.is_old(outbox.first.batch)
    }

    /// Returns the session's share of the batches' memory, in bytes: each batch is divided by its
    /// reference count. Linear in the spans.
    #[must_use]
    pub fn share_bytes(&self, outbox: &Outbox) -> usize {
        let spans = self.spans(outbox);
        spans.map(|span| self.batches.share_bytes(span.batch)).sum()
    }

    /// Copies the pending bytes after the send in flight out of the shared batches, so that those
    /// can be freed. Returns the number of bytes copied; 0 if no send is in flight or nothing
    /// follows it.
    pub fn copy_out(&mut self, outbox: &mut Outbox) -> u32 {
        if !outbox.is_sending() || outbox.tail == NONE {
            return 0;
        }
        let mut spans = std::mem::take(&mut self.scratch);
        spans.extend(self.tail_spans(outbox.tail));
        let copy = self.batches.gather(&spans);
        // Retain first: the old spans may hold the last references to the same batch.
        self.batches.retain(copy.batch);
        self.clear_tail(outbox);
        self.append(outbox, copy);
        spans.clear();
        self.scratch = spans;
        copy.len
    }

    /// Copies the pending bytes.
    ///
    /// # Panics
    ///
    /// If a send is in flight.
    #[must_use]
    pub fn export(&self, outbox: &Outbox) -> PendingBytes {
        assert!(!outbox.is_sending(), "a send is in flight");
        let mut pending = PendingBytes {
            keeps_first: !outbox.is_empty() && self.kept_frame_len(outbox) > 0,
            ..PendingBytes::default()
        };
        for span in self.spans(outbox) {
            let base = u32::try_from(pending.bytes.len()).expect("an outbox counts in u32");
            let ends = self.batches.frame_ends(span);
            pending.frame_ends.extend(ends.map(|end| base + end));
            pending.bytes.extend_from_slice(self.batches.bytes(span));
        }
        pending
    }

    /// Creates an outbox with these pending bytes, in one span.
    pub fn adopt(&mut self, pending: &PendingBytes) -> Outbox {
        let mut outbox = Outbox::EMPTY;
        if !pending.bytes.is_empty() {
            let span = self.batches.put_sealed(&pending.bytes, &pending.frame_ends);
            self.batches.retain(span.batch);
            outbox.set_first(span);
            if pending.keeps_first {
                outbox.keep_first();
            }
        }
        outbox
    }

    /// Frees the buffers kept for reuse, and the node pool if no node is in use.
    pub fn free_spare(&mut self) {
        self.batches.free_spare();
        if self.nodes_used == 0 {
            self.nodes = Vec::new();
            self.free = NONE;
        }
    }

    /// Asserts the invariants for one outbox. Linear in its spans: for tests.
    pub fn invariants(&self, outbox: &Outbox) {
        let is_clean = outbox.tail == NONE && !outbox.flags.contains_any(OutboxFlags::SEND_STATE);
        assert!(!outbox.is_empty() || is_clean);
        for (index, span) in self.spans(outbox).enumerate() {
            assert!(span.len > 0);
            let begins = self.batches.begins_with_frame(span);
            assert!(begins || index == 0, "only the first span may be torn");
        }
        let sum: u32 = self.spans(outbox).map(|span| span.len).sum();
        assert_eq!(sum, outbox.bytes);
    }

    /// Returns the pending spans in order.
    fn spans(&self, outbox: &Outbox) -> impl Iterator<Item = Span> {
        let first = (!outbox.is_empty()).then_some(outbox.first);
        first.into_iter().chain(self.tail_spans(outbox.tail))
    }

    fn tail_spans(&self, tail: u32) -> impl Iterator<Item = Span> {
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

    /// Adds a span after all others.
    fn append(&mut self, outbox: &mut Outbox, span: Span) {
        let index = self.insert_node(span);
        if outbox.tail != NONE {
            let tail = &mut self.nodes[outbox.tail as usize];
            let second = std::mem::replace(&mut tail.next, index);
            self.nodes[index as usize].next = second;
        }
        outbox.tail = index;
    }

    /// Removes and returns the second span.
    ///
    /// # Panics
    ///
    /// If there is none.
    fn pop_second(&mut self, outbox: &mut Outbox) -> Span {
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

    fn clear_tail(&mut self, outbox: &mut Outbox) {
        while outbox.tail != NONE {
            let span = self.pop_second(outbox);
            self.batches.release(span.batch);
        }
    }

    /// Replaces all spans by one copy, if at most `gather_bytes_max` bytes are pending. Of a partly
    /// sent frame, the rest is copied and marked as to be kept.
    #[cold]
    fn gather_small(&mut self, outbox: &mut Outbox) {
        if outbox.bytes > self.gather_bytes_max {
            return;
        }
        let mut spans = std::mem::take(&mut self.scratch);
        spans.extend(self.spans(outbox));
        let copy = self.batches.gather(&spans);
        // Retain first: the old spans may hold the last references to the same batch.
        self.batches.retain(copy.batch);
        if !self.batches.begins_with_frame(outbox.first) {
            outbox.flags.set(OutboxFlags::KEEP_FIRST);
        }
        self.clear_tail(outbox);
        self.batches.release(outbox.first.batch);
        outbox.first = copy;
        spans.clear();
        self.scratch = spans;
    }

    /// Returns the index of a new node that links to itself.
    fn insert_node(&mut self, span: Span) -> u32 {
        self.nodes_used += 1;
        let index = self.free;
        if let Some(unused) = self.nodes.get_mut(index as usize) {
            self.free = unused.next;
            *unused = Node { span, next: index };
            return index;
        }
        let index = u32::try_from(self.nodes.len()).expect("limited by the pending bytes");
        self.nodes.push(Node { span, next: index });
        index
    }
}

/// How a frame was enqueued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pushed {
    /// As a new span: the batch needs one more reference.
    NeedsReference,
    /// As an extension of the last span, which holds a reference already.
    Merged,
}

/// The outbox is full: the client reads more slowly than messages are enqueued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutboxFullError;

/// Pending bytes up to which an outbox accepts a frame of any size.
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

    /// With random shared frames and random partial sends, each outbox sends exactly the bytes it
    /// accepted, once and in order, and in the end no memory is held.
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
            let pending = self.accepted.len() - self.delivered.len();
            let fits = pending + frame.len() <= bytes_max as usize;
            let expected = fits || pending <= HEADROOM_BYTES as usize;
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
                // Only the rest of a partly sent frame stays.
                store.drop_unsent(&mut self.outbox);
                let out = self.delivered.len();
                let bounds = [&[0], &self.ends[..]].concat();
                let whole = bounds.into_iter().find(|&end| end >= out);
                self.truncate(whole.expect("what is delivered was accepted"));
                return;
            }
            let sending = store.begin_send(&mut self.outbox).to_vec();
            let taken = prng.range(0, u32::try_from(sending.len()).expect("small"));
            if prng.chance(1, 4) {
                let behind = self.outbox.bytes - u32::try_from(sending.len()).expect("small");
                assert!([0, behind].contains(&store.copy_out(&mut self.outbox)));
                store.invariants(&self.outbox);
            }
            let is_truncated = prng.chance(1, 10);
            if is_truncated {
                // All but the send in flight is dropped, and after it the frames it did not start.
                store.drop_unsent(&mut self.outbox);
                self.truncate(self.delivered.len() + sending.len());
            }
            let behind = is_truncated && prng.chance(1, 2);
            if behind {
                let last = store.batches.put(4, |out| out.extend_from_slice(b"last"));
                self.push(store, last, b"last", u32::MAX);
                store.batches.seal();
            }
            self.delivered.extend_from_slice(&sending[..taken as usize]);
            store.complete_send(&mut self.outbox, taken);
            let before = self.accepted.len();
            let dropped = store.drop_deferred(&mut self.outbox) as usize;
            if is_truncated && taken < u32::try_from(sending.len()).expect("small") {
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
                let sending = store.begin_send(&mut self.outbox).to_vec();
                self.delivered.extend_from_slice(&sending);
                store.complete_send(
                    &mut self.outbox,
                    u32::try_from(sending.len()).expect("small"),
                );
            }
        }
    }

    #[test]
    fn a_partly_sent_frame_survives_when_the_rest_is_dropped() {
        let mut store = Outboxes::new(64, 0);
        let mut outbox = Outbox::EMPTY;
        for _ in 0..3 {
            let frame = store.batches.put(4, |out| out.extend_from_slice(b"abcd"));
            assert_eq!(store.push(&mut outbox, frame, 100), Ok(()));
        }
        store.batches.seal();
        assert_eq!(store.begin_send(&mut outbox).len(), 12);
        store.complete_send(&mut outbox, 5);
        assert_eq!(store.drop_unsent(&mut outbox), 4);
        assert_eq!(store.begin_send(&mut outbox), b"bcd");
        store.complete_send(&mut outbox, 3);
        assert!(outbox.is_empty());
        assert!(store.batches.is_empty());
    }

    #[test]
    fn a_frame_above_the_limit_changes_nothing() {
        let mut store = Outboxes::new(64, 0);
        let mut outbox = Outbox::EMPTY;
        let frame = store.batches.put(4, |out| out.extend_from_slice(b"four"));
        assert_eq!(store.push(&mut outbox, frame, 4), Ok(()));
        let large = store
            .batches
            .put(2000, |out| out.resize(out.len() + 2000, 0));
        assert_eq!(store.push(&mut outbox, large, 4), Ok(()), "it keeps up");
        let more = store.batches.put(1, |out| out.push(b'!'));
        assert_eq!(store.push(&mut outbox, more, 2004), Err(OutboxFullError));
        store.invariants(&outbox);
        assert_eq!(outbox.bytes(), 2004);
    }

    fn next(counter: &mut u8) -> u8 {
        *counter = counter.wrapping_add(1);
        *counter
    }
}
