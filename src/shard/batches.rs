//! The bytes of a shard on their way out: frames encoded once, shared by everybody they are for.
//!
//! All frames that are encoded in one turn lie next to each other in one buffer, a *batch*, so that
//! a session owed several of them in a row is owed one range of bytes, which one send can take.
//! A batch is counted by its holders and given back when the last of them has sent its part.
//!
//! A batch is sealed before the first byte of it is lent out, and a sealed batch is never written
//! again: whatever the kernel was told about it stays true until the last holder lets go.

use slab::Slab;

/// All batches of one shard.
///
/// ```text
///   batch   [frame 0][frame 1  ][frame 2]....      open: more may follow
///   ends     ^8       ^19        ^27
/// ```
///
/// Invariants, checked by [`Batches::invariants`]:
///
/// - At most one batch is open, and nothing of it has been lent.
/// - `ends` never decreases, and its last member is the length of the batch.
/// - `bytes_held` is the sum of the capacities of all batches in use.
#[derive(Debug)]
pub struct Batches {
    entries: Slab<Batch>,
    open: Option<u32>,
    /// Where scattered ranges are copied together; has its full capacity from the start.
    gathering: Option<u32>,
    spare: Vec<Vec<u8>>,
    /// How many batches have been opened.
    opened: u64,
    batch_bytes_max: usize,
    bytes_held: usize,
    shrank: bool,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    holders: u32,
    sealed: bool,
    /// How many batches had been opened before it.
    sequence: u64,
}

/// One frame in one batch. Stays good while somebody holds the batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameRef {
    /// The batch it lies in.
    pub batch: u32,
    /// Its index among the batch's frames.
    pub frame: u32,
}

/// Frames that were copied next to each other.
#[derive(Clone, Copy, Debug)]
pub struct GatheredFrames {
    /// The batch they lie in.
    pub batch: u32,
    /// Index of the first of them.
    pub first: u32,
    /// Index of the last of them.
    pub last: u32,
}

impl Batches {
    /// No batches; new ones hold `batch_bytes_max` bytes, or one larger frame.
    #[must_use]
    pub fn new(batch_bytes_max: usize) -> Self {
        assert!(batch_bytes_max > 0);
        Self {
            entries: Slab::new(),
            open: None,
            gathering: None,
            spare: Vec::new(),
            opened: 0,
            batch_bytes_max,
            bytes_held: 0,
            shrank: false,
        }
    }

    /// Appends one frame to the open batch, opening one if need be.
    ///
    /// `bytes_needed` is how long the frame will be at most: a frame that does not fit behind the
    /// ones before it begins a batch of its own. Whoever wants the frame to outlive the turn calls
    /// [`Batches::hold`].
    pub fn put(&mut self, bytes_needed: usize, write: impl FnOnce(&mut Vec<u8>)) -> FrameRef {
        let index = self.open_with_room_for(bytes_needed);
        let batch = &mut self.entries[index as usize];
        let (start, capacity) = (batch.bytes.len(), batch.bytes.capacity());
        write(&mut batch.bytes);
        assert!(batch.bytes.len() > start, "a frame has at least a head");
        self.bytes_held += batch.bytes.capacity() - capacity;
        batch.ends.push(offset(batch.bytes.len()));
        FrameRef {
            batch: index,
            frame: offset(batch.ends.len() - 1),
        }
    }

    /// Ends the open batch: its bytes may be lent from now on and never change again.
    #[inline]
    pub fn seal(&mut self) {
        let Some(index) = self.open.take() else {
            return;
        };
        let batch = &mut self.entries[index as usize];
        batch.sealed = true;
        if batch.holders == 0 {
            self.discard(index);
        }
    }

    /// Keeps `batch` until a matching [`Batches::release`].
    pub fn hold(&mut self, batch: u32) {
        self.hold_by(batch, 1);
    }

    /// Keeps `batch` until [`Batches::release`] was called `count` times.
    pub fn hold_by(&mut self, batch: u32, count: u32) {
        self.entries[batch as usize].holders += count;
    }

    /// Gives back one [`Batches::hold`]; the last one frees the batch, once it is sealed.
    #[inline]
    pub fn release(&mut self, batch: u32) {
        let entry = &mut self.entries[batch as usize];
        entry.holders -= 1;
        if entry.holders == 0 && entry.sealed {
            if self.gathering == Some(batch) {
                self.gathering = None;
            }
            self.discard(batch);
        }
    }

    /// The bytes of frames `first` to `last`, both included.
    #[must_use]
    pub fn range(&self, batch: u32, first: u32, last: u32) -> &[u8] {
        let entry = &self.entries[batch as usize];
        &entry.bytes[entry.start(first)..entry.ends[last as usize] as usize]
    }

