//! The home's table of exclusive users: who holds each, and who waits for it.
//!
//! At most one session in the process may be bound to an exclusive user. Every user has a home
//! shard, see [`home`](super::home), whose table decides. The sessions' own shards send claims and
//! apply the decisions. This file knows names and session ids. It does not know whether a session
//! is open, and it sends nothing: the caller sends each [`ClaimDecision`] to the shard of its
//! session.
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
//! If `b` yielded to a holder, its decision would be `Denied(b)`, and `a` would not be affected. An
//! evicted holder holds the name until it is released, so two sessions never hold it at once, not
//! even while a mailbox message is in flight.

use super::hash::HashSeed;
use super::names_budget::{list_bytes, table_bytes, text_bytes};
use crate::vocabulary::id::SessionId;
use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

/// The home shard's decision about one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimDecision {
    /// The session holds the name until it is released.
    Granted(SessionId),
    /// The session neither holds the name nor waits for it.
    Denied(SessionId),
    /// The name, or one more waiting session, exceeds the memory limit.
    NamesLimit(SessionId),
    /// The session holds the name and must give it up: its shard unbinds and closes it, and then
    /// releases the name here.
    Evict(SessionId),
}

/// The decisions of one call in order, at most two.
pub type ClaimDecisions = SmallVec<[ClaimDecision; 2]>;

/// The held names whose home is this shard, with the sessions that wait for them.
///
/// A name is free, held, or held by an evicted session:
///
/// ```text
///           claim: Granted            claim: Evict
///    free -----------------> held -----------------> evicted, others wait
///     ^                     |  ^                      |
///     |       release       |  |  release: Granted    |
///     +---------------------+  +----------------------+   if more wait: Evict at once
/// ```
///
/// Invariants, checked by [`ClaimTable::invariants`]:
///
/// - A name in the table has one holder; a free name takes no memory.
/// - A session is at most once under a name, as holder or waiting.
/// - While a session waits for a name, its holder has been evicted exactly once.
/// - At most `waiters_max` sessions wait for one name.
/// - `bytes` is the sum over all names and waiting sessions.
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
    /// The waiting sessions, in FIFO order. Few, so removing the first is cheap.
    waiters: SmallVec<[SessionId; 2]>,
    namespace: u16,
    /// Whether the holder has been evicted and has not released the name.
    is_evicted: bool,
}

impl ClaimTable {
    /// Creates an empty table. `seed` keys the hash of the names. At most `waiters_max` sessions
    /// may wait for one name.
    #[must_use]
    pub fn new(seed: HashSeed, waiters_max: usize) -> Self {
        Self {
            seed,
            names: HashTable::new(),
            waiters_max,
            bytes: 0,
        }
    }

