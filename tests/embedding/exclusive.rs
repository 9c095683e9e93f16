//! Tests of routes with one session per user: the last or the first connection wins, on any shard,
//! and no user ever has two sessions.

use crate::client_messages::envelope;
use crate::fixture::{
    Client, Hold, ReleaseOnDrop, all, ask_to_upgrade, builder, config_of, connect_to, done,
    event_log, stop,
};
use campanile::config::{Config, Schema};
use campanile::dialect::edk::Edk;
use campanile::{Context, Gateway, Message, RouteHandle};
use campanile_tests::http::Response as HttpResponse;
use campanile_tests::net::connect;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread::ScopedJoinHandle;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

const JACK: &[(&str, &str)] = &[("x-user-id", "jack"), ("Sec-WebSocket-Protocol", "token")];

fn exclusive(shards: u8) -> Config {
    let mut config = config_of(shards, &Edk);
    config.routes[0].schema = Schema::Builtin;
    config.limits.claims_waiting_max = 64;
    config
}

fn route_of(gateway: &Gateway) -> RouteHandle {
    gateway.route("/x").expect("it is there")
}

fn message(text: &str) -> Message {
    Message::text("m", text)
}

/// Pushes to jack and returns the number of sessions reached.
#[track_caller]
fn push(gateway: &Gateway, text: &str) -> u64 {
    let pushed = route_of(gateway).push_user("jack", message(text));
    done(pushed).expect("the gateway runs")
}

fn encoded(text: &str) -> String {
    String::from_utf8(envelope("m", text)).expect("text")
}

#[test]
fn a_new_session_replaces_the_old_one() {
    let (recorder, event_log) = event_log();
    let (opening, closing) = (recorder.clone(), recorder);
    let gateway = builder(exclusive(3))
        .route("/x")
        .on_open(move |session| {
            opening.note(format!("open {}", session.number()));
            async {}
        })
        .on_close(move |session| {
            closing.note(format!("closed {} {:?}", session.number(), session.user()));
            async {}
        });
    let gateway = gateway.start().expect("it starts");
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/x", JACK);
    let mut present = open(0);
    event_log.expect(&["open 1"]);
    // The user moves from each shard to each other shard and to the same shard.
    for (number, shard) in (2..).zip([1, 2, 0, 2, 2, 1, 1, 0, 0]) {
        let newcomer = open(shard);
        let mut old = std::mem::replace(&mut present, newcomer);
        let replaced = (4001, "replaced by a new connection".to_owned());
        assert_eq!(old.closing(), replaced);
        let closed = format!("closed {} Some(\"jack\")", number - 1);
        event_log.expect_all(&[&format!("open {number}"), &closed]);
        // Neither the close handshake nor the end of the old session unbinds the new one.
        assert_eq!(push(&gateway, "before"), 1);
        old.end();
        assert_eq!(push(&gateway, "after"), 1);
        assert_eq!(
            [present.receive(), present.receive()],
            [encoded("before"), encoded("after")]
        );
        present.expect_no_message();
    }
    let users = all(route_of(&gateway).users());
    assert_eq!((users.len(), users[0].sessions), (1, 1));
    present.leave();
    event_log.expect(&["closed 10 Some(\"jack\")"]);
    assert_eq!(push(&gateway, "nobody"), 0);
    // The user is free again.
    open(1).leave();
    let counters = stop(gateway);
    assert_eq!(counters.ended("replaced"), 9);
    assert_eq!(counters.ended("client_closed"), 2);
}

#[test]
fn with_reject_a_new_session_gets_409_and_the_old_one_stays() {
    let mut config = exclusive(3);
    config.routes[0].kick_out_new_user_conn = true;
    let gateway = builder(config).start().expect("it starts");
    let address = gateway.local_addr();
    for shard in [0, 1, 2] {
        let mut present = Client::open_on(address, shard, "/x", JACK);
        for other in [0, 1, 2] {
            let newcomer = Client::upgrade(connect_to(address, other), "/x", JACK);
            let answer = newcomer.err().expect("the upgrade is refused");
            let status_and_body = (answer.status, answer.body.as_str());
            assert_eq!(status_and_body, (409, "the user is connected already\n"));
        }
        let jill = [("x-user-id", "jill"), ("Sec-WebSocket-Protocol", "token")];
        Client::open_with(address, "/x", &jill).leave();
        assert_eq!(push(&gateway, "still"), 1);
        assert_eq!(present.receive(), encoded("still"));
        present.leave();
        // The next session is admitted as soon as `present` has ended.
    }
    stop(gateway);
}

