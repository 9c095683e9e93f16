//! Who holds each exclusive user.
//!
//! A user may be exclusive: then at most one session speaks for it in the whole process. Every
//! name has a home shard, told by [`home`], and only the home's table decides who holds the name.
//! The sessions' own shards ask it, and do what it answers. This file knows names and session ids;
//! it does not know whether a session lives, and it sends nothing: every answer is a [`ClaimDecision`]
//! that the caller takes to the shard of the session in it.
//!
//! ```text
//!   shard of a          home of "jack"           shard of b
//!       | claim(jack, a)      |                      |
//!       |-------------------->|                      |
//!       |<-- Granted(a) ------|                      |
//!       |                     |<-- claim(jack, b) ---|
//!       |<-- Evict(a) --------|                      |    b waits
//!       | release(jack, a)    |                      |
//!       |-------------------->|--- Granted(b) ------>|
//! ```
//!
//! Had `b` been a newcomer that yields, the answer to it would have been `Refused(b)` and `a` would
//! not have noticed. A holder that is told to go holds the name until it is released: two sessions
//! never hold it at once, not even for the time that a letter takes.

use super::hash::HashSeed;
use super::room::{list_bytes, table_bytes, text_bytes};
use crate::vocabulary::id::{SHARDS_MAX, SessionId, ShardId};
use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

/// What the home shard has decided about one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimDecision {
    /// The session holds the name from now on, until it is released.
    Granted(SessionId),
    /// The session does not get the name and is not waiting for it.
    Refused(SessionId),
    /// There is no room for the name, or for one more who waits for it.
    NoRoom(SessionId),
    /// The session holds the name and must give it up: its shard unbinds it and closes it, and
    /// then releases it here.
    Evict(SessionId),
}

/// Decisions in the order in which they were reached; each call reaches at most two.
pub type ClaimDecisions = SmallVec<[ClaimDecision; 2]>;

/// The names at home on this shard that somebody holds, and who waits for them.
///
/// A name is free, held, or held by a session that was told to go:
///
/// ```text
///           claim: Granted            claim: Evict
///    free -----------------> held -----------------> going, others wait
///     ^                     |  ^                      |
///     |       release       |  |  release: Granted    |
///     +---------------------+  +----------------------+   more wait: Evict at once
/// ```
///
/// Invariants, checked by [`ClaimTable::invariants`]:
///
/// - A name in the table has one holder; a free name takes no memory.
/// - No session stands twice under one name, be it as holder or waiting.
/// - While anybody waits for a name, its holder has been told to go, and told once.
/// - At most `waiters_max` sessions wait for one name.
/// - `bytes` is the sum of what names and waiters take.
#[derive(Debug)]
pub struct ClaimTable {
    seed: HashSeed,
    names: HashTable<Name>,
    waiters_max: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Name {
    text: Box<[u8]>,
    holder: SessionId,
    /// First come, first served. Short, so that taking the first away costs little.
    waiters: SmallVec<[SessionId; 2]>,
    namespace: u16,
    /// Whether the holder has been told to go.
    is_going: bool,
}

impl ClaimTable {
    /// No claims; `seed` keys the hash of the names, and at most `waiters_max` sessions may wait
    /// for one name.
    #[must_use]
    pub fn new(seed: HashSeed, waiters_max: usize) -> Self {
        Self {
            seed,
            names: HashTable::new(),
            waiters_max,
            bytes: 0,
        }
    }

