//! Framings of the new dialect: lines of text behind a plain GET request.
//!
//! ```text
//! client                              gateway
//!   | GET /plain?format=lines            |
//!   | echo hi                            |
//!   |----------------------------------->|
//!   |               HTTP/1.1 200 OK ..   |
//!   |                         > echo hi  |
//!   |<-----------------------------------|
//! ```

use crate::formats::{JSON, TEXT, message};
use crate::{PATIENCE, read};
use campanile::dialect::{Framing, MessageReader, StreamFraming, StreamItem};
use campanile::ws::{Event, MessageType, ProtocolError};
use campanile::{Gateway, Message};
use campanile_tests::client::{open, try_open};
use campanile_tests::net::connect;
use campanile_tests::peer::{Peer, ask};
use campanile_tests::prng::Prng;
use std::net::SocketAddr;

/// A line for each message. An empty line of a client has no meaning, and the line `quit` ends the
/// session.
#[derive(Debug)]
pub(crate) struct Lines;

/// Lines to a client that may have ended its input, without keep-alive and without a last line.
#[derive(Debug)]
pub(crate) struct Feed;

impl StreamFraming for Lines {
    fn media_type(&self) -> &'static str {
        "text/x-lines"
    }

    fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"> ");
    }

    fn end(&self, out: &mut Vec<u8>, start: usize, _: MessageType) {
        let breaks = out[start..].iter_mut().filter(|byte| **byte == b'\n');
        breaks.for_each(|byte| *byte = b' ');
        out.push(b'\n');
    }

    fn put_ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"# alive\n");
    }

    fn put_close(&self, out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
        out.extend_from_slice(format!("# {} {reason}\n", code.unwrap_or(0)).as_bytes());
    }

    fn read(&self, bytes: &[u8], scanned: usize) -> Option<(usize, StreamItem)> {
        let rest = &bytes[scanned..];
        let at = scanned + rest.iter().position(|&byte| byte == b'\n')?;
        let item = match &bytes[..at] {
            b"" => StreamItem::KeepAlive,
            b"quit" => StreamItem::Close,
            _ => StreamItem::Message {
                kind: MessageType::Text,
                payload: 0..at,
            },
        };
        Some((at + 1, item))
    }
}

impl StreamFraming for Feed {
    fn media_type(&self) -> &'static str {
        Lines.media_type()
    }

    fn end(&self, out: &mut Vec<u8>, start: usize, kind: MessageType) {
        Lines.end(out, start, kind);
    }

    fn read(&self, bytes: &[u8], scanned: usize) -> Option<(usize, StreamItem)> {
        Lines.read(bytes, scanned)
    }

    fn outlives_input(&self) -> bool {
        true
    }
}

/// A gateway with one shard, and its address.
fn start(keys: &str) -> (Gateway, SocketAddr) {
    let config = read(&format!("{ROUTE}{keys}\n")).expect("valid");
    let gateway = Gateway::builder(config).start().expect("it starts");
    let address = gateway.local_addr();
    (gateway, address)
}

/// Opens a session with a GET and sends `lines` in the same packet.
#[track_caller]
fn get(address: SocketAddr, query: &str, lines: &str) -> Peer {
    let mut peer = Peer::connect(address);
    peer.send(format!(
        "GET /plain?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n{lines}"
    ));
    peer.expect_bytes(RESPONSE);
    peer
}

