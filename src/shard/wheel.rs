//! When a shard has promised to look at a connection again.
//!
//! Every connection has one deadline, the soonest of its timers, and the wheel keeps them all:
//! filing and cancelling cost the same whether there are ten or ten million, and an idle wheel
//! costs nothing. The design is Varghese and Lauck's hierarchical timing wheel; the data layout is
//! ours. Links are indices into one array beside the connection table, so a shard's timers are two
//! allocations in all and need no pinning, no reference counts and no `unsafe`.
//!
//! Time is a count of ticks since the shard started (see [`crate::time`]). The wheel never asks
//! what time it is.

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
    /// First node of each bucket's list, or [`NONE`].
    heads: Box<[u32; BUCKETS_ALL]>,
    /// One per connection slot, whether or not it has a deadline.
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
    /// An empty wheel at tick zero.
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
    /// A deadline that has already passed fires at the next tick rather than now, so that a caller
    /// inside [`Wheel::advance`] can never keep it going for ever.
    pub fn schedule(&mut self, slot: u32, deadline: u32) {
        self.cancel(slot);
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, Node::UNFILED);
        }
        self.nodes[slot as usize].deadline = deadline.max(self.elapsed.saturating_add(1));
        self.link(slot);
    }

    /// Drops the deadline of `slot`, if it has one.
    pub fn cancel(&mut self, slot: u32) {
        if self.deadline(slot).is_some() {
            self.unlink(slot);
        }
    }

    /// Moves time on to `now` and appends every slot whose deadline has come, soonest first.
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

    /// A tick by which [`Wheel::advance`] must be called again; `None` while nothing is filed.
    ///
    /// This is when the next bucket opens, which is never after the soonest deadline but may be
    /// well before it. Waking early is harmless.
    #[must_use]
    pub fn next_wake(&self) -> Option<u32> {
        self.next_bucket().map(|(_, opens_at)| opens_at)
    }

    /// The deadline `slot` is filed under.
    #[must_use]
    pub fn deadline(&self, slot: u32) -> Option<u32> {
        let node = self.nodes.get(slot as usize)?;
        (node.bucket != UNFILED).then_some(node.deadline)
    }

    /// Asserts what the type promises. Linear in the nodes: for tests and the simulator.
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

    /// Empties one bucket: what is due goes to `due`, the rest is filed again, lower down.
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

    /// The next bucket to open and when, over all levels.
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
            // Time has opened the bucket it stands in, and HORIZON keeps new content out of it.
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

        // Beyond the horizon it waits in the last bucket that still opens before it is due.
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

/// The lowest level whose current turn contains both ticks: where their bits first differ.
fn level_of(elapsed: u32, deadline: u32) -> u32 {
    let differing = (elapsed ^ deadline) | (BUCKETS - 1);
    (differing.ilog2() / BUCKET_BITS).min(LEVELS - 1)
}

/// The bucket of `level` that `tick` falls in.
fn bucket_of(tick: u32, level: u32) -> u32 {
    tick >> (BUCKET_BITS * level) & (BUCKETS - 1)
}

/// Where a bucket's list begins in `heads`.
fn index_of(level: u32, bucket: u32) -> usize {
    (level * BUCKETS + bucket) as usize
}

const BUCKET_BITS: u32 = 6;
const BUCKETS: u32 = 1 << BUCKET_BITS;
/// Five levels of 64 cover two years at 64 ms a tick.
const LEVELS: u32 = 5;
const BUCKETS_ALL: usize = (LEVELS * BUCKETS) as usize;
/// One top-level bucket short of a full turn, so that whatever is filed lies in a bucket ahead.
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

    /// Random schedules, cancellations and leaps of time, against a plain map of deadlines. The
    /// leaps are of every magnitude, so deadlines start and end in every level.
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