    /// `session` wants to be the one that speaks for the user `name`.
    ///
    /// It is granted a free name, and one that it holds already. If another session holds the name,
    /// then a session that yields (`newcomer_yields`) is refused, and any other waits until the
    /// holder and everybody who came before are gone, or is refused if too many wait. A session
    /// that waits already goes on waiting, without a verdict. At most `room` bytes more may be
    /// remembered.
    pub fn claim(
        &mut self,
        namespace: u16,
        name: &[u8],
        session: SessionId,
        newcomer_yields: bool,
        room: usize,
    ) -> ClaimDecisions {
        let hash = self.seed.hash(namespace, &[name]);
        let Some(known) = self.names.find_mut(hash, |other| other.is(namespace, name)) else {
            if name_bytes(name) > room {
                return smallvec![ClaimDecision::NoRoom(session)];
            }
            self.bytes += name_bytes(name);
            let seed = self.seed;
            let new = Name {
                text: name.into(),
                holder: session,
                waiters: SmallVec::new(),
                namespace,
                is_going: false,
            };
            self.names.insert_unique(hash, new, |name| name.hash(seed));
            return smallvec![ClaimDecision::Granted(session)];
        };

        if known.holder == session {
            return smallvec![ClaimDecision::Granted(session)];
        }
        if known.waiters.contains(&session) {
            return ClaimDecisions::new();
        }
        if newcomer_yields || known.waiters.len() >= self.waiters_max {
            return smallvec![ClaimDecision::Refused(session)];
        }
        if WAITER_BYTES > room {
            return smallvec![ClaimDecision::NoRoom(session)];
        }
        self.bytes += WAITER_BYTES;
        known.waiters.push(session);
        known.evict_holder().into_iter().collect()
    }

    /// `session` is gone, or no longer wants the user `name`.
    ///
    /// If it holds the name, the name goes to whoever has waited longest, who is told to go at
    /// once if others wait still; if it waits, it stops waiting. Otherwise nothing happens, so
    /// releasing too late or twice hurts nobody.
    pub fn release(&mut self, namespace: u16, name: &[u8], session: SessionId) -> ClaimDecisions {
        let hash = self.seed.hash(namespace, &[name]);
        let Ok(mut entry) = self
            .names
            .find_entry(hash, |other| other.is(namespace, name))
        else {
            return ClaimDecisions::new();
        };
        let known = entry.get_mut();
        if known.holder != session {
            let before = known.waiters.len();
            known.waiters.retain(|waiter| *waiter != session);
            self.bytes -= WAITER_BYTES * (before - known.waiters.len());
            return ClaimDecisions::new();
        }
        if known.waiters.is_empty() {
            self.bytes -= name_bytes(name);
            entry.remove();
            self.shrink();
            return ClaimDecisions::new();
        }
        self.bytes -= WAITER_BYTES;
        known.holder = known.waiters.remove(0);
        known.is_going = false;
        let mut decisions: ClaimDecisions = smallvec![ClaimDecision::Granted(known.holder)];
        if !known.waiters.is_empty() {
            decisions.extend(known.evict_holder());
        }
        decisions
    }

    /// Who holds the user `name`, if anybody does.
    #[must_use]
    pub fn holder(&self, namespace: u16, name: &[u8]) -> Option<SessionId> {
        Some(self.find(namespace, name)?.holder)
    }

    /// How many sessions wait for the user `name`.
    #[must_use]
    pub fn waiters_count(&self, namespace: u16, name: &[u8]) -> usize {
        self.find(namespace, name)
            .map_or(0, |name| name.waiters.len())
    }

    /// What all names and those who wait for them take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many names are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Asserts what the type promises. Linear in everything: for tests and the simulator.
    pub fn invariants(&self) {
        let bytes = |name: &Name| name_bytes(&name.text) + WAITER_BYTES * name.waiters.len();
        assert_eq!(self.bytes, self.names.iter().map(bytes).sum::<usize>());
        for name in &self.names {
            let found = self.find(name.namespace, &name.text);
            assert!(found.is_some_and(|found| std::ptr::eq(found, name)));
            assert!(name.waiters.len() <= self.waiters_max);
            assert!(name.is_going || name.waiters.is_empty());
            let mut sessions = name.waiters.to_vec();
            sessions.push(name.holder);
            sessions.sort_unstable();
            sessions.dedup();
            assert_eq!(sessions.len(), name.waiters.len() + 1, "a session twice");
        }
    }

    fn find(&self, namespace: u16, name: &[u8]) -> Option<&Name> {
        let hash = self.seed.hash(namespace, &[name]);
        self.names.find(hash, |other| other.is(namespace, name))
    }