#[test]
fn a_get_opens_a_session_of_lines_beside_sessions_of_frames() {
    let (gateway, address) = start("");
    let mut lines = get(
        address,
        "format=lines&token=secret",
        "echo hi\n\necho you\njoin ro",
    );
    lines.expect_bytes(b"> echo hi\n> echo you\n");
    for part in ["om\n", "e", "cho a", "gain\n"] {
        lines.send(part);
    }
    lines.expect_bytes(b"> echo again\n");
    let mut clients = [
        (TEXT, open(address, "/plain?token=guest")),
        (JSON, open(address, "/plain?format=json&token=guest")),
    ];
    for (format, client) in &mut clients {
        client
            .send(message(*format, "join", "room"))
            .expect("it reads");
        client
            .send(message(*format, "echo", "hi"))
            .expect("it reads");
        assert_eq!(
            client.read().expect("a reply"),
            message(*format, "echo", "hi")
        );
    }

    lines.send("publish room from a line\n");
    lines.expect_bytes(b"> news from a line\n");
    let published = message(JSON, "publish", "room from JSON");
    for (format, client) in &mut clients {
        assert_eq!(
            client.read().expect("a message"),
            message(*format, "news", "from a line")
        );
    }
    let (_, client) = &mut clients[1];
    client.send(published).expect("it reads");
    lines.expect_bytes(b"> news from JSON\n");

    let route = gateway.route("/plain").expect("it is there");
    let pushed = route.push_user("jack", Message::text("news", "two\nlines"));
    assert_eq!(pushed.wait(), Ok(1));
    lines.expect_bytes(b"> news two lines\n");
    assert_eq!(route.drop_user("jack", None).wait(), Ok(1));
    lines.expect_bytes(b"# 1000 dropped by the server\n");
    lines.expect_end();
    drop((clients, lines));
    assert_eq!(gateway.stop(PATIENCE).sessions_opened, 3);
}

#[test]
fn the_end_of_a_peers_input_ends_a_session_unless_its_framing_says_otherwise() {
    let (gateway, address) = start("");
    let mut lines = get(address, "format=lines&token=guest", "echo hi\n");
    lines.end();
    lines.expect_bytes(b"> echo hi\n");
    lines.expect_end();
    let mut quits = get(
        address,
        "format=lines&token=guest",
        "echo hi\nquit\necho too late\n",
    );
    quits.expect_bytes(b"> echo hi\n# 0 \n");
    quits.expect_end();

    let mut feed = get(address, "format=feed&token=secret", "echo hi\n");
    feed.end();
    feed.expect_bytes(b"echo hi\n");
    let route = gateway.route("/plain").expect("it is there");
    for data in ["one", "two"] {
        let pushed = route.push_user("jack", Message::text("news", data));
        assert_eq!(pushed.wait(), Ok(1));
        feed.expect_bytes(format!("news {data}\n").as_bytes());
    }
    let pushed = route.push_user("jack", Message::text("news", "last"));
    assert_eq!(route.drop_user("jack", None).wait(), Ok(1));
    assert_eq!(pushed.wait(), Ok(1));
    feed.expect_bytes(b"news last\n");
    feed.expect_end();

    let mut reads_on = get(address, "format=feed&token=secret", "echo hi\n");
    reads_on.expect_bytes(b"echo hi\n");
    assert_eq!(route.drop_user("jack", None).wait(), Ok(1));
    reads_on.expect_end();
    drop((lines, quits, feed, reads_on));
    assert_eq!(gateway.stop(PATIENCE).sessions_opened, 4);
}

#[test]
fn a_session_of_lines_has_the_limits_and_times_of_its_route() {
    let (gateway, address) = start("message_bytes_max = 10\nping_interval_ms = 100");
    let mut lines = get(address, "format=lines&token=guest", "echo 12345\n");
    lines.expect_bytes(b"> echo 12345\n# alive\n");
    lines.send("echo 1");
    lines.send("23456");
    // Perhaps it is alive some more times before.
    let rest = lines.rest();
    let text = str::from_utf8(&rest).expect("text");
    assert_eq!(
        text.trim_start_matches("# alive\n"),
        "# 1009 message too big\n"
    );
    drop(lines);
    let counts = gateway.stop(PATIENCE);
    assert_eq!(counts.sessions_opened, 1);
}

