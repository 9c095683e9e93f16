//! An interner of names that many sessions share.

use super::hash::HashSeed;
use super::names_budget::{slab_bytes, table_bytes, text_bytes};
use hashbrown::HashTable;
use slab::Slab;

/// An interner with reference counts.
#[derive(Debug)]
pub struct Names {
    seed: HashSeed,
    entries: Slab<Name>,
    by_name: HashTable<u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Name {
    text: Box<[u8]>,
    holders: u32,
}

impl Names {
    /// Creates an empty interner. `seed` keys the hash of the names.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self {
            seed,
            entries: Slab::new(),
            by_name: HashTable::new(),
            bytes: 0,
        }
    }

    /// Adds a reference to `text` and returns its index. Interns it if it is new.
    pub fn acquire(&mut self, text: &[u8]) -> u32 {
        if let Some(index) = self.find(text) {
            self.entries[index as usize].holders += 1;
            return index;
        }

        self.bytes += name_bytes(text);
        let index = self.entries.insert(Name {
            text: text.into(),
            holders: 1,
        });
        let index = u32::try_from(index).expect("fewer names than bindings");
        let (seed, names) = (self.seed, &self.entries);
        let rehash = |&index: &u32| seed.hash(0, &[&names[index as usize].text]);
        let hash = self.seed.hash(0, &[text]);
        self.by_name.insert_unique(hash, index, rehash);
        index
    }

    /// Returns the index of `text`; `None` if it is not interned.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = self.seed.hash(0, &[text]);
        let same = |&index: &u32| *self.entries[index as usize].text == *text;
        self.by_name.find(hash, same).copied()
    }

    /// Returns the bytes of all names.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Asserts the invariants. Linear in the names: for tests and the simulator.
    pub fn invariants(&self) {
        let names = self.entries.iter().map(|(_, name)| name_bytes(&name.text));
        assert_eq!(self.bytes, names.sum::<usize>());
        assert_eq!(self.entries.len(), self.by_name.len());
    }

    /// Removes a reference, and the name if that was the last.
    ///
    /// # Panics
    ///
    /// If `index` is not in use.
    pub fn release(&mut self, index: u32) {
        let name = &mut self.entries[index as usize];
        name.holders -= 1;
        if name.holders > 0 {
            return;
        }
        let name = self.entries.remove(index as usize);
        self.bytes -= name_bytes(&name.text);
        self.by_name
            .find_entry(self.seed.hash(0, &[&name.text]), |&other| other == index)
            .expect("every name is filed")
            .remove();
    }

    /// Returns the name with this index.
    ///
    /// # Panics
    ///
    /// If `index` is not in use.
    #[must_use]
    pub fn name(&self, index: u32) -> &[u8] {
        &self.entries[index as usize].text
    }

    /// Returns the number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Returns the bytes of a name.
pub(super) fn name_bytes(text: &[u8]) -> usize {
    NAME_BYTES + text_bytes(text.len())
}

const NAME_BYTES: usize = slab_bytes::<Name>() + table_bytes::<u32>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_it_is_held() {
        let mut names = Names::new(HashSeed([1, 2]));
        let news = names.acquire(b"news");
        assert_eq!(names.acquire(b"news"), news);
        assert_ne!(names.acquire(b"mail"), news);
        assert_eq!(names.name(news), b"news");
        assert_eq!(names.len(), 2);
        names.release(news);
        assert_eq!(names.acquire(b"news"), news);
        names.release(news);
        names.release(news);
        assert_eq!(names.len(), 1);
    }
}
