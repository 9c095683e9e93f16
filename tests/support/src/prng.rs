//! Seeded random numbers for tests.

use std::num::NonZeroU64;

/// The generator `SplitMix64`, equal on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// Creates a generator from a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns a value in `low..=high`.
    pub fn range(&mut self, low: u32, high: u32) -> u32 {
        assert!(low <= high);
        let span = NonZeroU64::new(u64::from(high - low) + 1).expect("one more than a u32");
        low + u32::try_from(self.next() % span).expect("below a u32 span")
    }

    /// Returns a value in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % NonZeroU64::new(bound).expect("a bound above zero")
    }

    /// Returns `true` with the probability `part / whole`.
    pub fn chance(&mut self, part: u32, whole: u32) -> bool {
        assert!(part <= whole);
        self.range(1, whole) <= part
    }

    /// Returns one of the items with equal probability; `None` if there are none.
    pub fn pick<T>(&mut self, items: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut items = items;
        let count = u32::try_from(items.len()).expect("a test-sized collection");
        let index = self.range(0, count.checked_sub(1)?);
        items.nth(index as usize)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
