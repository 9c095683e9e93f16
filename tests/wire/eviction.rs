//! Tests of eviction: unauthenticated connections that stay open must not keep others out.

use crate::GATEWAY;
use campanile_tests::client::{Client, expect_no_message, open, open_as, open_on, read_text};
use campanile_tests::http::post;
use campanile_tests::net::connect_slowly;
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// Three groups of connections, each several times the limit of all shards, and a fourth mixed one.
#[test]
fn unauthenticated_connections_keep_out_neither_clients_nor_backends_nor_operators() {
    let process = GATEWAY.start(Some(
        "[http]\nhttp_connections_max = 16\nhttp_out_bytes_max = 4096",
    ));
    let address = process.address;
    let mut client = open_as(address, "jack", "e");
    let mut backends: Vec<Peer> = (0..8).map(|_| Peer::connect(address)).collect();
    let mut watcher = Peer::connect(address);
    let mut serves_all = |crowd: &str| {
        for peer in backends.iter_mut().chain([&mut Peer::connect(address)]) {
            assert_eq!(peer.push("jack", "e", crowd), sent_to(1), "{crowd}");
            assert_eq!(read_text(&mut client), crowd);
        }
        for peer in [&mut watcher, &mut Peer::connect(address)] {
            peer.send(HEALTH);
            assert_eq!(peer.response().status, 200, "{crowd}");
        }
        expect_no_message(&mut open(address, "/ws"));
    };
    serves_all("nobody");

    let page = PAGE.repeat(200);
    let crowds = [
        ("one byte", &b"G"[..]),
        ("half a body", HALF_BODY),
        ("unread answers", &page),
    ];
    let mut strangers = Vec::new();
    for (crowd, words) in crowds {
        strangers.extend((0..CROWD).map(|_| unauthenticated_connection(address, words)));
        serves_all(crowd);
    }
    for index in 0..CROWD {
        strangers.push(unauthenticated_connection(address, crowds[index % 3].1));
    }
    serves_all("all of them");
    drop(strangers);
    serves_all("after the connections are gone");
}

#[test]
fn an_incomplete_request_gets_408_and_an_idle_connection_no_response() {
    let process = GATEWAY.start(Some(
        "[heartbeat]\nhandshake_timeout_ms = 200\n\
         [http]\nbody_timeout_ms = 200\nkeep_alive_timeout_ms = 200",
    ));
    let address = process.address;
    let mut silent = Peer::connect(address);
    let mut idle = Peer::connect(address);
    assert_eq!(idle.push("jack", "e", "m"), sent_to(0));
    let mut second_head = Peer::connect(address);
    assert_eq!(second_head.push("jack", "e", "m"), sent_to(0));
    let mut session = open(address, "/ws");
    let halves: [&[u8]; 3] = [
        b"GET /ws HTTP/1.1\r\nHo",
        HALF_BODY,
        b"POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
    ];
    let mut rejected: Vec<Peer> = halves.map(|_| Peer::connect(address)).into_iter().collect();
    for (peer, half) in rejected.iter_mut().zip(halves) {
        peer.send(half);
    }
    second_head.send(b"GET /heal");
    rejected.push(second_head);
    for peer in &mut rejected {
        let rest = String::from_utf8(peer.rest()).expect("text");
        assert!(
            rest.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{rest}"
        );
        assert!(rest.contains("\r\nConnection: close\r\n"), "{rest}");
    }
    for peer in [&mut silent, &mut idle] {
        assert_eq!(peer.rest(), b"");
    }
    expect_no_message(&mut session);
}

#[test]
fn a_connection_that_reads_no_responses_is_reset() {
    let process = GATEWAY.start(Some("[http]\nsend_timeout_ms = 200"));
    let mut session = open(process.address, "/ws");
    let mut deaf = unauthenticated_connection(process.address, &PAGE.repeat(1500));
    // The response is larger than both sockets' buffers, so it cannot have been sent completely.
    let reset = PollFlags::ERR | PollFlags::HUP;
    let mut wait = [PollFd::new(&deaf, PollFlags::empty())];
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut wait, Some(&patience)).expect("it waits"), 1);
    assert!(wait[0].revents().intersects(reset));
    let mut rest = Vec::new();
    let read = deaf.read_to_end(&mut rest).expect_err("it was reset");
    assert_eq!(read.kind(), ErrorKind::ConnectionReset);
    expect_no_message(&mut session);
}

