//! Tests of moves: copies are equal, what is refused leaves no trace, and nobody is told.

use super::*;
use crate::config::Config;
use crate::shard::hash::HashSeed;
use crate::shard::settings::ShardSettings;
use crate::shard::{CloseStep, Location};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::id::ShardId;
use crate::vocabulary::publication::Audience;
use campanile_tests::frame::masked;
use campanile_tests::prng::Prng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two shards, with all routes in one namespace.
struct Pair([Shard; 2]);

const GREETING: &[u8] = b"greeting";
/// Indices of the default config's routes.
const WSERVER: u16 = 0;
const PROJECTFORGE: u16 = 4;
const ROUTES: u32 = 5;

impl Pair {
    fn new(change: impl Fn(usize, &mut ShardSettings)) -> Self {
        let mut config = Config::default();
        for route in &mut config.routes {
            route.namespace = Some("town".to_owned());
            route.channels.clear();
        }
        Self([0, 1].map(|index| {
            let mut settings = crate::gateway::shard_settings(&config);
            change(index, &mut settings);
            let seed = [u8::try_from(index).expect("small"); 32];
            let seeds = (HashSeed([1, 2]), seed);
            Shard::new(ShardId::new(index), 2, Arc::new(settings), seeds.0, seeds.1)
        }))
    }

    fn open(&mut self, shard: usize, route: u16) -> ConnectionId {
        self.open_waiting(shard, route, false)
    }

    fn open_waiting(&mut self, shard: usize, route: u16, waits: bool) -> ConnectionId {
        let shard = &mut self.0[shard];
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, route, 0, GREETING, waits);
        id
    }

    fn set_time(&mut self, now: Tick) {
        for shard in &mut self.0 {
            shard.set_time(now);
        }
    }

    /// Delivers all mailbox messages.
    fn settle(&mut self) {
        while let Some((to, message)) = self.0.iter_mut().find_map(Shard::poll_message) {
            self.0[to.index()].handle_message(&message);
        }
        for shard in &self.0 {
            shard.invariants();
        }
    }

    /// Moves a session from the first shard to the second.
    fn move_over(&mut self, id: ConnectionId) -> ConnectionId {
        let export = self.0[0].export(id).expect("it can move");
        let adopted = self.0[1].adopt(&export).expect("there is room");
        self.0[0].forget(id);
        self.settle();
        adopted
    }
}

fn send_frame(shard: &mut Shard, id: ConnectionId, first: u8, payload: &[u8], cut: usize) {
    let mut frame = masked(first, payload, [1, 2, 3, 4]);
    frame.truncate(frame.len().saturating_sub(cut).max(1));
    shard.handle_received(id, &mut frame);
}

/// Sends up to `most` pending bytes of each session. Returns them.
fn send(shard: &mut Shard, most: usize) -> BTreeMap<ConnectionId, Vec<u8>> {
    let mut sent: BTreeMap<ConnectionId, Vec<u8>> = BTreeMap::new();
    for _ in 0..100 {
        let Some((id, bytes)) = shard.poll_send() else {
            break;
        };
        let taken = bytes.len().min(most);
        sent.entry(id)
            .or_default()
            .extend_from_slice(&bytes[..taken]);
        shard.handle_sent(id, u32::try_from(taken).expect("small"));
    }
    sent
}

fn publish(shard: &mut Shard, audience: Audience<'_>, text: &str) -> u32 {
    let content = Content {
        event: "e",
        data: Data::Text(text),
        ..Content::default()
    };
    shard.publish(audience, &content, None)
}

/// Changes a session at random: users, channels, messages, partial messages, sends, time.
fn change(prng: &mut Prng, pair: &mut Pair, id: ConnectionId, now: &mut Tick) {
    let shard = &mut pair.0[0];
    let number = prng.range(0, 9);
    match prng.range(0, 8) {
        0 => shard.bind(id, &format!("user{number}"), b"e"),
        1 => {
            shard.join(id, &format!("channel{number}"));
        }
        2 => {
            shard.leave_channel(id, &format!("channel{number}"));
        }
        3 => {
            let text = "x".repeat(prng.range(0, 3_000) as usize);
            publish(shard, Audience::Session(shard.session_id(id)), &text);
        }
        4 => {
            // Within a fragmented message, or a text of which a character is cut.
            let (first, cut) = (prng.range(0, 1), prng.range(0, 9));
            let first = [0x01, 0x89][first as usize];
            send_frame(shard, id, first, "a\u{e9}\u{20ac}".as_bytes(), cut as usize);
        }
        5 => {
            let most = prng.range(1, 2_000);
            send(shard, most as usize);
        }
        6 => shard.count_host_bytes(id, prng.range(1, 50) as usize),
        _ => {
            now.0 += prng.range(0, 5);
            pair.set_time(*now);
        }
    }
}

