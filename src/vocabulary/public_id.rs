//! Public ids of sessions.
//!
//! A public id looks like a random UUID (version 4, RFC 9562) and reveals nothing, such as the
//! number of sessions or a session's shard. The gateway finds the session without a table: the id
//! is the [`SessionId`], encrypted together with a random [`Tag`] under a key that the process
//! draws at its start. This module draws no random numbers and does not know which sessions exist.
//!
//! ```text
//!    SessionId (64 bits) | Tag (58 bits)            122 bits
//!             |  8 Feistel rounds, keyed
//!             v
//!    48 bits | 0100 | 12 bits | 10 | 62 bits        a version 4 UUID
//!              version          variant
//! ```

use crate::vocabulary::id::SessionId;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::str::FromStr;

/// A UUID that may be the public id of a session, received from a client or backend or created by
/// [`IdCipher::seal`]. Only [`IdCipher::open`] finds out whether it can be one.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicId([u8; 16]);

impl PublicId {
    /// Creates an id from the bytes of a UUID of any version, in text order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the UUID, in text order.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Formats the id in the usual form: ASCII, lower case, with hyphens, without braces.
    #[must_use]
    pub fn encode(self) -> [u8; TEXT_LEN] {
        let mut text = [0; TEXT_LEN];
        uuid::Uuid::from_bytes(self.0)
            .hyphenated()
            .encode_lower(&mut text);
        text
    }
}

/// Formats the id as [`PublicId::encode`] does.
impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        f.pad(str::from_utf8(&text).expect("hexadecimal digits and hyphens are ASCII"))
    }
}

impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Accepts the forms of [`parse_uuid`].
impl FromStr for PublicId {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        parse_uuid(text).map(Self).ok_or(ParseUuidError)
    }
}

/// The text is not a UUID in any form that [`parse_uuid`] accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a UUID")]
pub struct ParseUuidError;

/// The random part of a public id. It distinguishes the session's id from the others that decrypt
/// to the same [`SessionId`].
///
/// The shard draws it when the session opens, and compares it with the tag of each public id that
/// decrypts to the session. A guessed id matches with probability 2^-58.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tag(u64);

impl Tag {
    /// Creates a tag from the lower 58 of 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(bits & TAG_MASK)
    }
}

/// The cipher between session ids and public ids.
///
/// It is a permutation of 122-bit numbers, so no two sessions can have the same id: a Feistel
/// network of two 61-bit halves, whose round function is `SipHash-2-4` of the round's number and
/// one half, under the key of the process. One call costs eight short hashes.
#[derive(Clone, derive_more::Debug)]
#[debug("IdCipher {{ .. }}")]
pub struct IdCipher {
    /// Keyed, without input.
    hasher: SipHasher24,
}

impl IdCipher {
    /// Creates a cipher. The key reveals all ids; ids sealed under another key are invalid.
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            hasher: SipHasher24::new_with_keys(key[0], key[1]),
        }
    }

    /// Returns the public id of `session`, whose tag is `tag`.
    #[must_use]
    pub fn seal(&self, session: SessionId, tag: Tag) -> PublicId {
        let sealed = self.permute(u128::from(session.bits()) << TAG_BITS | u128::from(tag.0));
        let uuid = sealed >> (MIDDLE_BITS + LOW_BITS) << HIGH_SHIFT
            | (sealed >> LOW_BITS & MIDDLE_MASK) << MIDDLE_SHIFT
            | sealed & LOW_MASK;
        PublicId((uuid | FIXED_BITS).to_be_bytes())
    }

    /// Decrypts a public id into a session id and the session's tag.
    ///
    /// Returns `None` if `id` is not a version 4 UUID or decrypts to an impossible session id.
    /// Almost every UUID decrypts to a possible one, so the caller must look up the session and
    /// compare its tag.
    #[must_use]
    pub fn open(&self, id: PublicId) -> Option<(SessionId, Tag)> {
        let uuid = u128::from_be_bytes(id.0);
        if uuid & FIXED_BITS_MASK != FIXED_BITS {
            return None;
        }
        let sealed = uuid >> HIGH_SHIFT << (MIDDLE_BITS + LOW_BITS)
            | (uuid >> MIDDLE_SHIFT & MIDDLE_MASK) << LOW_BITS
            | uuid & LOW_MASK;
        let plain = self.permute_back(sealed);
        let session = u64::try_from(plain >> TAG_BITS).expect("the upper 64 bits of 122");
        Some((
            SessionId::from_bits(session)?,
            Tag::from_random(low_bits(plain)),
        ))
    }

    fn permute(&self, plain: u128) -> u128 {
        let (mut left, mut right) = halves(plain);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        whole(left, right)
    }

    fn permute_back(&self, sealed: u128) -> u128 {
        let (mut left, mut right) = halves(sealed);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        whole(left, right)
    }

    /// Returns the hash of round number and half, which fill the 64 bits of one `SipHash` block.
    fn round(&self, round: u64, half: u64) -> u64 {
        let block = round << HALF_BITS | half;
        self.hasher.hash(&block.to_le_bytes()) & HALF_MASK
    }
}