#[test]
fn a_request_that_opens_no_session_of_its_format_is_rejected() {
    let (gateway, address) = start("");
    let rejected = |start: &str, headers: &str| {
        let request = format!("{start}\r\nHost: localhost\r\n{headers}\r\n");
        let response = ask(address, request);
        let reason = response.header("campanile-refused").unwrap_or_default();
        (response.status_and_body().0, reason.to_owned())
    };
    let get = "GET /plain?format=lines&token=guest HTTP/1.1";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (get, upgrade, 400, "upgrade"),
        (
            "POST /plain?format=lines&token=guest HTTP/1.1",
            "Content-Length: 0\r\n",
            405,
            "method",
        ),
        (
            get,
            "Content-Length: 1\r\nConnection: close\r\n",
            400,
            "body",
        ),
        (get, "Origin: http://a.example\r\n", 403, "origin"),
        (
            "GET /plain?format=lines&token=wrong HTTP/1.1",
            "",
            401,
            "unauthorized",
        ),
        (
            "GET /plain?format=lines&token=guest HTTP/1.0",
            "",
            505,
            "http_10",
        ),
        (
            "GET /plain?token=guest HTTP/1.1",
            "",
            400,
            "no_upgrade_in_connection",
        ),
    ];
    for (start, headers, status, reason) in cases {
        let expected = (status, reason.to_owned());
        assert_eq!(rejected(start, headers), expected, "{start} {headers}");
    }
    assert!(try_open(connect(address), "/plain?format=lines&token=guest", &[]).is_err());
    assert_eq!(gateway.stop(PATIENCE).sessions_opened, 0);
}

#[test]
fn lines_are_the_same_however_they_are_split() {
    const BYTES_MAX: usize = 8;
    let mut too_big = 0;
    for seed in 0..2_000 {
        let mut prng = Prng::from_seed(seed);
        let length = prng.below(60);
        let bytes = (0..length).map(|_| if prng.chance(1, 5) { b'\n' } else { b'a' });
        let bytes: Vec<u8> = bytes.collect();
        let whole = events(&bytes, BYTES_MAX, || usize::MAX);
        let parts = events(&bytes, BYTES_MAX, || prng.range(1, 5) as usize);
        assert_eq!(whole, parts, "seed {seed}");
        // The same, without a reader.
        let text = String::from_utf8(bytes).expect("ASCII");
        let mut expected = Vec::new();
        for line in text.split_inclusive('\n') {
            let payload = line.trim_end_matches('\n');
            if payload.len() > BYTES_MAX {
                expected.push("too big".to_owned());
                break;
            }
            if line.ends_with('\n') && !payload.is_empty() {
                expected.push(payload.to_owned());
            }
        }
        too_big += usize::from(expected.last().is_some_and(|it| it == "too big"));
        assert_eq!(whole, expected, "seed {seed}");
    }
    assert!((200..1_800).contains(&too_big), "{too_big}");

    // So are lines that are no messages.
    for (bytes_max, expected) in [(3, vec!["too big".to_owned()]), (4, Vec::new())] {
        assert_eq!(events(b"quit\n", bytes_max, || usize::MAX), expected);
        assert_eq!(events(b"quit\n", bytes_max, || 1), expected);
    }
}

/// Reads bytes in chunks. Returns the messages, and at the end whether one is too big.
fn events(bytes: &[u8], bytes_max: usize, mut chunk: impl FnMut() -> usize) -> Vec<String> {
    let mut reader = MessageReader::new(Framing::Stream(&Lines));
    let (mut events, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk().min(rest.len()));
        let (mut now, mut at) = (now.to_vec(), 0);
        while at < now.len() {
            match reader.step(&mut now[at..], bytes_max) {
                Err(error) => {
                    assert_eq!(error, ProtocolError::TooBig);
                    events.push("too big".to_owned());
                    return events;
                }
                Ok((taken, event)) => {
                    at += taken;
                    if let Some(Event::Message { payload, .. }) = event {
                        let text = String::from_utf8_lossy(payload.bytes());
                        events.push(text.into_owned());
                    }
                }
            }
            assert!(reader.partial_bytes() >= usize::from(!reader.is_at_rest()));
        }
        rest = later;
    }
    events
}

const ROUTE: &str = "\
    listen = '127.0.0.1:0'\n\
    shards = 1\n\
    pin = false\n\
    [[routes]]\n\
    path = '/plain'\n\
    dialect = 'plain'\n\
    tokens = { secret = 'jack', guest = 'joe' }\n\
    commands = { echo = 'echo', join = 'join', publish = { action = 'publish', event = 'news' }}\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\n\
    Content-Type: text/x-lines\r\n\r\n";
