//! HTTP connections in the order in which they are evicted when a shard has too many of them.
//!
//! ```text
//!   evicted first                                                          evicted last
//!   Head       Body       Unread     Idle       Health        Known        | Working: never
//!   |          |          |          |          |             |            |
//!   oldest     oldest     oldest     oldest     longest ago   longest ago  | it is being answered
//! ```
//!
//! A connection is *known* from its first completed, authorized push, drop or API request on; the
//! others are *strangers*. Strangers hold at most three quarters of the places, so that those who
//! make the gateway useful are never shut out by those who only connect. Entering, moving and
//! leaving take constant time, however many connections there are, but for a move between requests
//! of one that looks after the gateway. Nothing here knows a socket.

use super::line::Merit;
use crate::shard::HttpPhase;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::{Tick, Ticks};
use slab::Slab;

/// The HTTP connections of a shard, by when they are evicted.
///
/// # Invariants
///
/// Checked by [`Crowd::invariants`]:
///
/// - Every place is in the queue of its class, once.
/// - `strangers` is the number of places that are not known.
/// - `unread_bytes` is the sum of what those in the queue of [`Class::Unread`] hold.
/// - The queue of [`Class::Health`] is in the order of the requests.
#[derive(Debug)]
pub(crate) struct Crowd {
    places: Slab<Place>,
    queues: [Queue; CLASSES],
    strangers: usize,
    unread_bytes: usize,
    places_max: usize,
    strangers_max: usize,
    unread_bytes_max: usize,
}

/// A connection's place in a [`Crowd`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PlaceKey(u32);

/// The outcome of [`Crowd::make_room`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    /// A stranger may enter.
    Free,
    /// This connection is evicted first.
    Evict(ConnectionId),
    /// Nobody can be evicted: reject the newcomer.
    Full,
}

/// How a connection stands, as far as eviction cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// What it waits for.
    pub(crate) phase: HttpPhase,
    /// The most that it has completed since the last time.
    pub(crate) merit: Option<Merit>,
    /// It has taken some of its answers since the last time, so it goes to the end of its queue.
    pub(crate) has_moved: bool,
    /// Bytes of its unread answers, and of what waits for them to be read.
    pub(crate) unread_bytes: usize,
}

#[derive(Debug)]
struct Place {
    id: ConnectionId,
    class: Class,
    unread_bytes: usize,
    is_known: bool,
    /// The time of the last health request.
    health: Option<Tick>,
    before: u32,
    after: u32,
}

/// What decides when a connection is evicted. In the order of eviction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// Its request's head is not whole.
    Head,
    /// Its request's body is not whole.
    Body,
    /// It does not read its answers.
    Unread,
    /// It waits for its next request.
    Idle,
    /// Its last health request was a short time ago.
    Health,
    /// It has completed an authorized request.
    Known,
    /// Its request is whole and not answered yet.
    Working,
}

/// A list among places, first to go first.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

impl Crowd {
    /// An empty crowd of at most `places_max`, in which strangers who do not read hold at most
    /// `unread_bytes_max`.
    pub(crate) fn new(places_max: usize, unread_bytes_max: usize) -> Self {
        Self {
            places: Slab::new(),
            queues: [Queue::EMPTY; CLASSES],
            strangers: 0,
            unread_bytes: 0,
            places_max,
            // With one place, strangers have it.
            strangers_max: (places_max * 3 / 4).max(1),
            unread_bytes_max,
        }
    }

    /// Adds a connection: a stranger whose head is not whole.
    pub(crate) fn enter(&mut self, id: ConnectionId) -> PlaceKey {
        let place = Place {
            id,
            class: Class::Head,
            unread_bytes: 0,
            is_known: false,
            health: None,
            before: NONE,
            after: NONE,
        };
        let key = u32::try_from(self.places.insert(place)).expect("fewer than slots");
        self.strangers += 1;
        self.link(key);
        PlaceKey(key)
    }

    /// Removes a connection.
    pub(crate) fn leave(&mut self, key: PlaceKey) {
        self.unlink(key.0);
        let place = self.places.remove(key.0 as usize);
        self.unread_bytes -= place.unread_bytes;
        self.strangers -= usize::from(!place.is_known);
    }

