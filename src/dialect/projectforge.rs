//! The language of Project Forge's websocket module: JSON messages about channels.
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
//!   |-------------------------------------------------->|   Malformed: it ends         |
//! ```
//!
//! Messages are read as the second version of Go's `encoding/json` reads them, and what that does
//! not like ends the session, as does a handler that fails. On a route with `lenient` they are read
//! as the first version reads them, which the original used before its version 1.7.23. Who comes to
//! a channel is not told, the others are. Which sessions a channel has, whether the sender of a
//! message is on the channel that it names and whether it is who it says, this language does not
//! know.

use super::tap::Tap;
use super::{
    Answered, Call, ChannelWish, Credentials, DefaultRoute, Dialect, Habits, Intent, Intents,
    Options, Playground, Presence, Refusal, Rejection, RouteFacts, RouteSpec, Then, TokenPlace,
    UpgradeRequest,
};
use crate::codec::json::strict;
use crate::codec::json::strict::NotStrict;
use crate::codec::json::write::{
    put_base64_string, put_compact_go, put_indented, put_string_plain,
};
use crate::codec::json::{Scratch, Text, Wanted};
use crate::vocabulary::close::End;
use crate::vocabulary::content::{Correlation, Data, Denial, Outcome};
use crate::vocabulary::public_id::parse_uuid;
use crate::vocabulary::publication::{Audience, Publication};
use crate::ws::Kind;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The event, without data, that asks a client to close its connection. The original's own client
/// does so after half a second and does not come back.
pub const CLOSE_CONNECTION: &str = "close-connection";

/// The event of a line of what a terminal shows.
pub const OUTPUT: &str = "output";

/// The dialect itself; it has no state.
#[derive(Debug)]
pub struct Projectforge;

