//! The expected messages of the gateway, checked with third-party parsers.

use crate::schema::Envelope;
use crate::server_messages::{RandomPublication, as_json};
use campanile::close::CloseCause;
use campanile::content::{Cause, Correlation, Data, Denial, Failure, Outcome};
use campanile::dialect::{Dialect, Options, ReplyAction, Schema};
use campanile::ws::MessageType;
use prost::Message as _;
use serde_json::{Map, Value, json};

/// The expected reply to a command.
#[derive(Debug)]
pub(crate) enum Expected {
    Nothing,
    Leave(CloseCause),
    Json(MessageType, Value),
    Bytes(MessageType, Vec<u8>),
    Envelope(Envelope),
}

/// Returns `true` if the schema is the built-in `ws.Message`.
pub(crate) fn is_builtin(options: &Options) -> bool {
    matches!(options.schema, Schema::Builtin)
}

#[track_caller]
pub(crate) fn check(expected: &Expected, how: ReplyAction, message: &[u8], of: &Outcome) {
    let shown = message.escape_ascii();
    match (expected, how) {
        (Expected::Nothing, ReplyAction::Skip) => {}
        (Expected::Leave(end), ReplyAction::Close(why)) => assert_eq!(*end, why),
        (Expected::Json(kind, value), ReplyAction::Send(of)) => {
            assert_eq!(*kind, of);
            assert_eq!(read_json(message), *value, "{shown}");
        }
        (Expected::Bytes(kind, bytes), ReplyAction::Send(of)) => {
            assert_eq!(
                (*kind, bytes.escape_ascii().to_string()),
                (of, shown.to_string())
            );
        }
        (Expected::Envelope(envelope), ReplyAction::Send(MessageType::Binary)) => {
            assert_eq!(Envelope::decode(message).as_ref(), Ok(envelope), "{shown}");
        }
        _ => panic!("{of:?} was answered with {how:?}, not {expected:?}"),
    }
}

#[track_caller]
pub(crate) fn check_publication(
    dialect: &dyn Dialect,
    random: &RandomPublication,
    options: &Options,
    kind: MessageType,
    message: &[u8],
) {
    let data = random.data.borrow();
    let shown = message.escape_ascii();
    match dialect.name() {
        "wsrv" => {
            assert_eq!(kind, options.push_kind);
            check_push(random, message);
        }
        "projectforge" | "tap" => {
            assert_eq!(kind, MessageType::Text);
            let channel = random.encoded_channel();
            let expected = members(&random.from, &channel, &random.event, as_json(data));
            assert_eq!(read_json(message), expected, "{shown}");
        }
        "easyws" => {
            let expected = [random.event.as_bytes(), b": ", data.bytes()].concat();
            assert_eq!(
                (kind, message),
                (MessageType::Text, &expected[..]),
                "{shown}"
            );
        }
        "edk" if is_builtin(options) => {
            let expected = Envelope {
                kind: random.event.clone(),
                payload: data.bytes().to_vec(),
                id: random.correlation.clone(),
            };
            assert_eq!(Envelope::decode(message), Ok(expected), "{shown}");
            assert_eq!(kind, MessageType::Binary);
        }
        "edk" | "echo" => assert_eq!((kind, message), (MessageType::Binary, data.bytes())),
        "wserver" => {
            let is_text = str::from_utf8(data.bytes()).is_ok();
            let expected = if is_text {
                MessageType::Text
            } else {
                MessageType::Binary
            };
            assert_eq!((kind, message), (expected, data.bytes()));
        }
        other => panic!("{other} has no check here"),
    }
}

/// Checks a push of `wsrv`: it has the members of a response, and a generated sequence number.
#[track_caller]
fn check_push(random: &RandomPublication, message: &[u8]) {
    let mut push = read_json(message);
    let given = push["seqno"].take();
    let given = given.as_str().expect("a name is text");
    if random.correlation.is_empty() {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"$@".contains(&byte);
        assert!(given.len() == 8 && given.bytes().all(is_letter), "{given}");
    } else {
        assert_eq!(given, random.correlation);
    }
    let is_ok = random.status == 0 && random.status_text.is_empty();
    let expected = json!({
        "cmd": random.event,
        "seqno": null,
        "status": random.status,
        "msg": if is_ok { "ok" } else { &random.status_text },
        "data": as_json(random.data.borrow()),
    });
    assert_eq!(push, expected, "{}", message.escape_ascii());
}

/// Returns the expected response of `wsrv` (docs/dialects/wsrv.md, "Responses").
pub(crate) fn wsrv_reply(correlation: &Correlation, outcome: &Outcome) -> Expected {
    let or_empty = |data: Data<'_>| match data {
        Data::None => json!({}),
        Data::Json(_) | Data::Text(_) | Data::Bytes(_) => as_json(data),
    };
    let (status, msg, data) = match outcome {
        Outcome::NotHandled | Outcome::Silent => (-1, "not implement", json!({})),
        Outcome::Replied(reply) | Outcome::Joined(reply) => (0, "ok", or_empty(reply.data())),
        Outcome::Left
        | Outcome::Published
        | Outcome::Identified(_)
        | Outcome::Denied(Denial::AlreadyJoined) => (0, "ok", json!({})),
        Outcome::Denied(denial) => (-1, denial_text(*denial), json!({})),
        Outcome::Failed(failure) => {
            let (status, msg) = failed(failure);
            (status, msg, or_empty(failure.data()))
        }
    };
    let answer = json!({
        "cmd": correlation.command,
        "seqno": correlation.id,
        "status": status,
        "msg": msg,
        "data": data,
    });
    Expected::Json(correlation.kind, answer)
}

