//! Which sessions speak for which users, and what each of them wants to hear.
//!
//! A session may be bound to a user for an *event*; a push names both, and reaches exactly the
//! sessions that are bound to that pair. A pair is called an *interest* here. Its members lie next
//! to each other in one array, so reaching ten thousand of them is one lookup and one walk.
//!
//! ```text
//!   user "jack" --> interest (jack, "news") --> members [slot 4, slot 9, ..]
//!              \--> interest (jack, "mail") --> members [slot 4']
//!   slot 4      --> binding (jack, "news")
//! ```
//!
//! Names are kept once: a user's in its entry, an event's in the interner, both only while somebody
//! is bound to them.

use super::hash::HashSeed;
use super::names::Names;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

/// The users of one shard and the sessions bound to them.
///
/// Invariants, checked by [`Users::invariants`]:
///
/// - A slot is listed by an interest exactly when one of the slot's bindings names that interest.
/// - A slot is bound to a user at most once.
/// - No interest is without members, and no user without interests.
#[derive(Debug)]
pub struct Users {
    seed: HashSeed,
    entries: Slab<User>,
    by_name: HashTable<u32>,
    interests: Slab<Interest>,
    by_pair: HashTable<u32>,
    events: Names,
    bindings: Slab<Binding>,
    /// First binding of each slot, or [`NONE`].
    first_of_slot: Vec<u32>,
}

#[derive(Debug)]
struct User {
    name: Box<[u8]>,
    /// First of this user's interests, linked through [`Interest::next_of_user`].
    first_interest: u32,
    namespace: u16,
}

#[derive(Debug)]
struct Interest {
    members: SmallVec<[Member; 2]>,
    user: u32,
    event: u32,
    previous_of_user: u32,
    next_of_user: u32,
}

/// One session in the list of an interest.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Where the session lies in its shard.
    pub slot: u32,
    binding: u32,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    interest: u32,
    /// Where the member stands in the interest's list.
    position: u32,
    next_of_slot: u32,
}

