//! Eviction queues: the order in which HTTP connections are closed if a shard has too many.
//!
//! ```text
//!   evicted first                                                          evicted last
//!   Head       Body       Unread     Idle       Health        Known        | Working: never
//!   |          |          |          |          |             |            |
//!   oldest     oldest     oldest     oldest     longest ago   longest ago  | in progress
//! ```
//!
//! A connection is *known* after its first authorized push, drop or API request. All others are
//! *strangers*. Strangers have at most three quarters of the entries, so that connections without
//! credentials cannot shut out authorized ones. Adding, moving and removing take constant time,
//! except for moving a connection of class `Health`. This module knows no sockets.

use super::connection_context::Credit;
use crate::shard::HttpPhase;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::{Tick, Ticks};
use slab::Slab;

/// The HTTP connections of a shard, in queues by class of eviction.
///
/// # Invariants
///
/// Checked by [`EvictionQueues::invariants`]:
///
/// - Every entry is in the queue of its class, once.
/// - `strangers` is the number of entries that are not known.
/// - `unread_bytes` is the sum of the bytes of the entries in the queue of [`Class::Unread`].
/// - The queue of [`Class::Health`] is sorted by the time of the requests.
#[derive(Debug)]
pub(crate) struct EvictionQueues {
    entries: Slab<Entry>,
    queues: [Queue; CLASSES],
    strangers: usize,
    unread_bytes: usize,
    entries_max: usize,
    strangers_max: usize,
    unread_bytes_max: usize,
}

/// The key of a connection in [`EvictionQueues`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EntryKey(u32);

/// The outcome of [`EvictionQueues::decide_eviction`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EvictionDecision {
    /// There is room.
    Free,
    /// Evict this connection first.
    Evict(ConnectionId),
    /// No connection can be evicted: reject the new one.
    Full,
}

/// The state of a connection that determines its eviction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionState {
    /// The phase of the connection's current request.
    pub(crate) phase: HttpPhase,
    /// The highest credit since the last update.
    pub(crate) credit: Option<Credit>,
    /// Whether the peer has taken response bytes since the last update, which moves the connection
    /// to the end of its queue.
    pub(crate) has_progress: bool,
    /// Unread response bytes plus unread input bytes.
    pub(crate) unread_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: ConnectionId,
    class: Class,
    unread_bytes: usize,
    is_known: bool,
    /// The time of the last health request.
    health: Option<Tick>,
    before: u32,
    after: u32,
}

/// The classes of eviction, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// The request's head is incomplete.
    Head,
    /// The request's body is incomplete.
    Body,
    /// The peer does not read its responses.
    Unread,
    /// The connection waits for its next request.
    Idle,
    /// The last health request was less than 30 seconds ago.
    Health,
    /// An authorized request was completed.
    Known,
    /// A request is complete and has no response yet.
    Working,
}

/// A linked list of entries, in the order of eviction.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

impl EvictionQueues {
    /// Creates empty queues for at most `entries_max` connections, in which strangers that do not
    /// read hold at most `unread_bytes_max` bytes.
    pub(crate) fn new(entries_max: usize, unread_bytes_max: usize) -> Self {
        Self {
            entries: Slab::new(),
            queues: [Queue::EMPTY; CLASSES],
            strangers: 0,
            unread_bytes: 0,
            entries_max,
            // A single entry is for strangers.
            strangers_max: (entries_max * 3 / 4).max(1),
            unread_bytes_max,
        }
    }

    /// Adds a connection as a stranger with an incomplete head.
    pub(crate) fn insert(&mut self, id: ConnectionId) -> EntryKey {
        let entry = Entry {
            id,
            class: Class::Head,
            unread_bytes: 0,
            is_known: false,
            health: None,
            before: NONE,
            after: NONE,
        };
        let key = u32::try_from(self.entries.insert(entry)).expect("fewer than slots");
        self.strangers += 1;
        self.link(key);
        EntryKey(key)
    }

