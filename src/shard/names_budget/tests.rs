//! Compares the counted bytes with recomputed sums, and tests what happens at each limit.

use crate::config::{Config, Route};
use crate::dialect::edk::Edk;
use crate::gateway::shard_settings;
use crate::shard::hash::HashSeed;
use crate::shard::{ClaimOutcome, JoinResult, NamesLimit, Shard};
use crate::vocabulary::content::{Correlation, Outcome};
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::time::Tick;
use crate::ws::MessageType;
use campanile_tests::prng::Prng;
use std::sync::Arc;

/// Indices of the default config's routes.
const WSERVER: u16 = 0;
const EDK: u16 = 1;
const WSRV: u16 = 2;
const EASYWS: u16 = 3;
const PROJECTFORGE: u16 = 4;

fn shard(session: u32, shard: u64, home_of_all: bool) -> Shard {
    let mut config = Config::default();
    config.limits.names_bytes_per_session_max = session;
    config.limits.names_bytes_max = shard;
    config.limits.claims_waiting_max = 2;
    for route in &mut config.routes {
        // One namespace, so that sessions of several dialects share channels.
        route.namespace = (route.dialect.name() != "echo").then(|| "town".to_owned());
        route.channels.clear();
    }
    let mut yields = Route::new("/edk-yields", &Edk);
    yields.kick_out_new_user_conn = true;
    config.routes.push(yields);
    let settings = Arc::new(shard_settings(&config));
    let shards = if home_of_all { 1 } else { 2 };
    Shard::new(ShardId::new(0), shards, settings, HashSeed([1, 2]), [3; 32])
}

fn open(shard: &mut Shard, route: u16) -> ConnectionId {
    let id = shard.handle_accepted().expect("there is room");
    shard.handle_upgraded(id, route, 0, b"greeting", false);
    drain(shard);
    id
}

/// Completes all sends and closes. Returns the bytes sent.
fn drain(shard: &mut Shard) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some((id, bytes)) = shard.poll_send() {
        sent.extend_from_slice(bytes);
        let taken = u32::try_from(bytes.len()).expect("small");
        shard.handle_sent(id, taken);
    }
    while let Some((id, step)) = shard.poll_close() {
        match step {
            crate::shard::CloseStep::Shutdown => shard.handle_hangup(id, false),
            crate::shard::CloseStep::Finish | crate::shard::CloseStep::Reset => {
                shard.handle_closed(id);
            }
            crate::shard::CloseStep::Measure => shard.handle_unacknowledged(id, 0),
        }
    }
    while shard.poll_message().is_some() {}
    sent
}

fn tick(shard: &mut Shard, now: Tick) {
    shard.set_time(now);
    shard.fire_deadlines(now);
}

fn enqueue_outcome(shard: &mut Shard, id: ConnectionId, text: &str) -> String {
    let len = u16::try_from(text.len()).expect("a short text");
    let [high, low] = len.to_be_bytes();
    let head = [0x81, 0xfe, high, low, 0, 0, 0, 0];
    let mut frame = [&head[..], text.as_bytes()].concat();
    shard.handle_received(id, &mut frame);
    String::from_utf8_lossy(&drain(shard)).into_owned()
}