#[test]
fn of_many_concurrent_upgrades_one_is_admitted() {
    const CLIENTS: usize = 8;
    let mut config = exclusive(3);
    config.routes[0].kick_out_new_user_conn = true;
    let gateway = builder(config).start().expect("it starts");
    let address = gateway.local_addr();
    for _ in 0..20 {
        let barrier = Barrier::new(CLIENTS);
        let results = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..CLIENTS {
                threads.push(scope.spawn(|| {
                    let socket = connect(address);
                    barrier.wait();
                    Client::upgrade(socket, "/x", JACK).map_err(|answer| answer.status)
                }));
            }
            let joined = threads.into_iter().map(ScopedJoinHandle::join);
            let results = joined.map(|result| result.expect("no panic"));
            results.collect::<Vec<Result<Client, u16>>>()
        });
        let refused = results.iter().filter(|result| matches!(result, Err(409)));
        assert_eq!(refused.count(), CLIENTS - 1);
        let mut granted = results.into_iter().filter_map(Result::ok);
        let present = granted.next().expect("one gets in");
        assert_eq!(push(&gateway, "one"), 1);
        present.leave();
    }
    stop(gateway);
}

/// Connects as jack with `token`, closes after `pushes_max` pushes or is replaced, and returns the
/// numbers of the received pushes.
fn contend(gateway: &Gateway, token: &str, pushes_max: usize) -> Vec<usize> {
    let headers = [("x-user-id", "jack"), ("Sec-WebSocket-Protocol", token)];
    let mut client = Client::open_with(gateway.local_addr(), "/x", &headers);
    let mut pushes = Vec::new();
    while let Ok(frame) = client.0.read() {
        if frame.is_close() {
            continue;
        }
        let text = String::from_utf8(frame.into_data().to_vec()).expect("text");
        pushes.push(text[5..].parse().expect("a number"));
        if pushes.len() == pushes_max {
            // Pushes in flight are still received.
            drop(client.0.close(None));
        }
    }
    pushes
}

/// One publisher publishes messages one by one: the next when all shards have applied the previous.
/// If a user had two sessions at a time, the old session would receive a later message than one
/// that the new session has received.
#[test]
fn a_user_never_has_two_sessions() {
    const CONTENDERS: usize = 6;
    const ROUNDS: usize = 60;
    let (sender, numbers) = channel();
    let opened = Arc::new(AtomicU64::new(0));
    let opening = Arc::clone(&opened);
    let gateway = builder(exclusive(3))
        .route("/x")
        .on_open(move |_| {
            opening.fetch_add(1, Ordering::Relaxed);
            async {}
        })
        .on_close(move |session| {
            let token = session.token().unwrap_or_default().to_owned();
            // The receiver exists until the end.
            drop(sender.send((token, session.number())));
            async {}
        });
    let gateway = gateway.start().expect("it starts");
    let over = AtomicBool::new(false);
    let (shares, reached) = std::thread::scope(|scope| {
        let mut contenders = Vec::new();
        for contender in 0..CONTENDERS {
            let gateway = &gateway;
            contenders.push(scope.spawn(move || {
                let rounds = (0..ROUNDS).map(|round| {
                    let token = format!("{contender}-{round}");
                    let pushes_max = if round % 3 == 0 { 2 } else { 50 };
                    let pushes = contend(gateway, &token, pushes_max);
                    (token, pushes)
                });
                rounds.collect::<Vec<_>>()
            }));
        }
        let publisher = scope.spawn(|| {
            let mut totals = Vec::new();
            while !over.load(Ordering::Relaxed) {
                totals.push(push(&gateway, &totals.len().to_string()));
            }
            totals
        });
        let joined = contenders.into_iter().map(ScopedJoinHandle::join);
        let shares = joined.flat_map(|shares| shares.expect("no panic"));
        let shares: BTreeMap<String, Vec<usize>> = shares.collect();
        over.store(true, Ordering::Relaxed);
        (shares, publisher.join().expect("no panic"))
    });

    // Afterwards the user can connect again.
    let mut client = Client::open_with(gateway.local_addr(), "/x", JACK);
    assert_eq!(push(&gateway, "last"), 1);
    assert_eq!(client.receive(), encoded("last"));
    client.leave();
    assert!(all(route_of(&gateway).users()).is_empty());
    let counters = stop(gateway);
    assert_eq!(counters.sessions_opened, (CONTENDERS * ROUNDS + 1) as u64);
    let numbers: BTreeMap<String, u64> = numbers.try_iter().collect();
    assert_eq!(numbers.len() as u64, opened.load(Ordering::Relaxed));
    check_shares(shares, &numbers, &reached);
}

fn check_shares(
    shares: BTreeMap<String, Vec<usize>>,
    numbers: &BTreeMap<String, u64>,
    reached: &[u64],
) {
    let mut shares: Vec<(Option<u64>, Vec<usize>)> = shares
        .into_iter()
        .map(|(token, pushes)| (numbers.get(&token).copied(), pushes))
        .collect();
    shares.sort();
    let mut got = vec![0_u64; reached.len()];
    let mut last = 0;
    for (number, pushes) in shares {
        if number.is_none() {
            assert!(pushes.is_empty(), "evicted before it was upgraded");
        }
        for push in pushes {
            assert!(
                push >= last,
                "an older session received push {push} after a newer session received {last}"
            );
            last = push;
            got[push] += 1;
        }
    }
    assert!(got.iter().sum::<u64>() > 0, "a push found the user");
    for (push, (got, reached)) in got.iter().zip(reached).enumerate() {
        assert!(got <= reached, "{push}: {got} of {reached}");
    }
    // A push may reach both sessions if one shard applies it before the user moves and another
    // after.
    let twice = reached.iter().filter(|&&total| total > 1).count();
    assert!(twice * 100 <= reached.len(), "{twice} of {}", reached.len());
}

