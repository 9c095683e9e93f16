//! Bindings of one shard's sessions to users and events.
//!
//! A session may be bound to a user for one *event*, or for any ([`ANY_EVENT`]). A push names both,
//! and reaches the sessions bound to that pair and those bound to the user for any event. A pair of
//! user and event is called an *interest*. Its members lie in one array, so reaching ten thousand
//! of them takes one lookup and one walk.
//!
//! ```text
//!   user "jack" --> interest (jack, "news") --> members [slot 4, slot 9, ..]
//!              \--> interest (jack, "mail") --> members [slot 7]
//!   slot 4      --> binding (jack, "news") --> binding (jill, any event)
//! ```
//!
//! Each name is stored once, a user's in its entry and an event's in the interner, while a session
//! is bound to it.

use super::hash::HashSeed;
use super::names::{Names, name_bytes};
use super::names_budget::{
    NamesBudget, NamesLimit, list_bytes, slab_bytes, table_bytes, text_bytes,
};
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;
use std::num::NonZeroU32;

/// The event of a session that receives all events of its user. It is not UTF-8, so no client and
/// no backend can name it.
pub const ANY_EVENT: &[u8] = b"\xff";

/// The users of one shard and the sessions bound to them.
///
/// Invariants, checked by [`Users::invariants`]:
///
/// - A slot is listed by an interest exactly when one of the slot's bindings names that interest.
/// - A slot is bound to a user at most once.
/// - A slot's bindings are linked in the order in which they were made.
/// - Every interest has members, and every user has interests.
/// - `bytes` is the sum over all users, interests and bindings, without the events' names; a slot's
///   `bytes` are those of its own bindings, each counted in full.
#[derive(Debug)]
pub struct Users {
    seed: HashSeed,
    entries: Slab<User>,
    by_name: HashTable<u32>,
    interests: Slab<Interest>,
    by_pair: HashTable<u32>,
    events: Names,
    bindings: Slab<Binding>,
    slots: Vec<BindingsOfSlot>,
    bytes: usize,
    /// Number of interests in any event. While it is zero, as with most dialects, a push skips the
    /// second lookup.
    any_event_count: usize,
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
    user: UserIndex,
    event: u32,
    previous_of_user: u32,
    next_of_user: u32,
}

/// The index of a user, stored plus one. The niche at zero lets a slab mark a free entry without
/// another word.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct UserIndex(NonZeroU32);

/// A session in a list: of an interest here, or of a channel in [`channels`](super::channels).
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The session's slot.
    pub slot: u32,
    /// Index of the binding or membership.
    pub(super) link: u32,
}

/// A slot's list of bindings.
#[derive(Clone, Copy, Debug)]
struct BindingsOfSlot {
    /// The oldest binding, or [`NONE`].
    first: u32,
    /// Bytes of the bindings, each user and event counted in full.
    bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    interest: u32,
    /// Index of the member in the interest's list.
    position: u32,
    next_of_slot: u32,
}

impl UserIndex {
    fn new(index: u32) -> Self {
        Self(NonZeroU32::new(index + 1).expect("one more than an index"))
    }

    fn slot(self) -> u32 {
        self.0.get() - 1
    }

    fn index(self) -> usize {
        self.slot() as usize
    }
}