    /// How many bytes frames `first` to `last` have.
    #[must_use]
    pub fn range_len(&self, batch: u32, first: u32, last: u32) -> u32 {
        let entry = &self.entries[batch as usize];
        entry.ends[last as usize] - offset(entry.start(first))
    }

    /// Whether at least one batch lies between this one and the latest.
    #[must_use]
    pub fn is_old(&self, batch: u32) -> bool {
        self.opened - self.entries[batch as usize].sequence > 2
    }

    /// [`Batches::range`] without its first `skip` bytes, for bytes that are about to be lent.
    ///
    /// # Panics
    ///
    /// If the batch was not sealed.
    #[must_use]
    #[inline]
    pub fn sealed_range(&self, batch: u32, first: u32, last: u32, skip: u32) -> &[u8] {
        let entry = &self.entries[batch as usize];
        assert!(entry.sealed, "what is lent never changes again");
        &entry.bytes[entry.start(first) + skip as usize..entry.ends[last as usize] as usize]
    }

    /// Copies ranges together, frame by frame, into a batch that is sealed from the start. Returns
    /// the first frame there; the others follow it.
    ///
    /// A range is its first frame, its last frame's index, and how many bytes of the first frame to
    /// leave out. The copy does not move while others are added behind it: the buffer has its full
    /// size from the beginning, and what does not fit goes into another.
    pub fn gather(&mut self, ranges: &[(FrameRef, u32, u32)], bytes: usize) -> GatheredFrames {
        let index = self.gathering_with_room_for(bytes, ranges);
        let target = &mut self.entries[index as usize];
        let (mut copy, mut ends) = (
            std::mem::take(&mut target.bytes),
            std::mem::take(&mut target.ends),
        );
        let (start, capacity, first) = (copy.len(), copy.capacity(), offset(ends.len()));
        for &(frame, last, skip) in ranges {
            // Where the range would have begun in the copy, had nothing been left out before it.
            let begins = offset(self.entries[frame.batch as usize].start(frame.frame)) + skip;
            let base = offset(copy.len()).wrapping_sub(begins);
            copy.extend_from_slice(&self.range(frame.batch, frame.frame, last)[skip as usize..]);
            let source = &self.entries[frame.batch as usize].ends;
            let copied = &source[frame.frame as usize..=last as usize];
            ends.extend(copied.iter().map(|end| end.wrapping_add(base)));
        }
        assert_eq!(copy.len() - start, bytes);
        assert_eq!(copy.capacity(), capacity, "lent bytes do not move");

        let last = offset(ends.len() - 1);
        let target = &mut self.entries[index as usize];
        (target.bytes, target.ends) = (copy, ends);
        GatheredFrames {
            batch: index,
            first,
            last,
        }
    }

    /// Bytes of memory that all batches in use take.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.bytes_held
    }

    /// The memory of one batch, divided by its holders.
    ///
    /// # Panics
    ///
    /// If nobody holds it.
    #[must_use]
    pub fn share_bytes(&self, batch: u32) -> usize {
        let entry = &self.entries[batch as usize];
        entry.bytes.capacity() / entry.holders as usize
    }

    /// How many batches are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no batch is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether buffers were freed since the last call.
    pub fn take_shrank(&mut self) -> bool {
        std::mem::take(&mut self.shrank)
    }

    /// Frees the buffers kept for reuse; for a shard that has been idle for a while.
    pub fn free_spare(&mut self) {
        self.shrank |= !self.spare.is_empty();
        self.spare = Vec::new();
    }

    /// Asserts what the type promises. Linear in the batches: for tests and the simulator.
    pub fn invariants(&self) {
        let mut held = 0;
        for (index, batch) in &self.entries {
            held += batch.bytes.capacity();
            assert!(batch.ends.is_sorted());
            assert_eq!(
                batch.ends.last().map_or(0, |&end| end as usize),
                batch.bytes.len()
            );
            assert_eq!(batch.sealed, self.open != u32::try_from(index).ok());
            assert!(
                batch.holders > 0 || !batch.sealed,
                "freed with its last holder"
            );
        }
        assert_eq!(held, self.bytes_held);
    }

    fn open_with_room_for(&mut self, bytes_needed: usize) -> u32 {
        if let Some(index) = self.open {
            let batch = &self.entries[index as usize];
            if batch.bytes.len() + bytes_needed <= self.batch_bytes_max || batch.bytes.is_empty() {
                return index;
            }
            self.seal();
        }
        let index = self.insert(bytes_needed.min(self.batch_bytes_max), false);
        self.open = Some(index);
        index
    }

    fn gathering_with_room_for(&mut self, bytes: usize, from: &[(FrameRef, u32, u32)]) -> u32 {
        // A batch is not copied into itself.
        let reads_it = |index| from.iter().any(|(frame, ..)| frame.batch == index);
        if let Some(index) = self.gathering.filter(|&index| !reads_it(index)) {
            let batch = &self.entries[index as usize];
            if batch.bytes.len() + bytes <= batch.bytes.capacity() {
                return index;
            }
        }
        let index = self.insert(self.batch_bytes_max.max(bytes), true);
        self.gathering = Some(index);
        index
    }

    fn insert(&mut self, capacity: usize, sealed: bool) -> u32 {
        let mut bytes = self.spare.pop().unwrap_or_default();
        if bytes.capacity() < capacity {
            bytes = Vec::with_capacity(capacity.max(CAPACITY_MIN));
        }
        self.bytes_held += bytes.capacity();
        let sequence = self.opened;
        self.opened += u64::from(!sealed);
        let batch = Batch {
            bytes,
            ends: Vec::new(),
            holders: 0,
            sealed,
            sequence,
        };
        u32::try_from(self.entries.insert(batch)).expect("bounded by the bytes held")
    }

    #[cold]
    fn discard(&mut self, index: u32) {
        let mut batch = self.entries.remove(index as usize);
        self.bytes_held -= batch.bytes.capacity();
        if batch.bytes.capacity() <= self.batch_bytes_max && self.spare.len() < SPARE_MAX {
            batch.bytes.clear();
            self.spare.push(batch.bytes);
        } else {
            self.shrank = true;
        }
    }
}