    /// Removes a connection.
    pub(crate) fn remove(&mut self, key: EntryKey) {
        self.unlink(key.0);
        let entry = self.entries.remove(key.0 as usize);
        self.unread_bytes -= entry.unread_bytes;
        self.strangers -= usize::from(!entry.is_known);
    }

    /// Moves a connection to the queue of its present state.
    pub(crate) fn update(&mut self, key: EntryKey, state: &ConnectionState, now: Tick) {
        let entry = &mut self.entries[key.0 as usize];
        match state.credit {
            Some(Credit::Authorized) => {
                self.strangers -= usize::from(!entry.is_known);
                entry.is_known = true;
            }
            Some(Credit::Health) => entry.health = Some(now),
            None => {}
        }
        let class = match state.phase {
            HttpPhase::Response => Class::Working,
            _ if entry.is_known => Class::Known,
            _ if entry.health.is_some_and(|at| counts(at, now)) => Class::Health,
            HttpPhase::Head => Class::Head,
            HttpPhase::Body => Class::Body,
            HttpPhase::Unread | HttpPhase::Last => Class::Unread,
            HttpPhase::Idle => Class::Idle,
        };
        let is_last = self.queues[class as usize].last == key.0;
        let goes_back = state.credit.is_some() || (state.has_progress && class == Class::Unread);
        if entry.class != class || (goes_back && !is_last) {
            self.move_to(key.0, class);
        }
        self.set_unread(key.0, state.unread_bytes);
    }

    /// Returns the stranger that has read nothing for the longest time, if those that do not read
    /// hold more than `unread_bytes_max`; otherwise `None`.
    pub(crate) fn first_over_unread_max(&self) -> Option<ConnectionId> {
        if self.unread_bytes <= self.unread_bytes_max {
            return None;
        }
        let first = self.queues[Class::Unread as usize].first;
        self.entries.get(first as usize).map(|entry| entry.id)
    }

    /// Looks for room for one more stranger.
    pub(crate) fn decide_eviction(&mut self, now: Tick) -> EvictionDecision {
        let is_full = self.entries.len() >= self.entries_max;
        let has_all_strangers = self.strangers >= self.strangers_max;
        if !is_full && !has_all_strangers {
            return EvictionDecision::Free;
        }
        self.expire_health(now);
        let known = (!has_all_strangers).then_some(Class::Known);
        let classes = EVICTED_FOR_STRANGERS.iter().copied().chain(known);
        let mut firsts = classes.map(|class| self.queues[class as usize].first);
        match firsts.find(|&first| first != NONE) {
            Some(first) => EvictionDecision::Evict(self.entries[first as usize].id),
            None => EvictionDecision::Full,
        }
    }

    /// Returns the number of connections.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Moves connections whose last health request is too old to class `Idle`.
    fn expire_health(&mut self, now: Tick) {
        loop {
            let first = self.queues[Class::Health as usize].first;
            let Some(entry) = self.entries.get(first as usize) else {
                return;
            };
            if entry.health.is_some_and(|at| counts(at, now)) {
                return;
            }
            self.move_to(first, Class::Idle);
        }
    }

    /// Sets the bytes that an entry counts in [`EvictionQueues::unread_bytes`]: zero unless its
    /// class is `Unread`.
    fn set_unread(&mut self, key: u32, bytes: usize) {
        let entry = &mut self.entries[key as usize];
        let counted = if entry.class == Class::Unread {
            bytes
        } else {
            0
        };
        let before = std::mem::replace(&mut entry.unread_bytes, counted);
        self.unread_bytes = self.unread_bytes - before + counted;
    }

    fn move_to(&mut self, key: u32, class: Class) {
        self.unlink(key);
        self.entries[key as usize].class = class;
        self.link(key);
    }