    /// Gives memory back once most of the table is unused, so a burst of names is not kept for
    /// ever.
    fn shrink(&mut self) {
        let len = self.names.len();
        // Not the capacity: that is small, too, when a table is full of graves.
        let buckets = self.names.num_buckets();
        if buckets > BUCKETS_KEPT && buckets >= len * 8 {
            let seed = self.seed;
            self.names.shrink_to(len * 2, |name| name.hash(seed));
        }
    }
}

impl Name {
    fn is(&self, namespace: u16, text: &[u8]) -> bool {
        self.namespace == namespace && *self.text == *text
    }

    fn hash(&self, seed: HashSeed) -> u64 {
        seed.hash(self.namespace, &[&self.text])
    }

    /// Tells the holder to go, unless it has been told.
    fn evict_holder(&mut self) -> Option<ClaimDecision> {
        if std::mem::replace(&mut self.is_going, true) {
            return None;
        }
        Some(ClaimDecision::Evict(self.holder))
    }
}

/// The key by which names find their home: one for the whole process, and not the seed of any
/// shard's tables, where names that share a home would otherwise crowd together.
#[derive(Clone, Copy, Debug)]
pub struct HomeKey(pub [u64; 2]);

/// The shard that is the home of `name`: the same wherever in the process it is asked, each of the
/// `shards` as likely as any other, and not to be foreseen without the key.
///
/// # Panics
///
/// If there are no shards, or more than [`SHARDS_MAX`].
#[must_use]
pub fn home(shards: usize, key: HomeKey, namespace: u16, name: &[u8]) -> ShardId {
    assert!((1..=SHARDS_MAX).contains(&shards));
    let hash = u128::from(HashSeed(key.0).hash(namespace, &[name]));
    // The hash as a fraction of 2^64, times the number of shards.
    let index = (hash * shards as u128) >> u64::BITS;
    ShardId::new(usize::try_from(index).expect("below the number of shards"))
}

/// What a name takes besides those who wait for it, in bytes.
fn name_bytes(text: &[u8]) -> usize {
    NAME_BYTES + text_bytes(text.len())
}

const NAME_BYTES: usize = table_bytes::<Name>();
const WAITER_BYTES: usize = list_bytes::<SessionId>();

/// A table of so many buckets, or fewer, is not worth giving back.
const BUCKETS_KEPT: usize = 1024;

const _: () = assert!(size_of::<Name>() == 56);

#[cfg(test)]
mod tests {
    use super::ClaimDecision::{Evict, Granted, NoRoom, Refused};
    use super::*;
    use crate::vocabulary::id::ConnectionId;
    use campanile_tests::prng::Prng;
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    #[test]
    fn a_free_name_is_granted_and_free_again_when_released() {
        let mut claims = claims(9);
        assert_eq!(
            claims.claim(0, b"jack", session(1), false, usize::MAX)[..],
            [Granted(session(1))]
        );
        assert_eq!(claims.holder(0, b"jack"), Some(session(1)));
        assert_eq!(
            claims.claim(0, b"jack", session(1), true, usize::MAX)[..],
            [Granted(session(1))]
        );
        assert_eq!(
            claims.claim(1, b"jack", session(2), true, usize::MAX)[..],
            [Granted(session(2))]
        );
        assert_eq!(
            claims.claim(0, b"jill", session(2), true, usize::MAX)[..],
            [Granted(session(2))]
        );
        assert_eq!(claims.len(), 3);
        assert!(claims.release(0, b"jack", session(1)).is_empty());
        assert_eq!(claims.holder(0, b"jack"), None);
        assert_eq!(claims.len(), 2);
        assert_eq!(
            claims.claim(0, b"jack", session(3), true, usize::MAX)[..],
            [Granted(session(3))]
        );
    }