impl Users {
    /// Creates an empty table. `seed` keys the hash of the names.
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
            slots: Vec::new(),
            bytes: 0,
            any_event_count: 0,
        }
    }

    /// Binds `slot` to a user for an event, or for [`ANY_EVENT`].
    ///
    /// # Errors
    ///
    /// Nothing changes if the slot is bound to the user already (its first event stays), is bound
    /// to `users_max` users, or if the names exceed `budget`.
    pub fn bind(
        &mut self,
        slot: u32,
        namespace: u16,
        user: &[u8],
        event: &[u8],
        (users_max, budget): (u32, NamesBudget),
    ) -> Result<(), BindUserError> {
        let known = self.find_user(namespace, user);
        let (mut count, mut last) = (0, NONE);
        for (index, binding) in self.bindings_of(slot) {
            if Some(self.interests[binding.interest as usize].user.slot()) == known {
                return Err(BindUserError::AlreadyBound);
            }
            count += 1;
            last = index;
        }
        if count >= users_max {
            return Err(BindUserError::TooManyUsers);
        }
        let interest = self.find_interest(namespace, user, event);
        let bytes = bytes_of_binding(user, event);
        let known_bytes = self.known_bytes(known.map(|_| user), interest.is_some(), event);
        budget
            .check(bytes, bytes - known_bytes)
            .map_err(BindUserError::NamesLimit)?;

        let user_index = known.unwrap_or_else(|| self.add_user(namespace, user));
        let interest = interest.unwrap_or_else(|| self.add_interest(user_index, event));
        self.add_binding(slot, last, interest);
        self.slots[slot as usize].bytes += counted(bytes);
        Ok(())
    }

    /// Returns the bytes of a binding that are stored already, because others share them.
    fn known_bytes(&self, user: Option<&[u8]>, knows_interest: bool, event: &[u8]) -> usize {
        let user = user.map_or(0, user_bytes);
        if knows_interest {
            return user + INTEREST_BYTES + name_bytes(event);
        }
        user + self.events.find(event).map_or(0, |_| name_bytes(event))
    }

    /// Returns the bytes of all users, events and bindings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.events.bytes()
    }

    /// Returns the bytes of the bindings of `slot`, each user and event counted in full.
    #[must_use]
    pub fn bytes_of_slot(&self, slot: u32) -> usize {
        let of_slot = self.slots.get(slot as usize);
        of_slot.map_or(0, |of_slot| of_slot.bytes as usize)
    }

    /// Returns the bytes that a binding counts for its session.
    fn charge_of(&self, binding: Binding) -> u32 {
        let interest = &self.interests[binding.interest as usize];
        let user = &self.entries[interest.user.index()];
        counted(bytes_of_binding(
            &user.name,
            self.events.name(interest.event),
        ))
    }

    /// Removes all bindings of `slot`, and the names that no other session uses.
    pub fn unbind_all(&mut self, slot: u32) {
        let Some(of_slot) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let mut next = std::mem::replace(of_slot, UNBOUND).first;
        while next != NONE {
            let binding = self.bindings.remove(next as usize);
            self.remove_member(binding);
            next = binding.next_of_slot;
        }
    }

    /// Returns the sessions bound to a user for exactly this event.
    #[must_use]
    pub fn members(&self, namespace: u16, user: &[u8], event: &[u8]) -> &[Member] {
        self.find_interest(namespace, user, event)
            .map_or(&[], |index| &self.interests[index as usize].members)
    }

    /// Returns the sessions that a push to a user reaches: with an event, those bound for it or for
    /// any event; without one, all that are bound to the user.
    ///
    /// No list is empty, and no session is in two of them.
    #[must_use]
    pub fn reached(
        &self,
        namespace: u16,
        user: &[u8],
        event: Option<&[u8]>,
    ) -> SmallVec<[&[Member]; 2]> {
        let Some(event) = event else {
            let user = self.find_user(namespace, user);
            let interests = user.into_iter().flat_map(|user| self.interests_of(user));
            return interests.map(|interest| &interest.members[..]).collect();
        };
        let bound_for_any: &[Member] = if self.any_event_count > 0 && event != ANY_EVENT {
            self.members(namespace, user, ANY_EVENT)
        } else {
            &[]
        };
        [self.members(namespace, user, event), bound_for_any]
            .into_iter()
            .filter(|list| !list.is_empty())
            .collect()
    }

    /// Appends the slots of [`Users::reached`] to `slots`.
    pub fn slots(&self, namespace: u16, user: &[u8], event: Option<&[u8]>, slots: &mut Vec<u32>) {
        for list in self.reached(namespace, user, event) {
            slots.extend(list.iter().map(|member| member.slot));
        }
    }

    /// Returns the users of `slot`, each with its event, in the order of binding.
    pub fn users_of(&self, slot: u32) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bindings_of(slot).map(|(_, binding)| {
            let interest = &self.interests[binding.interest as usize];
            let user = &self.entries[interest.user.index()];
            (&*user.name, self.events.name(interest.event))
        })
    }

    /// Returns the user that `slot` was bound to first; `None` if it is bound to none.
    #[must_use]
    pub fn user_of(&self, slot: u32) -> Option<&[u8]> {
        self.users_of(slot).next().map(|(user, _)| user)
    }

    /// Returns the users of a namespace with their numbers of sessions, in no particular order.
    /// Linear in the users of all namespaces.
    pub fn names(&self, namespace: u16) -> impl Iterator<Item = (&[u8], usize)> {
        self.entries
            .iter()
            .filter(move |(_, user)| user.namespace == namespace)
            .map(|(index, user)| {
                let lists = self.interests_of(index_of(index));
                let sessions = lists.map(|interest| interest.members.len()).sum();
                (&*user.name, sessions)
            })
    }

    /// Returns the number of users with sessions.
    #[must_use]
    pub fn users_count(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether `slot` is bound to a user.
    #[must_use]
    pub fn is_bound(&self, slot: u32) -> bool {
        self.bindings_of(slot).next().is_some()
    }

    /// Asserts the invariants. Linear in the tables: for tests and the simulator.
    pub fn invariants(&self) {
        let mut listed = 0;
        for (index, interest) in &self.interests {
            assert!(!interest.members.is_empty());
            for (position, member) in interest.members.iter().enumerate() {
                let binding = self.bindings[member.link as usize];
                assert_eq!(binding.interest as usize, index);
                assert_eq!(binding.position as usize, position);
                assert!(
                    self.bindings_of(member.slot)
                        .any(|(_, b)| b.interest as usize == index)
                );
                listed += 1;
            }
        }
        assert_eq!(listed, self.bindings.len());
        assert_eq!(self.interests.len(), self.by_pair.len());
        assert_eq!(self.entries.len(), self.by_name.len());
        let any_event = |interest: &&Interest| self.events.name(interest.event) == ANY_EVENT;
        let interests = self.interests.iter().map(|(_, interest)| interest);
        assert_eq!(self.any_event_count, interests.filter(any_event).count());

        let users = self.entries.iter().map(|(_, user)| user_bytes(&user.name));
        let bytes = users.sum::<usize>()
            + INTEREST_BYTES * self.interests.len()
            + BINDING_BYTES * self.bindings.len();
        assert_eq!(self.bytes, bytes);
        self.events.invariants();

        for slot in 0..u32::try_from(self.slots.len()).expect("slots fit a u32") {
            let charges = self.bindings_of(slot).map(|(_, it)| self.charge_of(it));
            assert_eq!(self.slots[slot as usize].bytes, charges.sum::<u32>());
            let mut users: Vec<UserIndex> = self
                .bindings_of(slot)
                .map(|(_, b)| self.interests[b.interest as usize].user)
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
                assert_eq!(interest.user.index(), index);
                assert_eq!(interest.previous_of_user, previous);
                (previous, next) = (next, interest.next_of_user);
                reached += 1;
            }
        }
        assert_eq!(reached, self.interests.len());
    }

    /// Returns a slot's bindings with their indices, oldest first.
    fn bindings_of(&self, slot: u32) -> impl Iterator<Item = (u32, Binding)> {
        let of_slot = self.slots.get(slot as usize);
        let mut next = of_slot.map_or(NONE, |of_slot| of_slot.first);
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let index = next;
            let binding = self.bindings[index as usize];
            next = binding.next_of_slot;
            Some((index, binding))
        })
    }

    fn interests_of(&self, user: u32) -> impl Iterator<Item = &Interest> {
        let mut next = self.entries[user as usize].first_interest;
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let interest = &self.interests[next as usize];
            next = interest.next_of_user;
            Some(interest)
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
            let owner = &self.entries[interest.user.index()];
            owner.namespace == namespace
                && *owner.name == *user
                && self.events.name(interest.event) == event
        };
        self.by_pair.find(hash, same).copied()
    }

    fn add_user(&mut self, namespace: u16, name: &[u8]) -> u32 {
        self.bytes += user_bytes(name);
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
        self.bytes += INTEREST_BYTES;
        self.any_event_count += usize::from(event == ANY_EVENT);
        let event = self.events.acquire(event);
        let next_of_user = self.entries[user as usize].first_interest;
        let index = index_of(self.interests.insert(Interest {
            members: SmallVec::new(),
            user: UserIndex::new(user),
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

    /// Adds a binding of `slot`, whose last binding so far is `last`.
    fn add_binding(&mut self, slot: u32, last: u32, interest: u32) {
        let slot_index = slot as usize;
        if self.slots.len() <= slot_index {
            self.slots.resize(slot_index + 1, UNBOUND);
        }
        self.bytes += BINDING_BYTES;
        let members = &mut self.interests[interest as usize].members;
        let binding = index_of(self.bindings.insert(Binding {
            interest,
            position: index_of(members.len()),
            next_of_slot: NONE,
        }));
        members.push(Member {
            slot,
            link: binding,
        });
        match last {
            NONE => self.slots[slot_index].first = binding,
            last => self.bindings[last as usize].next_of_slot = binding,
        }
    }

    /// Removes a binding's member from its interest, and the interest and the user if they are
    /// empty then.
    fn remove_member(&mut self, binding: Binding) {
        self.bytes -= BINDING_BYTES;
        let members = &mut self.interests[binding.interest as usize].members;
        let position = binding.position as usize;
        members.swap_remove(position);
        if let Some(moved) = members.get(position) {
            self.bindings[moved.link as usize].position = binding.position;
        }
        // Shrink lists that are at most 1/4 full, so that the memory of a burst of members is
        // freed.
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
        self.bytes -= INTEREST_BYTES;
        self.any_event_count -= usize::from(self.events.name(interest.event) == ANY_EVENT);
        self.events.release(interest.event);

        if interest.next_of_user != NONE {
            self.interests[interest.next_of_user as usize].previous_of_user =
                interest.previous_of_user;
        }
        if interest.previous_of_user != NONE {
            self.interests[interest.previous_of_user as usize].next_of_user = interest.next_of_user;
            return;
        }
        self.entries[interest.user.index()].first_interest = interest.next_of_user;
        if interest.next_of_user == NONE {
            self.remove_user(interest.user.slot());
        }
    }

    fn remove_user(&mut self, index: u32) {
        let user = self.entries.remove(index as usize);
        self.bytes -= user_bytes(&user.name);
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

/// The reason why a session was not bound to a user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindUserError {
    /// The session is bound to the user already; the first event stays.
    AlreadyBound,
    /// The session is bound to the maximum number of users.
    TooManyUsers,
    /// The names exceed a memory limit.
    NamesLimit(NamesLimit),
}

/// Returns the bytes of a user, without interests.
fn user_bytes(name: &[u8]) -> usize {
    USER_BYTES + text_bytes(name.len())
}

/// Returns the bytes of a binding with its user, event and interest in full.
fn bytes_of_binding(user: &[u8], event: &[u8]) -> usize {
    user_bytes(user) + name_bytes(event) + INTEREST_BYTES + BINDING_BYTES
}

fn counted(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("names are short")
}

fn pair_hash(seed: HashSeed, users: &Slab<User>, events: &Names, interest: &Interest) -> u64 {
    let user = &users[interest.user.index()];
    seed.hash(user.namespace, &[&user.name, events.name(interest.event)])
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("bounded by sessions times users per session")
}

const NONE: u32 = u32::MAX;
const UNBOUND: BindingsOfSlot = BindingsOfSlot {
    first: NONE,
    bytes: 0,
};

const _: () = assert!(size_of::<Option<Interest>>() == 40);

const USER_BYTES: usize = slab_bytes::<User>() + table_bytes::<u32>();
const INTEREST_BYTES: usize = slab_bytes::<Interest>() + table_bytes::<u32>();
const BINDING_BYTES: usize = slab_bytes::<Binding>() + list_bytes::<Member>();

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;
    use std::collections::BTreeMap;

    /// Slot, user and event of every binding, in the order of binding.
    type Model = Vec<(u32, u8, &'static [u8])>;

    const EVENTS: [&[u8]; 4] = [ANY_EVENT, b"news", b"mail", b""];

    /// Compares random bindings and removals with a plain list.
    #[test]
    fn agrees_with_a_plain_list() {
        for seed in 0..60 {
            let mut prng = Prng::from_seed(seed);
            let mut users = Users::new(HashSeed([seed, 7]));
            let mut model = Model::new();
            for _ in 0..400 {
                let slot = prng.range(0, 12);
                let user = u8::try_from(prng.range(0, 4)).expect("small");
                let bound = model.iter().any(|&(s, u, _)| (s, u) == (slot, user));
                if prng.range(0, 7) < 6 {
                    let event = prng.pick(EVENTS.into_iter()).expect("four events");
                    let held = model.iter().filter(|(s, ..)| *s == slot).count();
                    let expected = match bound {
                        true => Err(BindUserError::AlreadyBound),
                        false if held >= 3 => Err(BindUserError::TooManyUsers),
                        false => Ok(()),
                    };
                    assert_eq!(
                        users.bind(slot, 0, &[user], event, (3, NamesBudget::UNLIMITED)),
                        expected
                    );
                    if expected.is_ok() {
                        model.push((slot, user, event));
                    }
                } else {
                    users.unbind_all(slot);
                    model.retain(|(s, ..)| *s != slot);
                }
                check(&users, &model);
            }
        }
    }

    fn check(users: &Users, model: &Model) {
        users.invariants();
        let mut sessions_of_user: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (_, user, _) in model {
            *sessions_of_user
                .entry(std::slice::from_ref(user))
                .or_default() += 1;
        }
        assert_eq!(users.users_count(), sessions_of_user.len());
        assert_eq!(users.names(0).count(), sessions_of_user.len());
        assert_eq!(users.names(0).collect::<BTreeMap<_, _>>(), sessions_of_user);

        for user in 0..=4 {
            let expected = |wanted: &dyn Fn(&[u8]) -> bool| {
                let bound = model.iter().filter(|(_, u, e)| *u == user && wanted(e));
                sorted(bound.map(|(slot, ..)| *slot))
            };
            let reached = |event| {
                let mut slots = Vec::new();
                users.slots(0, &[user], event, &mut slots);
                let lists = users.reached(0, &[user], event);
                assert!(lists.iter().all(|list| !list.is_empty()));
                let members = lists.iter().flat_map(|list| list.iter());
                assert!(members.map(|member| member.slot).eq(slots.iter().copied()));
                sorted(slots.into_iter())
            };
            assert_eq!(reached(None), expected(&|_| true));
            for event in EVENTS {
                assert_eq!(
                    reached(Some(event)),
                    expected(&|e| e == event || e == ANY_EVENT)
                );
                let members = users.members(0, &[user], event).iter();
                assert_eq!(sorted(members.map(|m| m.slot)), expected(&|e| e == event));
            }
        }
        for slot in 0..=12 {
            let bound: Vec<(&[u8], &[u8])> = model
                .iter()
                .filter(|(s, ..)| *s == slot)
                .map(|(_, user, event)| (std::slice::from_ref(user), *event))
                .collect();
            assert!(users.users_of(slot).eq(bound.iter().copied()));
            assert_eq!(users.user_of(slot), bound.first().map(|(user, _)| *user));
            assert_eq!(users.is_bound(slot), !bound.is_empty());
        }
    }

    fn sorted(slots: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut slots: Vec<u32> = slots.collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn namespaces_are_separate() {
        let mut users = Users::new(HashSeed([1, 2]));
        assert_eq!(
            users.bind(0, 0, b"jack", b"e", (9, NamesBudget::UNLIMITED)),
            Ok(())
        );
        assert_eq!(
            users.bind(1, 1, b"jack", b"e", (9, NamesBudget::UNLIMITED)),
            Ok(())
        );
        assert_eq!(
            users.bind(2, 1, b"jack", ANY_EVENT, (9, NamesBudget::UNLIMITED)),
            Ok(())
        );
        assert_eq!(users.members(0, b"jack", b"e").len(), 1);
        assert_eq!(users.members(1, b"jack", b"e")[0].slot, 1);
        assert_eq!(users.reached(0, b"jack", Some(b"e")).len(), 1);
        assert_eq!(users.reached(1, b"jack", Some(b"e")).len(), 2);
        assert!(users.names(0).eq([(&b"jack"[..], 1)]));
        assert!(users.names(1).eq([(&b"jack"[..], 2)]));
        users.unbind_all(0);
        assert!(users.members(0, b"jack", b"e").is_empty());
        assert_eq!(users.names(0).count(), 0);
        assert_eq!(users.users_count(), 1);
    }

    #[test]
    fn a_session_bound_for_any_event_receives_every_event_once() {
        let mut users = Users::new(HashSeed([1, 2]));
        users
            .bind(0, 0, b"jack", ANY_EVENT, (9, NamesBudget::UNLIMITED))
            .expect("bound");
        users
            .bind(1, 0, b"jack", b"news", (9, NamesBudget::UNLIMITED))
            .expect("bound");
        let slots = |event| {
            let mut slots = Vec::new();
            users.slots(0, b"jack", event, &mut slots);
            sorted(slots.into_iter())
        };
        assert_eq!(slots(Some(b"news")), [0, 1]);
        assert_eq!(slots(Some(b"mail")), [0]);
        assert_eq!(slots(Some(ANY_EVENT)), [0]);
        assert_eq!(slots(None), [0, 1]);
        assert!(String::from_utf8(ANY_EVENT.to_vec()).is_err());
    }

    #[test]
    fn the_user_of_a_session_is_the_first_it_was_bound_to() {
        let mut users = Users::new(HashSeed([1, 2]));
        assert_eq!(users.user_of(5), None);
        for user in [b"jack", b"jill", b"john"] {
            users
                .bind(5, 0, user, b"news", (9, NamesBudget::UNLIMITED))
                .expect("bound");
        }
        assert_eq!(users.user_of(5), Some(&b"jack"[..]));
        let names: Vec<&[u8]> = users.users_of(5).map(|(user, _)| user).collect();
        assert_eq!(names, [b"jack", b"jill", b"john"]);
    }
}
