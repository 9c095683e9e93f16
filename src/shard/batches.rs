//! Batches: buffers of encoded frames, shared by the outboxes of all receivers.
//!
//! All frames encoded in one turn lie next to each other in one buffer, a *batch*. A session that
//! receives several of them in a row has one range of pending bytes, which takes one send. A batch
//! is reference-counted and freed when its last holder has sent its part.
//!
//! A batch is sealed before the first send of its bytes, and a sealed batch is never written again,
//! so the bytes given to the kernel do not change.

/// All batches of one shard.
///
/// ```text
///   batch   [frame 0][frame 1  ][frame 2]....      open: more may follow
///   ends             ^8         ^19      ^27
///   span             |- 8 to 27 --------|          one session's pending bytes
/// ```
///
/// Invariants, checked by [`Batches::invariants`]:
///
/// - At most one batch is open, and no byte of it is in flight.
/// - A batch is in use exactly while its reference count is not zero; the open batch has one for
///   itself.
/// - `ends` increases strictly, and its last element is the length of the batch.
/// - `bytes_held` is the sum of the capacities of all batches in use.
#[derive(Debug)]
pub struct Batches {
    entries: Vec<Batch>,
    /// Indices of the entries not in use.
    free: Vec<u32>,
    /// The open batch, or [`NONE`].
    open: u32,
    /// The batch into which scattered spans are copied, or [`NONE`]. It has its full capacity from
    /// the start, so its bytes never move.
    gathering: u32,
    spare: Vec<(Vec<u8>, Vec<u32>)>,
    /// Number of batches opened so far.
    opened: u64,
    batch_bytes_max: usize,
    bytes_held: usize,
    shrank: bool,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    references: u32,
    /// Number of batches opened before this one.
    sequence: u64,
}

/// A range of bytes in one batch: one or more frames, the first possibly without its beginning.
/// Valid while a reference to the batch is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// Index of the batch.
    pub batch: u32,
    /// Offset of the first byte in the batch.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// An empty span of no batch.
    pub const EMPTY: Self = Self {
        batch: NONE,
        start: 0,
        len: 0,
    };

    /// Returns the offset after the last byte.
    #[must_use]
    #[inline]
    pub fn end(self) -> u32 {
        self.start + self.len
    }
}

