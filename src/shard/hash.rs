//! Keyed hashing of names that clients choose.
//!
//! A client that can choose names could choose colliding ones, so the hash has a secret key. The
//! process draws it per shard and passes it as a seed; a simulated run passes a fixed one.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of all hashes of one shard.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub [u64; 2]);

impl HashSeed {
    /// Returns the hash of a number and a sequence of names. `["ab", "c"]` and `["a", "bc"]`
    /// differ.
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