    /// Files a connection by how it stands now.
    pub(crate) fn update(&mut self, key: PlaceKey, standing: &Standing, now: Tick) {
        let place = &mut self.places[key.0 as usize];
        match standing.merit {
            Some(Merit::Authorized) => {
                self.strangers -= usize::from(!place.is_known);
                place.is_known = true;
            }
            Some(Merit::Health) => place.health = Some(now),
            None => {}
        }
        let class = match standing.phase {
            HttpPhase::Answer => Class::Working,
            _ if place.is_known => Class::Known,
            _ if place.health.is_some_and(|at| counts(at, now)) => Class::Health,
            HttpPhase::Head => Class::Head,
            HttpPhase::Body => Class::Body,
            HttpPhase::Unread | HttpPhase::Last => Class::Unread,
            HttpPhase::Idle => Class::Idle,
        };
        let is_last = self.queues[class as usize].last == key.0;
        let goes_back = standing.merit.is_some() || (standing.has_moved && class == Class::Unread);
        if place.class != class || (goes_back && !is_last) {
            self.move_to(key.0, class);
        }
        self.set_unread(key.0, standing.unread_bytes);
    }

    /// The stranger that has taken none of its answers for longest, if those who do not read hold
    /// too much together.
    pub(crate) fn first_unread_beyond_max(&self) -> Option<ConnectionId> {
        if self.unread_bytes <= self.unread_bytes_max {
            return None;
        }
        let first = self.queues[Class::Unread as usize].first;
        self.places.get(first as usize).map(|place| place.id)
    }

    /// Finds room for one more stranger.
    pub(crate) fn make_room(&mut self, now: Tick) -> Room {
        let is_full = self.places.len() >= self.places_max;
        let has_all_strangers = self.strangers >= self.strangers_max;
        if !is_full && !has_all_strangers {
            return Room::Free;
        }
        self.forget_health(now);
        let known = (!has_all_strangers).then_some(Class::Known);
        let classes = EVICTED_FOR_STRANGERS.iter().copied().chain(known);
        let mut firsts = classes.map(|class| self.queues[class as usize].first);
        match firsts.find(|&first| first != NONE) {
            Some(first) => Room::Evict(self.places[first as usize].id),
            None => Room::Full,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Files those whose health request was too long ago as idle.
    fn forget_health(&mut self, now: Tick) {
        loop {
            let first = self.queues[Class::Health as usize].first;
            let Some(place) = self.places.get(first as usize) else {
                return;
            };
            if place.health.is_some_and(|at| counts(at, now)) {
                return;
            }
            self.move_to(first, Class::Idle);
        }
    }

    /// Sets what a place counts with for [`Crowd::unread_bytes`]: nothing in any class but one.
    fn set_unread(&mut self, key: u32, bytes: usize) {
        let place = &mut self.places[key as usize];
        let counted = if place.class == Class::Unread {
            bytes
        } else {
            0
        };
        let before = std::mem::replace(&mut place.unread_bytes, counted);
        self.unread_bytes = self.unread_bytes - before + counted;
    }

    fn move_to(&mut self, key: u32, class: Class) {
        self.unlink(key);
        self.places[key as usize].class = class;
        self.link(key);
    }

    /// Appends a place to the queue of its class; among those with a health request, behind those
    /// whose request was no later, which are nearly always all.
    fn link(&mut self, key: u32) {
        let place = &self.places[key as usize];
        let (class, health) = (place.class as usize, place.health);
        let mut before = self.queues[class].last;
        if place.class == Class::Health {
            let later = |it: &Place| it.health > health;
            while let Some(place) = self.places.get(before as usize).filter(|it| later(it)) {
                before = place.before;
            }
        }
        let after = match self.places.get_mut(before as usize) {
            Some(place) => std::mem::replace(&mut place.after, key),
            None => std::mem::replace(&mut self.queues[class].first, key),
        };
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = key,
            None => self.queues[class].last = key,
        }
        let place = &mut self.places[key as usize];
        (place.before, place.after) = (before, after);
    }

    /// Takes a place out of the queue of its class.
    fn unlink(&mut self, key: u32) {
        let place = &self.places[key as usize];
        let (class, before, after) = (place.class as usize, place.before, place.after);
        match self.places.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => self.queues[class].first = after,
        }
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => self.queues[class].last = before,
        }
    }

    /// Asserts what the type promises. Linear in the places: for tests and the simulator.
    pub(crate) fn invariants(&self) {
        let mut listed = 0;
        for (class, queue) in self.queues.iter().enumerate() {
            let (mut before, mut key, mut asked) = (NONE, queue.first, None);
            while key != NONE {
                let place = &self.places[key as usize];
                assert_eq!((place.class as usize, place.before), (class, before));
                if place.class == Class::Health {
                    assert!(asked <= place.health, "in the order of the requests");
                    asked = place.health;
                }
                listed += 1;
                (before, key) = (key, place.after);
            }
            assert_eq!(queue.last, before);
        }
        assert_eq!(listed, self.places.len());
        let unread = self.places.iter().map(|(_, place)| place.unread_bytes);
        assert_eq!(unread.sum::<usize>(), self.unread_bytes);
        let places = || self.places.iter().map(|(_, place)| place);
        let is_right = |place: &Place| place.class == Class::Unread || place.unread_bytes == 0;
        assert!(places().all(is_right));
        let strangers = places().filter(|place| !place.is_known);
        assert_eq!(strangers.count(), self.strangers);
    }
}

