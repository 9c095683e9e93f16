//! Tests of the limits on stored names: each dialect's error, closed sessions, and freed memory.

use crate::GATEWAY;
use campanile_tests::client::{Client, expect_no_message, open, open_as, read_text, register};
use campanile_tests::http::{LOCAL, Response, upgrade};
use campanile_tests::peer::{Peer, sent_to};
use tungstenite::Message;

const SMALL: &str = "[limits]\nname_bytes_max = 1_000\ntoken_bytes_max = 1_000\n\
    names_bytes_per_session_max = 16_000\nnames_bytes_max = 65_536\n";

fn long(number: usize) -> String {
    format!("{number:0900}")
}

/// Sends a command of `wsrv` about a channel and returns the text of its response.
fn ask(client: &mut Client, command: &str, channel: &str) -> String {
    let text = format!(r#"{{"cmd":"{command}","data":"{channel}"}}"#);
    client.send(Message::text(text)).expect("the gateway reads");
    let answer = read_text(client);
    let (_, msg) = answer.split_once(r#""msg":""#).expect("it has words");
    msg.split('"').next().expect("they end").to_owned()
}

/// Registers users until the gateway closes the session. Returns their number and the close frame.
fn register_for_all(client: &mut Client, from: usize) -> (usize, (u16, String)) {
    for number in from..from + 1_000 {
        let user = long(number);
        let text = format!(r#"{{"token":"{user}","event":"{user}"}}"#);
        let ping = Message::Ping(tungstenite::Bytes::new());
        for message in [Message::text(text), ping] {
            client.send(message).expect("it is read, or thrown away");
        }
        match client.read().expect("a pong or a close comes") {
            Message::Pong(_) => {}
            Message::Close(Some(frame)) => {
                let end = client.read();
                assert!(end.is_err(), "{end:?}");
                return (number - from, (frame.code.into(), frame.reason.to_string()));
            }
            other @ (Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?}"),
        }
    }
    panic!("a session may register for everybody");
}

#[test]
fn a_session_may_join_hundreds_of_channels_by_default() {
    let process = GATEWAY.start(None);
    let mut client = open(process.address, "/wsrv");
    for number in 0..500 {
        assert_eq!(ask(&mut client, "join", &format!("room {number}")), "ok");
    }
    expect_no_message(&mut client);
}

#[test]
fn a_channel_above_the_limit_is_an_error_until_another_is_left() {
    let process = GATEWAY.start_on(1, Some(SMALL));
    let mut client = open(process.address, "/wsrv");
    let mut count = 0;
    let refused = loop {
        match ask(&mut client, "join", &long(count)) {
            ok if ok == "ok" => count += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, "too many names");
    assert!((8..16).contains(&count), "{count}");
    assert_eq!(ask(&mut client, "leave", &long(0)), "ok");
    assert_eq!(ask(&mut client, "join", &long(count)), "ok");
    assert_eq!(ask(&mut client, "join", &long(0)), "too many names");
    // Longer than the limit of names: such a channel cannot exist.
    let longer = "x".repeat(1_001);
    assert_eq!(ask(&mut client, "join", &longer), "no channel is named");
    expect_no_message(&mut client);
}

#[test]
fn a_session_above_the_limit_of_registrations_is_closed_and_its_names_freed() {
    let process = GATEWAY.start_on(1, Some(SMALL));
    let mut beside = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    // Often enough to fill the shard if names were not freed.
    for _ in 0..8 {
        let mut greedy = open(process.address, "/ws");
        let (count, close) = register_for_all(&mut greedy, 0);
        assert_eq!(close, (1008, "too many names".to_owned()));
        assert!((4..8).contains(&count), "{count}");
        assert_eq!(peer.push(&long(0), &long(0), "m"), sent_to(0));
    }
    assert_eq!(peer.push("jack", "e", "m"), sent_to(1));
    assert_eq!(read_text(&mut beside), "m");
    drop(beside);
    let log = process.stop().log;
    assert!(log.contains(r#""too_many_names": 8"#), "{log}");
}

#[test]
fn a_full_shard_returns_errors_or_closes_until_names_are_freed() {
    let process = GATEWAY.start_on(1, Some(SMALL));
    let mut talker = open(process.address, "/wsrv");
    let mut kept: Vec<Client> = Vec::new();
    let mut number = 0;
    let close = 'full: loop {
        let mut client = open(process.address, "/ws");
        // The registration above the limit is the first of its session.
        for _ in 0..3 {
            let user = long(number);
            number += 1;
            let text = format!(r#"{{"token":"{user}","event":"{user}"}}"#);
            client.send(Message::text(text)).expect("the gateway reads");
            let ping = Message::Ping(tungstenite::Bytes::new());
            client.send(ping).expect("it is read, or thrown away");
            match client.read().expect("a pong or a close comes") {
                Message::Pong(_) => {}
                Message::Close(Some(frame)) => break 'full frame,
                other @ (Message::Text(_)
                | Message::Binary(_)
                | Message::Ping(_)
                | Message::Close(_)
                | Message::Frame(_)) => panic!("{other:?}"),
            }
        }
        kept.push(client);
        assert!(kept.len() < 20, "it is never full");
    };
    assert_eq!(u16::from(close.code), 1013);
    assert_eq!(close.reason.as_str(), "no room for another name");
    assert_eq!(
        ask(&mut talker, "join", &long(0)),
        "no room for another name"
    );
    for client in &mut kept {
        expect_no_message(client);
    }
    kept.pop()
        .expect("some were let in")
        .close(None)
        .expect("it is open");
    // The end of that session is handled before the input of the new connection.
    let mut newcomer = loop {
        let mut client = open(process.address, "/ws");
        let text = r#"{"token":"jack","event":"e"}"#;
        client.send(Message::text(text)).expect("the gateway reads");
        let ping = Message::Ping(tungstenite::Bytes::new());
        client.send(ping).expect("the gateway reads");
        if client.read().expect("a pong or a close").is_pong() {
            break client;
        }
    };
    register(&mut newcomer, "jill", "e");
    assert_eq!(ask(&mut talker, "join", "room"), "ok");
    let log = {
        drop((kept, newcomer, talker));
        process.stop().log
    };
    assert!(log.contains(r#""names_full": "#), "{log}");
}

#[test]
fn a_token_above_its_limit_is_no_user() {
    let process = GATEWAY.start(None);
    let token = "t".repeat(8_192);
    let mut client = open_as(process.address, &token, "e");
    register(&mut client, &format!("{token}t"), "e");
    register(&mut client, "jack", &"e".repeat(1_025));
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push(&token, "e", "m"), sent_to(1));
    assert_eq!(read_text(&mut client), "m");
    assert_eq!(peer.push(&format!("{token}t"), "e", "m"), sent_to(0));
    assert_eq!(peer.push("jack", &"e".repeat(1_025), "m"), sent_to(0));
    expect_no_message(&mut client);

    for (bytes, expected) in [(8_192, 101), (8_193, 401)] {
        let mut peer = Peer::connect(process.address);
        let token = "t".repeat(bytes);
        let token = format!("Sec-WebSocket-Protocol: {token}");
        let headers = [LOCAL, "x-user-id: jack", &token];
        peer.send(upgrade("GET /edk HTTP/1.1", &headers));
        let Response { status, .. } = peer.response();
        assert_eq!(status, expected, "{bytes} bytes");
    }
}