    /// Appends an entry to the queue of its class. In class `Health`, inserts it by the time of its
    /// request, which is nearly always the end.
    fn link(&mut self, key: u32) {
        let entry = &self.entries[key as usize];
        let (class, health) = (entry.class as usize, entry.health);
        let mut before = self.queues[class].last;
        if entry.class == Class::Health {
            let later = |it: &Entry| it.health > health;
            while let Some(entry) = self.entries.get(before as usize).filter(|it| later(it)) {
                before = entry.before;
            }
        }
        let after = match self.entries.get_mut(before as usize) {
            Some(entry) => std::mem::replace(&mut entry.after, key),
            None => std::mem::replace(&mut self.queues[class].first, key),
        };
        match self.entries.get_mut(after as usize) {
            Some(entry) => entry.before = key,
            None => self.queues[class].last = key,
        }
        let entry = &mut self.entries[key as usize];
        (entry.before, entry.after) = (before, after);
    }

    /// Removes an entry from the queue of its class.
    fn unlink(&mut self, key: u32) {
        let entry = &self.entries[key as usize];
        let (class, before, after) = (entry.class as usize, entry.before, entry.after);
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.after = after,
            None => self.queues[class].first = after,
        }
        match self.entries.get_mut(after as usize) {
            Some(entry) => entry.before = before,
            None => self.queues[class].last = before,
        }
    }

    /// Asserts the invariants, in linear time: for tests and the simulator.
    ///
    /// # Panics
    ///
    /// If one is violated.
    pub(crate) fn invariants(&self) {
        let mut listed = 0;
        for (class, queue) in self.queues.iter().enumerate() {
            let (mut before, mut key, mut asked) = (NONE, queue.first, None);
            while key != NONE {
                let entry = &self.entries[key as usize];
                assert_eq!((entry.class as usize, entry.before), (class, before));
                if entry.class == Class::Health {
                    assert!(asked <= entry.health, "in the order of the requests");
                    asked = entry.health;
                }
                listed += 1;
                (before, key) = (key, entry.after);
            }
            assert_eq!(queue.last, before);
        }
        assert_eq!(listed, self.entries.len());
        let unread = self.entries.iter().map(|(_, entry)| entry.unread_bytes);
        assert_eq!(unread.sum::<usize>(), self.unread_bytes);
        let entries = || self.entries.iter().map(|(_, entry)| entry);
        let is_right = |entry: &Entry| entry.class == Class::Unread || entry.unread_bytes == 0;
        assert!(entries().all(is_right));
        let strangers = entries().filter(|entry| !entry.is_known);
        assert_eq!(strangers.count(), self.strangers);
    }
}

impl Queue {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };
}

/// Returns whether a health request at `at` still protects its connection.
fn counts(at: Tick, now: Tick) -> bool {
    now < at.after(Ticks::from_ms(HEALTH_COUNTS_FOR_MS))
}