impl Users {
    /// No users at all; `seed` keys the hash of their names.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self {
            seed,
            entries: Slab::new(),
            by_name: HashTable::new(),
            interests: Slab::new(),
            by_pair: HashTable::new(),
            events: Names::new(seed),
            bindings: Slab::new(),
            first_of_slot: Vec::new(),
        }
    }

    /// Binds `slot` to a user for an event, unless it is already bound to that user.
    ///
    /// A slot is bound to each user once, with the event of the first time; at most `users_max`
    /// users may be bound to one slot.
    pub fn bind(
        &mut self,
        slot: u32,
        namespace: u16,
        user: &[u8],
        event: &[u8],
        users_max: u32,
    ) -> Result<(), NotBound> {
        let known = self.find_user(namespace, user);
        let mut count = 0;
        for binding in self.bindings_of(slot) {
            if Some(self.interests[binding.interest as usize].user) == known {
                return Err(NotBound::Already);
            }
            count += 1;
        }
        if count >= users_max {
            return Err(NotBound::TooManyUsers);
        }

        let user_index = known.unwrap_or_else(|| self.add_user(namespace, user));
        let interest = self
            .find_interest(namespace, user, event)
            .unwrap_or_else(|| self.add_interest(user_index, event));
        self.add_binding(slot, interest);
        Ok(())
    }

    /// Undoes every binding of `slot`, and forgets the names that nobody else uses.
    pub fn unbind_all(&mut self, slot: u32) {
        let Some(first) = self.first_of_slot.get_mut(slot as usize) else {
            return;
        };
        let mut next = std::mem::replace(first, NONE);
        while next != NONE {
            let binding = self.bindings.remove(next as usize);
            self.remove_member(binding);
            next = binding.next_of_slot;
        }
    }

    /// The sessions bound to this user for this event.
    #[must_use]
    pub fn members(&self, namespace: u16, user: &[u8], event: &[u8]) -> &[Member] {
        self.find_interest(namespace, user, event)
            .map_or(&[], |index| &self.interests[index as usize].members)
    }

    /// Appends the slots bound to `user`, for `event` or, without one, for any.
    pub fn slots(&self, namespace: u16, user: &[u8], event: Option<&[u8]>, slots: &mut Vec<u32>) {
        if let Some(event) = event {
            slots.extend(self.members(namespace, user, event).iter().map(|m| m.slot));
            return;
        }
        let Some(user) = self.find_user(namespace, user) else {
            return;
        };
        let mut next = self.entries[user as usize].first_interest;
        while next != NONE {
            let interest = &self.interests[next as usize];
            slots.extend(interest.members.iter().map(|member| member.slot));
            next = interest.next_of_user;
        }
    }

    /// How many users have somebody bound to them.
    #[must_use]
    pub fn users_count(&self) -> usize {
        self.entries.len()
    }

    /// Whether `slot` is bound to anybody.
    #[must_use]
    pub fn is_bound(&self, slot: u32) -> bool {
        self.bindings_of(slot).next().is_some()
    }

    /// Asserts what the type promises. Linear in everything: for tests and the simulator.
    pub fn invariants(&self) {
        let mut listed = 0;
        for (index, interest) in &self.interests {
            assert!(!interest.members.is_empty());
            for (position, member) in interest.members.iter().enumerate() {
                let binding = self.bindings[member.binding as usize];
                assert_eq!(binding.interest as usize, index);
                assert_eq!(binding.position as usize, position);
                assert!(
                    self.bindings_of(member.slot)
                        .any(|b| b.interest as usize == index)
                );
                listed += 1;
            }
        }
        assert_eq!(listed, self.bindings.len());
        assert_eq!(self.interests.len(), self.by_pair.len());
        assert_eq!(self.entries.len(), self.by_name.len());

        for slot in 0..u32::try_from(self.first_of_slot.len()).expect("slots fit a u32") {
            let mut users: Vec<u32> = self
                .bindings_of(slot)
                .map(|b| self.interests[b.interest as usize].user)
                .collect();
            let bound = users.len();
            users.sort_unstable();
            users.dedup();
            assert_eq!(users.len(), bound, "bound to a user twice");
        }
        let mut reached = 0;
        for (index, user) in &self.entries {
            assert!(user.first_interest != NONE);
            let (mut previous, mut next) = (NONE, user.first_interest);
            while next != NONE {
                let interest = &self.interests[next as usize];
                assert_eq!(interest.user as usize, index);
                assert_eq!(interest.previous_of_user, previous);
                (previous, next) = (next, interest.next_of_user);
                reached += 1;
            }
        }
        assert_eq!(reached, self.interests.len());
    }

    fn bindings_of(&self, slot: u32) -> impl Iterator<Item = Binding> {
        let mut next = self
            .first_of_slot
            .get(slot as usize)
            .copied()
            .unwrap_or(NONE);
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let binding = self.bindings[next as usize];
            next = binding.next_of_slot;
            Some(binding)
        })
    }

    fn find_user(&self, namespace: u16, name: &[u8]) -> Option<u32> {
        let hash = self.seed.hash(namespace, &[name]);
        let same = |&index: &u32| {
            let user = &self.entries[index as usize];
            user.namespace == namespace && *user.name == *name
        };
        self.by_name.find(hash, same).copied()
    }

    fn find_interest(&self, namespace: u16, user: &[u8], event: &[u8]) -> Option<u32> {
        let hash = self.seed.hash(namespace, &[user, event]);
        let same = |&index: &u32| {
            let interest = &self.interests[index as usize];
            let owner = &self.entries[interest.user as usize];
            owner.namespace == namespace
                && *owner.name == *user
                && self.events.name(interest.event) == event
        };
        self.by_pair.find(hash, same).copied()
    }

    fn add_user(&mut self, namespace: u16, name: &[u8]) -> u32 {
        let index = index_of(self.entries.insert(User {
            name: name.into(),
            first_interest: NONE,
            namespace,
        }));
        let (seed, users) = (self.seed, &self.entries);
        let rehash = |&index: &u32| {
            let user = &users[index as usize];
            seed.hash(user.namespace, &[&user.name])
        };
        self.by_name
            .insert_unique(seed.hash(namespace, &[name]), index, rehash);
        index
    }

    fn add_interest(&mut self, user: u32, event: &[u8]) -> u32 {
        let event = self.events.acquire(event);
        let next_of_user = self.entries[user as usize].first_interest;
        let index = index_of(self.interests.insert(Interest {
            members: SmallVec::new(),
            user,
            event,
            previous_of_user: NONE,
            next_of_user,
        }));
        if next_of_user != NONE {
            self.interests[next_of_user as usize].previous_of_user = index;
        }
        self.entries[user as usize].first_interest = index;

        let hash = self.hash_of_interest(index);
        let (seed, users, interests, events) =
            (self.seed, &self.entries, &self.interests, &self.events);
        let rehash = |&index: &u32| pair_hash(seed, users, events, &interests[index as usize]);
        self.by_pair.insert_unique(hash, index, rehash);
        index
    }

    fn add_binding(&mut self, slot: u32, interest: u32) {
        let slot_index = slot as usize;
        if self.first_of_slot.len() <= slot_index {
            self.first_of_slot.resize(slot_index + 1, NONE);
        }
        let members = &mut self.interests[interest as usize].members;
        let binding = index_of(self.bindings.insert(Binding {
            interest,
            position: index_of(members.len()),
            next_of_slot: self.first_of_slot[slot_index],
        }));
        members.push(Member { slot, binding });
        self.first_of_slot[slot_index] = binding;
    }

    /// Takes a member out of its interest, and the interest and its user away if that empties them.
    fn remove_member(&mut self, binding: Binding) {
        let members = &mut self.interests[binding.interest as usize].members;
        let position = binding.position as usize;
        members.swap_remove(position);
        if let Some(moved) = members.get(position) {
            self.bindings[moved.binding as usize].position = binding.position;
        }
        // Half-empty lists give their memory back, so a burst of members is not kept for ever.
        if members.spilled() && members.len() * 4 <= members.capacity() {
            members.shrink_to_fit();
        }
        if members.is_empty() {
            self.remove_interest(binding.interest);
        }
    }

    fn remove_interest(&mut self, index: u32) {
        let hash = self.hash_of_interest(index);
        self.by_pair
            .find_entry(hash, |&other| other == index)
            .expect("every interest is filed under its pair")
            .remove();
        let interest = self.interests.remove(index as usize);
        self.events.release(interest.event);

        if interest.next_of_user != NONE {
            self.interests[interest.next_of_user as usize].previous_of_user =
                interest.previous_of_user;
        }
        if interest.previous_of_user != NONE {
            self.interests[interest.previous_of_user as usize].next_of_user = interest.next_of_user;
            return;
        }
        self.entries[interest.user as usize].first_interest = interest.next_of_user;
        if interest.next_of_user == NONE {
            self.remove_user(interest.user);
        }
    }

    fn remove_user(&mut self, index: u32) {
        let user = self.entries.remove(index as usize);
        let hash = self.seed.hash(user.namespace, &[&user.name]);
        self.by_name
            .find_entry(hash, |&other| other == index)
            .expect("every user is filed under its name")
            .remove();
    }

    fn hash_of_interest(&self, index: u32) -> u64 {
        let interest = &self.interests[index as usize];
        pair_hash(self.seed, &self.entries, &self.events, interest)
    }
}

