//! Tests of peers that read slowly or not at all: what they receive, and when they are closed.
//!
//! A slow reader sleeps between reads; there are no other sleeps, and no test measures time.

use crate::GATEWAY;
use campanile_tests::client::{Client, open_as, open_on, register};
use campanile_tests::http::{LOCAL, upgrade};
use campanile_tests::net::connect_slowly;
use campanile_tests::peer::{Peer, sent_to};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// One frame of 2 MiB; reading it takes longer than one close grace.
#[test]
#[expect(clippy::disallowed_methods, reason = "a slow reader pauses")]
fn a_slow_reader_gets_the_begun_frame_and_then_the_close() {
    let process = GATEWAY.start_on(
        1,
        Some(
            "[limits]\noutbox_bytes_max = 65536\nsocket_unsent_bytes_max = 16384\n\
         [heartbeat]\nclose_grace_ms = 1000",
        ),
    );
    let mut slow = slow_session(process.address, "jack");
    let mut peer = Peer::connect(process.address);
    let large = "x".repeat(2 << 20);
    assert_eq!(peer.push("jack", "e", &large), sent_to(1));
    assert_eq!(peer.push("jack", "e", "too much"), sent_to(0));

    let expected = large.len() + 10 + CLOSE.len();
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    while bytes.len() < expected {
        let socket = slow.get_mut();
        let len = socket.read(&mut piece).expect("it is not cut");
        assert!(len > 0, "the end comes after {} bytes", bytes.len());
        bytes.extend_from_slice(&piece[..len]);
        thread::sleep(Duration::from_millis(15));
    }
    assert_eq!(bytes[..2], [0x81, 127], "one frame");
    assert_eq!(bytes[10..10 + large.len()], *large.as_bytes());
    assert_eq!(bytes[10 + large.len()..], *CLOSE);
}

#[test]
fn a_peer_that_reads_single_bytes_is_closed_after_all_graces() {
    let process = GATEWAY.start_on(
        1,
        Some(
            "[limits]\noutbox_bytes_max = 65536\nsocket_unsent_bytes_max = 16384\n\
         [heartbeat]\nclose_grace_ms = 100",
        ),
    );
    let address = process.address;
    let endings: [(&str, Ending); 5] = [
        ("a slow consumer", |address| {
            let slow = slow_session(address, "slow");
            let mut peer = Peer::connect(address);
            let large = "x".repeat(8 << 20);
            assert_eq!(peer.push("slow", "e", &large), sent_to(1));
            assert_eq!(peer.push("slow", "e", "too much"), sent_to(0));
            slow.get_ref().try_clone().expect("a socket")
        }),
        ("half-closed with pending bytes", |address| {
            let slow = slow_session(address, "half");
            let mut peer = Peer::connect(address);
            let large = "x".repeat(8 << 20);
            assert_eq!(peer.push("half", "e", &large), sent_to(1));
            let socket = slow.get_ref();
            socket.shutdown(Shutdown::Write).expect("it is open");
            socket.try_clone().expect("a socket")
        }),
        ("a close that is not answered", |address| {
            let client = open_as(address, "gone", "e");
            let mut peer = Peer::connect(address);
            let dropped = peer.post("/drop", "", r#"{"userId":"gone"}"#);
            assert_eq!(dropped.body, "dropped 1 connections");
            client.get_ref().try_clone().expect("a socket")
        }),
        ("an upgrade that is refused", |address| {
            let socket = connect_slowly(address);
            let refused =
                upgrade("GET /ws HTTP/1.1", &[LOCAL]).replace("Version: 13", "Version: 12");
            (&socket).write_all(refused.as_bytes()).expect("it reads");
            socket
        }),
        ("a half-closed peer with answers", |address| {
            let socket = connect_slowly(address);
            // More responses than fit into all buffers, fewer requests than are read ahead.
            let asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_800);
            (&socket).write_all(&asked).expect("there is room");
            socket.shutdown(Shutdown::Write).expect("it is open");
            socket
        }),
    ];
    thread::scope(|scope| {
        for (what, ending) in endings {
            scope.spawn(move || read_single_bytes_until_closed(what, ending(address)));
        }
    });
}

/// Reads and sends single bytes with pauses until the gateway has closed the connection.
#[expect(clippy::disallowed_methods, reason = "a slow reader pauses")]
fn read_single_bytes_until_closed(what: &str, mut socket: TcpStream) {
    socket.set_nonblocking(true).expect("a socket");
    let mut octet = [0];
    for _ in 0..TRICKLES_MAX {
        // Neither buffered bytes nor the end of the stream mean that the connection is closed.
        drop(socket.read(&mut octet));
        let sent = socket.write(&[0x80]);
        let is_reset = socket.take_error().expect("a socket").is_some();
        let is_open_half = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::BrokenPipe
            )
        };
        let is_gone = sent.is_err_and(|error| !is_open_half(&error));
        if is_reset || is_gone || is_closed(&socket) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: it is still there");
}

/// Returns `true` if the kernel has closed the connection of a socket.
fn is_closed(socket: &TcpStream) -> bool {
    socket.peer_addr().is_err()
}

/// Opens a session with the smallest receive buffer.
#[track_caller]
fn slow_session(address: SocketAddr, user: &str) -> Client {
    let mut client = open_on(connect_slowly(address), "/ws").expect("granted");
    register(&mut client, user, "e");
    client
}

/// A function that opens a connection and makes the gateway begin to close it.
type Ending = fn(SocketAddr) -> TcpStream;

const CLOSE: &[u8] = b"\x88\x0a\x03\xf0too slow";
const TRICKLES_MAX: u32 = 4_000;
