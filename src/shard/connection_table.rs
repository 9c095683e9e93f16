//! A table of connections: an array of slots, each with the id of its present connection.
//!
//! A free slot is reused. Removing a connection advances the generation in the slot's id, so every
//! copy of the old [`ConnectionId`] (in a completion, a host request, a waiting HTTP request)
//! misses from then on, at the cost of one compare. Id and connection share a cache line, since a
//! lookup needs both.
//!
//! A session is named by the connection that it opened on, and keeps that name when it moves to
//! another connection (`moves.rs`). The table finds such sessions by a map that is empty otherwise.

use crate::vocabulary::id::{ConnectionId, SLOTS_MAX, SessionId, ShardId};
use std::collections::BTreeMap;

/// The connections of one shard, by [`ConnectionId`]. Lookups take constant time.
///
/// Invariants, checked by [`ConnectionTable::invariants`]:
///
/// - `entries[slot].id` is the id of the connection now in `slot`, or of the next one.
/// - `free` contains the slots without a connection, each once.
/// - `names` has the names of the adopted sessions and no others, each with its connection's slot.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    /// One per slot ever used. Never shrinks: a forgotten generation could be issued twice.
    entries: Vec<Entry<C>>,
    free: Vec<u32>,
    /// The connections of sessions that opened on another connection.
    adopted: BTreeMap<SessionId, ConnectionId>,
    /// By slot: the names of those sessions.
    names: BTreeMap<u32, SessionId>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Entry<C> {
    id: ConnectionId,
    connection: Option<C>,
}

/// The slots of a table, for loops over many of them.
#[derive(Debug)]
pub struct SlotsMut<'t, C>(&'t mut [Entry<C>]);

impl<C> ConnectionTable<C> {
    /// Size of one entry, in bytes.
    pub const ENTRY_BYTES: usize = size_of::<Entry<C>>();

    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            adopted: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Inserts a connection and returns its new id.
    ///
    /// # Errors
    ///
    /// Returns the connection if all [`SLOTS_MAX`] slots are in use.
    pub fn insert(&mut self, connection: C) -> Result<ConnectionId, C> {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.connection = Some(connection);
            return Ok(entry.id);
        }
        let slot = self.entries.len();
        if slot >= SLOTS_MAX as usize {
            return Err(connection);
        }
        let slot = u32::try_from(slot).expect("slots fit a u32");
        let id = ConnectionId::new(slot, GENERATION_FIRST);
        self.entries.push(Entry {
            id,
            connection: Some(connection),
        });
        Ok(id)
    }

    /// Removes and returns a connection, and retires its id. Returns `None` if the id is stale.
    pub fn remove(&mut self, id: ConnectionId) -> Option<C> {
        let entry = self.entries.get_mut(id.index())?;
        if entry.id != id {
            return None;
        }
        let connection = entry.connection.take()?;
        entry.id = ConnectionId::new(id.slot(), generation_after(id.generation()));
        self.free.push(id.slot());
        Some(connection)
    }

    /// Returns the connection; `None` if the id is stale.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut C> {
        let entry = self.entries.get_mut(id.index())?;
        if entry.id != id {
            return None;
        }
        entry.connection.as_mut()
    }

    /// Returns the connection; `None` if the id is stale.
    #[must_use]
    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&C> {
        let entry = self.entries.get(id.index())?;
        if entry.id != id {
            return None;
        }
        entry.connection.as_ref()
    }

    /// Returns the connection of a session, if this is the table of `shard` and the session is
    /// there; `None` if not.
    #[must_use]
    #[inline]
    pub fn find(&self, shard: ShardId, session: SessionId) -> Option<ConnectionId> {
        let id = session.connection();
        if session.shard() == shard && self.get(id).is_some() {
            return Some(id);
        }
        if self.adopted.is_empty() {
            return None;
        }
        self.adopted.get(&session).copied()
    }

    /// Returns the name of the session on a connection of `shard`.
    #[must_use]
    #[inline]
    pub fn session(&self, shard: ShardId, id: ConnectionId) -> SessionId {
        if self.names.is_empty() {
            return SessionId::new(shard, id);
        }
        let adopted = self.names.get(&id.slot()).copied();
        adopted.unwrap_or_else(|| SessionId::new(shard, id))
    }

    /// Makes `session`, which opened on another connection, the session on `id`.
    pub fn adopt(&mut self, id: ConnectionId, session: SessionId) {
        self.adopted.insert(session, id);
        let before = self.names.insert(id.slot(), session);
        assert!(before.is_none(), "a connection has one session");
    }

    /// Forgets that the session on `id` opened on another connection. Returns its name; `None` if
    /// it opened on this one.
    pub fn disown(&mut self, id: ConnectionId) -> Option<SessionId> {
        let session = self.names.remove(&id.slot())?;
        // It may have moved to another connection of this table.
        if self.adopted.get(&session) == Some(&id) {
            self.adopted.remove(&session);
        }
        Some(session)
    }

    /// Returns all slots.
    #[inline]
    pub fn slots_mut(&mut self) -> SlotsMut<'_, C> {
        SlotsMut(&mut self.entries)
    }

    /// Returns the connection now in `slot`, with its id; `None` if the slot is free.
    #[inline]
    pub fn entry_mut(&mut self, slot: u32) -> Option<(ConnectionId, &mut C)> {
        let entry = self.entries.get_mut(slot as usize)?;
        Some((entry.id, entry.connection.as_mut()?))
    }

    /// Returns the id of the connection now in `slot`; `None` if the slot is free.
    #[must_use]
    pub fn id_of(&self, slot: u32) -> Option<ConnectionId> {
        let entry = self.entries.get(slot as usize)?;
        entry.connection.is_some().then_some(entry.id)
    }

    /// Returns all connections with their ids, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &C)> {
        self.iter_from(0)
    }

    /// Returns the connections in `slot` and later slots with their ids, in slot order.
    pub fn iter_from(&self, slot: u32) -> impl Iterator<Item = (ConnectionId, &C)> {
        let entries = self.entries.get(slot as usize..).unwrap_or_default();
        let entries = entries.iter();
        entries.filter_map(|entry| Some((entry.id, entry.connection.as_ref()?)))
    }

    /// Returns the number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns whether the table has no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asserts the invariants. Linear in the table: for tests and the simulator.
    pub fn invariants(&self) {
        for (entry, slot) in self.entries.iter().zip(0..) {
            assert_eq!(entry.id.slot(), slot);
        }
        let mut free = self.free.clone();
        free.sort_unstable();
        let is_free = |slot: &usize| self.entries[*slot].connection.is_none();
        let vacant = (0..self.entries.len()).filter(is_free);
        assert!(vacant.eq(free.iter().map(|&slot| slot as usize)));
        assert_eq!(self.adopted.len(), self.names.len());
        for (session, &id) in &self.adopted {
            assert_eq!(self.names.get(&id.slot()), Some(session));
            assert!(self.get(id).is_some(), "{session} is on a connection");
        }
    }
}

