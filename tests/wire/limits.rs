//! Tests of every limit: sizes, timeouts, numbers of connections, stop of the process.

use super::read_close;
use crate::GATEWAY;
use campanile_tests::client::{
    Client, expect_no_message, open, open_as, open_on, read_text, register,
};
use campanile_tests::http::{LOCAL, upgrade};
use campanile_tests::peer::{Peer, push_body, sent_to};
use rustix::process::Signal;
use std::net::TcpStream;
use tungstenite::Message;

#[test]
fn a_message_at_the_default_limit_is_accepted_and_a_longer_one_closes() {
    const MESSAGE_BYTES_MAX: usize = 16 << 20;
    let process = GATEWAY.start(None);
    let mut client = open(process.address, "/echo");
    let mut longest: Vec<u8> = (0_u8..251).cycle().take(MESSAGE_BYTES_MAX).collect();
    let sent = client.send(Message::binary(longest.clone()));
    sent.expect("the gateway reads");
    let echo = client.read().expect("it comes back").into_data();
    assert!(echo == longest, "it comes back as it was");

    longest.push(0);
    let sent = client.send(Message::binary(longest));
    sent.expect("it is read, and thrown away");
    assert_eq!(
        read_close(&mut client),
        (1009, "message too big".to_owned())
    );
    drop(client);
    let log = process.stop().log;
    assert!(log.contains(r#""too_big": 1"#), "{log}");
}

#[test]
fn a_message_at_a_routes_own_limit_is_accepted_and_a_longer_one_closes() {
    let process = GATEWAY.start(Some(
        "[[routes]]\npath = '/echo'\ndialect = 'echo'\nmessage_bytes_max = 1000",
    ));
    let mut client = open(process.address, "/echo");
    let sent = client.send(Message::binary(vec![7; 1000]));
    sent.expect("the gateway reads");
    let echo = client.read().expect("it comes back").into_data();
    assert_eq!(echo, vec![7; 1000]);
    let sent = client.send(Message::binary(vec![7; 1001]));
    sent.expect("it is read, and thrown away");
    assert_eq!(read_close(&mut client).0, 1009);
}

#[test]
fn a_body_at_the_limit_is_accepted_and_a_longer_one_is_an_error() {
    const BODY_BYTES_MAX: usize = 16 << 20;
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "e");
    let mut body = push_body("jack", "e", "m");
    let padding = " ".repeat(BODY_BYTES_MAX - body.len());
    body.push_str(&padding);
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.post("/push", "", &body).body, sent_to(1));
    assert_eq!(read_text(&mut client), "m");

    let head = format!(
        "POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        BODY_BYTES_MAX + 1
    );
    peer.send(head.as_bytes());
    let expected = (413, "request body too large");
    assert_eq!(peer.response().status_and_body(), expected);
    assert_eq!(peer.rest(), b"");
    expect_no_message(&mut client);
}

#[test]
fn a_client_that_does_not_read_is_closed_and_the_others_lose_nothing() {
    let process = GATEWAY.start(Some("[limits]\noutbox_bytes_max = 65536"));
    let address = process.address;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    socket.connect(&address.into()).expect("it listens");
    let mut slow = open_on(socket.into(), "/ws").expect("granted");
    register(&mut slow, "jack", "e");
    let mut fast = open_as(address, "jack", "e");

    let mut peer = Peer::connect(address);
    let filler = "x".repeat(30_000);
    let mut index = 0;
    loop {
        let response = peer.push("jack", "e", &format!("{index} {filler}"));
        assert_eq!(read_text(&mut fast), format!("{index} {filler}"));
        index += 1;
        if response == sent_to(1) {
            break;
        }
        assert_eq!(response, sent_to(2));
        assert!(index < 10_000, "300 MB are in no socket");
    }
    // The bytes in the kernel's buffers come in order, then the close frame.
    let mut next = 0;
    let close = loop {
        let message = slow.read().expect("a close comes in the end");
        if let Message::Close(frame) = message {
            break frame.expect("with a code");
        }
        assert_eq!(message, Message::text(format!("{next} {filler}")));
        next += 1;
    };
    assert_eq!(u16::from(close.code), 1008);
    assert_eq!(close.reason.as_str(), "too slow");
    assert!(next < index, "messages were pending");
    expect_no_message(&mut fast);
    drop((slow, fast));
    let log = process.stop().log;
    assert!(log.contains(r#""slow_consumer": 1"#), "{log}");
}

/// The timeouts are so long that the test ends in time only with complete close handshakes.
#[test]
fn a_stop_closes_every_session() {
    let process = GATEWAY.start(Some(
        "shutdown_grace_ms = 600_000\n[heartbeat]\nclose_grace_ms = 600_000",
    ));
    let mut clients: Vec<Client> = (0..50).map(|_| open(process.address, "/ws")).collect();
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "e", "m"), sent_to(0));
    let mut silent = Peer::connect(process.address);
    process.signal(Signal::TERM);
    for client in &mut clients {
        let expected = (1001, "server is shutting down".to_owned());
        assert_eq!(read_close(client), expected);
    }
    drop(clients);
    // Other connections end when the last session has ended.
    assert_eq!(peer.rest(), b"", "a connection between two requests ends");
    assert_eq!(silent.rest(), b"", "and one before its first");
    drop((peer, silent));
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("stopped connections=52 sessions=50"),
        "{}",
        ended.log
    );
    assert!(
        ended.log.contains(r#"ends={"shutdown": 50}"#),
        "{}",
        ended.log
    );
}