    /// Claims the user `name` for `session`. Returns the decisions.
    ///
    /// A free name is granted, also one that the session holds already. If another session holds
    /// the name, the claim is denied if `newcomer_yields` or if `waiters_max` sessions wait
    /// already. Otherwise the session waits until the holder and all earlier ones have released the
    /// name. A claim of a session that waits already changes nothing and has no decision. At most
    /// `room` bytes more may be stored.
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
                return smallvec![ClaimDecision::NamesLimit(session)];
            }
            self.bytes += name_bytes(name);
            let seed = self.seed;
            let new = Name {
                text: name.into(),
                holder: session,
                waiters: SmallVec::new(),
                namespace,
                is_evicted: false,
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
            return smallvec![ClaimDecision::Denied(session)];
        }
        if WAITER_BYTES > room {
            return smallvec![ClaimDecision::NamesLimit(session)];
        }
        self.bytes += WAITER_BYTES;
        known.waiters.push(session);
        known.evict_holder().into_iter().collect()
    }

    /// Releases the user `name`, or ends the wait of `session` for it. Returns the decisions.
    ///
    /// A released name is granted to the session that has waited longest, which is evicted at once
    /// if more wait. If `session` neither holds the name nor waits, nothing happens, so a late or
    /// second release is harmless.
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
        known.is_evicted = false;
        let mut decisions: ClaimDecisions = smallvec![ClaimDecision::Granted(known.holder)];
        if !known.waiters.is_empty() {
            decisions.extend(known.evict_holder());
        }
        decisions
    }

    /// Returns the session that holds the user `name`; `None` if it is free.
    #[must_use]
    pub fn holder(&self, namespace: u16, name: &[u8]) -> Option<SessionId> {
        Some(self.find(namespace, name)?.holder)
    }

    /// Returns the number of sessions that wait for the user `name`.
    #[must_use]
    pub fn waiters_count(&self, namespace: u16, name: &[u8]) -> usize {
        self.find(namespace, name)
            .map_or(0, |name| name.waiters.len())
    }

    /// Returns the bytes of all names and waiting sessions.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of held names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether no name is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Asserts the invariants. Linear in the table: for tests and the simulator.
    pub fn invariants(&self) {
        let bytes = |name: &Name| name_bytes(&name.text) + WAITER_BYTES * name.waiters.len();
        assert_eq!(self.bytes, self.names.iter().map(bytes).sum::<usize>());
        for name in &self.names {
            let found = self.find(name.namespace, &name.text);
            assert!(found.is_some_and(|found| std::ptr::eq(found, name)));
            assert!(name.waiters.len() <= self.waiters_max);
            assert!(name.is_evicted || name.waiters.is_empty());
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

    /// Shrinks a table that is mostly unused, so that the memory of a burst of names is freed.
    fn shrink(&mut self) {
        let len = self.names.len();
        // The bucket count, since tombstones reduce `capacity()` of a table that is still large.
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

    /// Evicts the holder. Returns `None` if it has been evicted already.
    fn evict_holder(&mut self) -> Option<ClaimDecision> {
        if std::mem::replace(&mut self.is_evicted, true) {
            return None;
        }
        Some(ClaimDecision::Evict(self.holder))
    }
}

/// Returns the bytes of a name, without waiting sessions.
fn name_bytes(text: &[u8]) -> usize {
    NAME_BYTES + text_bytes(text.len())
}

const NAME_BYTES: usize = table_bytes::<Name>();
const WAITER_BYTES: usize = list_bytes::<SessionId>();

/// Number of buckets up to which a table is not shrunk.
const BUCKETS_KEPT: usize = 1024;

const _: () = assert!(size_of::<Name>() == 56);

#[cfg(test)]
mod tests {
    use super::ClaimDecision::{Denied, Evict, Granted, NamesLimit};
    use super::*;
    use crate::vocabulary::id::{ConnectionId, ShardId};
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
            [Denied(session(2))]
        );
        assert!(claims.release(0, b"jack", session(2)).is_empty());
        assert_eq!(claims.holder(0, b"jack"), Some(session(1)));
        // Neither does it while others wait.
        claims.claim(0, b"jack", session(3), false, usize::MAX);
        assert_eq!(
            claims.claim(0, b"jack", session(2), true, usize::MAX)[..],
            [Denied(session(2))]
        );
        assert_eq!(
            claims.release(0, b"jack", session(1))[..],
            [Granted(session(3))]
        );
        assert!(claims.release(0, b"jack", session(3)).is_empty());
        assert!(claims.is_empty());
    }

    #[test]
    fn a_holder_is_evicted_once_and_holds_until_it_is_released() {
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

        // Both waiting sessions give up and another claims: the holder is evicted already.
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
    fn the_next_holder_is_evicted_at_once_if_others_wait() {
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
            [Denied(session(3))]
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
            [Denied(session(2))]
        );
    }

    #[test]
    fn the_table_frees_unused_memory() {
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

    /// A name's holder and waiting sessions in order; and whether the holder was evicted.
    type Queue = (Vec<SessionId>, bool);

    /// Compares random claims and releases with plain queues, whose first element is the holder.
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
                let (queue, evicted) = model.entry((namespace, name)).or_default();
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
                            expected.push(Denied(who));
                        } else {
                            queue.push(who);
                            if !std::mem::replace(evicted, true) {
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
                        *evicted = queue.len() > 1;
                        expected.extend(queue.first().copied().filter(|_| *evicted).map(Evict));
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
    enum ClientState {
        New,
        Claiming,
        Holding,
        Ended,
    }

    #[derive(Debug)]
    struct Client {
        state: ClientState,
        yields: bool,
        /// Claims (`true`) and releases in flight to the home.
        sent: VecDeque<bool>,
        decisions: VecDeque<ClaimDecision>,
    }

    /// Sessions claim one name, open and end at random, with messages delayed at random.
    #[test]
    fn one_session_holds_at_a_time_in_the_order_of_the_claims_and_none_waits_forever() {
        let (mut granted_all, mut evicted_all) = (0, 0);
        for seed in 0..200 {
            let mut prng = Prng::from_seed(seed);
            let mut claims = ClaimTable::new(HashSeed([seed, 8]), 4);
            let mut clients: Vec<Client> = (0..12)
                .map(|_| Client {
                    state: ClientState::New,
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
                assert!(step < 10_000, "messages without end");
                let index = prng.range(0, 11);
                let client = &mut clients[index as usize];
                // In the first 200 steps anything happens; after them only pending messages are
                // handled.
                let what = prng.range(if step < 200 { 0 } else { 2 }, 3);
                if what == 0 && client.state == ClientState::New {
                    client.state = ClientState::Claiming;
                    client.sent.push_back(true);
                } else if what == 1
                    && matches!(client.state, ClientState::Claiming | ClientState::Holding)
                {
                    if prng.chance(1, 4) {
                        client.state = ClientState::Ended;
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
                    for decision in decisions {
                        let (Granted(id) | Denied(id) | NamesLimit(id) | Evict(id)) = decision;
                        clients[id.connection().index()]
                            .decisions
                            .push_back(decision);
                        if let Granted(id) = decision {
                            granted.push(id.connection().slot());
                        }
                        if let Evict(id) = decision {
                            assert!(evicted.insert(id), "evicted twice");
                        }
                    }
                } else if what == 3 {
                    receive(client);
                }
                claims.invariants();
                let holders = clients
                    .iter()
                    .filter(|client| client.state == ClientState::Holding);
                assert!(holders.count() <= 1, "seed {seed}");
            }

            assert!(
                clients
                    .iter()
                    .all(|client| client.state != ClientState::Claiming)
            );
            assert_eq!(claims.waiters_count(0, b"jack"), 0);
            let holders = clients
                .iter()
                .position(|client| client.state == ClientState::Holding);
            let holder = claims.holder(0, b"jack");
            assert_eq!(holder.map(|id| id.connection().index()), holders);
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
        let decision = client.decisions.pop_front();
        match (client.state, decision) {
            (ClientState::Claiming, Some(Granted(_))) => client.state = ClientState::Holding,
            (ClientState::Claiming, Some(Denied(_))) => client.state = ClientState::Ended,
            (ClientState::Holding, Some(Evict(_))) => {
                client.state = ClientState::Ended;
                client.sent.push_back(false);
            }
            (ClientState::Ended, _) | (_, None) => {}
            (state, decision) => panic!("{decision:?} while {state:?}"),
        }
    }

    fn claims(waiters_max: usize) -> ClaimTable {
        ClaimTable::new(HashSeed([1, 2]), waiters_max)
    }

    fn session(number: u32) -> SessionId {
        SessionId::new(ShardId::new(0), ConnectionId::new(number, 1))
    }
}