impl<C> SlotsMut<'_, C> {
    /// Returns the connection now in `slot`; `None` if the slot is free.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut C> {
        self.0.get_mut(slot as usize)?.connection.as_mut()
    }
}

impl<C> Default for ConnectionTable<C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the next generation. Skips zero on wrap-around, after 2^32 connections in one slot.
fn generation_after(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(GENERATION_FIRST)
}

const GENERATION_FIRST: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::BTreeMap;

    /// Compares random operations with an ordered map that keeps every id ever issued: the table
    /// finds the live ones and not the retired ones.
    #[test]
    fn agrees_with_a_map_that_never_reuses_ids() {
        for seed in 0..64 {
            let mut prng = Prng::from_seed(seed);
            let mut table = ConnectionTable::new();
            let mut model: BTreeMap<ConnectionId, Option<u32>> = BTreeMap::new();

            for step in 0..400 {
                if prng.chance(3, 5) {
                    let id = table.insert(step).expect("there is room");
                    assert!(model.insert(id, Some(step)).is_none(), "reissued {id}");
                } else if let Some(id) = prng.pick(model.keys().copied()) {
                    let expected = model.insert(id, None).flatten();
                    assert_eq!(table.remove(id), expected, "seed {seed}, {id}");
                }

                table.invariants();
                let all: Vec<ConnectionId> = table.iter().map(|(id, _)| id).collect();
                for from in [0, 3, u32::MAX] {
                    let later = all.iter().filter(|id| id.slot() >= from);
                    let listed = table.iter_from(from).map(|(id, _)| id);
                    assert!(listed.eq(later.copied()), "seed {seed}, from {from}");
                }
                for (&id, &expected) in &model {
                    assert_eq!(table.get(id).copied(), expected, "seed {seed}, {id}");
                }
            }
        }
    }

    #[test]
    fn generation_skips_zero_when_it_wraps() {
        assert_eq!(generation_after(1), 2);
        assert_eq!(generation_after(u32::MAX), GENERATION_FIRST);
    }
}