impl Dialect for Projectforge {
    fn name(&self) -> &'static str {
        "projectforge"
    }

    fn habits(&self) -> Habits {
        Habits {
            announces: true,
            json_data: true,
            names_channels: true,
            ..Habits::default()
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
                ..Playground::saying(r#"{"channel":"room","cmd":"publish","param":"hi"}"#)
            },
            default_route: Some(DefaultRoute {
                name: "projectforge",
                has_playground: true,
                keys: DEFAULT_KEYS,
                has_chat: true,
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let mut lines: Vec<String> = facts.token_shown.map(Into::into).into_iter().collect();
        let room = facts.room.unwrap_or("room");
        lines.push(format!("with ?ch={room}, twice: one sees the other come"));
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
                .map_or(ChannelWish::Fresh, ChannelWish::Named),
            ..Credentials::default()
        })
    }

    fn decode<'m>(
        &self,
        kind: Kind,
        payload: &'m mut [u8],
        options: &Options,
        scratch: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), Refusal> {
        let call = if options.lenient {
            read_call_lenient(kind, payload, scratch)
        } else {
            read_call(kind, payload, scratch)
        };
        intents.push(Intent::Call(call?));
        Ok(())
    }

    fn object(&self, refusal: Refusal) -> Then {
        match refusal {
            Refusal::InvalidText | Refusal::Malformed => Then::Leave(End::Malformed),
        }
    }

    fn answer(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> Answered {
        match outcome {
            Outcome::Replied(reply) => {
                let words = Words {
                    from: "",
                    channel: &correlation.channel,
                    command: reply.event().unwrap_or(&correlation.command),
                    param: reply.data(),
                };
                put_words(&words, message);
                Answered::Message(Kind::Text)
            }
            Outcome::Failed(_) => Answered::Leave(End::HandlerFailed),
            Outcome::Denied(denial) => {
                put_denial(correlation, *denial, message);
                Answered::Message(Kind::Text)
            }
            Outcome::Silent | Outcome::NotHandled | Outcome::Joined => Answered::Nothing,
        }
    }

    fn encode(&self, publication: &Publication<'_>, _: &Options, message: &mut Vec<u8>) -> Kind {
        put_publication(publication, message);
        Kind::Text
    }

    fn announce(&self, presence: Presence<'_>, json: &mut Vec<u8>) -> Option<&'static str> {
        json.extend_from_slice(b"{\"userID\":");
        put_string_plain(presence.who, json);
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

/// Reads a message, which may come in either type of frame.
///
/// Where it says who it is from, that is a UUID in any form that [`parse_uuid`] takes, and is
/// handed on as it was spelled.
pub(super) fn read_call<'m>(
    kind: Kind,
    message: &'m [u8],
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, Refusal> {
    let malformed = |_: NotStrict| Refusal::Malformed;
    let [from, channel, command, data] =
        strict::read(message, ["from", "channel", "cmd", "param"]).map_err(malformed)?;
    let texts = [
        strict::text(from).map_err(malformed)?,
        strict::text(channel).map_err(malformed)?,
        strict::text(command).map_err(malformed)?,
    ];
    call(kind, texts, data, scratch)
}

/// Reads a message as the original did before its version 1.7.23: keys match in any case, the last
/// of several wins, invalid text becomes U+FFFD, and what follows the object is ignored.
///
/// `null` is refused, as everything else that is no object: it panicked the original.
fn read_call_lenient<'m>(
    kind: Kind,
    message: &'m [u8],
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, Refusal> {
    let found = LENIENT.find(message).map_err(|_| Refusal::Malformed)?;
    if !message.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::Malformed);
    }
    let [data] = found.raws;
    call(kind, found.strings, data, scratch)
}

/// Makes a call of the strings `from`, `channel` and `cmd` and of the parameter.
fn call<'m>(
    kind: Kind,
    texts: [Option<Text<'m>>; 3],
    data: Option<&'m [u8]>,
    scratch: &'m mut Scratch,
) -> Result<Call<'m>, Refusal> {
    let [from, channel, command] = scratch.read(texts);
    if from.is_some_and(|from| parse_uuid(from).is_none()) {
        return Err(Refusal::Malformed);
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

/// Appends a publication as the message that it is. The channel is the one that its content names
/// or else, if it is for one, that one.
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
    let words = Words {
        from: content.from,
        channel: &channel,
        command: content.event,
        param: content.data,
    };
    put_words(&words, message);
}

/// The members of a message to a client; of strings that are empty only the command is written.
#[derive(Debug)]
struct Words<'w> {
    from: &'w str,
    channel: &'w str,
    command: &'w str,
    param: Data<'w>,
}

fn put_words(words: &Words<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\n");
    for (key, text) in [("from", words.from), ("channel", words.channel)] {
        if !text.is_empty() {
            put_key(key, out);
            put_string_plain(text, out);
            out.extend_from_slice(b",\n");
        }
    }
    put_key("cmd", out);
    put_string_plain(words.command, out);
    out.extend_from_slice(b",\n");
    put_key("param", out);
    match words.param {
        Data::None => out.extend_from_slice(b"null"),
        Data::Json(json) => put_json(json, out),
        Data::Text(text) => put_string_plain(text, out),
        Data::Bytes(bytes) => put_base64_string(bytes, out),
    }
    out.extend_from_slice(b"\n}");
}

/// Says what the gateway itself has against a command: in our words, since nothing of the original
/// had a rule.
fn put_denial(correlation: &Correlation, denial: Denial, out: &mut Vec<u8>) {
    let mut param = b"{\"cmd\":".to_vec();
    put_string_plain(&correlation.command, &mut param);
    param.extend_from_slice(b",\"message\":");
    put_string_plain(denial.as_str(), &mut param);
    param.push(b'}');
    let words = Words {
        from: "",
        channel: &correlation.channel,
        command: "error",
        param: Data::Json(&param),
    };
    put_words(&words, out);
}

fn put_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"  \"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\": ");
}

/// Appends the value of a member, indented if that does not multiply it.
///
/// The original indents whatever comes, so that 20 kB of nothing but brackets make 200 MB. To a
/// client that parses it, compact is the same.
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

