//! The formats of the new dialect, and sessions of one route with different ones.
//!
//! ```text
//!   GET /plain                                 text     echo hi
//!   GET /plain?format=json                     JSON     ["echo","hi"]
//!   Sec-WebSocket-Protocol: plain.binary       binary   \x04echohi
//!   GET /plain?format=lines                    text in lines (`lines.rs`)
//! ```

use crate::lines::{Feed, Lines};
use crate::{PATIENCE, read};
use campanile::Gateway;
use campanile::content::Content;
use campanile::dialect::{Credentials, DecodeError, Framing, UpgradeRequest};
use campanile::ws::MessageType;
use campanile_tests::client::{Client, open, open_with};
use std::sync::atomic::{AtomicUsize, Ordering};
use tungstenite::Message as Frame;

pub(crate) const TEXT: u8 = 0;
pub(crate) const JSON: u8 = 1;
const BINARY: u8 = 2;
const LINES: u8 = 3;
const FEED: u8 = 4;
pub(crate) const COUNT: u8 = 5;

/// Returns the framing of a format.
pub(crate) fn framing(format: u8) -> Framing {
    match format {
        LINES => Framing::Stream(&Lines),
        FEED => Framing::Stream(&Feed),
        _ => Framing::WebSocket,
    }
}

/// Chooses the format of a session from its upgrade request.
pub(crate) fn choose<'r>(request: &UpgradeRequest<'r>) -> Credentials<'r> {
    let mut offered = request.header("Sec-WebSocket-Protocol");
    let query = request.query.unwrap_or_default();
    if offered.any(|offered| offered == PROTOCOL.as_bytes()) {
        Credentials {
            subprotocol: Some(PROTOCOL.into()),
            format: BINARY,
            ..Credentials::default()
        }
    } else {
        Credentials {
            format: match query.split('&').find_map(|it| it.strip_prefix("format=")) {
                Some("json") => JSON,
                Some("lines") => LINES,
                Some("feed") => FEED,
                _ => TEXT,
            },
            ..Credentials::default()
        }
    }
}

/// Decodes a message to its command and its data.
pub(crate) fn read_command(
    format: u8,
    kind: MessageType,
    payload: &[u8],
) -> Result<(&str, &str), DecodeError> {
    if (kind == MessageType::Binary) != (format == BINARY) {
        return Err(DecodeError::Malformed);
    }
    if format == JSON {
        return serde_json::from_slice(payload).map_err(|_| DecodeError::Malformed);
    }
    let [length, rest @ ..] = payload else {
        return Err(DecodeError::Malformed);
    };
    let text = if format == BINARY { rest } else { payload };
    let text = str::from_utf8(text).map_err(|_| DecodeError::InvalidText)?;
    let parts = match format {
        BINARY => text.split_at_checked(usize::from(*length)),
        _ => text.split_once(' '),
    };
    parts.ok_or(DecodeError::Malformed)
}

/// Appends a message and returns its type.
pub(crate) fn put(format: u8, command: &str, data: &[u8], message: &mut Vec<u8>) -> MessageType {
    match format {
        JSON => {
            let data = str::from_utf8(data).expect("text");
            serde_json::to_writer(message, &(command, data)).expect("a vector takes it");
            MessageType::Text
        }
        BINARY => {
            message.push(u8::try_from(command.len()).expect("short"));
            message.extend_from_slice(command.as_bytes());
            message.extend_from_slice(data);
            MessageType::Binary
        }
        _ => {
            message.extend_from_slice(command.as_bytes());
            message.push(b' ');
            message.extend_from_slice(data);
            MessageType::Text
        }
    }
}

/// Counts an encoding of the publication that one test counts.
pub(crate) fn count(content: &Content<'_>) {
    let is_counted = content.data.bytes() == COUNTED.as_bytes();
    ENCODED.fetch_add(usize::from(is_counted), Ordering::Relaxed);
}

#[test]
fn sessions_of_one_route_have_the_formats_that_their_upgrades_chose() {
    let config = read(ROUTES).expect("valid");
    let gateway = Gateway::builder(config).start().expect("it starts");
    let address = gateway.local_addr();
    let with_protocol = || open_with(address, "/plain", &[("Sec-WebSocket-Protocol", PROTOCOL)]);
    let with_json = || open(address, "/plain?format=json");
    // Neighbours in the list of members have different formats.
    let mut clients = [
        (TEXT, open(address, "/plain")),
        (BINARY, with_protocol()),
        (JSON, with_json()),
        (BINARY, with_protocol()),
        (TEXT, open(address, "/plain")),
        (JSON, with_json()),
    ];
    let secret = [("Authorization", "Bearer a-secret-of-the-operator")];
    let mut tap = open_with(address, "/tap", &secret);
    for (format, client) in &mut clients {
        client
            .send(message(*format, "join", "room"))
            .expect("it reads");
        client
            .send(message(*format, "echo", "hi"))
            .expect("it reads");
        expect(client, &message(*format, "echo", "hi"));
        // A message in another format has no effect.
        let other = (*format + 1) % 3;
        client.send(message(other, "echo", "x")).expect("it reads");
    }

    for (publisher, data) in [(0, "from text"), (1, "from binary"), (2, "from JSON")] {
        let (format, client) = &mut clients[publisher];
        let call = message(*format, "publish", &format!("room {data}"));
        client.send(call).expect("it reads");
        for (format, client) in &mut clients {
            expect(client, &message(*format, "news", data));
        }
        while !next(&mut tap).to_string().contains(&format!("\"{data}\"")) {}
    }

    let route = gateway.route("/plain").expect("it is there");
    let counted = campanile::Message::text("news", COUNTED);
    assert_eq!(route.broadcast(counted).wait(), Ok(6));
    for (format, client) in &mut clients {
        expect(client, &message(*format, "news", COUNTED));
    }
    assert_eq!(ENCODED.load(Ordering::Relaxed), 3);
    drop((clients, tap));
    assert_eq!(gateway.stop(PATIENCE).sessions_opened, 7);
}

pub(crate) fn message(format: u8, command: &str, data: &str) -> Frame {
    let mut message = Vec::new();
    match put(format, command, data.as_bytes(), &mut message) {
        MessageType::Text => Frame::text(String::from_utf8(message).expect("text")),
        MessageType::Binary => Frame::binary(message),
    }
}

#[track_caller]
fn expect(client: &mut Client, expected: &Frame) {
    assert_eq!(next(client), *expected);
}

#[track_caller]
fn next(client: &mut Client) -> Frame {
    client.read().expect("a message")
}

/// One shard, so that a publication is encoded once for each format.
const ROUTES: &str = "\
    listen = '127.0.0.1:0'\n\
    shards = 1\n\
    pin = false\n\
    [[routes]]\n\
    path = '/plain'\n\
    dialect = 'plain'\n\
    namespace = 'town'\n\
    commands = { echo = 'echo', join = 'join', publish = { action = 'publish', event = 'news' } }\n\
    [[routes]]\n\
    path = '/other'\n\
    dialect = 'projectforge'\n\
    namespace = 'town'\n\
    tap_path = '/tap'\n\
    tap_secret = 'a-secret-of-the-operator'\n";
const PROTOCOL: &str = "plain.binary";
const COUNTED: &str = "counted";
static ENCODED: AtomicUsize = AtomicUsize::new(0);
