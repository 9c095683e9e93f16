//! Channel membership of one shard's sessions.
//!
//! A channel is a name in a namespace. It exists while a session of this shard is a member. Its
//! members lie in one array, so a publication takes one lookup and one walk. A session's
//! memberships are linked in the order of joining. Joining, leaving and checking membership take
//! constant time, independent of the number of channels and of members.
//!
//! ```text
//!   channel "room"  --> members [slot 4, slot 9, ..]
//!                                   |
//!   slot 4  first --> membership (4, "room") <--> membership (4, "news") <-- last
//! ```
//!
//! Members on other shards are not known here.

use super::classes::{ChannelClasses, ClassId};
use super::hash::HashSeed;
use super::names_budget::{
    NamesBudget, NamesLimit, list_bytes, slab_bytes, table_bytes, text_bytes,
};
use super::users::Member;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;
use std::sync::Arc;

/// The channels of one shard and their members.
///
/// A channel without members is removed with its name, and tables that are mostly unused are
/// rebuilt. Only 16 bytes per slot ever used stay.
///
/// Invariants, checked by [`Channels::invariants`]:
///
/// - A channel lists a slot exactly when one of the slot's memberships names the channel.
/// - A slot is at most once a member of a channel.
/// - Every channel has members.
/// - `bytes` is the sum over all channels and memberships; a slot's `bytes` are those of its own,
///   with each channel in full.
#[derive(Debug)]
pub struct Channels {
    seed: HashSeed,
    classes: Arc<ChannelClasses>,
    entries: Slab<Channel>,
    by_name: HashTable<u32>,
    memberships: Slab<Membership>,
    /// Memberships, by slot and channel.
    by_pair: HashTable<u32>,
    slots: Vec<ChannelsOfSlot>,
    /// Bytes of all channels and memberships; see [`names_budget`](super::names_budget).
    bytes: usize,
}

#[derive(Debug)]
struct Channel {
    name: Box<[u8]>,
    members: SmallVec<[Member; 2]>,
    namespace: u16,
    class: ClassId,
    /// Publications that its members have missed. Saturates.
    dropped: u32,
}

/// The index of a channel. Valid while the channel has members and the tables are not rebuilt.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ChannelIndex(u32);

/// A channel in a listing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ListedChannel<'c> {
    /// The channel's name.
    pub name: &'c [u8],
    /// The number of its members on this shard.
    pub members: usize,
    /// The publications that its members have missed on this shard, since it exists here. Stops at
    /// 2^32 - 1.
    pub dropped: u32,
}

#[derive(Clone, Copy, Debug)]
struct Membership {
    slot: u32,
    channel: u32,
    /// Index of the member in the channel's list.
    position: u32,
    previous_of_slot: u32,
    next_of_slot: u32,
    /// Publications to the channel that the member has missed. Saturates.
    dropped: u32,
}

/// A slot's list of memberships, oldest first.
#[derive(Clone, Copy, Debug)]
struct ChannelsOfSlot {
    first: u32,
    last: u32,
    count: u32,
    /// Bytes of the memberships, each channel counted in full.
    bytes: u32,
}

