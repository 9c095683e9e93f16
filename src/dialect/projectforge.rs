//! The `projectforge` dialect, of Project Forge's websocket module: JSON messages about channels.
//!
//! ```text
//! client                                             gateway                 others in "room"
//!   | GET /example/socket?ch=room                       |                              |
//!   |-------------------------------------------------->|  {                           |
//!   |                                                   |    "from": "82ad4c6d-..",    |
//!   |                                                   |    "channel": "room",        |
//!   |                                                   |    "cmd": "online-update",   |
//!   |                                                   |    "param": {                |
//!   |                                                   |      "userID": "82ad4c6d-..",|
//!   |                                                   |      "connected": true       |
//!   |                                                   |    }                         |
//!   |                                                   |  }                           |
//!   |                                                   |----------------------------->|
//!   | {"channel":"room","cmd":"ping","param":[1]}       |                              |
//!   |-------------------------------------------------->|   Call "ping", data [1]      |
//!   |    { "channel": "room", "cmd": "pong",            |                              |
//!   |      "param": .. }             indented as above  |   if a handler replies       |
//!   |<--------------------------------------------------|                              |
//!   | {"cmd":"ping","cmd":"ping"}                       |                              |
//!   |-------------------------------------------------->|   Malformed: closed          |
//! ```
//!
//! Messages are decoded as the second version of Go's `encoding/json` does. Invalid messages and
//! failing handlers close the session. A route with `lenient` decodes as the first version does,
//! which the original used before its version 1.7.23. Presence goes to the other members of a
//! channel, not to the member itself. The dialect does not check whether the sender is on the
//! channel that a message names, or is the sender that it names.

use super::tap::Tap;
use super::{
    Call, Credentials, DecodeError, DefaultRoute, Dialect, DialectSpec, InitialChannel, Intent,
    Intents, OnInvalid, Options, Playground, Presence, Rejection, ReplyAction, RouteFacts,
    RouteSpec, TokenPlace, UpgradeRequest,
};
use crate::codec::json::strict::{self, StrictError};
use crate::codec::json::write::{
    put_base64_string, put_compact_go, put_indented, put_string_plain,
};
use crate::codec::json::{Scratch, Text, Wanted};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Correlation, Data, Denial, Outcome};
use crate::vocabulary::public_id::parse_uuid;
use crate::vocabulary::publication::{Audience, Publication};
use crate::ws::MessageType;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The event, without data, that asks a client to close its connection. The original's client does
/// so after half a second and does not reconnect.
pub const CLOSE_CONNECTION: &str = "close-connection";

/// The event of a line of terminal output.
pub const OUTPUT: &str = "output";

/// The `projectforge` dialect.
#[derive(Debug)]
pub struct Projectforge;

impl Dialect for Projectforge {
    fn name(&self) -> &'static str {
        "projectforge"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            announces: true,
            json_data: true,
            names_channels: true,
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "JSON messages on channels whose members see each other",
            keys: "subprotocols playground_path tokens token_from anonymous jwt hooks commands \
                   channels join_on_open from lenient tap_path tap_secret",
            token: TokenPlace::Sources,
            same_origin: true,
            tap: Some(&Tap),
            playground: Playground {
                query: "?ch=room",
                ..Playground::with_message(r#"{"channel":"room","cmd":"publish","param":"hi"}"#)
            },
            default_route: Some(DefaultRoute {
                name: "projectforge",
                has_playground: true,
                has_chat: true,
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let mut lines: Vec<String> = facts.token_shown.map(Into::into).into_iter().collect();
        let room = facts.room.unwrap_or("room");
        lines.push(format!("with ?ch={room}, twice: the first sees a join"));
        lines.extend(facts.publish.map(|publish| {
            format!(r#"send {{"channel":"{room}","cmd":"{publish}","param":"hi"}}"#)
        }));
        lines
    }

    fn admit<'r>(
        &self,
        request: &UpgradeRequest<'r>,
        _: &Options,
    ) -> Result<Credentials<'r>, Rejection> {
        let wanted = request.query.and_then(|query| query_value(query, "ch"));
        Ok(Credentials {
            channel: wanted
                .filter(|name| !name.is_empty())
                .map_or(InitialChannel::Generated, InitialChannel::Named),
            ..Credentials::default()
        })
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        options: &Options,
        scratch: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let call = if options.lenient {
            read_call_lenient(kind, payload, scratch)
        } else {
            read_call(kind, payload, scratch)
        };
        intents.push(Intent::Call(call?));
        Ok(())
    }

    fn on_invalid(&self, error: DecodeError) -> OnInvalid {
        match error {
            DecodeError::InvalidText | DecodeError::Malformed => {
                OnInvalid::Close(CloseCause::Malformed)
            }
        }
    }

    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        match outcome {
            Outcome::Replied(reply) => {
                let fields = MessageFields {
                    from: "",
                    channel: &correlation.channel,
                    command: reply.event().unwrap_or(&correlation.command),
                    param: reply.data(),
                };
                put_message(&fields, message);
                ReplyAction::Send(MessageType::Text)
            }
            Outcome::Failed(_) => ReplyAction::Close(CloseCause::HandlerFailed),
            Outcome::Denied(denial) => {
                put_denial(correlation, *denial, message);
                ReplyAction::Send(MessageType::Text)
            }
            Outcome::Silent
            | Outcome::NotHandled
            | Outcome::Joined(_)
            | Outcome::Left
            | Outcome::Published
            | Outcome::Identified(_) => ReplyAction::Skip,
        }
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        put_publication(publication, message);
        MessageType::Text
    }