#[test]
fn an_adopted_session_is_the_same_session() {
    let (mut partial, mut torn, mut closing, mut named) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut prng = Prng::from_seed(seed);
        let mut pair = Pair::new(|_, _| {});
        let mut now = Tick(prng.range(0, 1_000));
        pair.set_time(now);
        let others = [(); 3].map(|()| pair.open(1, PROJECTFORGE));
        let route = u16::try_from(prng.range(0, ROUTES - 1)).expect("small");
        let id = pair.open_waiting(0, route, prng.chance(1, 9));
        let (session, public) = (pair.0[0].session_id(id), pair.0[0].public_id(id));
        for _ in 0..prng.range(0, 40) {
            change(&mut prng, &mut pair, id, &mut now);
        }
        if prng.chance(1, 5) {
            pair.0[0].close_session(id, CloseCause::Dropped);
        }
        pair.settle();
        if pair.0[0].poll_close().is_some() {
            continue;
        }
        let export = pair.0[0].export(id).expect("it can move");
        let statistics = pair.0[0].statistics(id);
        let adopted = pair.move_over(id);
        assert_eq!(
            pair.0[1].export(adopted).as_ref(),
            Ok(&export),
            "seed {seed}"
        );
        assert_eq!(pair.0[1].statistics(adopted), statistics);
        let is_paused = export.waiting && export.phase == SessionPhase::Open;
        assert_eq!(pair.0[1].is_read_paused(adopted), is_paused);
        assert_eq!(pair.0[1].session_id(adopted), session);
        assert_eq!(pair.0[1].public_id(adopted), public);
        assert_eq!(pair.0[0].connections_count(), 0);
        assert_eq!((pair.0[0].names_bytes(), pair.0[0].partial_bytes()), (0, 0));
        partial += u32::from(export.partial.is_some());
        torn += u32::from(export.outbox.keeps_first);
        closing += u32::from(export.phase != SessionPhase::Open);
        named += u32::from(export.users.len() > 1 && export.channels.len() > 1);

        // It goes on where it was: the rest of its bytes, then whatever comes.
        let sent = send(&mut pair.0[1], usize::MAX);
        let pending = sent.get(&adopted).cloned().unwrap_or_default();
        assert_eq!(pending, export.outbox.bytes);
        pair.0[1].abort(adopted, CloseCause::Reset);
        pair.0[1].handle_closed(adopted);
        pair.settle();
        assert_eq!(pair.0[0].away_count(), 0);
        assert_eq!(pair.0[1].connections_count(), others.len());
    }
    assert!(partial > 50 && torn > 50 && closing > 20 && named > 20);
}

/// What a limit of the second shard refuses leaves no trace there, and the session where it was.
#[test]
fn a_session_without_room_stays_where_it_is() {
    type Change = fn(&mut ShardSettings);
    let limits: [(Change, AdoptError); 3] = [
        (
            |settings| settings.names_bytes_max = 700,
            AdoptError::Names(NamesLimit::Shard),
        ),
        (
            |settings| settings.partial_bytes_max = 100,
            AdoptError::PartialBytes,
        ),
        (
            |settings| settings.publication_bytes_max = 100,
            AdoptError::PublicationBytes,
        ),
    ];
    for (limit, error) in limits {
        let mut pair = Pair::new(|index, settings| {
            if index == 1 {
                limit(settings);
            }
        });
        let id = pair.open(0, WSERVER);
        let shard = &mut pair.0[0];
        shard.count_host_bytes(id, 30);
        shard.bind(id, "jack", b"e");
        for channel in ["a", "b", "c"] {
            shard.join(id, channel);
        }
        send_frame(shard, id, 0x81, &[b'x'; 100], 10);
        publish(
            shard,
            Audience::Session(shard.session_id(id)),
            &"x".repeat(300),
        );
        let export = pair.0[0].export(id).expect("it can move");
        let names = pair.0[1].names_bytes();
        assert_eq!(pair.0[1].adopt(&export), Err(error));
        pair.settle();
        assert_eq!(pair.0[1].connections_count(), 0);
        assert_eq!(pair.0[1].sessions_count(), 0);
        assert_eq!(pair.0[1].names_bytes(), names);
        assert_eq!(pair.0[1].poll_wake(), None);
        assert_eq!(pair.0[0].export(id), Ok(export));
    }
}

#[test]
fn nobody_is_told_of_a_move() {
    let mut pair = Pair::new(|_, _| {});
    let id = pair.open(0, PROJECTFORGE);
    let other = pair.open(0, PROJECTFORGE);
    for id in [id, other] {
        pair.0[0].join(id, "room");
    }
    pair.settle();
    for shard in &mut pair.0 {
        send(shard, usize::MAX);
    }
    let counters = |pair: &Pair| {
        let all = pair.0.each_ref().map(|shard| shard.counters().clone());
        all.map(|it| (it.sessions_opened, it.ends, it.publications))
    };
    let before = counters(&pair);
    pair.move_over(id);
    assert_eq!(counters(&pair), before);
    assert!(pair.0.iter_mut().all(|shard| send(shard, 9).is_empty()));
    assert!(pair.0.iter_mut().all(|shard| shard.poll_ended().is_none()));
    assert_eq!(pair.0.each_ref().map(Shard::sessions_count), [1, 1]);
}