/// Why a session was not bound to a user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotBound {
    /// It is bound to that user already; the event of the first time stays.
    Already,
    /// It is bound to as many users as one session may be.
    TooManyUsers,
}

fn pair_hash(seed: HashSeed, users: &Slab<User>, events: &Names, interest: &Interest) -> u64 {
    let user = &users[interest.user as usize];
    seed.hash(user.namespace, &[&user.name, events.name(interest.event)])
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("bounded by sessions times users per session")
}

const NONE: u32 = u32::MAX;

const _: () = assert!(size_of::<Interest>() == 40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;
    use std::collections::{BTreeMap, BTreeSet};

    type Model = BTreeMap<(u32, u8), u8>;

    /// Random bindings and departures against a plain map from (slot, user) to the first event.
    #[test]
    fn agrees_with_a_plain_map() {
        for seed in 0..60 {
            let mut prng = Prng::from_seed(seed);
            let mut users = Users::new(HashSeed([seed, 7]));
            let mut model = Model::new();
            for _ in 0..400 {
                let slot = prng.range(0, 12);
                if prng.chance(3, 4) {
                    let (user, event) = (byte(&mut prng, 4), byte(&mut prng, 3));
                    let held = model.keys().filter(|(s, _)| *s == slot).count();
                    let expected = match model.get(&(slot, user)) {
                        Some(_) => Err(NotBound::Already),
                        None if held >= 3 => Err(NotBound::TooManyUsers),
                        None => Ok(()),
                    };
                    assert_eq!(users.bind(slot, 0, &[user], &[event], 3), expected);
                    if expected.is_ok() {
                        model.insert((slot, user), event);
                    }
                } else {
                    users.unbind_all(slot);
                    model.retain(|(s, _), _| *s != slot);
                }
                check(&users, &model);
            }
        }
    }

    fn check(users: &Users, model: &Model) {
        users.invariants();
        let names: BTreeSet<u8> = model.keys().map(|(_, user)| *user).collect();
        assert_eq!(users.users_count(), names.len());
        for user in 0..=4 {
            let mut all = Vec::new();
            users.slots(0, &[user], None, &mut all);
            all.sort_unstable();
            let expected: Vec<u32> = model
                .keys()
                .filter(|(_, u)| *u == user)
                .map(|(slot, _)| *slot)
                .collect();
            assert_eq!(all, expected);
            for event in 0..=3 {
                let mut got: Vec<u32> = users
                    .members(0, &[user], &[event])
                    .iter()
                    .map(|m| m.slot)
                    .collect();
                got.sort_unstable();
                let expected: Vec<u32> = model
                    .iter()
                    .filter(|((_, u), e)| *u == user && **e == event)
                    .map(|((slot, _), _)| *slot)
                    .collect();
                assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn namespaces_do_not_see_each_other() {
        let mut users = Users::new(HashSeed([1, 2]));
        assert_eq!(users.bind(0, 0, b"jack", b"e", 9), Ok(()));
        assert_eq!(users.bind(1, 1, b"jack", b"e", 9), Ok(()));
        assert_eq!(users.members(0, b"jack", b"e").len(), 1);
        assert_eq!(users.members(1, b"jack", b"e")[0].slot, 1);
        users.unbind_all(0);
        assert!(users.members(0, b"jack", b"e").is_empty());
        assert_eq!(users.users_count(), 1);
    }

    fn byte(prng: &mut Prng, high: u32) -> u8 {
        u8::try_from(prng.range(0, high)).expect("small")
    }
}