impl Batches {
    /// Creates a store without batches. A batch holds up to `batch_bytes_max` bytes, or one larger
    /// frame.
    ///
    /// # Panics
    ///
    /// If `batch_bytes_max` is zero.
    #[must_use]
    pub fn new(batch_bytes_max: usize) -> Self {
        assert!(batch_bytes_max > 0);
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            open: NONE,
            gathering: NONE,
            spare: Vec::new(),
            opened: 0,
            batch_bytes_max,
            bytes_held: 0,
            shrank: false,
        }
    }

    /// Appends the frame that `write` encodes to the open batch, and returns its span.
    ///
    /// `bytes_needed` estimates the frame's length. If that does not fit into the open batch, or
    /// none is open, a new one is opened. A caller that keeps the span beyond the turn calls
    /// [`Batches::retain`].
    ///
    /// # Panics
    ///
    /// If `write` appends nothing.
    #[inline]
    pub fn put(&mut self, bytes_needed: usize, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let frame = self.try_put(bytes_needed, write);
        frame.expect("a frame has at least a head")
    }

    /// Appends a frame as [`Batches::put`] does; `None` if `write` appends nothing.
    #[inline]
    pub fn try_put(
        &mut self,
        bytes_needed: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Span> {
        let index = self.open_with_room_for(bytes_needed);
        let batch = &mut self.entries[index as usize];
        let (start, capacity) = (batch.bytes.len(), batch.bytes.capacity());
        write(&mut batch.bytes);
        self.bytes_held += batch.bytes.capacity() - capacity;
        if batch.bytes.len() == start {
            return None;
        }
        let end = offset(batch.bytes.len());
        batch.ends.push(end);
        Some(Span {
            batch: index,
            start: offset(start),
            len: end - offset(start),
        })
    }

    /// Seals the open batch: its bytes may be sent from now on and never change.
    #[inline]
    pub fn seal(&mut self) {
        if self.open != NONE {
            let index = std::mem::replace(&mut self.open, NONE);
            self.release(index);
        }
    }

    /// Adds a reference to `batch`.
    pub fn retain(&mut self, batch: u32) {
        self.retain_many(batch, 1);
    }

    /// Adds `count` references to `batch`.
    pub fn retain_many(&mut self, batch: u32, count: u32) {
        self.entries[batch as usize].references += count;
    }

    /// Removes a reference to `batch`, and frees it if that was the last.
    #[inline]
    pub fn release(&mut self, batch: u32) {
        let entry = &mut self.entries[batch as usize];
        entry.references -= 1;
        if entry.references == 0 {
            self.discard(batch);
        }
    }

    /// Returns the bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.entries[span.batch as usize].bytes[span.start as usize..][..span.len as usize]
    }

    /// Returns the bytes of a span that is about to be sent.
    ///
    /// # Panics
    ///
    /// If the batch is not sealed.
    #[must_use]
    #[inline]
    pub fn sealed_bytes(&self, span: Span) -> &[u8] {
        assert!(
            span.batch != self.open,
            "a batch is sealed before its bytes are sent"
        );
        self.bytes(span)
    }

    /// Returns whether the span begins at the start of a frame.
    #[must_use]
    pub fn begins_with_frame(&self, span: Span) -> bool {
        let ends = &self.entries[span.batch as usize].ends;
        span.start == 0 || ends.binary_search(&span.start).is_ok()
    }

    /// Returns the offset in the batch at which the span's first frame ends.
    #[must_use]
    pub fn first_frame_end(&self, span: Span) -> u32 {
        let ends = &self.entries[span.batch as usize].ends;
        ends[ends.partition_point(|&end| end <= span.start)]
    }

    /// Returns whether at least one batch was opened between this one and the latest.
    #[must_use]
    pub fn is_old(&self, batch: u32) -> bool {
        self.opened - self.entries[batch as usize].sequence > 2
    }

    /// Copies spans into one span of a sealed batch. The caller retains that batch.
    ///
    /// The copy does not move when others are appended: the buffer has its full capacity from the
    /// start, and what does not fit begins another.
    pub fn gather(&mut self, spans: &[Span]) -> Span {
        let bytes: u32 = spans.iter().map(|span| span.len).sum();
        let index = self.gathering_with_room_for(bytes as usize, spans);
        let target = &mut self.entries[index as usize];
        let (mut copy, mut ends) = (
            std::mem::take(&mut target.bytes),
            std::mem::take(&mut target.ends),
        );
        let (start, capacity) = (offset(copy.len()), copy.capacity());
        for &span in spans {
            let base = offset(copy.len());
            copy.extend_from_slice(self.bytes(span));
            let source = &self.entries[span.batch as usize].ends;
            let from = source.partition_point(|&end| end <= span.start);
            let inside = source[from..].iter().take_while(|&&end| end <= span.end());
            ends.extend(inside.map(|end| end - span.start + base));
        }
        assert_eq!(
            ends.last(),
            Some(&(start + bytes)),
            "a span ends with a frame"
        );
        assert_eq!(copy.capacity(), capacity, "bytes in flight do not move");

        let target = &mut self.entries[index as usize];
        (target.bytes, target.ends) = (copy, ends);
        Span {
            batch: index,
            start,
            len: bytes,
        }
    }

    /// Copies bytes of frames that end at `ends` into a sealed batch, which the caller retains.
    pub fn put_sealed(&mut self, bytes: &[u8], ends: &[u32]) -> Span {
        assert_eq!(ends.last(), Some(&offset(bytes.len())));
        let index = self.gathering_with_room_for(bytes.len(), &[]);
        let target = &mut self.entries[index as usize];
        let start = offset(target.bytes.len());
        target.bytes.extend_from_slice(bytes);
        target.ends.extend(ends.iter().map(|end| start + end));
        Span {
            batch: index,
            start,
            len: offset(bytes.len()),
        }
    }

    /// Returns the ends of a span's frames, as offsets in the span.
    pub fn frame_ends(&self, span: Span) -> impl Iterator<Item = u32> {
        let ends = &self.entries[span.batch as usize].ends;
        let inside = ends[ends.partition_point(|&end| end <= span.start)..].iter();
        let inside = inside.take_while(move |&&end| end <= span.end());
        inside.map(move |end| end - span.start)
    }

    /// Returns the memory of all batches in use, in bytes of capacity.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.bytes_held
    }

    /// Returns the memory of one batch divided by its reference count, in bytes.
    ///
    /// # Panics
    ///
    /// If the reference count is zero.
    #[must_use]
    pub fn share_bytes(&self, batch: u32) -> usize {
        let entry = &self.entries[batch as usize];
        entry.bytes.capacity() / entry.references as usize
    }

    /// Returns the number of batches in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns whether no batch is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether buffers were freed since the last call.
    pub fn take_shrank(&mut self) -> bool {
        std::mem::take(&mut self.shrank)
    }

    /// Frees the buffers kept for reuse.
    pub fn free_spare(&mut self) {
        self.shrank |= !self.spare.is_empty();
        self.spare = Vec::new();
    }

    /// Asserts the invariants. Linear in the batches: for tests and the simulator.
    pub fn invariants(&self) {
        let mut held = 0;
        for (index, batch) in self.entries.iter().enumerate() {
            let is_free = self.free.iter().any(|&free| free as usize == index);
            assert_eq!(
                batch.references == 0,
                is_free,
                "freed with its last reference"
            );
            held += batch.bytes.capacity();
            assert!(batch.ends.is_sorted_by(|one, next| one < next));
            assert_eq!(
                batch.ends.last().map_or(0, |&end| end as usize),
                batch.bytes.len()
            );
            assert!(!is_free || batch.bytes.capacity() == 0);
        }
        assert_eq!(held, self.bytes_held);
        assert!(self.open == NONE || self.entries[self.open as usize].references > 0);
        assert!(self.gathering == NONE || self.entries[self.gathering as usize].references > 0);
    }

    fn open_with_room_for(&mut self, bytes_needed: usize) -> u32 {
        if let Some(batch) = self.entries.get(self.open as usize) {
            let fits = batch.bytes.len() + bytes_needed <= self.batch_bytes_max;
            if fits || batch.bytes.is_empty() {
                return self.open;
            }
            self.seal();
        }
        self.open = self.insert(bytes_needed.min(self.batch_bytes_max));
        self.opened += 1;
        self.retain(self.open);
        self.open
    }

    fn gathering_with_room_for(&mut self, bytes: usize, from: &[Span]) -> u32 {
        // A batch cannot be copied into itself: its buffer would be borrowed twice.
        let reads_it = from.iter().any(|span| span.batch == self.gathering);
        if let Some(batch) = self.entries.get(self.gathering as usize)
            && !reads_it
            && batch.bytes.len() + bytes <= batch.bytes.capacity()
        {
            return self.gathering;
        }
        self.gathering = self.insert(self.batch_bytes_max.max(bytes));
        self.gathering
    }

    /// Adds an empty batch with no references. Returns its index.
    fn insert(&mut self, capacity: usize) -> u32 {
        let (mut bytes, ends) = self.spare.pop().unwrap_or_default();
        if bytes.capacity() < capacity {
            bytes = Vec::with_capacity(capacity.max(CAPACITY_MIN));
        }
        self.bytes_held += bytes.capacity();
        let batch = Batch {
            bytes,
            ends,
            references: 0,
            sequence: self.opened,
        };
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = batch;
            return index;
        }
        self.entries.push(batch);
        offset(self.entries.len() - 1)
    }

    #[cold]
    fn discard(&mut self, index: u32) {
        let Batch {
            mut bytes,
            mut ends,
            ..
        } = std::mem::take(&mut self.entries[index as usize]);
        self.free.push(index);
        if self.gathering == index {
            self.gathering = NONE;
        }
        self.bytes_held -= bytes.capacity();
        if bytes.capacity() <= self.batch_bytes_max && self.spare.len() < SPARE_MAX {
            bytes.clear();
            ends.clear();
            self.spare.push((bytes, ends));
        } else {
            self.shrank = true;
        }
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a batch is at most one message larger than batch_bytes_max")
}