impl Batch {
    #[inline]
    fn start(&self, frame: u32) -> usize {
        frame
            .checked_sub(1)
            .map_or(0, |before| self.ends[before as usize] as usize)
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a batch is at most one message larger than batch_bytes_max")
}

/// Small batches begin with this much room, so that a turn's few frames never reallocate.
const CAPACITY_MIN: usize = 4096;
/// Buffers kept for the next turns; more would be memory that an idle shard has no use for.
const SPARE_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(batches: &mut Batches, frame: &[u8]) -> FrameRef {
        batches.put(frame.len(), |out| out.extend_from_slice(frame))
    }

    #[test]
    fn frames_of_one_turn_lie_next_to_each_other() {
        let mut batches = Batches::new(64);
        let first = put(&mut batches, b"one");
        let second = put(&mut batches, b"two");
        assert_eq!((first.batch, second.frame), (second.batch, 1));
        assert_eq!(batches.range(first.batch, 0, 1), b"onetwo");
        batches.hold(first.batch);
        batches.seal();
        assert_eq!(batches.range_len(first.batch, 1, 1), 3);
        batches.invariants();
        batches.release(first.batch);
        assert!(batches.is_empty());
        assert_eq!(batches.bytes_held(), 0);
    }

    #[test]
    fn a_frame_that_does_not_fit_begins_a_batch_and_a_larger_one_has_its_own() {
        let mut batches = Batches::new(8);
        let first = put(&mut batches, b"12345");
        batches.hold(first.batch);
        let second = put(&mut batches, b"6789");
        batches.hold(second.batch);
        assert_ne!(first.batch, second.batch);
        assert_eq!(batches.sealed_range(first.batch, 0, 0, 0), b"12345");
        let large = put(&mut batches, &[b'x'; 100]);
        batches.hold(large.batch);
        assert_eq!(large.frame, 0);
        let after = put(&mut batches, b"y");
        assert_ne!(after.batch, large.batch);
        batches.invariants();
    }

    #[test]
    fn what_nobody_holds_is_gone_when_the_turn_ends() {
        let mut batches = Batches::new(64);
        put(&mut batches, b"to nobody");
        batches.seal();
        assert!(batches.is_empty());
        batches.invariants();
    }

    #[test]
    fn gathered_bytes_stay_where_they_are() {
        let mut batches = Batches::new(64);
        let one = put(&mut batches, b"one");
        put(&mut batches, b"two");
        batches.hold(one.batch);
        batches.seal();
        let gathered = batches.gather(&[(one, 1, 1)], 5);
        assert_eq!(
            batches.range(gathered.batch, gathered.last, gathered.last),
            b"two"
        );
        batches.hold(gathered.batch);
        let before = batches.range(gathered.batch, 0, 0).as_ptr();
        for _ in 0..100 {
            let more = batches.gather(&[(one, 0, 0)], 3);
            batches.hold(more.batch);
            assert_eq!(batches.range(more.batch, more.first, more.last), b"one");
        }
        assert_eq!(batches.range(gathered.batch, 0, 0), b"ne");
        assert_eq!(batches.range(gathered.batch, 0, 0).as_ptr(), before);
        batches.invariants();
    }
}