#[test]
fn what_names_a_session_finds_it_after_its_moves() {
    let mut pair = Pair::new(|_, _| {});
    let id = pair.open(0, WSERVER);
    // Its slot on the other shard is not the slot that it opened in.
    let other = pair.open(1, WSERVER);
    let session = pair.0[0].session_id(id);
    let public = pair.0[0].public_id(id).expect("it is a session");
    let adopted = pair.move_over(id);
    assert_eq!(
        pair.0[0].locate_public(public),
        Some((session, Location::There(ShardId::new(1))))
    );
    let here = Some((session, Location::Here(adopted)));
    assert_eq!(pair.0[1].locate_public(public), here);
    let namespace = pair.0[1].namespace_of(adopted);
    let everyone = |except| Audience::Everyone { namespace, except };
    assert_eq!(publish(&mut pair.0[1], everyone(&[]), "x"), 2);
    assert_eq!(publish(&mut pair.0[1], everyone(&[session]), "x"), 1);
    assert_eq!(publish(&mut pair.0[1], Audience::Session(session), "x"), 1);
    let others = pair.0[1].session_id(other);
    assert_eq!(others.connection(), session.connection());
    assert_eq!(publish(&mut pair.0[1], Audience::Session(others), "x"), 1);

    // It comes back, and its first slot has another session.
    pair.open(0, WSERVER);
    let export = pair.0[1].export(adopted).expect("it can move");
    let back = pair.0[0].adopt(&export).expect("there is room");
    pair.0[1].forget(adopted);
    pair.settle();
    assert_eq!(pair.0[0].away_count(), 0);
    assert_eq!(pair.0[0].find_session(session), Some(back));
    assert_eq!(
        pair.0[1].locate_public(public),
        Some((session, Location::There(ShardId::new(0))))
    );
    pair.0[0].abort(back, CloseCause::Reset);
    pair.0[0].handle_closed(back);
    assert_eq!(pair.0[0].locate(session), None);
}

#[test]
fn a_session_moves_only_between_its_events() {
    let mut pair = Pair::new(|_, _| {});
    let shard = &mut pair.0[0];
    let id = shard.handle_accepted().expect("there is room");
    assert_eq!(shard.export(id), Err(ExportError::NoSession));
    shard.handle_upgraded(id, WSERVER, 0, GREETING, false);
    assert_eq!(shard.poll_send(), Some((id, GREETING)));
    assert_eq!(shard.export(id), Err(ExportError::Sending));
    shard.handle_sent(id, 3);
    let export = shard.export(id).expect("it can move");
    assert_eq!(export.outbox.bytes, &GREETING[3..]);
    assert!(export.outbox.keeps_first);
    send(shard, usize::MAX);
    shard.close_session(id, CloseCause::Dropped);
    send(shard, usize::MAX);
    assert_eq!(shard.export(id), Err(ExportError::NotPolled));
    assert_eq!(shard.poll_close(), Some((id, CloseStep::Shutdown)));
    let export = shard.export(id).expect("it can move");
    assert_eq!(export.phase, SessionPhase::Draining);
    shard.abort(id, CloseCause::Reset);
    shard.poll_close();
    assert_eq!(shard.export(id), Err(ExportError::NoSession));
}

/// The times of a session go on, and its deadlines with them.
#[test]
fn deadlines_follow_from_ages() {
    let mut pair = Pair::new(|_, settings| {
        for route in &mut settings.routes {
            (route.ping_interval, route.idle_timeout) = (None, Some(Ticks(100)));
        }
    });
    pair.set_time(Tick(50));
    let id = pair.open(0, WSERVER);
    pair.set_time(Tick(90));
    let adopted = pair.move_over(id);
    for (tick, is_open) in [(150, true), (151, false)] {
        pair.set_time(Tick(tick));
        pair.0[1].fire_deadlines(Tick(tick));
        assert_eq!(pair.0[1].is_open(adopted), is_open, "at {tick}");
    }
}

/// The home of an exclusive user knows its holder by the id that it opened with.
#[test]
fn the_eviction_of_a_holder_follows_it() {
    let mut pair = Pair::new(|_, _| {});
    let holder = pair.0[0].handle_accepted().expect("there is room");
    pair.0[0].claim(holder, 0, "jack", false);
    pair.settle();
    pair.0[0].handle_upgraded(holder, WSERVER, 0, GREETING, false);
    let adopted = pair.move_over(holder);
    let next = pair.0[1].handle_accepted().expect("there is room");
    pair.0[1].claim(next, 0, "jack", false);
    pair.settle();
    assert!(!pair.0[1].is_open(adopted));
    assert_eq!(pair.0[1].counters().ended("replaced"), 1);
    let results: Vec<_> = std::iter::from_fn(|| pair.0[1].poll_claim_result()).collect();
    assert_eq!(results.len(), 1, "{results:?}");
    assert_eq!(results[0].connection, next);
}