    #[test]
    fn a_newcomer_that_yields_changes_nothing() {
        let mut claims = claims(9);
        claims.claim(0, b"jack", session(1), true, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(2), true, usize::MAX)[..],
            [Refused(session(2))]
        );
        assert!(claims.release(0, b"jack", session(2)).is_empty());
        assert_eq!(claims.holder(0, b"jack"), Some(session(1)));
        // Neither does it while others wait.
        claims.claim(0, b"jack", session(3), false, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(2), true, usize::MAX)[..],
            [Refused(session(2))]
        );
        assert_eq!(
            claims.release(0, b"jack", session(1))[..],
            [Granted(session(3))]
        );
        assert!(claims.release(0, b"jack", session(3)).is_empty());
        assert!(claims.is_empty());
    }

    #[test]
    fn a_holder_is_told_once_to_go_and_holds_until_it_is_released() {
        let mut claims = claims(9);
        claims.claim(0, b"jack", session(1), false, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(2), false, usize::MAX)[..],
            [Evict(session(1))]
        );
        assert!(
            claims
                .claim(0, b"jack", session(3), false, usize::MAX)
                .is_empty()
        );
        assert!(
            claims
                .claim(0, b"jack", session(3), true, usize::MAX)
                .is_empty(),
            "waits already"
        );
        assert_eq!(claims.holder(0, b"jack"), Some(session(1)));
        assert_eq!(claims.waiters_count(0, b"jack"), 2);

        // Those who waited give up, another comes: the holder is on its way out already.
        claims.release(0, b"jack", session(2));
        claims.release(0, b"jack", session(3));
        assert_eq!(claims.waiters_count(0, b"jack"), 0);
        assert!(
            claims
                .claim(0, b"jack", session(4), false, usize::MAX)
                .is_empty()
        );
        assert_eq!(
            claims.release(0, b"jack", session(1))[..],
            [Granted(session(4))]
        );
        assert_eq!(
            claims.claim(0, b"jack", session(5), false, usize::MAX)[..],
            [Evict(session(4))]
        );
    }

    #[test]
    fn the_next_in_turn_is_told_to_go_at_once_if_others_wait() {
        let mut claims = claims(9);
        for number in 1..=4 {
            claims.claim(0, b"jack", session(number), false, usize::MAX);
        }
        let (b, c, d) = (session(2), session(3), session(4));
        assert_eq!(
            claims.release(0, b"jack", session(1))[..],
            [Granted(b), Evict(b)]
        );
        assert_eq!(claims.release(0, b"jack", b)[..], [Granted(c), Evict(c)]);
        assert_eq!(claims.release(0, b"jack", c)[..], [Granted(d)]);
        assert!(claims.release(0, b"jack", c).is_empty(), "released twice");
        assert_eq!(claims.holder(0, b"jack"), Some(d));
    }

    #[test]
    fn no_more_than_waiters_max_wait() {
        let mut claims = claims(1);
        claims.claim(0, b"jack", session(1), false, usize::MAX);
        claims.claim(0, b"jack", session(2), false, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(3), false, usize::MAX)[..],
            [Refused(session(3))]
        );
        claims.release(0, b"jack", session(2));
        assert!(
            claims
                .claim(0, b"jack", session(3), false, usize::MAX)
                .is_empty()
        );
        assert_eq!(claims.waiters_count(0, b"jack"), 1);

        let mut claims = ClaimTable::new(HashSeed([1, 2]), 0);
        claims.claim(0, b"jack", session(1), false, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(2), false, usize::MAX)[..],
            [Refused(session(2))]
        );
    }

    #[test]
    fn the_table_gives_its_memory_back() {
        let mut claims = claims(9);
        for number in 0..100_000_u32 {
            claims.claim(0, &number.to_le_bytes(), session(1), false, usize::MAX);
        }
        for number in 10..100_000_u32 {
            claims.release(0, &number.to_le_bytes(), session(1));
        }
        claims.invariants();
        assert_eq!(claims.len(), 10);
        assert!(claims.names.num_buckets() <= BUCKETS_KEPT);
        assert_eq!(claims.holder(0, &9_u32.to_le_bytes()), Some(session(1)));
    }

    /// A name's queue: who holds it, then who waits; and whether the first was told to go.
    type Queue = (Vec<SessionId>, bool);

    /// Random claims and releases against plain queues, the holder being the first in its queue.
    #[test]
    fn agrees_with_plain_queues() {
        const WAITERS_MAX: usize = 3;
        for seed in 0..60 {
            let mut prng = Prng::from_seed(seed);
            let mut claims = ClaimTable::new(HashSeed([seed, 7]), WAITERS_MAX);
            let mut model: BTreeMap<(u16, u8), Queue> = BTreeMap::new();
            for _ in 0..600 {
                let namespace = u16::try_from(prng.range(0, 1)).expect("small");
                let name = u8::try_from(prng.range(0, 1)).expect("small");
                let who = session(prng.range(1, 7));
                let (queue, told) = model.entry((namespace, name)).or_default();
                let mut expected = Vec::new();
                let got = if prng.chance(1, 2) {
                    let yields = prng.chance(1, 3);
                    if queue.is_empty() || queue[0] == who {
                        expected.push(Granted(who));
                        *queue = if queue.is_empty() {
                            vec![who]
                        } else {
                            queue.clone()
                        };
                    } else if !queue.contains(&who) {
                        if yields || queue.len() > WAITERS_MAX {
                            expected.push(Refused(who));
                        } else {
                            queue.push(who);
                            if !std::mem::replace(told, true) {
                                expected.push(Evict(queue[0]));
                            }
                        }
                    }
                    claims.claim(namespace, &[name], who, yields, usize::MAX)
                } else {
                    let held = queue.first() == Some(&who);
                    queue.retain(|other| *other != who);
                    if held {
                        expected.extend(queue.first().copied().map(Granted));
                        *told = queue.len() > 1;
                        expected.extend(queue.first().copied().filter(|_| *told).map(Evict));
                    }
                    claims.release(namespace, &[name], who)
                };
                assert_eq!(got[..], expected[..], "seed {seed}");

                claims.invariants();
                model.retain(|_, (queue, _)| !queue.is_empty());
                assert_eq!(claims.len(), model.len());
                for ((namespace, name), (queue, _)) in &model {
                    assert_eq!(claims.holder(*namespace, &[*name]), queue.first().copied());
                    let waiters = claims.waiters_count(*namespace, &[*name]);
                    assert_eq!(waiters, queue.len() - 1);
                }
            }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Life {
        Unborn,
        Asking,
        Speaking,
        Over,
    }

    #[derive(Debug)]
    struct Client {
        life: Life,
        yields: bool,
        /// Claims (`true`) and releases on their way home.
        sent: VecDeque<bool>,
        decisions: VecDeque<ClaimDecision>,
    }

    /// Sessions that claim one name and come and go while letters take their time.
    #[test]
    fn one_speaks_at_a_time_in_the_order_of_the_claims_and_nobody_waits_for_ever() {
        let (mut granted_all, mut evicted_all) = (0, 0);
        for seed in 0..200 {
            let mut prng = Prng::from_seed(seed);
            let mut claims = ClaimTable::new(HashSeed([seed, 8]), 4);
            let mut clients: Vec<Client> = (0..12)
                .map(|_| Client {
                    life: Life::Unborn,
                    yields: prng.chance(1, 4),
                    sent: VecDeque::new(),
                    decisions: VecDeque::new(),
                })
                .collect();
            let (mut claimed, mut granted) = (Vec::new(), Vec::new());
            let mut evicted = BTreeSet::new();
            let quiet = |clients: &[Client]| {
                let mut clients = clients.iter();
                clients.all(|client| client.sent.is_empty() && client.decisions.is_empty())
            };
            for step in 0.. {
                if step >= 200 && quiet(&clients) {
                    break;
                }
                assert!(step < 10_000, "letters without end");
                let index = prng.range(0, 11);
                let client = &mut clients[index as usize];
                // At first everything happens; then nothing new, until all letters are read.
                let what = prng.range(if step < 200 { 0 } else { 2 }, 3);
                if what == 0 && client.life == Life::Unborn {
                    client.life = Life::Asking;
                    client.sent.push_back(true);
                } else if what == 1 && matches!(client.life, Life::Asking | Life::Speaking) {
                    if prng.chance(1, 4) {
                        client.life = Life::Over;
                        client.sent.push_back(false);
                    }
                } else if what == 2 {
                    let decisions = match client.sent.pop_front() {
                        Some(true) => {
                            claimed.push(index);
                            claims.claim(0, b"jack", session(index), client.yields, usize::MAX)
                        }
                        Some(false) => claims.release(0, b"jack", session(index)),
                        None => ClaimDecisions::new(),
                    };
                    for verdict in decisions {
                        let (Granted(id) | Refused(id) | NoRoom(id) | Evict(id)) = verdict;
                        clients[id.connection().index()]
                            .decisions
                            .push_back(verdict);
                        if let Granted(id) = verdict {
                            granted.push(id.connection().slot());
                        }
                        if let Evict(id) = verdict {
                            assert!(evicted.insert(id), "told twice to go");
                        }
                    }
                } else if what == 3 {
                    receive(client);
                }
                claims.invariants();
                let speaking = clients
                    .iter()
                    .filter(|client| client.life == Life::Speaking);
                assert!(speaking.count() <= 1, "seed {seed}");
            }

            assert!(clients.iter().all(|client| client.life != Life::Asking));
            assert_eq!(claims.waiters_count(0, b"jack"), 0);
            let speaker = clients
                .iter()
                .position(|client| client.life == Life::Speaking);
            let holder = claims.holder(0, b"jack");
            assert_eq!(holder.map(|id| id.connection().index()), speaker);
            let mut claimed = claimed.into_iter();
            for index in &granted {
                assert!(
                    claimed.any(|other| other == *index),
                    "out of turn, seed {seed}"
                );
            }
            granted_all += granted.len();
            evicted_all += evicted.len();
        }
        assert!(
            granted_all > 600 && evicted_all > 300,
            "{granted_all}, {evicted_all}"
        );
    }

    fn receive(client: &mut Client) {
        let verdict = client.decisions.pop_front();
        match (client.life, verdict) {
            (Life::Asking, Some(Granted(_))) => client.life = Life::Speaking,
            (Life::Asking, Some(Refused(_))) => client.life = Life::Over,
            (Life::Speaking, Some(Evict(_))) => {
                client.life = Life::Over;
                client.sent.push_back(false);
            }
            (Life::Over, _) | (_, None) => {}
            (life, verdict) => panic!("{verdict:?} while {life:?}"),
        }
    }

    #[test]
    fn every_name_has_one_home_and_every_shard_its_share() {
        let key = HomeKey([3, 4]);
        for shards in [1, 2, 3, 7, SHARDS_MAX] {
            let mut names_of_shard = vec![0_usize; shards];
            for number in 0..50_000_u32 {
                let shard = home(shards, key, 0, &number.to_le_bytes());
                assert_eq!(shard, home(shards, key, 0, &number.to_le_bytes()));
                names_of_shard[shard.index()] += 1;
            }
            // Five standard deviations of a fair share.
            let fair = 50_000 / shards;
            let slack = 5 * fair.isqrt() + 1;
            for names in names_of_shard {
                assert!(names.abs_diff(fair) <= slack, "{names} of {shards}");
            }
        }
    }

    #[test]
    fn the_key_and_the_namespace_move_homes() {
        let names = || (0..1_000_u32).map(u32::to_le_bytes);
        let moved = |other: HomeKey, namespace| {
            let before = |name: &[u8]| home(8, HomeKey([3, 4]), 0, name);
            names()
                .filter(|name| home(8, other, namespace, name) != before(name))
                .count()
        };
        assert_eq!(moved(HomeKey([3, 4]), 0), 0);
        assert!(moved(HomeKey([3, 5]), 0) > 700);
        assert!(moved(HomeKey([3, 4]), 1) > 700);
    }

    fn claims(waiters_max: usize) -> ClaimTable {
        ClaimTable::new(HashSeed([1, 2]), waiters_max)
    }

    fn session(number: u32) -> SessionId {
        SessionId::new(ShardId::new(0), ConnectionId::new(number, 1))
    }
}
