//! Memory accounting for names: what clients make a shard store, in bytes, and the two limits.
//!
//! Counted are the names of users, events and channels, and the data stored with them, such as a
//! session's token and claims. An entry counts as its text plus a constant for each table that it
//! is in; the constant includes the spare capacity of a table that has grown to twice its size. The
//! count drops to the byte when the last session that needs an entry is gone.
//!
//! *The shard's limit* counts a shared name once. *The session's limit* counts every name in full,
//! no matter how many sessions share it, so that a session's cost does not depend on other
//! sessions.

use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::Denial;
use crate::vocabulary::id::ConnectionId;

/// The bytes that may still be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NamesBudget {
    /// For the session.
    pub session: usize,
    /// For the session's shard.
    pub shard: usize,
}

/// The limit that a name would exceed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NamesLimit {
    /// The session's limit, `limits.names_bytes_per_session_max`.
    Session,
    /// The shard's limit, `limits.names_bytes_max`.
    Shard,
}

impl NamesBudget {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        session: usize::MAX,
        shard: usize::MAX,
    };

    /// Checks that both amounts fit.
    ///
    /// # Errors
    ///
    /// Returns the limit that is exceeded; the session's first.
    pub(super) fn check(self, session_bytes: usize, shard_bytes: usize) -> Result<(), NamesLimit> {
        if session_bytes > self.session {
            Err(NamesLimit::Session)
        } else if shard_bytes > self.shard {
            Err(NamesLimit::Shard)
        } else {
            Ok(())
        }
    }
}

impl NamesLimit {
    /// Returns the denial to encode, for dialects that encode denials.
    #[must_use]
    pub fn denial(self) -> Denial {
        match self {
            Self::Session => Denial::TooManyNames,
            Self::Shard => Denial::NoRoomForNames,
        }
    }

    /// Returns the cause with which to close a session whose dialect does not.
    #[must_use]
    pub fn close_cause(self) -> CloseCause {
        match self {
            Self::Session => CloseCause::TooManyNames,
            Self::Shard => CloseCause::NamesFull,
        }
    }
}

/// Bytes that the host stores for sessions of this shard, by slot.
///
/// Invariant, checked by [`HostBytes::invariants`]: `bytes` is the sum of all slots.
#[derive(Debug, Default)]
pub(super) struct HostBytes {
    of_slot: Vec<u32>,
    bytes: usize,
}

impl HostBytes {
    pub(super) fn add(&mut self, slot: u32, bytes: usize) {
        let index = slot as usize;
        if self.of_slot.len() <= index {
            self.of_slot.resize(index + 1, 0);
        }
        self.of_slot[index] += u32::try_from(bytes).expect("below the limit of a session");
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
    /// Returns the bytes stored for names, as `limits.names_bytes_max` counts them.
    #[must_use]
    pub fn names_bytes(&self) -> usize {
        self.users.bytes()
            + self.channels.bytes()
            + self.claims.bytes()
            + self.claimants.bytes()
            + self.host_bytes.bytes
    }

    /// Returns the bytes of one session, as `limits.names_bytes_per_session_max` counts them.
    #[must_use]
    pub fn names_bytes_of(&self, id: ConnectionId) -> usize {
        let slot = id.slot();
        self.users.bytes_of_slot(slot)
            + self.channels.bytes_of_slot(slot)
            + self.claimants.bytes_of_slot(slot)
            + self.host_bytes.of(slot)
    }

    /// Returns the bytes that may still be stored for a session.
    pub(super) fn names_budget_for(&self, id: ConnectionId) -> NamesBudget {
        let settings = &self.settings;
        NamesBudget {
            session: settings
                .names_bytes_per_session_max
                .saturating_sub(self.names_bytes_of(id)),
            shard: settings.names_bytes_max.saturating_sub(self.names_bytes()),
        }
    }

    /// Counts `bytes` that the host stores for a session until it ends. Closes the session if that
    /// exceeds a limit. Does nothing if the session is not open.
    pub fn count_host_bytes(&mut self, id: ConnectionId, bytes: usize) {
        if bytes == 0 || !self.is_open(id) {
            return;
        }
        match self.names_budget_for(id).check(bytes, bytes) {
            Ok(()) => self.host_bytes.add(id.slot(), bytes),
            Err(limit) => self.end(id, limit.close_cause()),
        }
    }
}

/// Returns the bytes of a slab entry. Growth doubles the array, so the size counts twice.
pub(super) const fn slab_bytes<T>() -> usize {
    2 * (size_of::<T>() + size_of::<usize>())
}

/// Returns the bytes of a hash table entry: the value and one control byte, in a table that is at
/// least 7/16 full.
pub(super) const fn table_bytes<T>() -> usize {
    ((size_of::<T>() + 1) * 16).div_ceil(7)
}

/// Returns the bytes of a text on the heap. The allocator's size classes waste up to 1/8.
pub(super) const fn text_bytes(len: usize) -> usize {
    len + len / 8 + 16
}

/// Returns the bytes of a list member. Lists are shrunk when they are 1/4 full.
pub(super) const fn list_bytes<T>() -> usize {
    4 * size_of::<T>()
}

#[cfg(test)]
mod tests;
