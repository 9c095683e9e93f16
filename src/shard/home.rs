//! Home shards: the one shard that decides about a user or a channel.
//!
//! Every name of a namespace has a home, which all shards compute alike. An exclusive user's home
//! decides which session has the user ([`claims`](super::claims)). A channel's home is where its
//! publications will get their positions, once channels have a history.

use super::core::Shard;
use super::hash::HashSeed;
use crate::vocabulary::id::{SHARDS_MAX, ShardId};

impl Shard {
    /// Returns the home shard of a user's or a channel's name.
    #[must_use]
    pub fn home_of(&self, namespace: u16, name: &[u8]) -> ShardId {
        home(self.shards, self.settings.home_key, namespace, name)
    }
}

/// The key of the hash that assigns names to home shards, one for the process. It differs from the
/// seeds of the shards' tables, since names with the same home would otherwise cluster there.
#[derive(Clone, Copy, Debug)]
pub struct HomeKey(pub [u64; 2]);

/// Returns the home shard of `name`. The result is the same on all shards, evenly distributed, and
/// unpredictable without the key.
///
/// # Panics
///
/// If there are no shards, or more than [`SHARDS_MAX`].
fn home(shards: usize, key: HomeKey, namespace: u16, name: &[u8]) -> ShardId {
    assert!((1..=SHARDS_MAX).contains(&shards));
    let hash = u128::from(HashSeed(key.0).hash(namespace, &[name]));
    // The hash as a fraction of 2^64, times the number of shards.
    let index = (hash * shards as u128) >> u64::BITS;
    ShardId::new(usize::try_from(index).expect("below the number of shards"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn every_name_has_one_home_and_every_shard_its_share() {
        let key = HomeKey([3, 4]);
        for shards in [1, 2, 3, 7, SHARDS_MAX] {
            let mut names_of_shard = vec![0_usize; shards];
            for number in 0..50_000_u32 {
                let shard = home(shards, key, 0, &number.to_le_bytes());
                assert_eq!(shard, home(shards, key, 0, &number.to_le_bytes()));
                names_of_shard[shard.index()] += 1;
            }
            // Five standard deviations of a fair share.
            let fair = 50_000 / shards;
            let slack = 5 * fair.isqrt() + 1;
            for names in names_of_shard {
                assert!(names.abs_diff(fair) <= slack, "{names} of {shards}");
            }
        }
    }

    #[test]
    fn the_key_and_the_namespace_move_homes() {
        let names = || (0..1_000_u32).map(u32::to_le_bytes);
        let moved = |other: HomeKey, namespace| {
            let before = |name: &[u8]| home(8, HomeKey([3, 4]), 0, name);
            names()
                .filter(|name| home(8, other, namespace, name) != before(name))
                .count()
        };
        assert_eq!(moved(HomeKey([3, 4]), 0), 0);
        assert!(moved(HomeKey([3, 5]), 0) > 700);
        assert!(moved(HomeKey([3, 4]), 1) > 700);
    }

    #[test]
    fn all_shards_name_the_same_home() {
        let mut settings = crate::gateway::shard_settings(&Config::default());
        settings.home_key = HomeKey([5, 6]);
        let settings = Arc::new(settings);
        let shards: Vec<Shard> = (0..4_u8)
            .map(|index| {
                let (id, seed) = (ShardId::new(index.into()), HashSeed([index.into(), 7]));
                Shard::new(id, 4, Arc::clone(&settings), seed, [index; 32])
            })
            .collect();
        let mut homes = BTreeSet::new();
        for name in (0..100_u32).map(u32::to_le_bytes) {
            let home = shards[0].home_of(1, &name);
            assert!(shards.iter().all(|shard| shard.home_of(1, &name) == home));
            homes.insert(home.index());
        }
        assert_eq!(homes.len(), 4);
    }
}