#[test]
fn requests_after_unread_responses_wait_until_those_are_read() {
    const REQUESTS: usize = 2_000;
    let process = GATEWAY.start(Some("[http]\nhttp_out_bytes_max = 4096"));
    let address = process.address;
    let deaf = unauthenticated_connection(address, b"");
    let mut writer = deaf.try_clone().expect("a second handle");
    let writing = std::thread::Builder::new().name("writing".to_owned());
    let writing = writing.spawn(move || writer.write_all(&PAGE.repeat(REQUESTS)));
    let writing = writing.expect("a thread");
    // Others are served meanwhile.
    expect_no_message(&mut open(address, "/ws"));
    let mut peer = Peer::connect(address);
    peer.send(PAGE);
    let page = peer.response();
    let mut deaf = Peer::over(deaf);
    for _ in 0..REQUESTS {
        assert_eq!(deaf.response().status_and_body(), page.status_and_body());
    }
    let written = writing.join().expect("it does not panic");
    written.expect("all is read at last");
}

#[test]
fn without_descriptors_open_sessions_are_served_and_new_connections_get_503() {
    let limits = "limits.sessions_max = 64\nheartbeat.handshake_timeout_ms = 600_000";
    let config = GATEWAY.config_file(limits);
    let mut command = Command::new("sh");
    let path = GATEWAY.path;
    command.args(["-c", "ulimit -n 320; exec \"$0\" \"$@\"", path]);
    // A second shard could take the descriptor with which the first rejects a connection.
    command.args(["--listen", "127.0.0.1:0", "--shards", "1", "--config"]);
    command.arg(config);
    let process = Process::start(command);
    let address = process.address;
    let mut client = open_as(address, "jack", "e");
    let mut pusher = Peer::connect(address);
    assert_eq!(pusher.push("jack", "e", "before"), sent_to(1));
    assert_eq!(read_text(&mut client), "before");

    // More connections than there are descriptors.
    let crowd: Vec<Peer> = (0..400).map(|_| Peer::connect(address)).collect();
    for _ in 0..10 {
        assert_eq!(pusher.push("jack", "e", "m"), sent_to(1));
        assert_eq!(read_text(&mut client), "m");
        pusher.send(HEALTH);
        assert_eq!(pusher.response().status, 200);
    }
    for _ in 0..4 {
        let mut newcomer = Peer::connect(address);
        newcomer.send(post("/push", "", &push_body("jack", "e", "late")));
        assert_eq!(newcomer.response().status, 503);
        assert_eq!(newcomer.rest(), b"", "and it is closed");
    }
    drop(crowd);
    let served = (0..TRIES_MAX).any(|_| {
        let mut newcomer = Peer::connect(address);
        newcomer.send(post("/push", "", &push_body("jack", "e", "again")));
        newcomer.response().status == 200
    });
    assert!(served, "there are descriptors again");
    assert_eq!(read_text(&mut client), "again");
    drop((client, pusher));
    let log = process.stop().log;
    let warnings = log.matches("cannot accept connections").count();
    assert_eq!(warnings, 1, "{log}");
}

#[test]
fn the_limit_of_sessions_is_logged_when_reached_and_when_left() {
    let process = GATEWAY.start(Some("[limits]\nsessions_max = 8"));
    let address = process.address;
    let mut clients: Vec<Client> = (0..8).map(|_| open(address, "/ws")).collect();
    for _ in 0..3 {
        // Further rejections are not logged.
        let socket = TcpStream::connect(address).expect("it listens");
        let refused = open_on(socket, "/ws").expect_err("there are too many");
        assert!(refused.contains("503"), "{refused}");
    }
    for client in &mut clients {
        expect_no_message(client);
    }
    drop(clients);
    let log = process.stop().log;
    let count = |text: &str| log.matches(text).count();
    assert_eq!(count("the limit of sessions is reached"), 1, "{log}");
    assert_eq!(count("below the limit of sessions again"), 1, "{log}");
}

/// Opens a connection with small buffers and sends `words` without waiting for a reader.
fn unauthenticated_connection(address: SocketAddr, words: &[u8]) -> TcpStream {
    let mut stream = connect_slowly(address);
    stream.set_nonblocking(true).expect("a socket");
    // It may be evicted, or read no further, before all of it is written.
    drop(stream.write_all(words));
    stream.set_nonblocking(false).expect("a socket");
    stream
}

/// The number of connections in a group: four times the limit of all shards.
const CROWD: usize = 4 * 4 * 16;
const TRIES_MAX: usize = 10_000;
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PAGE: &[u8] = b"GET /playground/ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HALF_BODY: &[u8] = b"POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";