/// Parses a UUID of any version. Returns its bytes in text order; `None` if the text is not a UUID.
///
/// Accepts exactly the forms of `Parse` in Go's `github.com/google/uuid`, which the original
/// servers use: 36 characters with hyphens, optionally after `urn:uuid:` or in braces, and 32
/// digits without hyphens, in either case. As in Go, any two bytes may replace the braces.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    let text = match text.len() {
        SIMPLE_LEN | TEXT_LEN => text,
        BRACED_LEN => &text[1..=TEXT_LEN],
        URN_LEN => {
            let (prefix, rest) = text.split_at(URN_PREFIX.len());
            prefix.eq_ignore_ascii_case(URN_PREFIX).then_some(rest)?
        }
        _ => return None,
    };
    let uuid = uuid::Uuid::try_parse_ascii(text).ok()?;
    Some(uuid.into_bytes())
}

fn halves(value: u128) -> (u64, u64) {
    let left = u64::try_from(value >> HALF_BITS).expect("122 bits have 61 above the lower 61");
    (left, low_bits(value) & HALF_MASK)
}

fn whole(left: u64, right: u64) -> u128 {
    u128::from(left) << HALF_BITS | u128::from(right)
}

fn low_bits(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).expect("64 bits")
}

/// Length of a UUID in its usual form, in bytes.
pub const TEXT_LEN: usize = 36;

/// Length without hyphens.
const SIMPLE_LEN: usize = 32;
const BRACED_LEN: usize = TEXT_LEN + 2;
const URN_PREFIX: &[u8] = b"urn:uuid:";
const URN_LEN: usize = TEXT_LEN + URN_PREFIX.len();

const ROUNDS: u64 = 8;
const HALF_BITS: u32 = 61;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const TAG_BITS: u32 = 58;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

// Layout of a UUID: 48 free bits, the version, 12 free bits, the variant, 62 free bits.
const MIDDLE_BITS: u32 = 12;
const LOW_BITS: u32 = 62;
const MIDDLE_MASK: u128 = (1 << MIDDLE_BITS) - 1;
const LOW_MASK: u128 = (1 << LOW_BITS) - 1;
const MIDDLE_SHIFT: u32 = 64;
const HIGH_SHIFT: u32 = 80;
/// Version 4, variant `10`.
const FIXED_BITS: u128 = 0x4 << 76 | 0b10 << 62;
const FIXED_BITS_MASK: u128 = 0xf << 76 | 0b11 << 62;