/// How many bytes of line ends and indentation a value takes inside `depth` objects and arrays, or
/// a few more: those of empty objects and arrays are counted and not written.
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

/// The first value that a query has under this name, decoded; `None` if it has none.
///
/// As in Go, `+` is a space, a name or value with half an escape is passed over, and so is one
/// with a semicolon. What is not UTF-8 becomes U+FFFD.
fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let parts = query.split('&').filter(|part| !part.contains(';'));
    parts
        .filter_map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decoded(key)?, decoded(value)?))
        })
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// A name or value of a query; `None` if a percent sign is not followed by two digits.
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

/// A message as it is read on a route with `lenient`.
const LENIENT: Wanted<3, 1> = Wanted::new(["from", "channel", "cmd"], ["param"]);

/// The members of a message are inside one object.
const MEMBER_DEPTH: usize = 1;
const INDENT_BYTES: usize = 2;
/// How many bytes of indentation each byte of a value may cost.
const INDENTATION_FACTOR_MAX: usize = 16;
/// As much indentation as any value may have.
const INDENTATION_BYTES_FREE: usize = 4096;
/// As much as none may have.
const INDENTATION_BYTES_MAX: usize = 1 << 20;

/// What the default config says of its route.
const DEFAULT_KEYS: &str = r#"
# What others know a sender by: "session" (its id) or "user" (the name of its user).
# from = "session"

# Read messages as the original did before its version 1.7.23: keys in any case, the last of several
# wins, half a surrogate pair and invalid UTF-8 become U+FFFD, what follows the object is ignored.
# Otherwise any of these ends the session with 1007, as in the original of today.
# lenient = false

