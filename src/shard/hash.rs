//! Hashing of names that come from clients.
//!
//! Whoever can choose names can choose colliding ones, unless the hash is keyed with something that
//! they do not know. The key is drawn by the shell, once per shard, and handed in as a seed, so a
//! simulated run hashes the same way every time.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of every hash of one shard.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub [u64; 2]);

impl HashSeed {
    /// Hashes a number and a sequence of names. `["ab", "c"]` and `["a", "bc"]` differ.
    #[must_use]
    pub fn hash(self, space: u16, names: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        hasher.write_u16(space);
        for name in names {
            hasher.write(name);
            hasher.write_u64(name.len() as u64);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_every_boundary_count() {
        let seed = HashSeed([1, 2]);
        let hash = seed.hash(0, &[b"ab", b"c"]);
        assert_eq!(hash, seed.hash(0, &[b"ab", b"c"]));
        assert_ne!(hash, seed.hash(0, &[b"a", b"bc"]));
        assert_ne!(hash, seed.hash(1, &[b"ab", b"c"]));
        assert_ne!(hash, HashSeed([1, 3]).hash(0, &[b"ab", b"c"]));
    }
}
