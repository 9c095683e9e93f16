//! A timing wheel: the deadlines of a shard's connections.
//!
//! Every connection has at most one deadline, that of its next timer. Filing and cancelling take
//! constant time, and an idle wheel costs nothing. The design is Varghese and Lauck's hierarchical
//! timing wheel. Links are indices into one array by slot, so all timers of a shard are two
//! allocations, without pinning, reference counts or `unsafe`.
//!
//! Time is a count of ticks since the shard started (see [`crate::time`]). The wheel does not read
//! a clock.

/// A hierarchical timing wheel over connection slots.
///
/// Level `n` has 64 buckets, each `64^n` ticks wide. A deadline is filed in the lowest level whose
/// current turn contains it and moves down a level as its time comes closer:
///
/// ```text
///   level 2   [....|....|..D.|....]      bucket = 4096 ticks
///                        v
///   level 1   [....|.D..|....|....]      bucket = 64 ticks
///                   v
///   level 0   [....|....|...D|....]      bucket = 1 tick: fires
/// ```
///
/// Invariants, checked by [`Wheel::invariants`]:
///
/// - `elapsed` never decreases, and no filed deadline is at or before it.
/// - Bit `b` of `occupied[level]` is set exactly when bucket `b` of that level has a node.
/// - A node is in exactly one bucket's list, and its `bucket` says which.
#[derive(Debug)]
pub struct Wheel {
    elapsed: u32,
    occupied: [u64; LEVELS as usize],
    /// The first node of each bucket's list, or [`NONE`].
    heads: Box<[u32; BUCKETS_ALL]>,
    /// One per slot, with or without a deadline.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: u32,
    previous: u32,
    next: u32,
    /// `level * BUCKETS + bucket`, or [`UNFILED`].
    bucket: u16,
}