impl Channels {
    /// Creates an empty table. `seed` keys the hash of the names.
    #[must_use]
    pub fn new(seed: HashSeed, classes: Arc<ChannelClasses>) -> Self {
        Self {
            seed,
            classes,
            entries: Slab::new(),
            by_name: HashTable::new(),
            memberships: Slab::new(),
            by_pair: HashTable::new(),
            slots: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds `slot` to a channel, which is created if it has no members.
    ///
    /// # Errors
    ///
    /// Nothing changes if the slot is a member already, is on `channels_max` channels, or if the
    /// names exceed `budget`.
    pub fn join(
        &mut self,
        slot: u32,
        namespace: u16,
        name: &[u8],
        channels_max: u32,
        budget: NamesBudget,
    ) -> Result<(), JoinError> {
        let known = self.find_channel(namespace, name);
        if known.is_some_and(|channel| self.find_membership(slot, channel).is_some()) {
            return Err(JoinError::AlreadyJoined);
        }
        if self.count_of_slot(slot) >= channels_max {
            return Err(JoinError::TooManyChannels);
        }
        let new = known.map_or_else(|| channel_bytes(name), |_| 0);
        budget
            .check(
                channel_bytes(name) + MEMBERSHIP_BYTES,
                new + MEMBERSHIP_BYTES,
            )
            .map_err(JoinError::NamesLimit)?;
        let channel = known.unwrap_or_else(|| {
            let class = self.classes.of(namespace, name);
            self.add_channel(namespace, name, class)
        });
        self.add_membership(slot, channel);
        Ok(())
    }

    /// Removes `slot` from a channel. Returns `false` if it was not a member.
    pub fn leave(&mut self, slot: u32, namespace: u16, name: &[u8]) -> bool {
        let membership = self
            .find_channel(namespace, name)
            .and_then(|channel| self.find_membership(slot, channel));
        if let Some(membership) = membership {
            self.remove_membership(membership);
        }
        membership.is_some()
    }

    /// Removes `slot` from all channels.
    pub fn leave_all(&mut self, slot: u32) {
        loop {
            let first = self.of(slot).first;
            if first == NONE {
                return;
            }
            self.remove_membership(first);
        }
    }

    /// Returns the members of a channel, in no particular order.
    #[must_use]
    pub fn members(&self, namespace: u16, name: &[u8]) -> &[Member] {
        self.find_channel(namespace, name)
            .map_or(&[], |index| &self.entries[index as usize].members)
    }

    /// Returns the index of a channel; `None` if it has no members.
    #[must_use]
    pub fn find(&self, namespace: u16, name: &[u8]) -> Option<ChannelIndex> {
        self.find_channel(namespace, name).map(ChannelIndex)
    }

    /// Returns the members of a channel, in no particular order.
    #[must_use]
    pub fn members_of(&self, channel: ChannelIndex) -> &[Member] {
        &self.entries[channel.0 as usize].members
    }

    /// Returns the name of a channel.
    #[must_use]
    pub fn name_of(&self, channel: ChannelIndex) -> &[u8] {
        &self.entries[channel.0 as usize].name
    }

    /// Returns the class of a channel.
    #[must_use]
    pub fn class_of(&self, channel: ChannelIndex) -> ClassId {
        self.entries[channel.0 as usize].class
    }

    /// Counts a publication that a member of a channel has missed.
    ///
    /// # Panics
    ///
    /// If `slot` is not a member.
    pub fn count_dropped(&mut self, channel: ChannelIndex, slot: u32) {
        let membership = self
            .find_membership(slot, channel.0)
            .expect("publications are dropped for members");
        for dropped in [
            &mut self.memberships[membership as usize].dropped,
            &mut self.entries[channel.0 as usize].dropped,
        ] {
            *dropped = dropped.saturating_add(1);
        }
    }

    /// Returns whether `slot` is a member of a channel.
    #[must_use]
    pub fn is_member(&self, slot: u32, namespace: u16, name: &[u8]) -> bool {
        self.find_channel(namespace, name)
            .is_some_and(|channel| self.find_membership(slot, channel).is_some())
    }

    /// Returns the channels of `slot` in the order of joining, each with the number of publications
    /// that were dropped for it. The number stops at 2^32 - 1.
    pub fn memberships_of_slot(&self, slot: u32) -> impl Iterator<Item = (&[u8], u32)> {
        let memberships = self.memberships_of(slot);
        memberships.map(|it| (&*self.entries[it.channel as usize].name, it.dropped))
    }

    /// Sets the number of publications that were dropped for the channel that `slot` joined last.
    ///
    /// # Panics
    ///
    /// If it is on none.
    pub fn set_dropped_of_last(&mut self, slot: u32, dropped: u32) {
        let last = self.of(slot).last;
        self.memberships[last as usize].dropped = dropped;
    }

    /// Returns the names of the channels of `slot`, in the order of joining.
    pub fn of_slot(&self, slot: u32) -> impl Iterator<Item = &[u8]> {
        self.memberships_of(slot)
            .map(|membership| &*self.entries[membership.channel as usize].name)
    }

    /// Returns the index of the channel that `slot` joined first; `None` if it is on none. The
    /// index is valid while the channel has members and the tables are not rebuilt.
    #[must_use]
    pub fn first_of_slot(&self, slot: u32) -> Option<ChannelIndex> {
        Some(ChannelIndex(self.memberships_of(slot).next()?.channel))
    }

    /// Returns the number of channels of `slot`.
    #[must_use]
    pub fn count_of_slot(&self, slot: u32) -> u32 {
        self.of(slot).count
    }

    /// Returns the channels of a namespace, in no particular order. Linear in the channels of all
    /// namespaces.
    pub fn list(&self, namespace: u16) -> impl Iterator<Item = ListedChannel<'_>> {
        self.entries
            .iter()
            .filter(move |(_, channel)| channel.namespace == namespace)
            .map(|(_, channel)| ListedChannel {
                name: &channel.name,
                members: channel.members.len(),
                dropped: channel.dropped,
            })
    }

    /// Returns the number of channels in all namespaces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of all channels and memberships.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of the memberships of `slot`, each channel counted in full.
    #[must_use]
    pub fn bytes_of_slot(&self, slot: u32) -> usize {
        self.of(slot).bytes as usize
    }

    /// Returns whether there are no channels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Asserts the invariants. Linear in the tables: for tests and the simulator.
    pub fn invariants(&self) {
        let mut listed = 0;
        let mut bytes = MEMBERSHIP_BYTES * self.memberships.len();
        for (index, channel) in &self.entries {
            bytes += channel_bytes(&channel.name);
            let index = index_of(index);
            assert!(!channel.members.is_empty());
            assert_eq!(
                self.find_channel(channel.namespace, &channel.name),
                Some(index)
            );
            for (position, member) in channel.members.iter().enumerate() {
                let membership = self.memberships[member.link as usize];
                assert_eq!(membership.slot, member.slot);
                assert_eq!(membership.channel, index);
                assert_eq!(membership.position as usize, position);
                assert_eq!(self.find_membership(member.slot, index), Some(member.link));
                listed += 1;
            }
        }
        assert_eq!(self.entries.len(), self.by_name.len());
        assert_eq!(self.memberships.len(), self.by_pair.len());
        assert_eq!(self.memberships.len(), listed);
        assert_eq!(self.bytes, bytes);

        let mut linked = 0;
        for (slot, of_slot) in self.slots.iter().enumerate() {
            let (mut previous, mut next, mut count, mut bytes) = (NONE, of_slot.first, 0, 0);
            while next != NONE {
                let membership = self.memberships[next as usize];
                assert_eq!(membership.slot as usize, slot);
                assert_eq!(membership.previous_of_slot, previous);
                (previous, next) = (next, membership.next_of_slot);
                count += 1;
                let name = &self.entries[membership.channel as usize].name;
                bytes += channel_bytes(name) + MEMBERSHIP_BYTES;
            }
            assert_eq!(of_slot.bytes as usize, bytes);
            assert_eq!(of_slot.last, previous);
            assert_eq!(of_slot.count, count);
            linked += count as usize;
        }
        assert_eq!(linked, listed);
    }

    fn of(&self, slot: u32) -> ChannelsOfSlot {
        let of_slot = self.slots.get(slot as usize);
        of_slot.copied().unwrap_or(ChannelsOfSlot::EMPTY)
    }

    fn memberships_of(&self, slot: u32) -> impl Iterator<Item = Membership> {
        let mut next = self.of(slot).first;
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let membership = self.memberships[next as usize];
            next = membership.next_of_slot;
            Some(membership)
        })
    }

    fn find_channel(&self, namespace: u16, name: &[u8]) -> Option<u32> {
        let same = |&index: &u32| {
            let channel = &self.entries[index as usize];
            channel.namespace == namespace && *channel.name == *name
        };
        let hash = self.seed.hash(namespace, &[name]);
        self.by_name.find(hash, same).copied()
    }

    fn find_membership(&self, slot: u32, channel: u32) -> Option<u32> {
        let same = |&index: &u32| {
            let membership = &self.memberships[index as usize];
            membership.slot == slot && membership.channel == channel
        };
        let hash = pair_hash(self.seed, slot, channel);
        self.by_pair.find(hash, same).copied()
    }

    fn add_channel(&mut self, namespace: u16, name: &[u8], class: ClassId) -> u32 {
        self.bytes += channel_bytes(name);
        let index = index_of(self.entries.insert(Channel {
            name: name.into(),
            members: SmallVec::new(),
            namespace,
            class,
            dropped: 0,
        }));
        let (seed, channels) = (self.seed, &self.entries);
        let rehash = |&index: &u32| channels[index as usize].hash(seed);
        self.by_name
            .insert_unique(seed.hash(namespace, &[name]), index, rehash);
        index
    }

    /// Returns the index of the membership.
    fn add_membership(&mut self, slot: u32, channel: u32) -> u32 {
        let slot_index = slot as usize;
        if self.slots.len() <= slot_index {
            self.slots.resize(slot_index + 1, ChannelsOfSlot::EMPTY);
        }
        self.bytes += MEMBERSHIP_BYTES;
        let of_slot = &mut self.slots[slot_index];
        let Channel { name, members, .. } = &mut self.entries[channel as usize];
        of_slot.bytes += counted(name);
        let index = index_of(self.memberships.insert(Membership {
            slot,
            channel,
            position: index_of(members.len()),
            previous_of_slot: of_slot.last,
            next_of_slot: NONE,
            dropped: 0,
        }));
        members.push(Member { slot, link: index });
        match of_slot.last {
            NONE => of_slot.first = index,
            last => self.memberships[last as usize].next_of_slot = index,
        }
        of_slot.last = index;
        of_slot.count += 1;

        let (seed, memberships) = (self.seed, &self.memberships);
        let rehash = |&index: &u32| memberships[index as usize].hash(seed);
        self.by_pair
            .insert_unique(pair_hash(seed, slot, channel), index, rehash);
        index
    }

    /// Removes a membership, and its channel if that was the last member.
    fn remove_membership(&mut self, index: u32) {
        let membership = self.memberships.remove(index as usize);
        self.by_pair
            .find_entry(membership.hash(self.seed), |&other| other == index)
            .expect("every membership is filed under its pair")
            .remove();
        self.unlink(membership);
        self.bytes -= MEMBERSHIP_BYTES;

        let Channel { name, members, .. } = &mut self.entries[membership.channel as usize];
        self.slots[membership.slot as usize].bytes -= counted(name);
        let position = membership.position as usize;
        members.swap_remove(position);
        if let Some(moved) = members.get(position) {
            self.memberships[moved.link as usize].position = membership.position;
        }
        // Shrink lists that are at most 1/4 full, so that the memory of a burst of members is
        // freed.
        if members.spilled() && members.len() * 4 <= members.capacity() {
            members.shrink_to_fit();
        }
        if members.is_empty() {
            self.remove_channel(membership.channel);
        }
        let used = self.entries.len() + self.memberships.len();
        let room = self.entries.capacity() + self.memberships.capacity();
        if room > CAPACITY_KEPT && room >= used * 8 {
            self.rebuild();
        }
    }

    /// Rebuilds all tables in the size needed now, and frees the old ones.
    ///
    /// New tables have at most twice the room they need. The cost is amortized over the joins and
    /// leaves that must precede the next rebuild.
    fn rebuild(&mut self) {
        let mut before = std::mem::replace(self, Self::new(self.seed, Arc::clone(&self.classes)));
        self.slots = std::mem::take(&mut before.slots);
        let firsts = before.memberships.iter().map(|(_, membership)| membership);
        for first in firsts.filter(|membership| membership.previous_of_slot == NONE) {
            self.slots[first.slot as usize] = ChannelsOfSlot::EMPTY;
            let mut next = Some(first);
            while let Some(membership) = next {
                let Channel {
                    name,
                    namespace,
                    class,
                    dropped,
                    ..
                } = &before.entries[membership.channel as usize];
                let channel = self
                    .find_channel(*namespace, name)
                    .unwrap_or_else(|| self.add_channel(*namespace, name, *class));
                self.entries[channel as usize].dropped = *dropped;
                let added = self.add_membership(membership.slot, channel);
                self.memberships[added as usize].dropped = membership.dropped;
                next = before.memberships.get(membership.next_of_slot as usize);
            }
        }
    }

    /// Unlinks a removed membership from its slot's list.
    fn unlink(&mut self, gone: Membership) {
        let of_slot = &mut self.slots[gone.slot as usize];
        of_slot.count -= 1;
        match gone.previous_of_slot {
            NONE => of_slot.first = gone.next_of_slot,
            previous => self.memberships[previous as usize].next_of_slot = gone.next_of_slot,
        }
        match gone.next_of_slot {
            NONE => of_slot.last = gone.previous_of_slot,
            next => self.memberships[next as usize].previous_of_slot = gone.previous_of_slot,
        }
    }

    fn remove_channel(&mut self, index: u32) {
        let channel = self.entries.remove(index as usize);
        self.bytes -= channel_bytes(&channel.name);
        self.by_name
            .find_entry(channel.hash(self.seed), |&other| other == index)
            .expect("every channel is filed under its name")
            .remove();
    }
}