/// The classes of strangers, in the order of eviction.
const EVICTED_FOR_STRANGERS: [Class; 5] = [
    Class::Head,
    Class::Body,
    Class::Unread,
    Class::Idle,
    Class::Health,
];
const CLASSES: usize = Class::Working as usize + 1;
/// The key that no entry has.
const NONE: u32 = u32::MAX;
/// Time for which a health request protects a stranger, in milliseconds.
const HEALTH_COUNTS_FOR_MS: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;

    fn file(
        eviction: &mut EvictionQueues,
        key: EntryKey,
        (phase, credit): (HttpPhase, Option<Credit>),
        now: u32,
    ) {
        let state = ConnectionState {
            phase,
            credit,
            has_progress: false,
            unread_bytes: 0,
        };
        eviction.update(key, &state, Tick(now));
    }

    fn eviction(entries_max: usize) -> EvictionQueues {
        EvictionQueues::new(entries_max, usize::MAX)
    }

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(slot, 1)
    }

    /// Evicts all connections that can be evicted, in order.
    fn evict_all(
        eviction: &mut EvictionQueues,
        keys: &mut Vec<(ConnectionId, EntryKey)>,
    ) -> Vec<u32> {
        let mut order = Vec::new();
        eviction.entries_max = 0;
        while let EvictionDecision::Evict(id) = eviction.decide_eviction(Tick(0)) {
            let at = keys.iter().position(|(it, _)| *it == id).expect("entered");
            eviction.remove(keys.swap_remove(at).1);
            eviction.invariants();
            order.push(id.slot());
        }
        order
    }

    #[test]
    fn each_class_goes_before_the_next_and_in_it_the_oldest() {
        let mut eviction = eviction(100);
        let mut keys = Vec::new();
        // Added from the last class to the first, two of each.
        let phases = [
            (HttpPhase::Response, None),
            (HttpPhase::Head, Some(Credit::Authorized)),
            (HttpPhase::Head, Some(Credit::Health)),
            (HttpPhase::Idle, None),
            (HttpPhase::Unread, None),
            (HttpPhase::Body, None),
            (HttpPhase::Head, None),
        ];
        for (phase, slot) in phases.iter().zip(0..) {
            for slot in [2 * slot, 2 * slot + 1] {
                let key = eviction.insert(id(slot));
                file(&mut eviction, key, *phase, 0);
                keys.push((id(slot), key));
            }
        }
        let order = evict_all(&mut eviction, &mut keys);
        assert_eq!(order, [12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3]);
        assert_eq!(eviction.decide_eviction(Tick(0)), EvictionDecision::Full);
        assert_eq!(eviction.len(), 2, "those being answered stay");
    }

    #[test]
    fn strangers_hold_three_quarters_and_evict_each_other_then() {
        let mut eviction = eviction(8);
        let known = eviction.insert(id(0));
        let credit = Some(Credit::Authorized);
        file(&mut eviction, known, (HttpPhase::Idle, credit), 0);
        for slot in 1..=6 {
            assert_eq!(
                eviction.decide_eviction(Tick(0)),
                EvictionDecision::Free,
                "{slot}"
            );
            eviction.insert(id(slot));
        }
        assert_eq!(
            eviction.decide_eviction(Tick(0)),
            EvictionDecision::Evict(id(1))
        );
        // A stranger that completes an authorized request makes room for another.
        let key = EntryKey(6);
        assert_eq!(eviction.entries[6].id, id(6));
        file(&mut eviction, key, (HttpPhase::Idle, credit), 0);
        assert_eq!(eviction.decide_eviction(Tick(0)), EvictionDecision::Free);
        eviction.invariants();
    }

    #[test]
    fn strangers_never_evict_the_known_beyond_their_quota() {
        let mut eviction = eviction(4);
        let known = eviction.insert(id(0));
        let credit = Some(Credit::Authorized);
        file(&mut eviction, known, (HttpPhase::Head, credit), 0);
        for slot in 1..=3 {
            let key = eviction.insert(id(slot));
            file(&mut eviction, key, (HttpPhase::Response, None), 0);
        }
        assert_eq!(eviction.decide_eviction(Tick(0)), EvictionDecision::Full);
    }

    #[test]
    fn among_the_known_the_one_whose_last_request_is_oldest_goes_first() {
        let mut eviction = eviction(2);
        let credit = Some(Credit::Authorized);
        let keys = [0, 1].map(|slot| eviction.insert(id(slot)));
        for key in [keys[0], keys[1], keys[0]] {
            file(&mut eviction, key, (HttpPhase::Response, None), 0);
            file(&mut eviction, key, (HttpPhase::Idle, credit), 0);
        }
        assert_eq!(
            eviction.decide_eviction(Tick(0)),
            EvictionDecision::Evict(id(1))
        );
    }

    #[test]
    fn a_health_request_counts_for_thirty_seconds() {
        let mut eviction = eviction(2);
        let health = eviction.insert(id(0));
        let credit = Some(Credit::Health);
        file(&mut eviction, health, (HttpPhase::Idle, credit), 0);
        let idle = eviction.insert(id(1));
        file(&mut eviction, idle, (HttpPhase::Idle, None), 1);
        let ends = Tick(0).after(Ticks::from_ms(HEALTH_COUNTS_FOR_MS));
        assert_eq!(
            eviction.decide_eviction(Tick(ends.0 - 1)),
            EvictionDecision::Evict(id(1))
        );
        assert_eq!(
            eviction.decide_eviction(ends),
            EvictionDecision::Evict(id(1)),
            "idle for longer"
        );
        eviction.remove(idle);
        eviction.insert(id(2));
        assert_eq!(
            eviction.decide_eviction(ends),
            EvictionDecision::Evict(id(2)),
            "no whole head"
        );
        eviction.invariants();
    }

    #[test]
    fn reading_moves_a_connection_behind_those_that_do_not_read() {
        let mut eviction = eviction(1);
        let keys = [0, 1].map(|slot| eviction.insert(id(slot)));
        for (key, has_progress) in [(keys[0], false), (keys[1], false), (keys[0], true)] {
            let state = ConnectionState {
                phase: HttpPhase::Unread,
                credit: None,
                has_progress,
                unread_bytes: 1,
            };
            eviction.update(key, &state, Tick(0));
        }
        assert_eq!(
            eviction.decide_eviction(Tick(0)),
            EvictionDecision::Evict(id(1))
        );
    }

    #[test]
    fn the_unread_bytes_of_strangers_are_limited() {
        let mut eviction = EvictionQueues::new(8, 100);
        let unread = |unread_bytes, credit| ConnectionState {
            phase: HttpPhase::Unread,
            credit,
            has_progress: false,
            unread_bytes,
        };
        let keys = [0, 1, 2].map(|slot| eviction.insert(id(slot)));
        // Known connections do not count.
        let credit = Some(Credit::Authorized);
        eviction.update(keys[0], &unread(1_000, credit), Tick(0));
        eviction.update(keys[1], &unread(60, None), Tick(0));
        eviction.update(keys[2], &unread(40, None), Tick(0));
        assert_eq!(eviction.first_over_unread_max(), None);
        eviction.update(keys[2], &unread(41, None), Tick(0));
        assert_eq!(eviction.first_over_unread_max(), Some(id(1)));
        eviction.remove(keys[1]);
        assert_eq!(eviction.first_over_unread_max(), None);
        eviction.invariants();
    }

    /// Random operations keep the invariants.
    #[test]
    fn any_order_of_events_keeps_the_queues_whole() {
        for seed in 0..64 {
            let mut prng = Prng::from_seed(seed);
            let mut eviction = eviction(12);
            let mut keys: Vec<(ConnectionId, EntryKey)> = Vec::new();
            for step in 0..400 {
                let now = Tick(step * 10);
                let entry = prng.pick(0..keys.len());
                match (prng.range(0, 3), entry) {
                    (0, Some(entry)) => eviction.remove(keys.swap_remove(entry).1),
                    (1 | 2, Some(entry)) => {
                        let phases = [
                            HttpPhase::Head,
                            HttpPhase::Body,
                            HttpPhase::Response,
                            HttpPhase::Unread,
                            HttpPhase::Idle,
                        ];
                        let merits = [None, None, Some(Credit::Health), Some(Credit::Authorized)];
                        let phase = prng.pick(phases.into_iter()).expect("some");
                        let credit = prng.pick(merits.into_iter()).expect("some");
                        let state = ConnectionState {
                            phase,
                            credit,
                            has_progress: prng.chance(1, 2),
                            unread_bytes: prng.range(0, 9) as usize,
                        };
                        eviction.update(keys[entry].1, &state, now);
                    }
                    _ => match eviction.decide_eviction(now) {
                        EvictionDecision::Free => keys.push((id(step), eviction.insert(id(step)))),
                        EvictionDecision::Evict(id) => {
                            let at = keys.iter().position(|(it, _)| *it == id);
                            eviction.remove(keys.swap_remove(at.expect("it is in")).1);
                        }
                        EvictionDecision::Full => {}
                    },
                }
                eviction.invariants();
                assert!(
                    eviction.len() <= 12 && eviction.strangers <= 9,
                    "seed {seed}"
                );
            }
        }
    }
}