/// Returns the gateway's text for a denial, for dialects without their own.
fn denial_text(denial: Denial) -> &'static str {
    match denial {
        Denial::AlreadyJoined => "already on the channel",
        Denial::NoChannelNamed => "no channel is named",
        Denial::NoSuchChannel => "channel does not exist",
        Denial::NotAuthorized => "not authorized",
        Denial::NotJoined => "not on the channel",
        Denial::TooManyChannels => "too many channels",
        Denial::TooManyNames => "too many names",
        Denial::NoRoomForNames => "no room for another name",
        Denial::InvalidToken => "invalid token",
        Denial::TooManyUsers => "too many users",
    }
}

fn failed(failure: &Failure) -> (i64, &str) {
    match failure.cause() {
        Cause::Chosen if failure.status() == 0 && failure.text().is_empty() => (0, "ok"),
        Cause::Chosen | Cause::Denied(_) => (failure.status(), failure.text()),
        Cause::Error => (999_999_999, failure.text()),
        Cause::Panic => panic!("not made here"),
    }
}

pub(crate) fn projectforge_reply(correlation: &Correlation, outcome: &Outcome) -> Expected {
    match outcome {
        Outcome::Replied(reply) => {
            let command = reply.event().unwrap_or(&correlation.command);
            let param = as_json(reply.data());
            let answer = members("", &correlation.channel, command, param);
            Expected::Json(MessageType::Text, answer)
        }
        Outcome::Failed(_) => Expected::Leave(CloseCause::HandlerFailed),
        Outcome::Denied(denial) => {
            let param = json!({"cmd": correlation.command, "message": denial_text(*denial)});
            let answer = members("", &correlation.channel, "error", param);
            Expected::Json(MessageType::Text, answer)
        }
        Outcome::Joined(_)
        | Outcome::Left
        | Outcome::Published
        | Outcome::Identified(_)
        | Outcome::NotHandled
        | Outcome::Silent => Expected::Nothing,
    }
}

/// Returns `true` if `event` is a valid event of `easyws` (docs/dialects/easyws.md, "Pushes").
pub(crate) fn is_easyws_event(event: &str) -> bool {
    (1..=255).contains(&event.len()) && !event.contains(':') && event != "websocket"
}

/// Returns the expected reply of `easyws` (docs/dialects/easyws.md, "Commands and errors" and "Open
/// and replies").
pub(crate) fn easyws_reply(correlation: &Correlation, outcome: &Outcome) -> Expected {
    let complaint = match outcome {
        Outcome::Replied(reply) | Outcome::Joined(reply) => {
            let command = reply.event().unwrap_or(&correlation.command);
            let is_sayable = reply.event().is_none_or(is_easyws_event);
            if reply.data() == Data::None || command.is_empty() || !is_sayable {
                return Expected::Nothing;
            }
            let answer = [command.as_bytes(), b": ", reply.data().bytes()].concat();
            return Expected::Bytes(MessageType::Text, answer);
        }
        Outcome::Left
        | Outcome::Published
        | Outcome::Identified(_)
        | Outcome::Silent
        | Outcome::Failed(_) => return Expected::Nothing,
        Outcome::Denied(Denial::AlreadyJoined) => "already listening",
        Outcome::Denied(denial) => denial_text(*denial),
        Outcome::NotHandled => "command not supported by server",
    };
    Expected::Bytes(
        MessageType::Text,
        format!("websocket: {complaint}").into_bytes(),
    )
}

pub(crate) fn edk_reply(
    correlation: &Correlation,
    outcome: &Outcome,
    options: &Options,
) -> Expected {
    if let Outcome::Denied(denial) = outcome {
        return match options.schema {
            Schema::Builtin => Expected::Envelope(Envelope {
                kind: "error".to_owned(),
                payload: denial_text(*denial).into(),
                id: correlation.id.clone().into(),
            }),
            Schema::Opaque | Schema::Descriptor(_) => Expected::Nothing,
        };
    }
    let Outcome::Replied(reply) = outcome else {
        return Expected::Nothing;
    };
    let payload = reply.data().bytes().to_vec();
    if reply.data() == Data::None {
        Expected::Nothing
    } else if is_builtin(options) {
        Expected::Envelope(Envelope {
            kind: reply.event().unwrap_or(&correlation.command).to_owned(),
            payload,
            id: correlation.id.clone().into(),
        })
    } else {
        Expected::Bytes(MessageType::Binary, payload)
    }
}

/// Returns a message of `projectforge`. An empty sender or channel is omitted.
fn members(from: &str, channel: &str, command: &str, param: Value) -> Value {
    let mut members = Map::new();
    for (key, text) in [("from", from), ("channel", channel)] {
        if !text.is_empty() {
            members.insert(key.to_owned(), text.into());
        }
    }
    members.insert("cmd".to_owned(), command.into());
    members.insert("param".to_owned(), param);
    members.into()
}

#[track_caller]
fn read_json(message: &[u8]) -> Value {
    let read = serde_json::from_slice(message);
    read.unwrap_or_else(|error| panic!("{error}: {}", message.escape_ascii()))
}