impl Channel {
    fn hash(&self, seed: HashSeed) -> u64 {
        seed.hash(self.namespace, &[&self.name])
    }
}

impl Membership {
    fn hash(&self, seed: HashSeed) -> u64 {
        pair_hash(seed, self.slot, self.channel)
    }
}

impl ChannelsOfSlot {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
        count: 0,
        bytes: 0,
    };
}

/// The reason why a session did not join a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JoinError {
    /// The session is a member already.
    AlreadyJoined,
    /// The session is on the maximum number of channels.
    TooManyChannels,
    /// The names exceed a memory limit.
    NamesLimit(NamesLimit),
}

/// Returns the bytes of a channel, without members.
fn channel_bytes(name: &[u8]) -> usize {
    CHANNEL_BYTES + text_bytes(name.len())
}

/// Returns the bytes that one membership counts for its session.
fn counted(name: &[u8]) -> u32 {
    let bytes = channel_bytes(name) + MEMBERSHIP_BYTES;
    u32::try_from(bytes).expect("names are short")
}

fn pair_hash(seed: HashSeed, slot: u32, channel: u32) -> u64 {
    let pair = u64::from(slot) << 32 | u64::from(channel);
    seed.hash(0, &[&pair.to_le_bytes()])
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("bounded by sessions times channels per session")
}

