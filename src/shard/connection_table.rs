//! Where a shard keeps its connections: a slab, plus the present name of every slot.
//!
//! The slab gives dense storage and a free list; the names go stale safely. Removing a connection
//! gives its slot a name of the next generation, so every copy of the old [`ConnectionId`] (in a
//! completion, in a question under way, in a request still waiting) misses from then on, at the
//! cost of one compare.

use crate::id::{ConnectionId, SLOTS_MAX};
use slab::Slab;

/// The connections of one shard, found by [`ConnectionId`] in constant time.
///
/// Invariants, checked by [`ConnectionTable::invariants`]:
///
/// - `names[slot]` is the name of the connection now in `slot`, or of the next one.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    connections: Slab<C>,
    /// One per slot ever used; never shrinks, since a forgotten name could be issued twice.
    names: Vec<ConnectionId>,
}

impl<C> ConnectionTable<C> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: Slab::new(),
            names: Vec::new(),
        }
    }

    /// Files a connection and names it, or hands it back when every slot is taken.
    pub fn insert(&mut self, connection: C) -> Result<ConnectionId, C> {
        if self.connections.len() >= SLOTS_MAX as usize {
            return Err(connection);
        }
        let slot = self.connections.insert(connection);
        if slot == self.names.len() {
            let slot = u32::try_from(slot).expect("slots fit a u32");
            self.names.push(ConnectionId::new(slot, GENERATION_FIRST));
        }
        Ok(self.names[slot])
    }

    /// Takes the connection out and retires its id; `None` if the id was already stale.
    pub fn remove(&mut self, id: ConnectionId) -> Option<C> {
        let slot = self.resolve(id)?;
        let connection = self.connections.try_remove(slot)?;
        self.names[slot] = ConnectionId::new(id.slot(), generation_after(id.generation()));
        Some(connection)
    }

    /// The connection, for reading and writing; `None` if the id is stale.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut C> {
        let slot = self.resolve(id)?;
        self.connections.get_mut(slot)
    }

    /// The connection, for reading; `None` if the id is stale.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&C> {
        self.connections.get(self.resolve(id)?)
    }

    /// Whatever connection lies in `slot` now; `None` if it is free.
    #[inline]
    pub fn slot_mut(&mut self, slot: u32) -> Option<&mut C> {
        self.connections.get_mut(slot as usize)
    }

    /// Whatever connection lies in `slot` now, with its name; `None` if it is free.
    #[inline]
    pub fn entry_mut(&mut self, slot: u32) -> Option<(ConnectionId, &mut C)> {
        let connection = self.connections.get_mut(slot as usize)?;
        Some((self.names[slot as usize], connection))
    }

    /// The name of the connection that lies in `slot` now; `None` if it is free.
    #[must_use]
    pub fn id_of(&self, slot: u32) -> Option<ConnectionId> {
        self.connections
            .contains(slot as usize)
            .then(|| self.names[slot as usize])
    }

    /// Every connection with its name, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &C)> {
        self.connections
            .iter()
            .map(|(slot, connection)| (self.names[slot], connection))
    }

    /// Those in this slot and the later ones, with their names, in slot order.
    pub fn iter_from(&self, slot: u32) -> impl Iterator<Item = (ConnectionId, &C)> {
        let names = self.names.get(slot as usize..).unwrap_or_default();
        names.iter().filter_map(|&id| {
            let connection = self.connections.get(id.index())?;
            Some((id, connection))
        })
    }

    /// How many connections are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether the table holds no connection at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Asserts what the type promises. Linear in the table: for tests and the simulator.
    pub fn invariants(&self) {
        assert!(self.connections.len() <= self.names.len());
        assert!(
            self.names
                .iter()
                .zip(0..)
                .all(|(name, slot)| name.slot() == slot)
        );
        for (id, _) in self.iter() {
            assert_eq!(self.resolve(id), Some(id.index()));
        }
    }

    /// The slot an id speaks of, unless that slot has since moved on to a later generation.
    #[inline]
    fn resolve(&self, id: ConnectionId) -> Option<usize> {
        let slot = id.index();
        (self.names.get(slot) == Some(&id)).then_some(slot)
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
    use crate::testing::Prng;
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