#[test]
fn a_stop_does_not_wait_for_unresponsive_clients() {
    let process = GATEWAY.start(Some(
        "shutdown_grace_ms = 300\n[heartbeat]\nclose_grace_ms = 600_000",
    ));
    let mut deaf = open(process.address, "/ws");
    let mut half_a_request = Peer::connect(process.address);
    half_a_request.send(b"POST /push HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
    expect_no_message(&mut deaf);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains(r#""shutdown": 1"#), "{}", ended.log);
}

#[test]
fn a_session_without_a_registration_in_time_is_closed() {
    let process = GATEWAY.start(Some(
        "[[routes]]\npath = '/ws'\ndialect = 'wserver'\nregistration_timeout_ms = 100",
    ));
    let mut registered = open_as(process.address, "jack", "e");
    let mut silent = open(process.address, "/ws");
    let mut stammering = open(process.address, "/ws");
    let sent = stammering.send(Message::text(r#"{"token":"","event":"e"}"#));
    sent.expect("the gateway reads");
    let expected = (1008, "registration timeout".to_owned());
    assert_eq!(read_close(&mut silent), expected);
    assert_eq!(read_close(&mut stammering), expected);
    expect_no_message(&mut registered);
    drop((registered, silent, stammering));
    let log = process.stop().log;
    assert!(log.contains(r#""registration_timeout": 2"#), "{log}");
}

#[test]
fn an_idle_session_is_closed() {
    let process = GATEWAY.start(Some("[heartbeat]\nidle_timeout_ms = 200"));
    let mut silent = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    assert_eq!(read_close(&mut silent), (1001, "idle timeout".to_owned()));
    assert_eq!(peer.push("jack", "e", "m"), sent_to(0));
    drop(silent);
    let log = process.stop().log;
    assert!(log.contains(r#""idle_timeout": 1"#), "{log}");
}

/// Six pings take longer than the idle timeout, so the pongs must have counted.
#[test]
fn a_session_that_sends_pongs_stays_open() {
    let process = GATEWAY.start(Some(
        "[heartbeat]\nping_interval_ms = 200\nidle_timeout_ms = 1000",
    ));
    let mut answering = open_as(process.address, "jack", "e");
    let mut deaf = open_as(process.address, "jill", "e");
    for _ in 0..6 {
        let message = answering.read().expect("a ping comes");
        assert!(message.is_ping(), "{message:?}");
        answering.flush().expect("the gateway reads");
    }
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "e", "m"), sent_to(1));
    // Until now the client has read nothing and sent no pong.
    let message = deaf.read().expect("what it was sent is still there");
    assert!(message.is_ping(), "{message:?}");
    let close = loop {
        let message = deaf.read().expect("a close comes");
        if let Message::Close(frame) = message {
            break frame.expect("with a code");
        }
        assert!(message.is_ping(), "{message:?}");
    };
    assert_eq!(u16::from(close.code), 1001);
}

#[test]
fn above_the_limit_of_sessions_an_upgrade_is_rejected_with_503() {
    let process = GATEWAY.start(Some("[limits]\nsessions_max = 8"));
    let mut clients: Vec<Client> = (0..8).map(|_| open(process.address, "/ws")).collect();
    let mut late = Peer::connect(process.address);
    late.send(upgrade("GET /ws HTTP/1.1", &[LOCAL]));
    let answer = late.response();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "too many sessions\n")
    );
    assert_eq!(late.rest(), b"", "and closed");
    drop(late);
    for client in &mut clients {
        expect_no_message(client);
    }
    // A slot is free after a session has ended; the gateway may see the new connection first.
    clients.pop();
    let mut found = None;
    for _ in 0..TRIES_MAX {
        let socket = TcpStream::connect(process.address).expect("it listens");
        match open_on(socket, "/ws") {
            Ok(client) => {
                found = Some(client);
                break;
            }
            Err(refusal) => assert!(refusal.contains("503"), "{refusal}"),
        }
    }
    expect_no_message(&mut found.expect("there is room now"));
}

const TRIES_MAX: usize = 10_000;
