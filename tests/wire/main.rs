//! Tests of the executable over real sockets: tungstenite's WebSocket client and raw TCP.
//!
//! They cover many clients, limits, timeouts, signals and unusual arrival of bytes; the transcripts
//! cover the protocols. Every test has its own gateway. Tests wait for events and measure no time;
//! only `deadlines` sleeps.

mod deadlines;
mod eviction;
mod heartbeat;
mod hooks;
mod limits;
mod message_time;
mod minimum_limits;
mod names;
mod send_buffers;
mod slow_readers;
mod staged;

use campanile_tests::client::{
    Client, closing, expect_no_message, open, open_as, read_text, register,
};
use campanile_tests::executable;
use campanile_tests::frame::{PING, TEXT, masked};
use campanile_tests::http::{LOCAL, SWITCHING, post, upgrade};
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::{Executable, pause, resume};
use std::collections::BTreeMap;
use std::thread;
use tungstenite::Message;

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn pushes_reach_every_session_of_their_user_and_no_other() {
    let process = GATEWAY.start(None);
    let address = process.address;
    let mut clients: Vec<(String, Client)> = (0..SESSIONS_COUNT)
        .map(|index| {
            let user = format!("user{}", index % USERS_COUNT);
            let event = if index < SESSIONS_COUNT / 2 { "a" } else { "b" };
            let client = open_as(address, &user, event);
            (format!("{user} {event}"), client)
        })
        .collect();

    thread::scope(|scope| {
        for pusher in 0..PUSHERS_COUNT {
            scope.spawn(move || {
                let mut peer = Peer::connect(address);
                for round in 0..ROUNDS_COUNT {
                    for user in 0..USERS_COUNT {
                        let user = format!("user{user}");
                        for event in ["a", "b"] {
                            let message = format!("{user} {event} {pusher} {round}");
                            let response = peer.push(&user, event, &message);
                            assert_eq!(response, sent_to(SESSIONS_COUNT / USERS_COUNT / 2));
                        }
                    }
                }
                assert_eq!(peer.push("user0", "c", "m"), sent_to(0));
            });
        }
    });

    for (who, client) in &mut clients {
        let mut next_rounds = [0; PUSHERS_COUNT];
        for _ in 0..PUSHERS_COUNT * ROUNDS_COUNT {
            let text = read_text(client);
            let rest = text.strip_prefix(who.as_str()).expect("meant for it");
            let (pusher, round) = rest.trim_start().split_once(' ').expect("both");
            let pusher: usize = pusher.parse().expect("a number");
            assert_eq!(
                round.parse(),
                Ok(next_rounds[pusher]),
                "in the pusher's order"
            );
            next_rounds[pusher] += 1;
        }
        expect_no_message(client);
    }
}

/// The original lost 320 of these 2,400 messages and closed the pushers' connections.
#[test]
fn parallel_pushes_to_one_client_lose_nothing() {
    const PUSHES_COUNT: usize = 300;
    let process = GATEWAY.start(None);
    let address = process.address;
    let mut client = open_as(address, "jack", "topic1");
    let mut received: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    thread::scope(|scope| {
        for pusher in 0..8 {
            scope.spawn(move || {
                let mut peer = Peer::connect(address);
                for index in 0..PUSHES_COUNT {
                    let response = peer.push("jack", "topic1", &format!("{pusher}:{index}"));
                    assert_eq!(response, sent_to(1));
                }
            });
        }
        for _ in 0..8 * PUSHES_COUNT {
            let text = read_text(&mut client);
            let (pusher, index) = text.split_once(':').expect("both");
            let list = received.entry(pusher.to_owned()).or_default();
            list.push(index.parse().expect("a number"));
        }
    });
    expect_no_message(&mut client);
    let expected: Vec<usize> = (0..PUSHES_COUNT).collect();
    assert_eq!(received.len(), 8);
    for list in received.values() {
        assert_eq!(*list, expected, "none lost, none twice, in order");
    }
}