fn register(user: &str, event: &str) -> String {
    format!(r#"{{"token":"{user}","event":"{event}"}}"#)
}

/// After each of random joins, leaves, bindings, claims and closes, every sum equals the recomputed
/// one and is within its limit; in the end all sums are zero.
#[test]
fn counted_bytes_equal_recomputed_sums() {
    let (mut denied, mut ended) = (0, 0);
    for seed in 0..80 {
        let mut prng = Prng::from_seed(seed);
        let (session_max, shard_max) = (8_000, 30_000 + prng.below(40_000));
        let mut shard = shard(session_max, shard_max, prng.chance(1, 2));
        let mut sessions: Vec<ConnectionId> = Vec::new();
        let mut claims: Vec<ConnectionId> = Vec::new();
        let text = |prng: &mut Prng| {
            let letter = char::from(b'a' + u8::try_from(prng.range(0, 5)).expect("small"));
            let len = prng.pick([1_u32, 5, 40, 400, 1_000].into_iter());
            letter.to_string().repeat(len.expect("some") as usize)
        };
        for step in 0..300 {
            tick(&mut shard, Tick(step));
            let session = prng.pick(sessions.iter().copied());
            match (prng.range(0, 19), session) {
                (0..=2, _) | (_, None) => {
                    let route = prng.pick([WSERVER, WSRV, EASYWS, PROJECTFORGE].into_iter());
                    sessions.push(open(&mut shard, route.expect("some")));
                }
                (3..=7, Some(id)) => {
                    let user = text(&mut prng);
                    shard.bind(id, &user, text(&mut prng).as_bytes());
                }
                (8..=12, Some(id)) => {
                    let joined = shard.join(id, &text(&mut prng));
                    denied += u32::from(matches!(joined, JoinResult::NamesLimit(_)));
                }
                (13..=14, Some(id)) => drop(shard.leave_channel(id, &text(&mut prng))),
                (15, Some(id)) => shard.count_host_bytes(id, prng.range(0, 2_000) as usize),
                (16, Some(id)) => {
                    shard.close_session(id, crate::vocabulary::close::CloseCause::Dropped);
                }
                (17, _) => {
                    let id = shard.handle_accepted().expect("there is room");
                    shard.claim(id, 0, &text(&mut prng), prng.chance(1, 2));
                    claims.push(id);
                }
                (_, _) => {
                    if let Some(id) = prng.pick(claims.iter().copied()) {
                        claims.retain(|&other| other != id);
                        shard.release_claim(id);
                        shard.abort(id, crate::vocabulary::close::CloseCause::Reset);
                    }
                }
            }
            while let Some(result) = shard.poll_claim_result() {
                denied += u32::from(result.outcome == ClaimOutcome::NamesLimit);
            }
            drain(&mut shard);
            shard.invariants();
            let before = sessions.len();
            sessions.retain(|&id| shard.is_open(id));
            ended += before - sessions.len();
            assert!(shard.names_bytes() as u64 <= shard_max, "seed {seed}");
            for &id in &sessions {
                assert!(shard.names_bytes_of(id) <= session_max as usize);
            }
        }
        shard.abort_all();
        drain(&mut shard);
        shard.invariants();
        assert_eq!((shard.names_bytes(), shard.connections_count()), (0, 0));
    }
    assert!(denied > 20 && ended > 100, "{denied} denied, {ended} ended");
}

#[test]
fn a_session_that_exceeds_its_limit_is_closed_and_its_names_are_removed() {
    let mut shard = shard(20_000, 1 << 30, true);
    let (greedy, other) = (open(&mut shard, WSERVER), open(&mut shard, WSERVER));
    enqueue_outcome(&mut shard, other, &register("jack", "e"));
    let before = shard.names_bytes();
    let mut count = 0;
    let closed = loop {
        let user = format!("{count:01000}");
        let sent = enqueue_outcome(&mut shard, greedy, &register(&user, &user));
        if !sent.is_empty() {
            break sent;
        }
        count += 1;
        assert!(shard.names_bytes_of(greedy) <= 20_000);
    };
    assert!(closed.ends_with("\x03\u{fffd}too many names"), "{closed:?}");
    assert!((4..20).contains(&count), "{count}");
    assert!(shard.is_open(other) && !shard.is_open(greedy));
    assert_eq!(shard.names_bytes(), before);
    assert_eq!(shard.counters().ended("too_many_names"), 1);
    shard.invariants();
}

#[test]
fn a_join_above_the_limit_is_denied_in_the_sessions_dialect() {
    for (session, shard_max, expected) in [
        (20_000, 1 << 30, NamesLimit::Session),
        (1 << 20, 1 << 20, NamesLimit::Shard),
    ] {
        let mut shard = shard(session, shard_max, true);
        let words = expected.denial().as_str();
        let mut members: Vec<ConnectionId> = Vec::new();
        'fill: loop {
            let id = open(&mut shard, EASYWS);
            members.push(id);
            for number in 0..200 {
                let name = format!("{}-{number:0900}", id.slot());
                match shard.join(id, &name) {
                    JoinResult::Joined => {}
                    JoinResult::NamesLimit(limit) => {
                        assert_eq!(limit, expected);
                        break 'fill;
                    }
                    other @ (JoinResult::AlreadyJoined
                    | JoinResult::TooManyChannels
                    | JoinResult::Invalid) => {
                        panic!("{other:?}")
                    }
                }
            }
        }
        let id = *members.last().expect("a session joined");
        let before = (shard.names_bytes(), shard.names_bytes_of(id));
        let name = "another".repeat(130);
        let denial = shard.join(id, &name).denial();
        assert_eq!(denial, Some(expected.denial()));
        let outcome = Outcome::Denied(expected.denial());
        let correlation = Correlation::of("listen", MessageType::Text);
        shard.enqueue_outcome(id, &correlation, &outcome);
        let sent = String::from_utf8_lossy(&drain(&mut shard)).into_owned();
        assert!(sent.contains(words), "{sent:?}");
        assert!(shard.is_open(id));
        assert_eq!(before, (shard.names_bytes(), shard.names_bytes_of(id)));

        // This dialect encodes no denial, and without a response the client would wait forever.
        let silent = open(&mut shard, EDK);
        shard.enqueue_outcome(silent, &correlation, &outcome);
        let close = String::from_utf8_lossy(&drain(&mut shard)).into_owned();
        assert!(close.ends_with(words), "{close:?}");
        assert!(!shard.is_open(silent));
        assert_eq!(shard.counters().ended(expected.close_cause().label()), 1);

        // A session that ends makes room.
        shard.close_session(members[0], crate::vocabulary::close::CloseCause::Dropped);
        drain(&mut shard);
        let newcomer = open(&mut shard, EASYWS);
        assert_eq!(shard.join(newcomer, &name), JoinResult::Joined);
        shard.invariants();
    }
}

#[test]
fn a_full_shard_closes_sessions_without_a_denial_message_and_lets_them_reconnect() {
    let mut shard = shard(1 << 20, 1 << 20, true);
    let mut number = 0;
    let closed = loop {
        let id = open(&mut shard, WSERVER);
        for _ in 0..100 {
            number += 1;
            let user = format!("{number:01000}");
            shard.bind(id, &user, user.as_bytes());
        }
        let sent = String::from_utf8_lossy(&drain(&mut shard)).into_owned();
        if !sent.is_empty() {
            break sent;
        }
        assert!(number < 10_000, "the shard is never full");
    };
    assert!(
        closed.ends_with("\x03\u{fffd}no room for another name"),
        "{closed:?}"
    );
    assert_eq!(shard.counters().ended("names_full"), 1);
    shard.invariants();
}

#[test]
fn a_claim_above_the_limit_is_denied() {
    let mut shard = shard(1 << 20, 1 << 20, true);
    let mut granted = 0;
    let outcome = loop {
        let id = shard.handle_accepted().expect("there is room");
        shard.claim(id, 0, &format!("{granted:01000}"), true);
        let result = shard.poll_claim_result().expect("it is the home of all");
        if result.outcome != ClaimOutcome::Granted {
            break result.outcome;
        }
        granted += 1;
    };
    assert_eq!(outcome, ClaimOutcome::NamesLimit);
    assert!((300..1_000).contains(&granted), "{granted}");
    shard.invariants();
}