impl Wheel {
    /// Creates an empty wheel at tick zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            elapsed: 0,
            occupied: [0; LEVELS as usize],
            heads: Box::new([NONE; BUCKETS_ALL]),
            nodes: Vec::new(),
        }
    }

    /// Files `slot` under `deadline`, replacing the deadline it had.
    ///
    /// A deadline that has passed fires at the next tick, so that a caller that files from the
    /// result of [`Wheel::advance`] makes progress.
    pub fn schedule(&mut self, slot: u32, deadline: u32) {
        self.cancel(slot);
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, Node::UNFILED);
        }
        self.nodes[slot as usize].deadline = deadline.max(self.elapsed.saturating_add(1));
        self.link(slot);
    }

    /// Removes the deadline of `slot`, if it has one.
    pub fn cancel(&mut self, slot: u32) {
        if self.deadline(slot).is_some() {
            self.unlink(slot);
        }
    }

    /// Advances time to `now` and appends every slot whose deadline has come to `due`, soonest
    /// first.
    ///
    /// # Panics
    ///
    /// If `now` is before the time of the last call.
    pub fn advance(&mut self, now: u32, due: &mut Vec<u32>) {
        assert!(now >= self.elapsed, "time went backwards");
        if now == self.elapsed {
            return;
        }

        while let Some((bucket, opens_at)) = self.next_bucket() {
            if opens_at > now {
                break;
            }
            self.elapsed = opens_at;
            self.open(bucket, due);
        }
        self.elapsed = now;
    }

    /// Returns the tick by which [`Wheel::advance`] must be called again; `None` if nothing is
    /// filed.
    ///
    /// This is when the next bucket opens, which is never after the soonest deadline but may be
    /// well before it. Waking early is harmless.
    #[must_use]
    pub fn next_wake(&self) -> Option<u32> {
        self.next_bucket().map(|(_, opens_at)| opens_at)
    }

    /// Returns the deadline of `slot`; `None` if it has none.
    #[must_use]
    pub fn deadline(&self, slot: u32) -> Option<u32> {
        let node = self.nodes.get(slot as usize)?;
        (node.bucket != UNFILED).then_some(node.deadline)
    }

    /// Asserts the invariants. Linear in the nodes: for tests and the simulator.
    pub fn invariants(&self) {
        let mut listed = 0;
        for (index, &head) in self.heads.iter().enumerate() {
            let (level, bucket) = (index / BUCKETS as usize, index % BUCKETS as usize);
            assert_eq!(self.occupied[level] >> bucket & 1 == 1, head != NONE);

            let (mut previous, mut slot) = (NONE, head);
            while slot != NONE {
                let node = self.nodes[slot as usize];
                assert_eq!(usize::from(node.bucket), index);
                assert_eq!(node.previous, previous);
                assert!(node.deadline > self.elapsed);
                listed += 1;
                (previous, slot) = (slot, node.next);
            }
        }
        assert_eq!(
            listed,
            self.nodes
                .iter()
                .filter(|node| node.bucket != UNFILED)
                .count()
        );
    }

    /// Empties one bucket: due slots go to `due`, the others are filed again in a lower level.
    fn open(&mut self, bucket: usize, due: &mut Vec<u32>) {
        // Detach the list first: a far-away deadline may be filed straight back into this bucket.
        let mut slot = std::mem::replace(&mut self.heads[bucket], NONE);
        self.occupied[bucket / BUCKETS as usize] &= !(1 << (bucket % BUCKETS as usize));

        while slot != NONE {
            let node = std::mem::replace(&mut self.nodes[slot as usize], Node::UNFILED);
            if node.deadline <= self.elapsed {
                due.push(slot);
            } else {
                self.nodes[slot as usize].deadline = node.deadline;
                self.link(slot);
            }
            slot = node.next;
        }
    }

    /// Returns the next bucket to open and its tick, over all levels; `None` if all are empty.
    fn next_bucket(&self) -> Option<(usize, u32)> {
        // Lower levels always open first: a higher level's next bucket starts where they end.
        (0..LEVELS).find_map(|level| {
            if self.occupied[level as usize] == 0 {
                return None;
            }
            let here = bucket_of(self.elapsed, level);
            let ahead = self.occupied[level as usize]
                .rotate_right(here)
                .trailing_zeros();
            // The present bucket has been opened, and HORIZON keeps new deadlines out of it.
            assert!(ahead > 0);

            let width_bits = BUCKET_BITS * level;
            let turn = (self.elapsed >> width_bits) + ahead;
            Some((
                index_of(level, (here + ahead) % BUCKETS),
                turn << width_bits,
            ))
        })
    }

    /// Puts an unfiled slot at the front of the bucket its deadline belongs to.
    fn link(&mut self, slot: u32) {
        let deadline = self.nodes[slot as usize].deadline;
        assert!(deadline > self.elapsed);

        // A deadline beyond the horizon waits in the last bucket that opens before it.
        let opens_by = deadline.min(self.elapsed.saturating_add(HORIZON));
        let level = level_of(self.elapsed, opens_by);
        let bucket = bucket_of(opens_by, level);
        let index = index_of(level, bucket);

        let head = std::mem::replace(&mut self.heads[index], slot);
        if head != NONE {
            self.nodes[head as usize].previous = slot;
        }
        self.occupied[level as usize] |= 1 << bucket;
        self.nodes[slot as usize] = Node {
            deadline,
            previous: NONE,
            next: head,
            bucket: u16::try_from(index).expect("small"),
        };
    }

    fn unlink(&mut self, slot: u32) {
        let node = std::mem::replace(&mut self.nodes[slot as usize], Node::UNFILED);
        assert!(node.bucket != UNFILED);

        let index = usize::from(node.bucket);
        if node.previous == NONE {
            assert_eq!(self.heads[index], slot);
            self.heads[index] = node.next;
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if self.heads[index] == NONE {
            self.occupied[index / BUCKETS as usize] &= !(1 << (index % BUCKETS as usize));
        }
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    const UNFILED: Self = Self {
        deadline: 0,
        previous: NONE,
        next: NONE,
        bucket: UNFILED,
    };
}

/// Returns the lowest level whose current turn contains both ticks: that of their highest differing
/// bit.
fn level_of(elapsed: u32, deadline: u32) -> u32 {
    let differing = (elapsed ^ deadline) | (BUCKETS - 1);
    (differing.ilog2() / BUCKET_BITS).min(LEVELS - 1)
}

/// Returns the bucket of `level` that contains `tick`.
fn bucket_of(tick: u32, level: u32) -> u32 {
    tick >> (BUCKET_BITS * level) & (BUCKETS - 1)
}

/// Returns the index of a bucket in `heads`.
fn index_of(level: u32, bucket: u32) -> usize {
    (level * BUCKETS + bucket) as usize
}

const BUCKET_BITS: u32 = 6;
const BUCKETS: u32 = 1 << BUCKET_BITS;
/// Five levels of 64 cover two years at 64 ms a tick.
const LEVELS: u32 = 5;
const BUCKETS_ALL: usize = (LEVELS * BUCKETS) as usize;
/// One top-level bucket short of a full turn, so that every filed deadline is in a later bucket.
const HORIZON: u32 = (1 << (BUCKET_BITS * LEVELS)) - (1 << (BUCKET_BITS * (LEVELS - 1)));

const NONE: u32 = u32::MAX;
const UNFILED: u16 = u16::MAX;

const _: () = {
    assert!(BUCKETS == u64::BITS, "one occupancy word per level");
    assert!(BUCKETS_ALL < UNFILED as usize);
    assert!(size_of::<Node>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::BTreeMap;

    /// Compares random schedules, cancellations and time steps with a plain map of deadlines. The
    /// steps have all magnitudes, so deadlines start and end in every level.
    #[test]
    fn fires_what_a_sorted_map_would_fire() {
        for seed in 0..200 {
            let mut prng = Prng::from_seed(seed);
            let slots_max = prng.range(1, 30);
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let (mut now, mut due) = (0, Vec::new());

            for _ in 0..300 {
                let slot = prng.range(0, slots_max);
                let span = 1 << prng.range(0, 22);
                match prng.range(0, 3) {
                    0 => {
                        wheel.cancel(slot);
                        model.remove(&slot);
                    }
                    1 => {
                        now += u32::try_from(prng.below(span)).expect("below a u32");
                        wheel.advance(now, &mut due);
                        let fired: Vec<u32> = due
                            .drain(..)
                            .map(|slot| model.remove(&slot).expect("filed"))
                            .collect();
                        assert!(fired.is_sorted(), "seed {seed}: {fired:?}");
                        assert!(
                            fired.iter().all(|&deadline| deadline <= now),
                            "seed {seed}: early"
                        );
                        assert!(
                            model.values().all(|&deadline| deadline > now),
                            "seed {seed}: late"
                        );
                    }
                    _ => {
                        let deadline = now + u32::try_from(prng.below(span)).expect("below a u32");
                        wheel.schedule(slot, deadline);
                        model.insert(slot, deadline.max(now + 1));
                    }
                }

                wheel.invariants();
                assert_eq!(wheel.deadline(slot), model.get(&slot).copied());
                assert_eq!(wheel.next_wake().is_some(), !model.is_empty());
                if let (Some(wake), Some(&soonest)) = (wheel.next_wake(), model.values().min()) {
                    assert!(
                        now < wake && wake <= soonest,
                        "seed {seed}: {now} {wake} {soonest}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let (mut wheel, mut due) = (Wheel::new(), Vec::new());
        wheel.advance(100, &mut due);
        wheel.schedule(0, 5);
        assert_eq!(wheel.next_wake(), Some(101));
        wheel.advance(101, &mut due);
        assert_eq!(due, [0]);
    }
}