# The WebSocket path where all traffic of the route's namespace can be watched, and what a request
# to it must show as "Authorization: Bearer <secret>". Without these keys, nowhere, and nothing.
# tap_path = "/tap"
# tap_secret = "..."
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;
    use crate::vocabulary::content::{Cause, Content, Failure, Payload, Reply};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::PublicationId;
    use simd_json::OwnedValue;
    use simd_json::prelude::{ValueAsScalar as _, ValueObjectAccess as _};

    const ID: &str = "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d";
    const EVERYONE: Audience<'_> = Audience::Everyone {
        namespace: 0,
        except: &[],
    };
    const ROOM: Audience<'_> = Audience::Channel {
        namespace: 0,
        name: b"room",
        except: &[],
    };

    /// Command, channel, sender and data.
    type Said<'s> = (&'s str, &'s str, &'s str, Option<&'s str>);

    /// Expects a call, or that the message is refused.
    #[track_caller]
    fn check(message: impl AsRef<[u8]>, expected: Option<Said<'_>>) {
        let message = message.as_ref();
        for kind in [Kind::Text, Kind::Binary] {
            let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
            let mut intents = Intents::new();
            let options = Options::default();
            let result =
                Projectforge.decode(kind, &mut payload, &options, &mut scratch, &mut intents);
            let expected = expected.map(|(command, channel, from, data)| {
                Intent::Call(Call {
                    command,
                    id: "",
                    channel,
                    from,
                    data: data.map(str::as_bytes),
                    kind,
                })
            });
            let refused = expected.is_none().then_some(Refusal::Malformed);
            let shown = message.escape_ascii();
            assert_eq!(result.err(), refused, "{shown}");
            assert_eq!(intents[..], *expected.as_slice(), "{shown}");
        }
    }

    fn encode(audience: Audience<'_>, content: Content<'_>) -> String {
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 0,
            },
            position: None,
            audience,
            content,
            nonce: 0,
        };
        let mut message = Vec::new();
        let kind = Projectforge.encode(&publication, &Options::default(), &mut message);
        assert_eq!(kind, Kind::Text);
        String::from_utf8(message).expect("JSON is UTF-8")
    }

    fn answer(channel: &str, outcome: &Outcome) -> (Answered, String) {
        let correlation = Correlation {
            command: "ping".into(),
            id: "".into(),
            channel: channel.into(),
            kind: Kind::Binary,
        };
        let mut message = Vec::new();
        let options = Options::default();
        let answered = Projectforge.answer(&correlation, outcome, &options, &mut message);
        (answered, String::from_utf8(message).expect("JSON is UTF-8"))
    }

    /// What `param` looks like in a message.
    fn param(data: Data<'_>) -> String {
        let content = Content {
            data,
            ..Content::default()
        };
        let message = encode(EVERYONE, content);
        let param = message.strip_prefix("{\n  \"cmd\": \"\",\n  \"param\": ");
        let param = param.and_then(|param| param.strip_suffix("\n}"));
        param.expect("the last member").to_owned()
    }

    fn wish(query: Option<&str>) -> ChannelWish<'_> {
        let headers = &[];
        let request = UpgradeRequest { query, headers };
        let credentials = Projectforge.admit(&request, &Options::default());
        let credentials = credentials.expect("nobody is turned away");
        let others = Credentials {
            channel: ChannelWish::None,
            ..credentials.clone()
        };
        assert_eq!(others, Credentials::default());
        credentials.channel
    }

    #[test]
    fn the_query_names_the_channel() {
        for (query, name) in [
            ("ch=room", "room"),
            ("a=b&ch=room&c", "room"),
            ("ch=a&ch=b", "a"),
            ("ch=a=b", "a=b"),
            ("ch=a+b%2Bc%20d", "a b+c d"),
            ("%63h=%e2%82%ac", "\u{20ac}"),
            ("ch=%ff+x", "\u{fffd} x"),
            // Passed over as Go does it: half an escape, and a semicolon.
            ("ch=%zz&ch=b", "b"),
            ("ch=%4&ch=b", "b"),
            ("ch=%&ch=b", "b"),
            ("ch%=a&ch=b", "b"),
            ("ch=a;x&ch=b", "b"),
        ] {
            assert_eq!(
                wish(Some(query)),
                ChannelWish::Named(name.into()),
                "{query}"
            );
        }
        for query in [
            "", "ch", "ch=", "ch=&ch=b", "CH=a", "chx=a", "x=ch", "ch=%zz",
        ] {
            assert_eq!(wish(Some(query)), ChannelWish::Fresh, "{query}");
        }
        assert_eq!(wish(None), ChannelWish::Fresh);
    }

    #[test]
    fn a_plain_name_is_not_copied() {
        let name = query_value("ch=room", "ch");
        assert!(matches!(name, Some(Cow::Borrowed("room"))));
    }

    #[test]
    fn a_message_calls_a_command() {
        check(
            r#"{"channel":"room","cmd":"echo","param":{"b": 1}}"#,
            Some(("echo", "room", "", Some(r#"{"b": 1}"#))),
        );
        // As the browser's client sends it.
        check(
            "{\n  \"channel\": \"room\",\n  \"cmd\": \"ping\",\n  \"param\": [\n    1\n  ]\n}",
            Some(("ping", "room", "", Some("[\n    1\n  ]"))),
        );
        check(
            r#"{"cmd":"\u0065cho\n","channel":"r\"m"}"#,
            Some(("echo\n", "r\"m", "", None)),
        );
        check(" {} \n", Some(("", "", "", None)));
    }

    #[test]
    fn null_is_as_missing_but_for_data() {
        check(
            r#"{"from":null,"channel":null,"cmd":null,"param":null}"#,
            Some(("", "", "", Some("null"))),
        );
    }

    #[test]
    fn keys_are_taken_to_the_letter_and_others_are_ignored() {
        check(
            r#"{"CMD":"a","Cmd":5,"cmd ":1,"x":[{}],"c\u006dd":"b"}"#,
            Some(("b", "", "", None)),
        );
    }

    #[test]
    fn a_sender_is_a_uuid_in_any_form() {
        for from in [
            ID,
            "82AD4C6D-FC95-41E5-8589-B37A56CDFC0D",
            "82ad4c6dfc9541e58589b37a56cdfc0d",
            "{82ad4c6d-fc95-41e5-8589-b37a56cdfc0d}",
            "urn:uuid:82ad4c6d-fc95-41e5-8589-b37a56cdfc0d",
        ] {
            let message = format!(r#"{{"from":"{from}"}}"#);
            check(message, Some(("", "", from, None)));
        }
        let escaped = format!(r#"{{"from":"\u0038{}"}}"#, &ID[1..]);
        check(escaped, Some(("", "", ID, None)));
        for from in ["", "jack", &ID[1..], "82ad4c6d-fc95-41e5-8589-b37a56cdfc0g"] {
            check(format!(r#"{{"from":"{from}"}}"#), None);
        }
        check(r#"{"from":5}"#, None);
    }

    /// Wire.md 5.3, one by one.
    #[test]
    fn whatever_go_cannot_decode_is_refused() {
        for message in [
            &b"hello"[..],
            b"",
            b" ",
            b"[]",
            b"\"cmd\"",
            b"null",
            b"5",
            br#"{"cmd":5}"#,
            br#"{"channel":[]}"#,
            br#"{"cmd":{}}"#,
            br#"{"cmd":true}"#,
            br#"{"cmd":"a","cmd":"a"}"#,
            br#"{"cmd":"a","c\u006dd":"a"}"#,
            br#"{"x":1,"x":1}"#,
            br#"{"param":[{"x":1,"x":1}]}"#,
            br#"{"x":{"y":{"z":1,"z":1}}}"#,
            b"{\"cmd\":\"\xff\"}",
            b"{\"x\":\"\xff\"}",
            br#"{"cmd":"\ud800"}"#,
            br#"{"param":"\udc00"}"#,
            br#"{"cmd":"a"} x"#,
            br#"{"cmd":"a"}{}"#,
            b"\xef\xbb\xbf{\"cmd\":\"a\"}",
            br#"{"cmd":"a""#,
            br#"{"cmd":"a",}"#,
            br#"{"param":01}"#,
        ] {
            check(message, None);
        }
        for refusal in [Refusal::Malformed, Refusal::InvalidText] {
            assert_eq!(Projectforge.object(refusal), Then::Leave(End::Malformed));
        }
    }

    /// The message of wire.md 5.2.
    #[test]
    fn a_push_is_indented_by_two_spaces() {
        let content = Content {
            event: "echo",
            data: Data::Json(br#"{"b":1}"#),
            from: "a007345e-a2e3-49c7-8b10-d4317bad2ac5",
            ..Content::default()
        };
        let expected = r#"{
  "from": "a007345e-a2e3-49c7-8b10-d4317bad2ac5",
  "channel": "room",
  "cmd": "echo",
  "param": {
    "b": 1
  }
}"#;
        assert_eq!(encode(ROOM, content), expected);
    }

    #[test]
    fn the_channel_is_the_one_named_or_else_the_one_it_is_for() {
        let channel = |audience, channel: &str| {
            let content = Content {
                channel: channel.into(),
                ..Content::default()
            };
            let message = encode(audience, content);
            let first = message.lines().nth(1).expect("several lines");
            first.to_owned()
        };
        let user = Audience::User {
            namespace: 0,
            name: b"jack",
            event: None,
        };
        assert_eq!(channel(ROOM, ""), "  \"channel\": \"room\",");
        for audience in [ROOM, EVERYONE, user] {
            assert_eq!(channel(audience, "hall"), "  \"channel\": \"hall\",");
        }
        for audience in [EVERYONE, user] {
            assert_eq!(channel(audience, ""), "  \"cmd\": \"\",");
        }
        let bytes = Audience::Channel {
            namespace: 0,
            name: b"\xff",
            except: &[],
        };
        assert_eq!(channel(bytes, ""), "  \"channel\": \"\u{fffd}\",");
    }

    #[test]
    fn a_request_to_close_has_no_data() {
        let content = Content {
            event: CLOSE_CONNECTION,
            ..Content::default()
        };
        let expected = "{\n  \"cmd\": \"close-connection\",\n  \"param\": null\n}";
        assert_eq!(encode(EVERYONE, content), expected);
    }

    #[test]
    fn comings_and_goings_are_told_as_the_original_does() {
        let mut json = Vec::new();
        let presence = Presence {
            who: ID,
            connected: true,
        };
        let event = Projectforge.announce(presence, &mut json);
        let content = Content {
            event: event.expect("told"),
            data: Data::Json(&json),
            from: ID,
            ..Content::default()
        };
        let expected = r#"{
  "from": "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d",
  "channel": "room",
  "cmd": "online-update",
  "param": {
    "userID": "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d",
    "connected": true
  }
}"#;
        assert_eq!(encode(ROOM, content), expected);

        let mut json = Vec::new();
        let presence = Presence {
            who: "a\"b",
            connected: false,
        };
        Projectforge.announce(presence, &mut json);
        assert_eq!(json, br#"{"userID":"a\"b","connected":false}"#);
    }

    #[test]
    fn data_are_written_by_what_they_are() {
        assert_eq!(param(Data::None), "null");
        assert_eq!(param(Data::Json(b" [ ] ")), "[]");
        assert_eq!(param(Data::Text("a\"b")), r#""a\"b""#);
        assert_eq!(param(Data::Text("")), r#""""#);
        assert_eq!(param(Data::Bytes(b"hi\xff")), r#""aGn/""#);
    }

    #[test]
    fn values_are_rendered_as_the_original_does() {
        for (json, expected) in [
            (r#""<a&b>""#, r#""<a&b>""#),
            ("\"\u{2028}\"", "\"\u{2028}\""),
            (r#""\u001b\u0008""#, r#""\u001b\b""#),
            (r#""\u00e9\/""#, "\"\u{e9}/\""),
            (
                r#"{"a":1e2,"b":-0}"#,
                "{\n    \"a\": 1e2,\n    \"b\": -0\n  }",
            ),
            ("[{ },[ ]]", "[\n    {},\n    []\n  ]"),
        ] {
            assert_eq!(param(Data::Json(json.as_bytes())), expected);
        }
        let content = Content {
            event: "<\u{1b}\u{2028}>",
            ..Content::default()
        };
        let expected = "{\n  \"cmd\": \"<\\u001b\u{2028}>\",\n  \"param\": null\n}";
        assert_eq!(encode(EVERYONE, content), expected);
    }

    #[test]
    fn a_reply_goes_to_the_channel_that_was_named() {
        let reply = |event: Option<&str>, data| {
            Outcome::Replied(Reply {
                event: event.map(Into::into),
                data,
            })
        };
        let (answered, message) = answer("room", &reply(None, Payload::Json("[1]".into())));
        assert_eq!(answered, Answered::Message(Kind::Text));
        let expected = r#"{
  "channel": "room",
  "cmd": "ping",
  "param": [
    1
  ]
}"#;
        assert_eq!(message, expected);
        let (_, message) = answer("", &reply(Some("pong"), Payload::None));
        assert_eq!(message, "{\n  \"cmd\": \"pong\",\n  \"param\": null\n}");
    }

    #[test]
    fn a_failure_ends_the_session_and_all_else_is_silent() {
        let failed = Outcome::Failed(Failure {
            status: 1,
            text: "no".into(),
            data: Payload::None,
            cause: Cause::Panic,
        });
        let leave = Answered::Leave(End::HandlerFailed);
        assert_eq!(answer("room", &failed).0, leave);
        for outcome in [Outcome::Silent, Outcome::NotHandled, Outcome::Joined] {
            assert_eq!(answer("room", &outcome).0, Answered::Nothing, "{outcome:?}");
        }
    }

    #[test]
    fn what_the_rules_are_against_is_an_error_of_ours() {
        let denied = Outcome::Denied(Denial::NotJoined);
        let (answered, message) = answer("room", &denied);
        assert_eq!(answered, Answered::Message(Kind::Text));
        let expected = "{\n  \"channel\": \"room\",\n  \"cmd\": \"error\",\n  \"param\": {\n    \
            \"cmd\": \"ping\",\n    \"message\": \"not on the channel\"\n  }\n}";
        assert_eq!(message, expected);
    }

    #[test]
    fn only_pages_of_our_own_may_connect() {
        let expected = Habits {
            announces: true,
            json_data: true,
            names_channels: true,
            ..Habits::default()
        };
        assert_eq!(Projectforge.habits(), expected);
    }

    /// Command, channel and parameter.
    type Read = (String, String, Option<Vec<u8>>);

    /// A message as a route with `lenient` reads it.
    fn read_leniently(message: &[u8]) -> Option<Read> {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let options = Options {
            lenient: true,
            ..Options::default()
        };
        let kind = Kind::Text;
        Projectforge
            .decode(kind, &mut payload, &options, &mut scratch, &mut intents)
            .ok()?;
        let [Intent::Call(call)] = &intents[..] else {
            panic!("{intents:?}");
        };
        let data = call.data.map(<[u8]>::to_vec);
        Some((call.command.to_owned(), call.channel.to_owned(), data))
    }

    #[test]
    fn a_lenient_route_reads_as_older_versions_did() {
        for (message, expected) in [
            (&br#"{"CMD":"a","Channel":"b"}"#[..], ("a", "b", None)),
            (br#"{"cmd":"a","CMD":"b"}"#, ("b", "", None)),
            (
                br#"{"cmd":"cut \ud83d","param":"\ud83d"}"#,
                ("cut \u{fffd}", "", Some(r#""\ud83d""#)),
            ),
            (b"{\"cmd\":\"\xff\"} trailing", ("\u{fffd}", "", None)),
            (br#"{"cmd":"a","x":{"y":1,"y":2}}{"#, ("a", "", None)),
            (
                br#"{"cmd":null,"param":{"y":1,"y":2}}"#,
                ("", "", Some(r#"{"y":1,"y":2}"#)),
            ),
        ] {
            let (command, channel, data) = expected;
            let data = data.map(|data| data.as_bytes().to_vec());
            let expected = (command.to_owned(), channel.to_owned(), data);
            let shown = message.escape_ascii();
            assert_eq!(read_leniently(message), Some(expected), "{shown}");
        }
        for strict in [
            r#"{"cmd":"a","cmd":"b"}"#,
            r#"{"cmd":"cut \ud83d"}"#,
            r#"{"cmd":"a"}{"#,
        ] {
            check(strict, None);
        }
        check(r#"{"CMD":"a"}"#, Some(("", "", "", None)));
        for refused in [
            "",
            "null",
            " null",
            "[]",
            "{",
            r#"{"cmd":5}"#,
            r#"{"from":""}"#,
        ] {
            assert_eq!(read_leniently(refused.as_bytes()), None, "{refused}");
        }
    }

    #[test]
    fn indentation_does_not_multiply_a_message() {
        // Deep enough to be worth a line each, and then not.
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(param(Data::Json(nested(20).as_bytes())).lines().count(), 39);
        let deep = nested(9_999);
        assert_eq!(param(Data::Json(deep.as_bytes())), deep);

        let wide = format!(
            "{}{}1{}",
            "[".repeat(400),
            "1,".repeat(50_000),
            "]".repeat(400)
        );
        assert!(param(Data::Json(wide.as_bytes())).len() <= wide.len());
        let usual = format!("[{}1]", r#"{"a":[1,2]},"#.repeat(5_000));
        let indented = param(Data::Json(usual.as_bytes()));
        assert!(indented.len() > 2 * usual.len());
        // Brackets and quotes within strings are no brackets and quotes.
        let strings = format!(r#"["{}"]"#, r#"[\"{\\"#.repeat(5_000));
        assert_eq!(param(Data::Json(strings.as_bytes())).lines().count(), 3);
    }

    #[test]
    fn indentation_is_counted_before_it_is_written() {
        for json in [
            r#"{"a":[1,{"b":"[,\"{"}],"c":"\\"}"#,
            "[[1,2],[3]]",
            "7",
            r#""[""#,
        ] {
            let mut indented = Vec::new();
            put_indented(json.as_bytes(), MEMBER_DEPTH, &mut indented);
            // The space behind each colon is no indentation.
            let colons = json.matches(':').count();
            let counted = indentation_bytes(json.as_bytes(), MEMBER_DEPTH);
            assert_eq!(json.len() + colons + counted, indented.len(), "{json}");
        }
        assert!(indentation_bytes(br#"{"a":"\"#, 1) > 0);
    }

    /// Noise that resembles messages. What is taken can be relayed, and is then read again, by us
    /// and by a stranger.
    #[test]
    fn is_total_on_any_bytes_and_reads_what_it_writes() {
        const PIECES: [&str; 20] = [
            r#""cmd":"a""#,
            r#""channel":"b","#,
            r#""param":"#,
            r#""x":"#,
            "{",
            "}",
            "[",
            "]",
            ",",
            r#""\u00e9\/\ud83d\ude00""#,
            r#""\ud800""#,
            "\"\u{e9}\"",
            "-0",
            "1e2",
            "null",
            " ",
            "true",
            r#"{"y":[]}"#,
            "[{}]",
            r#""from":null,"#,
        ];
        let mut tally = [0; 2];
        for seed in 0..60_000 {
            let mut prng = Prng::from_seed(seed);
            let message = message(&mut prng, &PIECES);
            let (mut payload, mut scratch) = (message.clone(), Scratch::new());
            let mut intents = Intents::new();
            let options = Options::default();
            let kind = Kind::Text;
            let result =
                Projectforge.decode(kind, &mut payload, &options, &mut scratch, &mut intents);
            tally[usize::from(result.is_ok())] += 1;
            assert_eq!(intents.len(), usize::from(result.is_ok()), "seed {seed}");
            let Some(Intent::Call(call)) = intents.first() else {
                continue;
            };

            let content = Content {
                event: call.command,
                data: call.data.map_or(Data::None, Data::Json),
                from: call.from,
                channel: call.channel.into(),
                ..Content::default()
            };
            let relayed = encode(EVERYONE, content);
            let mut again = relayed.clone().into_bytes();
            let value: OwnedValue = simd_json::from_slice(&mut again).expect("valid JSON");
            assert_eq!(
                value.get("cmd").and_then(|it| it.as_str()),
                Some(call.command)
            );
            let mut data = call.data.unwrap_or(b"null").to_vec();
            let data: OwnedValue = simd_json::from_slice(&mut data).expect("valid JSON");
            assert_eq!(value.get("param"), Some(&data), "seed {seed}: {relayed}");
            let mut scratch = Scratch::new();
            let reread = read_call(kind, relayed.as_bytes(), &mut scratch).expect("one of ours");
            assert_eq!(
                (reread.command, reread.channel, reread.from),
                (call.command, call.channel, call.from),
                "seed {seed}: {relayed}"
            );
        }
        let one_sided = tally.iter().any(|&count| count < 5_000);
        assert!(!one_sided, "one-sided: {tally:?}");
    }

    fn message(prng: &mut Prng, pieces: &[&str]) -> Vec<u8> {
        let mut message = Vec::new();
        if prng.chance(3, 4) {
            message.extend_from_slice(br#"{"cmd":"a\n","param":["#);
        }
        for index in 0..prng.range(0, 6) {
            if index > 0 && prng.chance(3, 4) {
                message.push(b',');
            }
            if prng.chance(1, 30) {
                message.push(u8::try_from(prng.range(0, 255)).expect("a byte"));
            }
            let piece = prng.pick(pieces.iter()).expect("some");
            message.extend_from_slice(piece.as_bytes());
        }
        if prng.chance(3, 4) {
            message.extend_from_slice(b"]}");
        }
        message
    }
}