impl Queue {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };
}

/// Whether a health request at `at` still counts.
fn counts(at: Tick, now: Tick) -> bool {
    now < at.after(Ticks::from_ms(HEALTH_COUNTS_FOR_MS))
}

/// Classes that only strangers are in, in the order of eviction.
const EVICTED_FOR_STRANGERS: [Class; 5] = [
    Class::Head,
    Class::Body,
    Class::Unread,
    Class::Idle,
    Class::Health,
];
const CLASSES: usize = Class::Working as usize + 1;
/// No place has this key.
const NONE: u32 = u32::MAX;
/// How long a health request keeps a stranger from being evicted before others.
const HEALTH_COUNTS_FOR_MS: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_tests::prng::Prng;

    fn file(
        crowd: &mut Crowd,
        key: PlaceKey,
        (phase, merit): (HttpPhase, Option<Merit>),
        now: u32,
    ) {
        let standing = Standing {
            phase,
            merit,
            has_moved: false,
            unread_bytes: 0,
        };
        crowd.update(key, &standing, Tick(now));
    }

    fn crowd(places_max: usize) -> Crowd {
        Crowd::new(places_max, usize::MAX)
    }

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(slot, 1)
    }

    /// Evicts all that can be, in order.
    fn evict_all(crowd: &mut Crowd, keys: &mut Vec<(ConnectionId, PlaceKey)>) -> Vec<u32> {
        let mut order = Vec::new();
        crowd.places_max = 0;
        while let Room::Evict(id) = crowd.make_room(Tick(0)) {
            let at = keys.iter().position(|(it, _)| *it == id).expect("entered");
            crowd.leave(keys.swap_remove(at).1);
            crowd.invariants();
            order.push(id.slot());
        }
        order
    }

    #[test]
    fn each_class_goes_before_the_next_and_in_it_the_oldest() {
        let mut crowd = crowd(100);
        let mut keys = Vec::new();
        // Entered from the last class to the first, two of each.
        let phases = [
            (HttpPhase::Answer, None),
            (HttpPhase::Head, Some(Merit::Authorized)),
            (HttpPhase::Head, Some(Merit::Health)),
            (HttpPhase::Idle, None),
            (HttpPhase::Unread, None),
            (HttpPhase::Body, None),
            (HttpPhase::Head, None),
        ];
        for (phase, slot) in phases.iter().zip(0..) {
            for slot in [2 * slot, 2 * slot + 1] {
                let key = crowd.enter(id(slot));
                file(&mut crowd, key, *phase, 0);
                keys.push((id(slot), key));
            }
        }
        let order = evict_all(&mut crowd, &mut keys);
        assert_eq!(order, [12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3]);
        assert_eq!(crowd.make_room(Tick(0)), Room::Full);
        assert_eq!(crowd.len(), 2, "those being answered stay");
    }

    #[test]
    fn strangers_hold_three_quarters_and_evict_each_other_then() {
        let mut crowd = crowd(8);
        let known = crowd.enter(id(0));
        let merit = Some(Merit::Authorized);
        file(&mut crowd, known, (HttpPhase::Idle, merit), 0);
        for slot in 1..=6 {
            assert_eq!(crowd.make_room(Tick(0)), Room::Free, "{slot}");
            crowd.enter(id(slot));
        }
        assert_eq!(crowd.make_room(Tick(0)), Room::Evict(id(1)));
        // Whoever completes an authorized request makes room for a stranger.
        let key = PlaceKey(6);
        assert_eq!(crowd.places[6].id, id(6));
        file(&mut crowd, key, (HttpPhase::Idle, merit), 0);
        assert_eq!(crowd.make_room(Tick(0)), Room::Free);
        crowd.invariants();
    }

    #[test]
    fn strangers_never_evict_the_known_beyond_their_quota() {
        let mut crowd = crowd(4);
        let known = crowd.enter(id(0));
        let merit = Some(Merit::Authorized);
        file(&mut crowd, known, (HttpPhase::Head, merit), 0);
        for slot in 1..=3 {
            let key = crowd.enter(id(slot));
            file(&mut crowd, key, (HttpPhase::Answer, None), 0);
        }
        assert_eq!(crowd.make_room(Tick(0)), Room::Full);
    }

    #[test]
    fn among_the_known_the_one_whose_last_request_is_oldest_goes_first() {
        let mut crowd = crowd(2);
        let merit = Some(Merit::Authorized);
        let keys = [0, 1].map(|slot| crowd.enter(id(slot)));
        for key in [keys[0], keys[1], keys[0]] {
            file(&mut crowd, key, (HttpPhase::Answer, None), 0);
            file(&mut crowd, key, (HttpPhase::Idle, merit), 0);
        }
        assert_eq!(crowd.make_room(Tick(0)), Room::Evict(id(1)));
    }

    #[test]
    fn a_health_request_counts_for_thirty_seconds() {
        let mut crowd = crowd(2);
        let health = crowd.enter(id(0));
        let merit = Some(Merit::Health);
        file(&mut crowd, health, (HttpPhase::Idle, merit), 0);
        let idle = crowd.enter(id(1));
        file(&mut crowd, idle, (HttpPhase::Idle, None), 1);
        let ends = Tick(0).after(Ticks::from_ms(HEALTH_COUNTS_FOR_MS));
        assert_eq!(crowd.make_room(Tick(ends.0 - 1)), Room::Evict(id(1)));
        assert_eq!(crowd.make_room(ends), Room::Evict(id(1)), "idle for longer");
        crowd.leave(idle);
        crowd.enter(id(2));
        assert_eq!(crowd.make_room(ends), Room::Evict(id(2)), "no whole head");
        crowd.invariants();
    }

    #[test]
    fn who_takes_some_of_its_answers_goes_behind_those_who_take_none() {
        let mut crowd = crowd(1);
        let keys = [0, 1].map(|slot| crowd.enter(id(slot)));
        for (key, has_moved) in [(keys[0], false), (keys[1], false), (keys[0], true)] {
            let standing = Standing {
                phase: HttpPhase::Unread,
                merit: None,
                has_moved,
                unread_bytes: 1,
            };
            crowd.update(key, &standing, Tick(0));
        }
        assert_eq!(crowd.make_room(Tick(0)), Room::Evict(id(1)));
    }

    #[test]
    fn strangers_who_do_not_read_hold_so_much_and_no_more() {
        let mut crowd = Crowd::new(8, 100);
        let unread = |unread_bytes, merit| Standing {
            phase: HttpPhase::Unread,
            merit,
            has_moved: false,
            unread_bytes,
        };
        let keys = [0, 1, 2].map(|slot| crowd.enter(id(slot)));
        // What is authorized does not count.
        let merit = Some(Merit::Authorized);
        crowd.update(keys[0], &unread(1_000, merit), Tick(0));
        crowd.update(keys[1], &unread(60, None), Tick(0));
        crowd.update(keys[2], &unread(40, None), Tick(0));
        assert_eq!(crowd.first_unread_beyond_max(), None);
        crowd.update(keys[2], &unread(41, None), Tick(0));
        assert_eq!(crowd.first_unread_beyond_max(), Some(id(1)));
        crowd.leave(keys[1]);
        assert_eq!(crowd.first_unread_beyond_max(), None);
        crowd.invariants();
    }

    /// Random operations keep every promise of the type.
    #[test]
    fn any_order_of_events_keeps_the_queues_whole() {
        for seed in 0..64 {
            let mut prng = Prng::from_seed(seed);
            let mut crowd = crowd(12);
            let mut keys: Vec<(ConnectionId, PlaceKey)> = Vec::new();
            for step in 0..400 {
                let now = Tick(step * 10);
                let place = prng.pick(0..keys.len());
                match (prng.range(0, 3), place) {
                    (0, Some(place)) => crowd.leave(keys.swap_remove(place).1),
                    (1 | 2, Some(place)) => {
                        let phases = [
                            HttpPhase::Head,
                            HttpPhase::Body,
                            HttpPhase::Answer,
                            HttpPhase::Unread,
                            HttpPhase::Idle,
                        ];
                        let merits = [None, None, Some(Merit::Health), Some(Merit::Authorized)];
                        let phase = prng.pick(phases.into_iter()).expect("some");
                        let merit = prng.pick(merits.into_iter()).expect("some");
                        let standing = Standing {
                            phase,
                            merit,
                            has_moved: prng.chance(1, 2),
                            unread_bytes: prng.range(0, 9) as usize,
                        };
                        crowd.update(keys[place].1, &standing, now);
                    }
                    _ => match crowd.make_room(now) {
                        Room::Free => keys.push((id(step), crowd.enter(id(step)))),
                        Room::Evict(id) => {
                            let at = keys.iter().position(|(it, _)| *it == id);
                            crowd.leave(keys.swap_remove(at.expect("it is in")).1);
                        }
                        Room::Full => {}
                    },
                }
                crowd.invariants();
                assert!(crowd.len() <= 12 && crowd.strangers <= 9, "seed {seed}");
            }
        }
    }
}