const NONE: u32 = u32::MAX;
/// Capacity, in channels and memberships, up to which the tables are not rebuilt.
const CAPACITY_KEPT: usize = 1024;

const _: () = {
    assert!(size_of::<Channel>() == 48);
    assert!(size_of::<Membership>() == 24);
    assert!(size_of::<ChannelsOfSlot>() == 16);
};

const CHANNEL_BYTES: usize = slab_bytes::<Channel>() + table_bytes::<u32>();
const MEMBERSHIP_BYTES: usize =
    slab_bytes::<Membership>() + table_bytes::<u32>() + list_bytes::<Member>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::classes::ChannelClass;
    use crate::vocabulary::channel_pattern::ChannelPattern;
    use crate::vocabulary::channel_rules::{ChannelRules, SlowMembers};
    use campanile_tests::prng::Prng;
    use std::collections::BTreeMap;

    /// The members of every channel, and the channels of every slot in the order of joining.
    #[derive(Default)]
    struct Model {
        members: BTreeMap<Key, Vec<u32>>,
        of_slot: BTreeMap<u32, Vec<Key>>,
    }

    /// Namespace and name of a channel.
    type Key = (u16, Vec<u8>);

    const SLOTS: u32 = 14;
    const CHANNELS_MAX: u32 = 4;

    impl Model {
        fn join(&mut self, slot: u32, key: &Key) -> Result<(), JoinError> {
            let of_slot = self.of_slot.entry(slot).or_default();
            if of_slot.contains(key) {
                return Err(JoinError::AlreadyJoined);
            }
            if of_slot.len() >= CHANNELS_MAX as usize {
                return Err(JoinError::TooManyChannels);
            }
            of_slot.push(key.clone());
            let members = self.members.entry(key.clone()).or_default();
            members.push(slot);
            Ok(())
        }

        fn leave(&mut self, slot: u32, key: &Key) -> bool {
            let of_slot = self.of_slot.entry(slot).or_default();
            let was_on = of_slot.contains(key);
            of_slot.retain(|other| other != key);
            if let Some(members) = self.members.get_mut(key) {
                members.retain(|member| *member != slot);
            }
            self.members.retain(|_, members| !members.is_empty());
            was_on
        }
    }

    /// Compares random joins and leaves with plain maps.
    #[test]
    fn agrees_with_plain_maps() {
        for seed in 0..60 {
            let mut prng = Prng::from_seed(seed);
            let mut channels = Channels::new(HashSeed([seed, 7]), Arc::default());
            let mut model = Model::default();
            for _ in 0..400 {
                let slot = prng.range(0, SLOTS - 1);
                let key = key(prng.range(0, 1), prng.range(0, 3));
                match prng.range(0, 19) {
                    0..=11 => {
                        let joined = channels.join(
                            slot,
                            key.0,
                            &key.1,
                            CHANNELS_MAX,
                            NamesBudget::UNLIMITED,
                        );
                        assert_eq!(joined, model.join(slot, &key));
                    }
                    12..=18 => {
                        let left = channels.leave(slot, key.0, &key.1);
                        assert_eq!(left, model.leave(slot, &key));
                    }
                    _ => {
                        channels.leave_all(slot);
                        for key in model.of_slot.remove(&slot).unwrap_or_default() {
                            model.leave(slot, &key);
                        }
                    }
                }
                check(&channels, &model);
            }
        }
    }

    fn check(channels: &Channels, model: &Model) {
        channels.invariants();
        assert_eq!(channels.len(), model.members.len());
        assert_eq!(channels.is_empty(), model.members.is_empty());
        for namespace in 0..=1 {
            let listed = channels.list(namespace);
            let mut names: Vec<(&[u8], usize)> = listed.map(|it| (it.name, it.members)).collect();
            names.sort_unstable();
            let of_namespace = model.members.iter().filter(|((n, _), _)| *n == namespace);
            assert!(
                of_namespace
                    .map(|((_, name), m)| (&name[..], m.len()))
                    .eq(names)
            );
            for number in 0..=3 {
                let key = key(u32::from(namespace), number);
                let mut got = slots(channels, namespace, &key.1);
                got.sort_unstable();
                let mut expected = model.members.get(&key).cloned().unwrap_or_default();
                expected.sort_unstable();
                assert_eq!(got, expected);
                for slot in 0..SLOTS {
                    let is_member = channels.is_member(slot, namespace, &key.1);
                    assert_eq!(is_member, expected.contains(&slot));
                }
            }
        }
        for slot in 0..SLOTS {
            let expected = model.of_slot.get(&slot).map_or(&[][..], |keys| &keys[..]);
            let expected = expected.iter().map(|(_, name)| &name[..]);
            assert_eq!(channels.count_of_slot(slot) as usize, expected.len());
            assert!(channels.of_slot(slot).eq(expected));
        }
    }

    #[test]
    fn namespaces_are_separate() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        assert_eq!(
            channels.join(0, 0, b"room", 9, NamesBudget::UNLIMITED),
            Ok(())
        );
        assert_eq!(
            channels.join(1, 1, b"room", 9, NamesBudget::UNLIMITED),
            Ok(())
        );
        assert_eq!(
            channels.join(2, 1, b"room", 9, NamesBudget::UNLIMITED),
            Ok(())
        );
        assert_eq!(slots(&channels, 0, b"room"), [0]);
        assert_eq!(slots(&channels, 1, b"room"), [1, 2]);
        assert!(!channels.is_member(0, 1, b"room"));
        assert!(!channels.leave(0, 1, b"room"));
        let listed = channels.list(0).map(|it| (it.name, it.members));
        assert!(listed.eq([(&b"room"[..], 1)]));
        assert!(channels.leave(0, 0, b"room"));
        assert_eq!(channels.list(0).count(), 0);
        assert_eq!(slots(&channels, 1, b"room"), [1, 2]);
    }

    #[test]
    fn channels_are_listed_in_the_order_of_joining() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        for name in [b"b", b"c", b"a", b"d"] {
            channels
                .join(3, 0, name, 9, NamesBudget::UNLIMITED)
                .expect("joined");
        }
        assert!(channels.of_slot(3).eq([b"b", b"c", b"a", b"d"]));
        channels.leave(3, 0, b"c");
        channels.leave(3, 0, b"b");
        channels
            .join(3, 0, b"b", 9, NamesBudget::UNLIMITED)
            .expect("joined");
        assert!(channels.of_slot(3).eq([b"a", b"d", b"b"]));
        channels.leave(3, 0, b"b");
        channels
            .join(3, 0, b"c", 9, NamesBudget::UNLIMITED)
            .expect("joined");
        assert!(channels.of_slot(3).eq([b"a", b"d", b"c"]));
        assert_eq!(channels.of_slot(2).count(), 0);
        assert_eq!(channels.of_slot(4).count(), 0);
    }

    #[test]
    fn a_join_that_fails_changes_nothing() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        assert_eq!(
            channels.join(0, 0, b"a", 0, NamesBudget::UNLIMITED),
            Err(JoinError::TooManyChannels)
        );
        assert!(channels.is_empty());
        assert_eq!(channels.join(0, 0, b"a", 1, NamesBudget::UNLIMITED), Ok(()));
        assert_eq!(
            channels.join(0, 0, b"b", 1, NamesBudget::UNLIMITED),
            Err(JoinError::TooManyChannels)
        );
        assert_eq!(
            channels.join(0, 0, b"a", 1, NamesBudget::UNLIMITED),
            Err(JoinError::AlreadyJoined)
        );
        assert_eq!((channels.len(), channels.count_of_slot(0)), (1, 1));
        channels.invariants();
    }

    #[test]
    fn a_million_names_one_after_another_take_no_memory() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        for number in 0..1_000_000_u32 {
            let name = number.to_le_bytes();
            channels
                .join(0, 0, &name, 9, NamesBudget::UNLIMITED)
                .expect("joined");
            assert!(channels.leave(0, 0, &name));
        }
        assert!(memory(&channels) <= 64, "{}", memory(&channels));
    }

    #[test]
    fn many_names_free_their_memory_in_any_order_of_leaving() {
        let names: Vec<[u8; 4]> = (0..100_000_u32).map(u32::to_le_bytes).collect();
        let slot_of = |name: &[u8; 4]| u32::from(name[0] % 3);
        let orders: [fn(usize, usize) -> usize; 3] = [
            |turn, _| turn,
            |turn, count| count - 1 - turn,
            |turn, count| turn * 7_919 % count,
        ];
        for order in orders {
            let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
            for name in &names {
                let joined =
                    channels.join(slot_of(name), 0, name, u32::MAX, NamesBudget::UNLIMITED);
                assert_eq!(joined, Ok(()));
            }
            assert!(memory(&channels) >= 4 * names.len());

            let order = |turn| &names[order(turn, names.len())];
            for name in (0..names.len() - 10).map(order) {
                assert!(channels.leave(slot_of(name), 0, name));
            }
            channels.invariants();
            assert!(
                memory(&channels) <= 4 * CAPACITY_KEPT,
                "{}",
                memory(&channels)
            );
            assert_eq!(channels.len(), 10);
            for name in (names.len() - 10..names.len()).map(order) {
                assert!(channels.is_member(slot_of(name), 0, name));
            }
        }
    }

    #[test]
    fn a_rebuild_changes_nothing() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        for slot in 0..40 {
            for number in 0..100 {
                let (namespace, name) = key(slot % 2, (slot * 7 + number) % 150);
                channels
                    .join(slot, namespace, &name, 100, NamesBudget::UNLIMITED)
                    .expect("joined");
            }
        }
        let seen = |channels: &Channels| {
            let of_slot = (0..40).map(|slot| {
                let names: Vec<Vec<u8>> = channels.of_slot(slot).map(<[u8]>::to_vec).collect();
                names
            });
            let mut members: Vec<(Key, Vec<u32>)> = Vec::new();
            for namespace in 0..=1 {
                for ListedChannel { name, .. } in channels.list(namespace) {
                    let mut slots = slots(channels, namespace, name);
                    slots.sort_unstable();
                    members.push(((namespace, name.to_vec()), slots));
                }
            }
            members.sort_unstable();
            (of_slot.collect::<Vec<_>>(), members)
        };
        let before = seen(&channels);
        channels.rebuild();
        channels.invariants();
        assert_eq!(seen(&channels), before);
    }

    #[test]
    fn a_class_is_found_once_and_kept_with_the_counts() {
        let mut rules = ChannelRules::default();
        let pattern = ChannelPattern::parse("lossy-*").expect("a pattern");
        let class = ChannelClass {
            slow: SlowMembers::DropNewest,
        };
        rules.declare(pattern, class).expect("declared once");
        let mut classes = ChannelClasses::new();
        classes.assign(0, rules);
        let lossy = classes.of(0, b"lossy-1");
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::new(classes));
        let join = |channels: &mut Channels, slot, namespace, name| {
            let joined = channels.join(slot, namespace, name, 9, NamesBudget::UNLIMITED);
            joined.expect("joined");
            channels.find(namespace, name).expect("it has a member")
        };
        let first = join(&mut channels, 0, 0, b"lossy-1");
        let plain = join(&mut channels, 0, 0, b"plain");
        let elsewhere = join(&mut channels, 0, 1, b"lossy-1");
        let class_of = |channels: &Channels, channel| channels.class_of(channel);
        assert_eq!(class_of(&channels, first), lossy);
        assert_eq!(class_of(&channels, plain), ClassId::default());
        assert_eq!(class_of(&channels, elsewhere), ClassId::default());

        // From here on, a search would find no class.
        channels.classes = Arc::default();
        assert_eq!(join(&mut channels, 1, 0, b"lossy-1"), first);
        for slot in [0, 1, 1] {
            channels.count_dropped(first, slot);
        }
        channels.rebuild();
        channels.invariants();
        let first = channels.find(0, b"lossy-1").expect("it has members");
        assert_eq!(class_of(&channels, first), lossy);
        for (slot, count) in [(0, 1), (1, 2)] {
            let dropped: Vec<(&[u8], u32)> = channels
                .memberships_of_slot(slot)
                .filter(|&(_, count)| count > 0)
                .collect();
            assert_eq!(dropped, [(&b"lossy-1"[..], count)]);
        }
        let mut listed: Vec<ListedChannel<'_>> = channels.list(0).collect();
        listed.sort_unstable();
        assert_eq!(
            listed.iter().map(|it| it.dropped).collect::<Vec<_>>(),
            [3, 0]
        );
    }

    #[test]
    fn members_that_left_take_no_memory() {
        let mut channels = Channels::new(HashSeed([1, 2]), Arc::default());
        for slot in 0..10_000 {
            channels
                .join(slot, 0, b"room", 9, NamesBudget::UNLIMITED)
                .expect("joined");
        }
        for slot in 0..9_990 {
            channels.leave_all(slot);
        }
        let members = &channels.entries[0].members;
        assert_eq!(members.len(), 10);
        assert!(members.capacity() <= 40);
        channels.invariants();
    }

    /// Returns the capacity of all tables, in entries.
    fn memory(channels: &Channels) -> usize {
        channels.entries.capacity()
            + channels.memberships.capacity()
            + channels.by_name.num_buckets()
            + channels.by_pair.num_buckets()
    }

    fn slots(channels: &Channels, namespace: u16, name: &[u8]) -> Vec<u32> {
        let members = channels.members(namespace, name).iter();
        members.map(|member| member.slot).collect()
    }

    fn key(namespace: u32, number: u32) -> Key {
        let namespace = u16::try_from(namespace).expect("small");
        (namespace, format!("channel {number}").into_bytes())
    }
}
