//! Ids of shards, connections and sessions.
//!
//! Every id is a plain integer with a fixed layout, so it can be stored in a timer, an `io_uring`
//! completion or a mailbox message without keeping anything alive. An id may outlive its
//! connection. Its generation makes the lookup of a stale id fail, instead of finding another
//! session.

use std::fmt;
use std::num::NonZeroU64;

/// The id of a shard: its index, from zero, without gaps, constant for the life of the process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(u8);

impl ShardId {
    /// Returns the id of the shard with this index.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`SHARDS_MAX`]. Config validation limits the number of shards.
    #[must_use]
    pub fn new(index: usize) -> Self {
        assert!(index < SHARDS_MAX);
        Self(u8::try_from(index).expect("SHARDS_MAX fits a u8"))
    }

    /// Returns the index of the shard.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The id of a connection within its shard.
///
/// ```text
///  63               32 31     24 23                0
/// +-------------------+---------+-------------------+
/// |    generation     |    0    |       slot        |
/// +-------------------+---------+-------------------+
/// ```
///
/// `slot` is the connection's index in its shard's tables. It is reused after the socket is closed.
/// `generation` counts the uses of the slot from one, so an id is never zero. The eight bits
/// between them are free for the `user_data` of `io_uring` operations.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// Creates an id from its parts.
    ///
    /// # Panics
    ///
    /// If `slot` is not below [`SLOTS_MAX`] or `generation` is zero.
    #[must_use]
    pub fn new(slot: u32, generation: u32) -> Self {
        assert!(slot < SLOTS_MAX);
        assert!(generation > 0);
        let bits = u64::from(generation) << GENERATION_SHIFT | u64::from(slot);
        Self(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// Returns the index in the shard's tables.
    #[must_use]
    pub fn slot(self) -> u32 {
        (self.0.get() & SLOT_MASK) as u32
    }

    /// Returns the slot as `usize`.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot() as usize
    }

    /// Returns the generation: the number of connections in this slot so far, this one included.
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0.get() >> GENERATION_SHIFT) as u32
    }

    /// Returns the id as an integer. Bits 24 to 31 are zero.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// Returns the id with these bits, ignoring bits 24 to 31. Returns `None` if the generation is
    /// zero.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> GENERATION_SHIFT == 0 {
            return None;
        }
        NonZeroU64::new(bits & !(SHARD_MASK << SHARD_SHIFT)).map(Self)
    }
}

/// Formats the id as `slot#generation`.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a session within the process.
///
/// ```text
///  63               32 31     24 23                0
/// +-------------------+---------+-------------------+
/// |    generation     |  shard  |       slot        |
/// +-------------------+---------+-------------------+
/// ```
///
/// Slot and generation are those of the connection that the session opened on, and `shard` is that
/// connection's. A session keeps its id when it moves to another shard, so that its public id, its
/// claim and everything else that names it stay valid.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// Returns the id of the session of `connection` on `shard`.
    #[must_use]
    pub fn new(shard: ShardId, connection: ConnectionId) -> Self {
        let bits = connection.bits() | u64::from(shard.0) << SHARD_SHIFT;
        Self(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// Returns the shard on which the session opened. It knows where the session is.
    #[must_use]
    pub fn shard(self) -> ShardId {
        ShardId((self.0.get() >> SHARD_SHIFT & SHARD_MASK) as u8)
    }

    /// Returns the connection that the session opened on.
    #[must_use]
    pub fn connection(self) -> ConnectionId {
        let bits = self.0.get() & !(SHARD_MASK << SHARD_SHIFT);
        ConnectionId(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// Returns the id as an integer, for [`SessionId::from_bits`].
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// Returns the id with these bits; the session may not exist. Returns `None` if the generation
    /// is zero.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> GENERATION_SHIFT == 0 {
            return None;
        }
        NonZeroU64::new(bits).map(Self)
    }
}

/// Formats the id as `shard/slot#generation`.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shard().0, self.connection())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Maximum number of shards in one process.
pub const SHARDS_MAX: usize = 1 << 8;
/// Maximum number of simultaneous connections of one shard.
pub const SLOTS_MAX: u32 = 1 << 24;

const SLOT_MASK: u64 = 0x00ff_ffff;
const SHARD_MASK: u64 = 0xff;
const SHARD_SHIFT: u32 = 24;
const GENERATION_SHIFT: u32 = 32;

const _: () = {
    assert!(SLOTS_MAX as u64 == SLOT_MASK + 1);
    assert!(SHARDS_MAX as u64 == SHARD_MASK + 1);
    assert!(SLOTS_MAX == 1 << SHARD_SHIFT);
    assert!(SHARDS_MAX == 1 << (GENERATION_SHIFT - SHARD_SHIFT));
    assert!(size_of::<Option<SessionId>>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_at_their_extremes() {
        for (shard, slot, generation) in [
            (0, 0, 1),
            (255, SLOTS_MAX - 1, u32::MAX),
            (1, 2, 3),
            (255, 0, 1),
            (0, SLOTS_MAX - 1, 1),
        ] {
            let connection = ConnectionId::new(slot, generation);
            let id = SessionId::new(ShardId::new(shard), connection);
            assert_eq!(id.shard().index(), shard);
            assert_eq!(id.connection(), connection);
            assert_eq!(connection.slot(), slot);
            assert_eq!(connection.generation(), generation);
            assert_eq!(SessionId::from_bits(id.bits()), Some(id));
        }
    }

    #[test]
    fn bits_without_a_generation_name_no_session() {
        assert_eq!(SessionId::from_bits(0), None);
        assert_eq!(SessionId::from_bits(u64::from(u32::MAX)), None);
        let first = SessionId::new(ShardId::new(0), ConnectionId::new(0, 1));
        assert_eq!(SessionId::from_bits(1 << 32), Some(first));
    }

    #[test]
    fn display_reads_shard_slot_generation() {
        let id = SessionId::new(ShardId::new(3), ConnectionId::new(41, 2));
        assert_eq!(id.to_string(), "3/41#2");
    }
}