/// Initial capacity of a batch, in bytes, so that a turn's few frames never reallocate.
const CAPACITY_MIN: usize = 4096;
/// Maximum number of buffers kept for reuse.
const SPARE_MAX: usize = 4;
/// No batch has this index.
const NONE: u32 = u32::MAX;

const _: () = assert!(size_of::<Batch>() == 64, "found by a shift");

#[cfg(test)]
mod tests {
    use super::*;

    fn put(batches: &mut Batches, frame: &[u8]) -> Span {
        batches.put(frame.len(), |out| out.extend_from_slice(frame))
    }

    #[test]
    fn frames_of_one_turn_lie_next_to_each_other() {
        let mut batches = Batches::new(64);
        let first = put(&mut batches, b"one");
        let second = put(&mut batches, b"two");
        assert_eq!((first.batch, first.end()), (second.batch, second.start));
        let both = Span { len: 6, ..first };
        assert_eq!(batches.bytes(both), b"onetwo");
        batches.retain(first.batch);
        batches.seal();
        assert_eq!(batches.first_frame_end(both), 3);
        assert_eq!(batches.first_frame_end(second), 6);
        let torn = Span {
            start: 1,
            len: 5,
            ..both
        };
        assert!(batches.begins_with_frame(second) && !batches.begins_with_frame(torn));
        batches.invariants();
        batches.release(first.batch);
        assert!(batches.is_empty());
        assert_eq!(batches.bytes_held(), 0);
    }

