//! What clients make a shard remember, in bytes, and how much room is left for more.
//!
//! A name is a user's, an event's or a channel's; with what is kept beside it, a session's token
//! and claims for one, it is counted where it is kept. Counted is the text and a constant for each
//! entry of each table, which has room for the table's growth to twice its size. What is counted
//! is given back to the byte when the last who needed it has gone.
//!
//! There are two bounds. *The shard's* counts a name that many sessions share once. *The
//! session's* counts every name in full, however many share it: what a session costs does not
//! depend on what others do.

use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::Denial;
use crate::vocabulary::id::ConnectionId;

/// How many bytes more may be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// For the session that asks.
    pub session: usize,
    /// For its shard.
    pub shard: usize,
}

/// Which of the bounds leaves no room for a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRoom {
    /// That of the session, `limits.names_bytes_per_session_max`.
    Session,
    /// That of the shard, `limits.names_bytes_max`.
    Shard,
}

impl Room {
    /// Room for everything.
    pub const UNBOUNDED: Self = Self {
        session: usize::MAX,
        shard: usize::MAX,
    };

    /// Whether there is room for so much.
    pub(super) fn has(self, session_bytes: usize, shard_bytes: usize) -> Result<(), NoRoom> {
        if session_bytes > self.session {
            Err(NoRoom::Session)
        } else if shard_bytes > self.shard {
            Err(NoRoom::Shard)
        } else {
            Ok(())
        }
    }
}

impl NoRoom {
    /// How a client is refused whose language has words for it.
    #[must_use]
    pub fn denial(self) -> Denial {
        match self {
            Self::Session => Denial::TooManyNames,
            Self::Shard => Denial::NoRoomForNames,
        }
    }

    /// How a session ends whose language has none.
    #[must_use]
    pub fn end(self) -> CloseCause {
        match self {
            Self::Session => CloseCause::TooManyNames,
            Self::Shard => CloseCause::NamesFull,
        }
    }
}

/// Bytes that are kept outside the shard for sessions of its, by slot.
///
/// Invariant, checked by [`Kept::invariants`]: `bytes` is the sum of all.
#[derive(Debug, Default)]
pub(super) struct Kept {
    of_slot: Vec<u32>,
    bytes: usize,
}

impl Kept {
    fn add(&mut self, slot: u32, bytes: usize) {
        let index = slot as usize;
        if self.of_slot.len() <= index {
            self.of_slot.resize(index + 1, 0);
        }
        self.of_slot[index] += u32::try_from(bytes).expect("below the bound of a session");
        self.bytes += bytes;
    }

    pub(super) fn release(&mut self, slot: u32) {
        if let Some(bytes) = self.of_slot.get_mut(slot as usize) {
            self.bytes -= std::mem::take(bytes) as usize;
        }
    }

    pub(super) fn of(&self, slot: u32) -> usize {
        let bytes = self.of_slot.get(slot as usize);
        bytes.map_or(0, |&bytes| bytes as usize)
    }

    pub(super) fn invariants(&self) {
        let all: usize = self.of_slot.iter().map(|&bytes| bytes as usize).sum();
        assert_eq!(all, self.bytes);
    }
}

impl Shard {
    /// The bytes of all that clients have the shard remember, as `limits.names_bytes_max` counts
    /// them.
    #[must_use]
    pub fn names_bytes(&self) -> usize {
        self.users.bytes()
            + self.channels.bytes()
            + self.claims.bytes()
            + self.claimants.bytes()
            + self.kept.bytes
    }

    /// The same of one session, as `limits.names_bytes_per_session_max` counts them.
    #[must_use]
    pub fn names_bytes_of(&self, id: ConnectionId) -> usize {
        let slot = id.slot();
        self.users.bytes_of_slot(slot)
            + self.channels.bytes_of_slot(slot)
            + self.claimants.bytes_of_slot(slot)
            + self.kept.of(slot)
    }

    /// How much more a session may have the shard remember.
    pub(super) fn room_for(&self, id: ConnectionId) -> Room {
        let settings = &self.settings;
        Room {
            session: settings
                .names_bytes_per_session_max
                .saturating_sub(self.names_bytes_of(id)),
            shard: settings.names_bytes_max.saturating_sub(self.names_bytes()),
        }
    }

    /// Counts what is kept for a session outside the shard, until the session ends. One for which
    /// there is no room ends, and one that is not open is not looked at.
    pub fn keep(&mut self, id: ConnectionId, bytes: usize) {
        if bytes == 0 || !self.is_open(id) {
            return;
        }
        match self.room_for(id).has(bytes, bytes) {
            Ok(()) => self.kept.add(id.slot(), bytes),
            Err(no_room) => self.end(id, no_room.end()),
        }
    }
}

/// What an entry of a slab takes: an array that has grown is at most twice as large as it must be.
pub(super) const fn slab_bytes<T>() -> usize {
    2 * (size_of::<T>() + size_of::<usize>())
}

/// What an entry of a hash table takes: with a byte to control it, in a table that is between 7/16
/// and 7/8 full.
pub(super) const fn table_bytes<T>() -> usize {
    ((size_of::<T>() + 1) * 16).div_ceil(7)
}

/// What a text on the heap takes: an allocator's classes of sizes waste up to an eighth.
pub(super) const fn text_bytes(len: usize) -> usize {
    len + len / 8 + 16
}

/// What a member of a list takes, which is shrunk when it is a quarter full.
pub(super) const fn list_bytes<T>() -> usize {
    4 * size_of::<T>()
}

#[cfg(test)]
mod tests;
