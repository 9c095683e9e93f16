//! Tests of the contents of the log: at `debug` each end and rejection, at `info` sums, limited
//! lines caused by clients, and typed values in JSON.

use crate::GATEWAY;
use crate::fixture::serve;
use campanile_tests::PATIENCE;
use campanile_tests::client::{Client, open, open_as, open_on, read_text, register};
use campanile_tests::http::{post, upgrade};
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::{Process, lines};
use serde_json::Value;
use std::io::{Write as _, pipe};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

const CONFIG: &str = r#"
[logging]
lines_per_place_max = 3
summary_interval_ms = 100
[[backends]]
name = "app"
url = "http://127.0.0.1:1/"
retries_max = 0
[[routes]]
path = "/ws"
dialect = "wserver"
push_path = "/push"
push_secret = "hush"
outbox_bytes_max = 4096
tokens = { aaa = "jack" }
[[routes]]
path = "/pf"
dialect = "projectforge"
origin = "same"
commands.join = { action = "join" }
commands.publish = { action = "publish" }
[[routes]]
path = "/wsrv"
dialect = "wsrv"
hooks = { backend = "app", on = ["message"] }
"#;

const SECRET: &str = "Authorization: Bearer hush\r\n";
const SUMMARY: &str = "counts of ended sessions, rejections and failed hooks";

/// Returns the next line with this message for which `what` holds.
#[track_caller]
fn find(log: &Receiver<String>, message: &str, what: impl Fn(&Value) -> bool) -> Value {
    let mut before = Vec::new();
    while let Ok(line) = log.recv_timeout(PATIENCE) {
        let line = parsed(&line);
        if line["message"] == message && what(&line) {
            return line;
        }
        before.push(line);
    }
    panic!("no such line: {message}: {before:#?}");
}

#[track_caller]
fn parsed(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    assert!(value["timestamp"].is_string(), "{line}");
    assert!(value["level"].is_string(), "{line}");
    assert!(value["target"].is_string(), "{line}");
    value
}

fn address_of(client: &Client) -> SocketAddr {
    client.get_ref().local_addr().expect("connected")
}

/// Asserts the fields that every line about a session has.
#[track_caller]
fn is_about(line: &Value, route: &str, address: SocketAddr) {
    assert_eq!(line["route"], route, "{line}");
    assert_eq!(line["address"], address.to_string(), "{line}");
    let id = line["public_id"].as_str().expect("a session has one");
    assert_eq!(id.len(), 36, "{line}");
}

#[test]
fn an_invalid_request_is_a_line_at_debug() {
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(CONFIG, &["--log", "debug,json"], stderr);
    let mut stranger = TcpStream::connect(served.address).expect("it listens");
    let from = stranger.local_addr().expect("connected");
    stranger.write_all(b"nonsense\r\n\r\n").expect("it reads");
    let line = find(&lines(reader), "rejected", |line| {
        line["reason"] == "malformed"
    });
    assert_eq!(line["what"], "request");
    assert_eq!(line["address"], from.to_string());
}

