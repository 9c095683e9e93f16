//! Tests of partial messages: the time limit and the text check, against models.

use crate::config::Config;
use crate::gateway::shard_settings;
use crate::shard::hash::HashSeed;
use crate::shard::settings::TokenRule;
use crate::shard::{HostResponse, Shard};
use crate::vocabulary::content::{Correlation, MessageType};
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::time::{TICK_MS, Tick};
use campanile_tests::prng::Prng;
use std::sync::Arc;

const TIMEOUT: u32 = 50;

fn shard(message_timeout: u32) -> Shard {
    let ms = |ticks: u32| ticks * u32::try_from(TICK_MS).expect("small");
    let mut config = Config::default();
    config.heartbeat.message_timeout_ms = ms(message_timeout);
    for route in &mut config.routes {
        route.limits.ping_interval_ms = ms(400);
        route.limits.idle_timeout_ms = ms(1_000);
    }
    let mut settings = shard_settings(&config);
    settings.routes[0].tokens = TokenRule::AskHost;
    Shard::new(
        ShardId::new(0),
        1,
        Arc::new(settings),
        HashSeed([1, 2]),
        [3; 32],
    )
}

fn open(shard: &mut Shard) -> ConnectionId {
    open_on(shard, 0)
}

fn open_on(shard: &mut Shard, route: u16) -> ConnectionId {
    let id = shard.handle_accepted().expect("there is room");
    shard.handle_upgraded(id, route, 0, b"greeting", false);
    send_all(shard);
    id
}

fn send_all(shard: &mut Shard) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some((id, bytes)) = shard.poll_send() {
        sent.extend_from_slice(bytes);
        let taken = u32::try_from(bytes.len()).expect("small");
        shard.handle_sent(id, taken);
    }
    shard.invariants();
    sent
}

/// Feeds the bytes one at a time, one per two ticks. Returns the time of the last step, and whether
/// the session ended.
fn trickle(shard: &mut Shard, id: ConnectionId, bytes: &[u8], from: Tick) -> (Tick, bool) {
    let mut now = from;
    for byte in bytes {
        now = Tick(now.0 + 2);
        tick(shard, now);
        if !shard.is_open(id) {
            return (now, true);
        }
        shard.handle_received(id, &mut [*byte]);
        send_all(shard);
    }
    (now, false)
}

