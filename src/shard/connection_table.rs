//! Where a shard keeps its connections: an array of slots, each with its present name.
//!
//! The array gives dense storage, and a slot that was left is given to the next; the names go stale
//! safely. Removing a connection gives its slot a name of the next generation, so every copy of the
//! old [`ConnectionId`] (in a completion, in a question under way, in a request still waiting)
//! misses from then on, at the cost of one compare. The name lies beside the connection, in the
//! same cache line, since whoever looks for the one needs the other.

use crate::vocabulary::id::{ConnectionId, SLOTS_MAX};

/// The connections of one shard, found by [`ConnectionId`] in constant time.
///
/// Invariants, checked by [`ConnectionTable::invariants`]:
///
/// - `entries[slot].name` is the name of the connection now in `slot`, or of the next one.
/// - `free` are the slots without a connection, each once.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    /// One per slot ever used; never shrinks, since a forgotten name could be issued twice.
    entries: Vec<Entry<C>>,
    free: Vec<u32>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Entry<C> {
    name: ConnectionId,
    connection: Option<C>,
}

/// All slots of a table, for a loop over many of them.
#[derive(Debug)]
pub struct SlotsMut<'t, C>(&'t mut [Entry<C>]);

impl<C> ConnectionTable<C> {
    /// What one connection takes, with its name.
    pub const ENTRY_BYTES: usize = size_of::<Entry<C>>();

    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Files a connection and names it, or hands it back when every slot is taken.
    pub fn insert(&mut self, connection: C) -> Result<ConnectionId, C> {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.connection = Some(connection);
            return Ok(entry.name);
        }
        let slot = self.entries.len();
        if slot >= SLOTS_MAX as usize {
            return Err(connection);
        }
        let slot = u32::try_from(slot).expect("slots fit a u32");
        let name = ConnectionId::new(slot, GENERATION_FIRST);
        self.entries.push(Entry {
            name,
            connection: Some(connection),
        });
        Ok(name)
    }

    /// Takes the connection out and retires its id; `None` if the id was already stale.
    pub fn remove(&mut self, id: ConnectionId) -> Option<C> {
        let entry = self.entries.get_mut(id.index())?;
        if entry.name != id {
            return None;
        }
        let connection = entry.connection.take()?;
        entry.name = ConnectionId::new(id.slot(), generation_after(id.generation()));
        self.free.push(id.slot());
        Some(connection)
    }

    /// The connection, for reading and writing; `None` if the id is stale.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut C> {
        let entry = self.entries.get_mut(id.index())?;
        if entry.name != id {
            return None;
        }
        entry.connection.as_mut()
    }

    /// The connection, for reading; `None` if the id is stale.
    #[must_use]
    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&C> {
        let entry = self.entries.get(id.index())?;
        if entry.name != id {
            return None;
        }
        entry.connection.as_ref()
    }

    /// Every slot, by its index.
    #[inline]
    pub fn slots_mut(&mut self) -> SlotsMut<'_, C> {
        SlotsMut(&mut self.entries)
    }

    /// Whatever connection lies in `slot` now, with its name; `None` if it is free.
    #[inline]
    pub fn entry_mut(&mut self, slot: u32) -> Option<(ConnectionId, &mut C)> {
        let entry = self.entries.get_mut(slot as usize)?;
        Some((entry.name, entry.connection.as_mut()?))
    }

    /// The name of the connection that lies in `slot` now; `None` if it is free.
    #[must_use]
    pub fn id_of(&self, slot: u32) -> Option<ConnectionId> {
        let entry = self.entries.get(slot as usize)?;
        entry.connection.is_some().then_some(entry.name)
    }

    /// Every connection with its name, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &C)> {
        self.iter_from(0)
    }

    /// Those in this slot and the later ones, with their names, in slot order.
    pub fn iter_from(&self, slot: u32) -> impl Iterator<Item = (ConnectionId, &C)> {
        let entries = self.entries.get(slot as usize..).unwrap_or_default();
        let entries = entries.iter();
        entries.filter_map(|entry| Some((entry.name, entry.connection.as_ref()?)))
    }

    /// How many connections are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether the table holds no connection at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asserts what the type promises. Linear in the table: for tests and the simulator.
    pub fn invariants(&self) {
        for (entry, slot) in self.entries.iter().zip(0..) {
            assert_eq!(entry.name.slot(), slot);
        }
        let mut free = self.free.clone();
        free.sort_unstable();
        let is_free = |slot: &usize| self.entries[*slot].connection.is_none();
        let vacant = (0..self.entries.len()).filter(is_free);
        assert!(vacant.eq(free.iter().map(|&slot| slot as usize)));
    }
}

impl<C> SlotsMut<'_, C> {
    /// Whatever connection lies in `slot` now; `None` if it is free.
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

/// Skips zero on wrap-around, which takes four billion connections in one slot.
fn generation_after(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(GENERATION_FIRST)
}

const GENERATION_FIRST: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::BTreeMap;

    /// Runs random operations against an ordered map that never forgets an id, and expects the two
    /// to agree on every id ever issued: the live ones are found, the retired ones are not.
    #[test]
    fn agrees_with_a_map_that_never_reuses_names() {
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