    #[test]
    fn a_frame_that_does_not_fit_begins_a_batch_and_a_larger_one_has_its_own() {
        let mut batches = Batches::new(8);
        let first = put(&mut batches, b"12345");
        batches.retain(first.batch);
        let second = put(&mut batches, b"6789");
        batches.retain(second.batch);
        assert_ne!(first.batch, second.batch);
        assert_eq!(batches.sealed_bytes(first), b"12345");
        let large = put(&mut batches, &[b'x'; 100]);
        batches.retain(large.batch);
        assert_eq!(large.start, 0);
        let after = put(&mut batches, b"y");
        assert_ne!(after.batch, large.batch);
        batches.invariants();
    }

    #[test]
    #[should_panic(expected = "sealed before")]
    fn bytes_of_an_open_batch_are_not_sent() {
        let mut batches = Batches::new(8);
        let frame = put(&mut batches, b"open");
        assert!(batches.sealed_bytes(frame).is_empty());
    }

    #[test]
    fn a_batch_without_references_is_freed_when_the_turn_ends() {
        let mut batches = Batches::new(64);
        put(&mut batches, b"unused");
        batches.seal();
        assert!(batches.is_empty());
        batches.invariants();
    }

    #[test]
    fn gathered_bytes_stay_where_they_are() {
        let mut batches = Batches::new(64);
        let one = put(&mut batches, b"one");
        let two = put(&mut batches, b"two");
        batches.retain(one.batch);
        batches.seal();
        let torn = Span {
            start: 1,
            len: 2,
            ..one
        };
        let gathered = batches.gather(&[torn, two]);
        assert_eq!(batches.bytes(gathered), b"netwo");
        assert_eq!(batches.first_frame_end(gathered), 2);
        batches.retain(gathered.batch);
        let before = batches.bytes(gathered).as_ptr();
        for _ in 0..100 {
            let more = batches.gather(&[one]);
            batches.retain(more.batch);
            assert_eq!(batches.bytes(more), b"one");
        }
        assert_eq!(batches.bytes(gathered), b"netwo");
        assert_eq!(batches.bytes(gathered).as_ptr(), before);
        batches.invariants();
    }
}