const _: () = {
    assert!(2 * HALF_BITS == u64::BITS + TAG_BITS);
    assert!(2 * HALF_BITS == FIXED_BITS_MASK.count_zeros());
    assert!((ROUNDS - 1) << HALF_BITS >> HALF_BITS == ROUNDS - 1);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::id::{ConnectionId, SLOTS_MAX, ShardId};
    use campanile_tests::prng::Prng;

    #[test]
    fn open_inverts_seal() {
        let cipher = IdCipher::new([1, 2]);
        for (session, tag) in extremes().into_iter().chain(random(1, 2_000)) {
            let id = cipher.seal(session, tag);
            assert_eq!(cipher.open(id), Some((session, tag)));
            assert_eq!(
                cipher.open(id.to_string().parse().expect("a UUID")),
                Some((session, tag))
            );
        }
    }

    #[test]
    fn every_id_is_a_version_4_uuid() {
        let cipher = IdCipher::new([3, 4]);
        for (session, tag) in extremes().into_iter().chain(random(2, 2_000)) {
            let text = cipher.seal(session, tag).to_string();
            assert_eq!(text.len(), 36);
            assert_eq!(&text[14..15], "4", "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
        }
    }

    #[test]
    fn an_id_with_one_bit_flipped_is_not_the_same_sessions() {
        let cipher = IdCipher::new([5, 6]);
        for (session, tag) in extremes().into_iter().chain(random(3, 100)) {
            let id = u128::from_be_bytes(cipher.seal(session, tag).bytes());
            for bit in 0..128 {
                let forged = PublicId::from_bytes((id ^ 1 << bit).to_be_bytes());
                let opened = cipher.open(forged);
                assert_ne!(opened, Some((session, tag)));
                assert!(
                    opened.is_none() || FIXED_BITS_MASK >> bit & 1 == 0,
                    "bit {bit} is fixed"
                );
            }
        }
    }

    #[test]
    fn another_key_makes_and_reads_other_ids() {
        let cipher = IdCipher::new([7, 8]);
        for key in [[7, 9], [6, 8], [8, 7], [0, 0]] {
            let other = IdCipher::new(key);
            for (session, tag) in random(4, 100) {
                let id = cipher.seal(session, tag);
                assert_ne!(other.seal(session, tag), id);
                assert_ne!(other.open(id), Some((session, tag)));
            }
        }
    }

    /// A Feistel network with equal rounds inverts itself when its halves are swapped.
    #[test]
    fn the_rounds_differ() {
        let cipher = IdCipher::new([9, 10]);
        let swap = |value| {
            let (left, right) = halves(value);
            whole(right, left)
        };
        for (session, tag) in random(5, 100) {
            let plain = u128::from(session.bits()) << TAG_BITS | u128::from(tag.0);
            assert_eq!(cipher.permute_back(cipher.permute(plain)), plain);
            assert_ne!(cipher.permute(swap(cipher.permute(plain))), swap(plain));
        }
    }

    /// Of 122 bits, 61 change on average, with a standard deviation of 5.5 for one pair of ids.
    #[test]
    fn one_bit_of_a_session_or_its_tag_changes_half_of_the_id() {
        let cipher = IdCipher::new([11, 12]);
        let (mut pairs, mut changed_all) = (0, 0);
        let mut changed_of_bit = [0_u32; 128];
        for (session, tag) in random(6, 60) {
            let id = u128::from_be_bytes(cipher.seal(session, tag).bytes());
            let sessions = (0..64)
                .filter_map(|bit| SessionId::from_bits(session.bits() ^ 1 << bit))
                .map(|session| (session, tag));
            let tags = (0..TAG_BITS).map(|bit| (session, Tag(tag.0 ^ 1 << bit)));
            for (session, tag) in sessions.chain(tags) {
                let other = u128::from_be_bytes(cipher.seal(session, tag).bytes());
                let changed = (id ^ other).count_ones();
                assert!((25..=97).contains(&changed), "{changed} bits");
                pairs += 1;
                changed_all += changed;
                for (bit, count) in changed_of_bit.iter_mut().enumerate() {
                    *count += u32::from((id ^ other) >> bit & 1 == 1);
                }
            }
        }
        let mean = f64::from(changed_all) / f64::from(pairs);
        assert!((60.0..62.0).contains(&mean), "{mean} bits on average");
        for (bit, count) in changed_of_bit.into_iter().enumerate() {
            let part = f64::from(count) / f64::from(pairs);
            if FIXED_BITS_MASK >> bit & 1 == 1 {
                assert_eq!(count, 0, "bit {bit} is fixed");
            } else {
                assert!(
                    (0.45..0.55).contains(&part),
                    "bit {bit} changes in {part} of the pairs"
                );
            }
        }
    }

    #[test]
    fn uuids_of_other_versions_and_variants_name_no_session() {
        let cipher = IdCipher::new([13, 14]);
        let (session, tag) = extremes()[1];
        let id = u128::from_be_bytes(cipher.seal(session, tag).bytes());
        for fixed_bits in 0..64 {
            let forged = id & !FIXED_BITS_MASK | (fixed_bits >> 2) << 76 | (fixed_bits & 3) << 62;
            let opened = cipher.open(PublicId::from_bytes(forged.to_be_bytes()));
            assert_eq!(
                opened.is_some(),
                fixed_bits == 0b01_0010,
                "fixed_bits {fixed_bits:b}"
            );
        }
    }

    /// This happens with one in 2^32 version 4 UUIDs.
    #[test]
    fn an_id_that_decrypts_to_no_generation_names_no_session() {
        let cipher = IdCipher::new([15, 16]);
        let sealed = |session: u128| {
            let sealed = cipher.permute(session << TAG_BITS);
            let uuid = sealed >> 74 << 80 | (sealed >> 62 & 0xfff) << 64 | sealed & LOW_MASK;
            PublicId::from_bytes((uuid | FIXED_BITS).to_be_bytes())
        };
        assert_eq!(cipher.open(sealed(u128::from(u32::MAX))), None);
        assert_eq!(cipher.open(sealed(0)), None);
        assert!(cipher.open(sealed(1 << 32)).is_some());
    }

    #[test]
    fn a_uuid_is_read_in_every_form_and_case() {
        let bytes = [
            0x6b, 0x84, 0x76, 0x4b, 0x22, 0xd3, 0x4c, 0x64, 0x82, 0x3f, 0xa6, 0xe7, 0xdb, 0x4a,
            0xc2, 0xc7,
        ];
        let usual = "6b84764b-22d3-4c64-823f-a6e7db4ac2c7";
        for text in [
            usual,
            "6B84764B-22D3-4C64-823F-A6E7DB4AC2C7",
            "urn:uuid:6b84764b-22d3-4c64-823f-a6e7db4ac2c7",
            "URN:Uuid:6b84764b-22d3-4c64-823F-a6e7db4ac2c7",
            "{6b84764b-22d3-4c64-823f-a6e7db4ac2c7}",
            "x6b84764b-22d3-4c64-823f-a6e7db4ac2c7y",
            "6b84764b22d34c64823fa6e7db4ac2c7",
            "6B84764B22D34C64823FA6E7DB4AC2C7",
        ] {
            assert_eq!(parse_uuid(text), Some(bytes), "{text}");
            let id: PublicId = text.parse().expect("a UUID");
            assert_eq!(id, PublicId::from_bytes(bytes));
            assert_eq!(id.to_string(), usual);
            assert_eq!(format!("{id:?}"), usual);
        }
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(parse_uuid(nil), Some([0; 16]));
        assert_eq!(parse_uuid(&nil.replace('0', "f")), Some([0xff; 16]));
    }

    #[test]
    fn other_texts_are_not_parsed() {
        for text in [
            "",
            "6b84764b",
            "6b84764b-22d3-4c64-823f-a6e7db4ac2c",
            "6b84764b-22d3-4c64-823f-a6e7db4ac2c77",
            "6b84764b-22d3-4c64-823fa-6e7db4ac2c7",
            "6b84764b022d3-4c64-823f-a6e7db4ac2c7",
            "6b84764b-22d3-4c64-823f-a6e7db4ac2cg",
            "6b84764b-22d3-4c64-823f-+6e7db4ac2c7",
            " b84764b-22d3-4c64-823f-a6e7db4ac2c7",
            "urn:uuie:6b84764b-22d3-4c64-823f-a6e7db4ac2c7",
            "{6b84764b22d34c64823fa6e7db4ac2c7}",
            "{6b84764b-22d3-4c64-823f-a6e7db4ac2c7",
            "6b84764b22d34c64823fa6e7db4ac2cx",
            "@b84764b22d34c64823fa6e7db4ac2c7",
            "\u{e9}84764b22d34c64823fa6e7db4ac2c7",
            "6b84764b-22d3-4c64-823f-a6e7db4ac\u{20ac}",
        ] {
            assert_eq!(parse_uuid(text), None, "{text}");
            assert_eq!(text.parse::<PublicId>(), Err(ParseUuidError));
        }
    }

    #[test]
    fn parsing_inverts_formatting() {
        let mut prng = Prng::from_seed(7);
        for _ in 0..1_000 {
            let bytes: [u8; 16] =
                std::array::from_fn(|_| u8::try_from(prng.range(0, 255)).expect("a byte"));
            let id = PublicId::from_bytes(bytes);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().replace('-', "").parse(), Ok(id));
        }
    }

    #[test]
    fn a_cipher_does_not_print_its_key() {
        assert_eq!(format!("{:?}", IdCipher::new([42, 43])), "IdCipher { .. }");
    }

    fn extremes() -> [(SessionId, Tag); 6] {
        [
            (0, 0, 1, 0),
            (255, SLOTS_MAX - 1, u32::MAX, u64::MAX),
            (0, 0, 1, u64::MAX),
            (255, SLOTS_MAX - 1, u32::MAX, 0),
            (0, SLOTS_MAX - 1, 1, 1),
            (1, 2, 3, 1 << 57),
        ]
        .map(|(shard, slot, generation, tag)| {
            let connection = ConnectionId::new(slot, generation);
            let session = SessionId::new(ShardId::new(shard), connection);
            (session, Tag::from_random(tag))
        })
    }

    fn random(seed: u64, count: u32) -> impl Iterator<Item = (SessionId, Tag)> {
        let mut prng = Prng::from_seed(seed);
        (0..count).map(move |_| {
            let session = SessionId::from_bits(prng.below(u64::MAX) | 1 << 32);
            let tag = Tag::from_random(prng.below(u64::MAX));
            (session.expect("a generation above zero"), tag)
        })
    }
}