    fn encode_presence(&self, presence: Presence<'_>, json: &mut Vec<u8>) -> Option<&'static str> {
        json.extend_from_slice(b"{\"userID\":");
        put_string_plain(presence.name, json);
        json.extend_from_slice(b",\"connected\":");
        json.extend_from_slice(if presence.connected {
            b"true"
        } else {
            b"false"
        });
        json.push(b'}');
        Some("online-update")
    }
}

/// Decodes a message of either type.
///
/// The sender, if named, must be a UUID in a form that [`parse_uuid`] accepts. It is passed on as
/// spelled.
///
/// # Errors
///
/// [`DecodeError::Malformed`] if the message is invalid.
pub(super) fn read_call<'m>(
    kind: MessageType,
    message: &'m [u8],
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, DecodeError> {
    let malformed = |_: StrictError| DecodeError::Malformed;
    let [from, channel, command, data] =
        strict::read(message, ["from", "channel", "cmd", "param"]).map_err(malformed)?;
    let texts = [
        strict::text(from).map_err(malformed)?,
        strict::text(channel).map_err(malformed)?,
        strict::text(command).map_err(malformed)?,
    ];
    call(kind, texts, data, scratch)
}

/// Decodes a message as the original did before its version 1.7.23: keys match in any case, the
/// last of several wins, invalid text becomes U+FFFD, and bytes after the object are ignored.
///
/// `null`, which made the original panic, is an error, like everything else that is no object.
fn read_call_lenient<'m>(
    kind: MessageType,
    message: &'m [u8],
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, DecodeError> {
    let found = LENIENT.find(message).map_err(|_| DecodeError::Malformed)?;
    if !message.trim_ascii_start().starts_with(b"{") {
        return Err(DecodeError::Malformed);
    }
    let [data] = found.raws;
    call(kind, found.strings, data, scratch)
}

/// Creates a call from the strings `from`, `channel` and `cmd` and from the parameter.
fn call<'m>(
    kind: MessageType,
    texts: [Option<Text<'m>>; 3],
    data: Option<&'m [u8]>,
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, DecodeError> {
    let [from, channel, command] = scratch.read(texts);
    if from.is_some_and(|from| parse_uuid(from).is_none()) {
        return Err(DecodeError::Malformed);
    }
    Ok(Call {
        command: command.unwrap_or_default(),
        id: "",
        channel: channel.unwrap_or_default(),
        from: from.unwrap_or_default(),
        data,
        kind,
    })
}

/// Encodes a publication. Its channel is the one in the content, or else that of the audience.
pub(super) fn put_publication(publication: &Publication<'_>, message: &mut Vec<u8>) {
    let content = &publication.content;
    let given = content.channel.given();
    let channel = match publication.audience {
        Audience::Channel { name, .. } if given.is_empty() => String::from_utf8_lossy(name),
        Audience::Channel { .. }
        | Audience::User { .. }
        | Audience::Session(_)
        | Audience::Everyone { .. } => Cow::Borrowed(given),
    };
    let fields = MessageFields {
        from: content.from,
        channel: &channel,
        command: content.event,
        param: content.data,
    };
    put_message(&fields, message);
}

/// The members of a message to a client. Empty strings are omitted, except the command.
#[derive(Debug)]
struct MessageFields<'w> {
    from: &'w str,
    channel: &'w str,
    command: &'w str,
    param: Data<'w>,
}

fn put_message(fields: &MessageFields<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\n");
    for (key, text) in [("from", fields.from), ("channel", fields.channel)] {
        if !text.is_empty() {
            put_key(key, out);
            put_string_plain(text, out);
            out.extend_from_slice(b",\n");
        }
    }
    put_key("cmd", out);
    put_string_plain(fields.command, out);
    out.extend_from_slice(b",\n");
    put_key("param", out);
    match fields.param {
        Data::None => out.extend_from_slice(b"null"),
        Data::Json(json) => put_json(json, out),
        Data::Text(text) => put_string_plain(text, out),
        Data::Bytes(bytes) => put_base64_string(bytes, out),
    }
    out.extend_from_slice(b"\n}");
}

/// Encodes a denial. The original has no rules and so no such message: this form is Campanile's.
fn put_denial(correlation: &Correlation, denial: Denial, out: &mut Vec<u8>) {
    let mut param = b"{\"cmd\":".to_vec();
    put_string_plain(&correlation.command, &mut param);
    param.extend_from_slice(b",\"message\":");
    put_string_plain(denial.as_str(), &mut param);
    param.push(b'}');
    let fields = MessageFields {
        from: "",
        channel: &correlation.channel,
        command: "error",
        param: Data::Json(&param),
    };
    put_message(&fields, out);
}

fn put_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"  \"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\": ");
}