fn tick(shard: &mut Shard, now: Tick) {
    shard.set_time(now);
    shard.fire_deadlines(now);
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short frame");
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

#[test]
fn a_message_that_trickles_is_closed_when_its_time_is_over() {
    let mut shard = shard(TIMEOUT);
    let id = open(&mut shard);
    let (now, ended) = trickle(&mut shard, id, &frame(0x81, &[b' '; 100]), Tick(0));
    assert!(ended, "it may take {TIMEOUT} ticks");
    assert_eq!(shard.counters().ended("message_timeout"), 1);
    // The first byte was fed at tick 2.
    assert!(now.0 > TIMEOUT + 2 && now.0 <= TIMEOUT + 6, "{now:?}");
}

#[test]
fn fragments_count_from_the_first_and_control_frames_between_change_nothing() {
    let mut shard = shard(TIMEOUT);
    let id = open(&mut shard);
    let parts = [
        frame(0x01, b" "),
        frame(0x89, b"ping"),
        frame(0x00, b" "),
        frame(0x8a, b"pong"),
        frame(0x80, &[b' '; 20]),
    ];
    let (_, ended) = trickle(&mut shard, id, &parts.concat(), Tick(0));
    assert!(ended);
    assert_eq!(shard.counters().ended("message_timeout"), 1);
}

#[test]
fn messages_that_are_complete_in_time_may_follow_each_other_forever() {
    let mut shard = shard(TIMEOUT);
    let id = open(&mut shard);
    let mut now = Tick(0);
    for _ in 0..20 {
        let messages = [frame(0x81, &[b' '; 9]), frame(0x89, b"ping")].concat();
        let (then, ended) = trickle(&mut shard, id, &messages, now);
        assert!(!ended);
        now = then;
    }
    // The second message begins in the chunk in which the first ends.
    let two = [frame(0x81, &[b' '; 9]), frame(0x81, &[b' '; 9])].concat();
    for part in [&two[..14], &two[14..20], &two[20..]] {
        now = Tick(now.0 + TIMEOUT - 10);
        tick(&mut shard, now);
        shard.handle_received(id, &mut part.to_vec());
        assert!(shard.is_open(id));
    }
}

#[test]
fn zero_is_off() {
    let mut shard = shard(0);
    let id = open(&mut shard);
    let (_, ended) = trickle(&mut shard, id, &frame(0x81, &[b' '; 100]), Tick(0));
    assert!(!ended);
}

/// The rest of the message has arrived and is not read, so its time does not count.
#[test]
fn a_session_that_is_not_read_loses_no_time() {
    let mut shard = shard(TIMEOUT);
    let id = open(&mut shard);
    let mut bytes = frame(0x81, br#"{"token":"t","event":"e"}"#);
    bytes.extend(frame(0x81, b"half of it"));
    let held = bytes.len() - 5;
    let read = shard.handle_received(id, &mut bytes[..held]);
    let request = shard
        .poll_host_request()
        .expect("the token is to be verified");
    assert!(read < held, "it waits");
    let mut now = Tick(0);
    for _ in 0..8 {
        now = Tick(now.0 + TIMEOUT / 2);
        tick(&mut shard, now);
        send_all(&mut shard);
    }
    let response = HostResponse::User {
        user: Some("jack".into()),
        event: "e".into(),
        correlation: Correlation::of("", MessageType::Text),
    };
    shard.handle_host_response(request.session, &response);
    shard.handle_received(id, &mut bytes[read..held]);
    now = Tick(now.0 + TIMEOUT - 2);
    tick(&mut shard, now);
    assert!(shard.is_open(id), "its time restarted when reads resumed");
    now = Tick(now.0 + 8);
    tick(&mut shard, now);
    assert!(!shard.is_open(id));
    assert_eq!(shard.counters().ended("message_timeout"), 1);
}

/// With random chunks of random frames at random times, a session ends exactly when a frame or
/// message has been partial for the time limit, and never between messages.
#[test]
fn agrees_with_a_list_of_arrival_times() {
    let mut ended_count = 0;
    for seed in 0..300 {
        let mut prng = Prng::from_seed(seed);
        let mut shard = shard(TIMEOUT);
        let id = open(&mut shard);
        let (mut now, mut began, mut is_open_message) = (Tick(0), None, false);
        'run: for _ in 0..60 {
            let is_control = prng.chance(1, 4);
            let fin = is_control || prng.chance(2, 3);
            let first = match (is_control, is_open_message) {
                (true, _) => 0x89,
                (false, true) => u8::from(fin) << 7,
                (false, false) => (u8::from(fin) << 7) | 1,
            };
            let payload = vec![b' '; prng.range(0, 20) as usize];
            let bytes = frame(first, &payload);
            let mut at = 0;
            while at < bytes.len() {
                now = Tick(now.0 + prng.range(0, 12));
                tick(&mut shard, now);
                let due = began.map(|began: Tick| began.0 + TIMEOUT + 1);
                let is_late = due.is_some_and(|due| due <= now.0);
                assert_eq!(!shard.is_open(id), is_late, "seed {seed}, {now:?}");
                if is_late {
                    ended_count += shard.counters().ended("message_timeout");
                    break 'run;
                }
                let rest = u32::try_from(bytes.len() - at).expect("a short frame");
                let len = prng.range(1, rest) as usize;
                shard.handle_received(id, &mut bytes[at..at + len].to_vec());
                send_all(&mut shard);
                at += len;
                began = began.or(Some(now));
            }
            if !is_control {
                is_open_message = !fin;
            }
            if !is_open_message {
                began = None;
            }
        }
    }
    assert!(ended_count > 100, "{ended_count}");
}

/// Returns the frames of some valid or nearly valid text messages, in fragments with pings between
/// them; and the number of bytes after which one of them is invalid, if any.
fn texts(prng: &mut Prng) -> (Vec<u8>, Option<usize>) {
    let (mut stream, mut fails_at) = (Vec::new(), None);
    for _ in 0..prng.range(1, 4) {
        let mut text = "a\u{e9}\u{20ac}\u{1f514}".repeat(prng.range(0, 3) as usize);
        text.truncate(text.floor_char_boundary(prng.range(0, 30) as usize));
        let mut text = text.into_bytes();
        if prng.chance(1, 3) {
            let at = prng.range(0, u32::try_from(text.len()).expect("short")) as usize;
            let wrong: [&[u8]; 4] = [b"\xff", b"\xc3", b"\xf4\x90", b"\xed\xa0"];
            text.splice(at..at, wrong[prng.range(0, 3) as usize].iter().copied());
        }
        // The offset in the stream after each byte of the text.
        let (mut ends, mut opcode, mut fin) = (Vec::new(), 1, false);
        while !fin {
            if prng.chance(1, 3) {
                stream.extend(frame(0x89, b"ping"));
            }
            fin = prng.chance(1, 3);
            let left = &text[ends.len()..];
            let left_len = u32::try_from(left.len()).expect("short");
            let len = if fin {
                left_len
            } else {
                prng.range(0, left_len)
            } as usize;
            stream.extend(frame(u8::from(fin) << 7 | opcode, &left[..len]));
            ends.extend((1..=len).rev().map(|byte| stream.len() + 1 - byte));
            opcode = 0;
        }

        let is_wrong = |end: &usize| {
            let found = str::from_utf8(&text[..*end]);
            found.is_err_and(|error| error.error_len().is_some())
        };
        let wrong = (1..=text.len()).find(is_wrong).map(|end| ends[end - 1]);
        let is_cut_short = str::from_utf8(&text).is_err();
        let cut_short = is_cut_short.then_some(stream.len());
        fails_at = fails_at.or(wrong).or(cut_short);
    }
    (stream, fails_at)
}

/// Feeds an `/echo` session. Returns the bytes it was sent, and the number of bytes after which it
/// ended.
fn feed(stream: &[u8], mut chunk: impl FnMut() -> usize) -> (Vec<u8>, Option<usize>) {
    let mut shard = shard(0);
    let route = Config::default()
        .routes
        .iter()
        .position(|it| it.path == "/echo");
    let id = open_on(
        &mut shard,
        u16::try_from(route.expect("it is there")).expect("few"),
    );
    let (mut sent, mut end, mut ended) = (Vec::new(), 0, None);
    while end < stream.len() && ended.is_none() {
        let begin = end;
        end = stream.len().min(end + chunk());
        shard.handle_received(id, &mut stream[begin..end].to_vec());
        ended = (!shard.is_open(id)).then_some(end);
        sent.extend(send_all(&mut shard));
    }
    assert_eq!(
        shard.counters().ended("invalid_text"),
        u64::from(ended.is_some())
    );
    (sent, ended)
}

/// Invalid UTF-8 ends an `/echo` session at the first invalid byte, in any frame, and the bytes
/// sent before do not depend on how the input is split.
#[test]
fn invalid_text_ends_an_echo_session_at_its_first_invalid_byte() {
    let (mut ended_count, mut lived_count) = (0, 0);
    for seed in 0..400 {
        let mut prng = Prng::from_seed(seed);
        let (stream, fails_at) = texts(&mut prng);
        let (sent, ended) = feed(&stream, || 1);
        assert_eq!(ended, fails_at, "seed {seed}");
        for chunk_max in [2, 5, 100] {
            let mut ends = vec![0];
            let fed = feed(&stream, || {
                let chunk = prng.range(1, chunk_max) as usize;
                ends.push(ends[ends.len() - 1] + chunk);
                chunk
            });
            let chunk_end = |at| ends.iter().copied().find(|&end| end >= at);
            let chunk_end = fails_at.map(|at| chunk_end(at).expect("fed").min(stream.len()));
            assert_eq!(fed, (sent.clone(), chunk_end), "seed {seed}");
        }
        *if ended.is_some() {
            &mut ended_count
        } else {
            &mut lived_count
        } += 1;
    }
    assert!(
        ended_count > 100 && lived_count > 100,
        "{ended_count} {lived_count}"
    );
}

#[test]
fn other_dialects_do_not_check_partial_text() {
    let mut shard = shard(0);
    let id = open(&mut shard);
    shard.handle_received(id, &mut frame(0x01, b"\xff"));
    assert!(shard.is_open(id));
}