#[test]
fn a_session_may_be_bound_to_several_users_with_its_first_event_of_each() {
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "one");
    register(&mut client, "jack", "two");
    register(&mut client, "jill", "two");
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "two", "no"), sent_to(0));
    assert_eq!(peer.push("jill", "one", "no"), sent_to(0));
    assert_eq!(peer.push("jack", "one", "for jack"), sent_to(1));
    assert_eq!(peer.push("jill", "two", "for jill"), sent_to(1));
    assert_eq!(read_text(&mut client), "for jack");
    assert_eq!(read_text(&mut client), "for jill");
    expect_no_message(&mut client);
}

#[test]
fn a_drop_ends_the_sessions_of_a_user_on_every_shard() {
    let process = GATEWAY.start(None);
    let open_some = |user: &str, event: &str| -> Vec<Client> {
        let clients = (0..20).map(|_| open_as(process.address, user, event));
        clients.collect()
    };
    let mut dropped_first = open_some("jack", "one");
    let mut dropped_then = open_some("jack", "two");
    let mut kept = open_some("jill", "one");

    let mut peer = Peer::connect(process.address);
    let mut drop_them = |body: &str| peer.post("/drop", "", body).body;
    let response = drop_them(r#"{"userId":"jack","event":"one"}"#);
    assert_eq!(response, "dropped 20 connections");
    let response = drop_them(r#"{"userId":"jack"}"#);
    assert_eq!(response, "dropped 20 connections");
    let response = drop_them(r#"{"userId":"jack"}"#);
    assert_eq!(response, "dropped 0 connections");

    for client in dropped_first.iter_mut().chain(&mut dropped_then) {
        let expected = (1000, "dropped by the server".to_owned());
        assert_eq!(read_close(client), expected);
    }
    for client in &mut kept {
        expect_no_message(client);
    }
    drop((dropped_first, dropped_then, kept));
    let log = process.stop().log;
    assert!(log.contains(r#""dropped": 40"#), "{log}");
}

#[test]
fn pushes_need_the_secret_and_registrations_a_known_token() {
    let process = GATEWAY.start(Some(
        r#"
        [[routes]]
        path = "/ws"
        dialect = "wserver"
        push_path = "/push"
        drop_path = "/drop"
        push_secret = "s3cret"
        [routes.tokens]
        "aaa" = "jack"
        "bbb" = "jill"
        [[routes]]
        path = "/other"
        dialect = "wserver"
        push_path = "/other/push"
        push_header = { name = "X-Api-Key", value = "k3y" }
        "#,
    ));
    let mut jack = open_as(process.address, "aaa", "e");
    let mut nobody = open_as(process.address, "jack", "e");
    let mut other = open(process.address, "/other");
    register(&mut other, "jack", "e");

    let mut peer = Peer::connect(process.address);
    let body = push_body("jack", "e", "m");
    let mut post = |path: &str, headers: &str| {
        // After an error before the body the connection is closed.
        let answer = peer.post(path, headers, &body);
        if answer.status == 401 {
            assert_eq!(answer.body, "");
            peer = Peer::connect(process.address);
        }
        (answer.status, answer.body)
    };
    for wrong in ["", "Authorization: Bearer no\r\n", "X-Api-Key: s3cret\r\n"] {
        assert_eq!(post("/push", wrong).0, 401, "{wrong}");
        assert_eq!(post("/drop", wrong).0, 401, "{wrong}");
    }
    for wrong in ["", "Authorization: Bearer k3y\r\n", "X-Api-Key: k3y2\r\n"] {
        assert_eq!(post("/other/push", wrong).0, 401, "{wrong}");
    }
    let bearer = "Authorization: Bearer s3cret\r\n";
    assert_eq!(post("/push", bearer), (200, sent_to(1)));
    assert_eq!(read_text(&mut jack), "m");
    expect_no_message(&mut other);
    assert_eq!(post("/other/push", "x-api-key: k3y\r\n"), (200, sent_to(1)));
    assert_eq!(read_text(&mut other), "m");
    expect_no_message(&mut jack);
    expect_no_message(&mut nobody);
}

#[test]
fn bytes_after_the_upgrade_request_are_not_lost() {
    let process = GATEWAY.start(None);
    let mut pacer = open(process.address, "/echo");
    let said = [
        upgrade("GET /ws HTTP/1.1", &[LOCAL]).as_bytes(),
        &masked(TEXT, br#"{"token":"jack","event":"e"}"#, MASK),
        &masked(PING, b"there", MASK),
    ]
    .concat();
    let answer = [SWITCHING.as_bytes(), b"\x8a\x05there"].concat();
    let mut peers = Vec::new();
    for cut in 1..=said.len() {
        let mut peer = Peer::connect(process.address);
        peer.send(&said[..cut]);
        // Give the gateway time to handle the first part.
        expect_no_message(&mut pacer);
        peer.send(&said[cut..]);
        peers.push(peer);
    }
    for peer in &mut peers {
        let mut bytes = vec![0; answer.len()];
        peer.read_exact(&mut bytes);
        assert_eq!(
            bytes.escape_ascii().to_string(),
            answer.escape_ascii().to_string()
        );
    }
    let mut pusher = Peer::connect(process.address);
    assert_eq!(pusher.push("jack", "e", "m"), sent_to(said.len()));
    for peer in &mut peers {
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes);
        assert_eq!(bytes, *b"\x81\x01m");
    }
}

/// One `io_uring_enter` returns only some of the completions; the others must be handled, too.
#[test]
fn five_hundred_sockets_that_become_readable_at_once_are_all_served() {
    let process = GATEWAY.start_on(1, None);
    let mut clients: Vec<Client> = (0..500).map(|_| open(process.address, "/echo")).collect();
    for round in 0..3 {
        let text = format!("round {round}");
        pause(&process.child);
        for client in &mut clients {
            client
                .send(Message::text(&*text))
                .expect("room in the socket");
        }
        resume(&process.child);
        for client in &mut clients {
            assert_eq!(read_text(client), text);
        }
    }
}

#[test]
fn pipelined_pushes_get_responses_in_order() {
    let process = GATEWAY.start(None);
    let mut clients: Vec<(usize, Client)> = Vec::new();
    for user in 0..4 {
        for _ in 0..user {
            let client = open_as(process.address, &format!("user{user}"), "e");
            clients.push((user, client));
        }
    }
    let mut peer = Peer::connect(process.address);
    for _ in 0..20 {
        let requests = (0..16).map(|index| {
            let user = format!("user{}", index % 4);
            post("/push", "", &push_body(&user, "e", &index.to_string()))
        });
        let requests: Vec<String> = requests.collect();
        peer.send(requests.concat());
        for index in 0..16 {
            assert_eq!(peer.response().body, sent_to(index % 4));
        }
        for (user, client) in &mut clients {
            for round in 0..4 {
                assert_eq!(read_text(client), (4 * round + *user).to_string());
            }
        }
    }
}

#[test]
fn a_client_that_shuts_down_its_write_side_gets_its_response() {
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    for index in 0..3 {
        let body = push_body("jack", "e", &index.to_string());
        peer.send(post("/push", "", &body));
    }
    peer.end();
    for index in 0..3 {
        assert_eq!(peer.response().body, sent_to(1));
        assert_eq!(read_text(&mut client), index.to_string());
    }
    assert_eq!(peer.rest(), b"");
}

/// Returns code and reason of the next frame, a close frame. Replies to it and waits for the end.
#[track_caller]
fn read_close(client: &mut Client) -> (u16, String) {
    let close = closing(client);
    let end = client.read();
    let ended = matches!(end, Err(tungstenite::Error::ConnectionClosed));
    assert!(ended, "{end:?}");
    close
}

const MASK: [u8; 4] = [1, 2, 3, 4];
const SESSIONS_COUNT: usize = 160;
const USERS_COUNT: usize = 8;
const PUSHERS_COUNT: usize = 4;
const ROUNDS_COUNT: usize = 5;