#[test]
fn at_debug_every_end_and_every_rejection_is_a_line() {
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(CONFIG, &["--log", "debug,json"], stderr);
    let log = lines(reader);
    let rejected = |what: &str, reason: &str| {
        find(&log, "rejected", |line| {
            line["what"] == what && line["reason"] == reason
        })
    };

    let mut jack = open(served.address, "/ws");
    register(&mut jack, "bad", "e");
    is_about(&rejected("token", "unknown"), "/ws", address_of(&jack));

    let mut peer = Peer::connect(served.address);
    let from = peer.socket().local_addr().expect("connected");
    assert_eq!(
        peer.post("/push", "", &push_body("jack", "e", "m")).status,
        401
    );
    let line = rejected("request", "unauthorized");
    assert_eq!(
        (&line["route"], &line["status"]),
        (&"/push".into(), &401.into())
    );
    assert_eq!(line["address"], from.to_string());
    let mut peer = Peer::connect(served.address);
    assert_eq!(peer.post("/nowhere", "", "").status, 404);
    assert_eq!(rejected("request", "not_found")["route"], "/nowhere");

    let mut stranger = TcpStream::connect(served.address).expect("it listens");
    let from = stranger.local_addr().expect("connected");
    let upgrade = upgrade("GET /pf HTTP/1.1", &["Host: a", "Origin: http://b"]);
    stranger.write_all(upgrade.as_bytes()).expect("it reads");
    let line = rejected("upgrade", "origin");
    assert_eq!(
        (&line["route"], &line["status"]),
        (&"/pf".into(), &403.into())
    );
    assert_eq!(line["address"], from.to_string());

    let mut chat = open(served.address, "/pf");
    for (channel, command) in [("a", "join"), ("a", "join"), ("b", "publish")] {
        let text = format!(r#"{{"channel":"{channel}","cmd":"{command}","param":1}}"#);
        chat.send(Message::text(text)).expect("it reads");
    }
    is_about(
        &rejected("join", "already_joined"),
        "/pf",
        address_of(&chat),
    );
    is_about(&rejected("publish", "not_joined"), "/pf", address_of(&chat));

    let mut wsrv = open(served.address, "/wsrv");
    wsrv.send(Message::text(r#"{"cmd":"x","seqno":"1"}"#))
        .expect("it reads");
    let line = find(&log, "hook failed", |line| line["reason"] == "unreachable");
    is_about(&line, "/wsrv", address_of(&wsrv));
    assert_eq!(
        (&line["hook"], &line["backend"]),
        (&"message".into(), &"app".into())
    );

    ends_are_lines(&log, served.address, chat);
    drop((jack, wsrv));
}

#[track_caller]
fn ends_are_lines(log: &Receiver<String>, address: SocketAddr, mut chat: Client) {
    let from = address_of(&chat);
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "bye".into(),
    };
    chat.close(Some(frame)).expect("it reads");
    let of = |address: SocketAddr| move |line: &Value| line["address"] == address.to_string();
    let line = find(log, "session ended", of(from));
    is_about(&line, "/pf", from);
    assert_eq!(
        (&line["reason"], &line["code"]),
        (&"client_closed".into(), &1000.into())
    );

    let gone = open(address, "/wsrv");
    let from = address_of(&gone);
    drop(gone);
    let line = find(log, "session ended", of(from));
    is_about(&line, "/wsrv", from);
    assert_eq!(line["reason"], "reset");

    let slow = open_as(address, "aaa", "e");
    let from = address_of(&slow);
    let mut peer = Peer::connect(address);
    let large = push_body("jack", "e", &"x".repeat(1 << 20));
    while peer.post("/push", SECRET, &large).body != "message sent to 0 clients" {}
    let line = find(log, "session ended", of(from));
    is_about(&line, "/ws", from);
    assert_eq!(
        (&line["reason"], &line["code"]),
        (&"slow_consumer".into(), &1008.into())
    );
}

#[test]
fn at_info_ends_and_rejections_are_summed_up_periodically() {
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(CONFIG, &["--log", "json"], stderr);
    let log = lines(reader);
    for _ in 0..3 {
        let mut peer = Peer::connect(served.address);
        peer.send(post("/push", "", ""));
        assert_eq!(peer.response().status, 401);
        let socket = TcpStream::connect(served.address).expect("it listens");
        assert!(open_on(socket, "/nowhere").is_err());
        let mut client = open(served.address, "/wsrv");
        client
            .send(Message::text(r#"{"cmd":"x","seqno":"1"}"#))
            .expect("it reads");
        client.read().expect("an answer comes");
        client.close(None).expect("it reads");
        while client.read().is_ok() {}
    }
    let expected = [
        ("/ends/client_closed", 3),
        ("/requests/unauthorized", 3),
        ("/requests/not_found", 3),
        ("/hooks/unreachable", 3),
    ];
    let mut sums = [0; 4];
    while sums != expected.map(|(_, count)| count) {
        let line = find(&log, SUMMARY, |line| line["level"] == "INFO");
        for (sum, (pointer, most)) in sums.iter_mut().zip(expected) {
            *sum += line
                .pointer(pointer)
                .map_or(0, |count| count.as_u64().expect("a number"));
            assert!(*sum <= most, "{pointer}: {line}");
        }
    }
    // Without new events there is no line; the last line has the totals.
    served.expect_stop(Vec::new());
    let mut last = Value::Null;
    while let Ok(line) = log.recv_timeout(PATIENCE) {
        last = parsed(&line);
        assert_ne!(last["message"], SUMMARY, "{line}");
    }
    assert_eq!(last["message"], "stopped");
    assert_eq!(last["sessions"], 3);
    assert_eq!(last["rejections"], 6);
    assert_eq!(last["ends"]["client_closed"], 3);
}

#[test]
fn lines_below_the_level_are_not_logged() {
    let mut command = GATEWAY.command(None);
    command.args(["--log", "error,json"]);
    let process = Process::start(command);
    let mut jack = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "e", "m"), sent_to(1));
    assert_eq!(read_text(&mut jack), "m");
    let ended = process.stop();
    assert_eq!((ended.status.code(), ended.log.as_str()), (Some(0), ""));
}

#[test]
fn many_errors_of_one_client_are_few_lines_and_a_count() {
    const FAILED: &str = "a hook has failed";
    const COUNT: u64 = 200;
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(CONFIG, &["--log", "json"], stderr);
    let log = lines(reader);
    let mut client = open(served.address, "/wsrv");
    for _ in 0..COUNT {
        client
            .send(Message::text(r#"{"cmd":"x","seqno":"1"}"#))
            .expect("it reads");
        client.read().expect("an answer comes");
    }
    let (mut logged, mut left_out) = (0, 0);
    while logged + left_out < COUNT {
        let line = parsed(&log.recv_timeout(PATIENCE).expect("all are counted"));
        if line["message"] == FAILED {
            logged += 1;
            left_out += line["left_out"].as_u64().unwrap_or(0);
        } else if line["of"] == FAILED {
            assert_eq!(line["message"], "log lines were left out");
            left_out += line["left_out"].as_u64().expect("a count");
        }
    }
    assert_eq!(logged + left_out, COUNT);
    assert!(logged <= COUNT / 2, "{logged}");
}