/// Appends the value of a member, indented unless that multiplies its size.
///
/// The original indents any value, so that 20 kB of brackets become 200 MB. A client that parses
/// the compact form gets the same value.
fn put_json(json: &[u8], out: &mut Vec<u8>) {
    let bytes_max = json
        .len()
        .saturating_mul(INDENTATION_FACTOR_MAX)
        .clamp(INDENTATION_BYTES_FREE, INDENTATION_BYTES_MAX);
    if indentation_bytes(json, MEMBER_DEPTH) <= bytes_max {
        put_indented(json, MEMBER_DEPTH, out);
    } else {
        put_compact_go(json, out);
    }
}

/// Returns the bytes of line ends and indentation of a value inside `depth` objects and arrays, or
/// a few more: empty objects and arrays are counted too.
fn indentation_bytes(json: &[u8], depth: usize) -> usize {
    let mut depth = depth;
    let mut bytes = 0_usize;
    let mut rest = json.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                while let Some(byte) = rest.next()
                    && *byte != b'"'
                {
                    if *byte == b'\\' {
                        rest.next();
                    }
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => {}
            _ => continue,
        }
        bytes = bytes.saturating_add(1 + INDENT_BYTES * depth);
    }
    bytes
}

/// Returns the first value of a name in a query, decoded; `None` if there is none.
///
/// As in Go, `+` is a space, and a part with an incomplete escape or with a semicolon is skipped.
/// Invalid UTF-8 becomes U+FFFD.
fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let parts = query.split('&').filter(|part| !part.contains(';'));
    parts
        .filter_map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decoded(key)?, decoded(value)?))
        })
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Decodes a name or value of a query; `None` if a percent sign is not followed by two hex digits.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    let is_whole = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_whole) {
        return None;
    }
    if !text.contains('+') {
        return Some(percent_decode_str(text).decode_utf8_lossy());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    Some(Cow::Owned(decoded.into_owned()))
}

/// The members of a message on a route with `lenient`.
const LENIENT: Wanted<3, 1> = Wanted::new(["from", "channel", "cmd"], ["param"]);

/// Depth of a message's members.
const MEMBER_DEPTH: usize = 1;
const INDENT_BYTES: usize = 2;
/// Maximum bytes of indentation per byte of a value.
const INDENTATION_FACTOR_MAX: usize = 16;
/// Bytes of indentation that any value may have.
const INDENTATION_BYTES_FREE: usize = 4096;
/// Maximum bytes of indentation of any value.
const INDENTATION_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
