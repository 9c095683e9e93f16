//! Names for things that live on shards.
//!
//! Every identifier here is a plain integer with a fixed layout, so it can sit in a timer, in an
//! `io_uring` completion or in a mailbox message without keeping anything alive. It may therefore
//! outlive what it names; the generation it carries turns such a stale name into a clean miss
//! instead of somebody else's session.

use std::fmt;
use std::num::NonZeroU64;

/// A thread that owns sessions. Shards are numbered from zero, densely, for the process's life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(u8);

impl ShardId {
    /// Names the shard at `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`SHARDS_MAX`]; the shard count is checked when the config is read.
    #[must_use]
    pub fn new(index: usize) -> Self {
        assert!(index < SHARDS_MAX);
        Self(u8::try_from(index).expect("SHARDS_MAX fits a u8"))
    }

    /// Position of this shard in any per-shard array.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One socket from accept to close, as its own shard knows it.
///
/// ```text
///  63               32 31     24 23                0
/// +-------------------+---------+-------------------+
/// |    generation     |    0    |       slot        |
/// +-------------------+---------+-------------------+
/// ```
///
/// `slot` is where the connection lies in its shard's tables and is reused as soon as the socket
/// is closed. `generation` counts those reuses, starts at one, and so keeps the whole id non-zero.
/// The eight bits between are free for whoever files an id in an `io_uring` operation.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// Composes an id from its parts.
    #[must_use]
    pub fn new(slot: u32, generation: u32) -> Self {
        assert!(slot < SLOTS_MAX);
        assert!(generation > 0);
        let bits = u64::from(generation) << GENERATION_SHIFT | u64::from(slot);
        Self(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// Index into the owning shard's tables.
    #[must_use]
    pub fn slot(self) -> u32 {
        (self.0.get() & SLOT_MASK) as u32
    }

    /// [`ConnectionId::slot`] as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot() as usize
    }

    /// How many connections have lain in this slot, this one included.
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0.get() >> GENERATION_SHIFT) as u32
    }

    /// The id as one integer, its bits 24 to 31 clear.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// The id that has these bits, whatever those from 24 to 31 are. `None` if no connection can
    /// have them, because their generation is zero.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> GENERATION_SHIFT == 0 {
            return None;
        }
        NonZeroU64::new(bits & !(SHARD_MASK << SHARD_SHIFT)).map(Self)
    }
}

/// Written as `slot#generation` in logs.
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

/// One client, from the end of its handshake to its close.
///
/// ```text
///  63               32 31     24 23                0
/// +-------------------+---------+-------------------+
/// |    generation     |  shard  |       slot        |
/// +-------------------+---------+-------------------+
/// ```
///
/// Slot and generation are those of the connection that the session speaks through.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// Names the session that speaks through `connection` on `shard`.
    #[must_use]
    pub fn new(shard: ShardId, connection: ConnectionId) -> Self {
        let bits = connection.bits() | u64::from(shard.0) << SHARD_SHIFT;
        Self(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// The shard that owns the session. Only that shard may look it up.
    #[must_use]
    pub fn shard(self) -> ShardId {
        ShardId((self.0.get() >> SHARD_SHIFT & SHARD_MASK) as u8)
    }

    /// The connection it speaks through.
    #[must_use]
    pub fn connection(self) -> ConnectionId {
        let bits = self.0.get() & !(SHARD_MASK << SHARD_SHIFT);
        ConnectionId(NonZeroU64::new(bits).expect("the generation is not zero"))
    }

    /// The id as one integer, of which [`SessionId::from_bits`] makes the id again.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// The id that has these bits, which says nothing about whether such a session ever was.
    /// `None` if no session can have them, because their generation is zero.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> GENERATION_SHIFT == 0 {
            return None;
        }
        NonZeroU64::new(bits).map(Self)
    }
}

/// Written as `shard/slot#generation` in logs, which is also how people say it.
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

/// Upper bound on shards in one process.
pub const SHARDS_MAX: usize = 1 << 8;
/// Upper bound on connections held by one shard at one time.
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