fn headers(user: &str) -> [(&str, &str); 2] {
    [("x-user-id", user), ("Sec-WebSocket-Protocol", "token")]
}

/// A gateway whose shard 0, which has all users, is blocked.
struct Held {
    gateway: Gateway,
    old: Vec<Client>,
    /// New connections to shard 1.
    newcomers: Vec<TcpStream>,
    release: ReleaseOnDrop,
}

fn held(config: Config, newcomers: usize) -> Held {
    let release = ReleaseOnDrop(Hold::default());
    let hold = release.0.clone();
    let (recorder, event_log) = event_log();
    let gateway = builder(config)
        .route("/x")
        .handle("hold", move |_: Context| {
            recorder.note("holding");
            hold.wait();
            async {}
        });
    let gateway = gateway.start().expect("it starts");
    let address = gateway.local_addr();
    let mut old = USERS.map(|user| Client::open_on(address, 0, "/x", &headers(user)));
    let newcomers = (0..newcomers).map(|_| connect_to(address, 1)).collect();
    old[0].send_bytes(&envelope("hold", ""));
    event_log.expect(&["holding"]);
    Held {
        gateway,
        old: old.into(),
        newcomers,
        release,
    }
}

#[test]
fn a_claim_waits_for_the_old_session_and_ends_with_503_at_the_timeout() {
    let mut config = exclusive(2);
    config.heartbeat.handshake_timeout_ms = 200;
    let mut held = held(config, USERS.len());
    for (socket, user) in held.newcomers.iter_mut().zip(USERS) {
        ask_to_upgrade(socket, "/x", &headers(user));
    }
    // Whichever shard is the home of the user.
    for socket in &mut held.newcomers {
        let answer = HttpResponse::take(socket);
        let status_and_body = (answer.status, answer.body.as_str());
        assert_eq!(status_and_body, (503, "timed out, try again\n"));
    }
    held.release.0.release();
    // The user can connect again, whether or not the old session was closed before the timeout.
    let address = held.gateway.local_addr();
    for (old, user) in held.old.iter_mut().zip(USERS) {
        let mut next = loop {
            match Client::upgrade(connect(address), "/x", &headers(user)) {
                Ok(client) => break client,
                Err(answer) => assert_eq!(answer.status, 503),
            }
        };
        assert_eq!(old.closing().0, 4001);
        let route = route_of(&held.gateway);
        assert_eq!(done(route.push_user(user, message("next"))), Ok(1));
        assert_eq!(next.receive(), encoded("next"));
        next.leave();
    }
    drop((held.old, held.newcomers));
    stop(held.gateway);
}

#[test]
fn a_waiting_claim_is_granted_when_the_old_session_has_ended() {
    let mut held = held(exclusive(2), USERS.len());
    for (socket, user) in held.newcomers.iter_mut().zip(USERS) {
        ask_to_upgrade(socket, "/x", &headers(user));
    }
    held.release.0.release();
    for ((socket, mut old), user) in held.newcomers.into_iter().zip(held.old).zip(USERS) {
        assert_eq!(HttpResponse::take(&socket).status, 101);
        assert_eq!(old.closing().0, 4001);
        let route = route_of(&held.gateway);
        assert_eq!(done(route.push_user(user, message("m"))), Ok(1));
        let mut client = Client(WebSocket::from_raw_socket(socket, Role::Client, None));
        assert_eq!(client.receive(), encoded("m"));
        client.leave();
    }
    stop(held.gateway);
}

#[test]
fn too_many_claims_of_one_user_are_rejected() {
    let mut config = exclusive(2);
    config.limits.claims_waiting_max = 1;
    let mut held = held(config, 4);
    for socket in &mut held.newcomers {
        ask_to_upgrade(socket, "/x", &headers(USERS[0]));
    }
    held.release.0.release();
    let answers = held.newcomers.iter().map(HttpResponse::take);
    let statuses: Vec<u16> = answers.map(|answer| answer.status).collect();
    let granted = statuses.iter().filter(|&&status| status == 101).count();
    assert!(granted >= 1, "{statuses:?}");
    let known = statuses.iter().all(|status| [101, 503].contains(status));
    assert!(known, "{statuses:?}");
    assert_eq!(held.old[0].closing().0, 4001);
    drop((held.old, held.newcomers));
    stop(held.gateway);
}

/// Users; each shard is the home of some of them.
const USERS: [&str; 16] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
];
