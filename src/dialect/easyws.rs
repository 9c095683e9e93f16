//! The `easyws` dialect, of `FossoresLP/go-easy-websocket`: `command: content` as plain bytes.
//!
//! ```text
//! client                                   gateway
//!   |  GET /ws, Cookie: auth=valid            |   the token; without the cookie it is 403
//!   |---------------------------------------->|
//!   |          welcome: Hello 6b84764b-22d3.. |   what the handler of `open` replies, if any
//!   |<----------------------------------------|
//!   |  listen: test                           |   Join { channel: "test" }; success is silent
//!   |---------------------------------------->|
//!   |       thanks: Thank you for listening!  |   a publication of the event "thanks"
//!   |<----------------------------------------|
//!   |  listen: test                           |   AlreadyJoined
//!   |---------------------------------------->|
//!   |           websocket: already listening  |
//!   |<----------------------------------------|
//!   |  echo: hi                               |   Call { command: "echo", data: "hi" }
//!   |---------------------------------------->|
//!   |                               echo: hi  |
//!   |<----------------------------------------|
//!   |  hello?                                 |   Call { command: "", data: "hello?" }
//!   |---------------------------------------->|
//!   | websocket: command not supported by ..  |
//!   |<----------------------------------------|
//! ```
//!
//! A command has 1 to 254 bytes and is followed by a colon, one space and any content. No message
//! is invalid. One without a command calls the handler of the command "" with the whole message as
//! its data; the original's handler got no data. `websocket` is the command of the gateway's own
//! messages.
//!
//! Messages may arrive in either type and are sent as text. As in the original, they are not
//! checked to be UTF-8: a browser fails the connection if a handler or a publisher sends other
//! bytes. A command or channel that is not UTF-8 is read as U+FFFD.

use super::{
    Call, Credentials, DecodeError, DefaultRoute, Dialect, DialectSpec, Intent, Intents, Options,
    Playground, Rejection, ReplyAction, Request, RouteFacts, RouteSpec, TokenPlace, UpgradeRequest,
};
use crate::codec::cookie;
use crate::codec::json::Scratch;
use crate::vocabulary::content::{Correlation, Data, Denial, Outcome, Reply};
use crate::vocabulary::publication::Publication;
use crate::ws::{MessageType, handshake};
use std::borrow::Cow;

/// The `easyws` dialect.
#[derive(Debug)]
pub struct Easyws;

impl Dialect for Easyws {
    fn name(&self) -> &'static str {
        "easyws"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            open_command: Some("open"),
            declared_channels: true,
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: r#"text such as "command: data", channels to listen to, a token in a cookie"#,
            keys: "subprotocols playground_path tokens jwt hooks commands channels join_on_open",
            token: TokenPlace::Cookie,
            same_origin: true,
            playground: Playground {
                subprotocol: SUBPROTOCOL,
                cookie: COOKIE,
                ..Playground::with_message("listen: room")
            },
            // Clients can join only declared channels, so the example declares some.
            default_route: Some(DefaultRoute {
                name: "easyws",
                has_playground: true,
                has_chat: true,
                channels: Some("room*"),
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let token = facts.token;
        vec![match facts.chat() {
            Some([join, publish, room]) => {
                format!("cookie auth={token}, send {join}: {room}, then {publish}: {room} hi")
            }
            None => format!("cookie auth={token}, send {}: world", facts.command),
        }]
    }

    /// Accepts the subprotocol if the first header line offers it, since gorilla reads no other
    /// line. It is optional.
    fn admit<'r>(
        &self,
        request: &UpgradeRequest<'r>,
        _: &Options,
    ) -> Result<Credentials<'r>, Rejection> {
        let token = cookie::find(request.header("cookie"), COOKIE).ok_or(REJECTION)?;
        let offered = request.header("sec-websocket-protocol").next();
        let mut offered = offered.into_iter().flat_map(handshake::elements);
        let is_offered = offered.any(|offered| offered == SUBPROTOCOL.as_bytes());
        Ok(Credentials {
            token: Some(Cow::Borrowed(token)),
            subprotocol: is_offered.then_some(Cow::Borrowed(SUBPROTOCOL)),
            ..Credentials::default()
        })
    }

    fn rejection(&self) -> Rejection {
        REJECTION
    }

    fn check_command(&self, command: &str) -> Result<(), &'static str> {
        if command.len() > COMMAND_BYTES_MAX {
            Err("command may not be longer than 255 characters")
        } else if command.contains(':') {
            Err("command may not contain a colon")
        } else if command == RESERVED {
            Err("command websocket is reserved")
        } else {
            Ok(())
        }
    }

    fn check_event(&self, event: &str) -> Result<(), &'static str> {
        if event.is_empty() {
            return Err("command may not be empty");
        }
        self.check_command(event)
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        _: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let (command, content) = split(payload).unwrap_or((b"", payload));
        let command = text_or_replacement(command);
        intents.push(if command == LISTEN {
            Intent::Join(Request {
                command: LISTEN,
                id: "",
                channel: text_or_replacement(content),
                kind,
            })
        } else {
            Intent::Call(Call {
                command,
                id: "",
                channel: "",
                from: "",
                data: (!content.is_empty()).then_some(content),
                kind,
            })
        });
        Ok(())
    }

    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        let text = match outcome {
            Outcome::Replied(reply) | Outcome::Joined(reply) => {
                return put_reply(&correlation.command, reply, message);
            }
            Outcome::Silent
            | Outcome::Failed(_)
            | Outcome::Left
            | Outcome::Published
            | Outcome::Identified(_) => return ReplyAction::Skip,
            Outcome::Denied(Denial::AlreadyJoined) => "already listening",
            // The original has no text for these, so Campanile's own is sent.
            Outcome::Denied(denial) => denial.as_str(),
            Outcome::NotHandled => "command not supported by server",
        };
        put_message("websocket", text.as_bytes(), message);
        ReplyAction::Send(MessageType::Text)
    }

    /// Encodes a publication, also one without data, unlike a reply. The publisher has checked that
    /// the event is a valid command.
    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let content = &publication.content;
        put_message(content.event, content.data.bytes(), message);
        MessageType::Text
    }
}

/// Encodes a handler's reply, unless it has no data or no command. A message without a command has
/// none unless its handler names an event.
fn put_reply(called: &str, reply: &Reply, out: &mut Vec<u8>) -> ReplyAction {
    let command = reply.event().unwrap_or(called);
    if reply
        .event()
        .is_some_and(|event| Easyws.check_event(event).is_err())
    {
        return ReplyAction::Skip; // a client would split it at the wrong place
    }
    match reply.data() {
        Data::Json(_) | Data::Text(_) | Data::Bytes(_) if !command.is_empty() => {
            put_message(command, reply.data().bytes(), out);
            ReplyAction::Send(MessageType::Text)
        }
        Data::None | Data::Json(_) | Data::Text(_) | Data::Bytes(_) => ReplyAction::Skip,
    }
}

/// Splits a message into command and content; `None` if it has no command.
fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let window = &message[..message.len().min(WINDOW_BYTES)];
    let at = window
        .windows(SEPARATOR.len())
        .position(|pair| pair == SEPARATOR)?;
    (at > 0).then(|| (&message[..at], &message[at + SEPARATOR.len()..]))
}

fn put_message(command: &str, content: &[u8], out: &mut Vec<u8>) {
    out.reserve(command.len() + SEPARATOR.len() + content.len());
    out.extend_from_slice(command.as_bytes());
    out.extend_from_slice(SEPARATOR);
    out.extend_from_slice(content);
}

fn text_or_replacement(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

const COOKIE: &str = "auth";
const SUBPROTOCOL: &str = "cmd.fossores.de";
const REJECTION: Rejection = Rejection {
    status: 403,
    body: Cow::Borrowed("Authentication failed\n"),
};

const LISTEN: &str = "listen";
const SEPARATOR: &[u8] = b": ";
/// Number of bytes at the start that must contain the separator.
const WINDOW_BYTES: usize = 256;

/// Maximum bytes of a command in the original's API. Clients can send one byte less.
const COMMAND_BYTES_MAX: usize = 255;
/// The command of the gateway's own messages.
const RESERVED: &str = "websocket";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::OnInvalid;
    use crate::vocabulary::content::{Cause, Content, Failure, OwnedData};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::{Audience, PublicationId};
    use campanile_tests::prng::Prng;

    fn admit<'r>(headers: &'r [(&'r str, &'r [u8])]) -> Result<Credentials<'r>, Rejection> {
        let request = UpgradeRequest {
            query: Some("auth=query"),
            headers,
        };
        Easyws.admit(&request, &Options::default())
    }

    /// Checks the token of these `Cookie` lines; `None` expects a rejection.
    #[track_caller]
    fn expect_token(lines: &[&[u8]], expected: Option<&str>) {
        let mut headers = vec![("Host", &b"auth=host"[..])];
        headers.extend(lines.iter().map(|line| ("cOOkie", *line)));
        let result = admit(&headers);
        let token = expected.map(Cow::Borrowed);
        match result {
            Ok(credentials) => assert_eq!(credentials.token, token),
            Err(rejection) => assert_eq!((rejection, token), (Easyws.rejection(), None)),
        }
    }

    #[test]
    fn the_token_is_the_first_auth_cookie_that_go_reads() {
        for (line, token) in [
            (&b"auth=valid"[..], "valid"),
            (b"a=b; auth=x; auth=y", "x"),
            (b" ;;a;\tauth = x \t;", " x"),
            (b"auth=a=b==", "a=b=="),
            (b"auth=", ""),
            (b"auth", ""),
            (b"auth=\"\"", ""),
            (b"auth=\"a b\"", "a b"),
            (b"auth=a b, c", "a b, c"),
            (b"auth=!#~'", "!#~'"),
            // Go skips a cookie with an invalid value, but not those after it.
            (b"auth=a\\b; auth=y", "y"),
            (b"auth=\"; auth=y", "y"),
            (b"auth=\"a;b\"; auth=y", "y"),
            (b"auth=a\"b; auth=y", "y"),
            (b"auth= \"a\"; auth=y", "y"),
            (b"auth=a\tb; auth=y", "y"),
            (b"auth=\x7f; auth=\xc3\xa9; auth=y", "y"),
        ] {
            expect_token(&[line], Some(token));
        }
        expect_token(&[b"a=b", b"", b"auth=x", b"auth=y"], Some("x"));
    }

    #[test]
    fn a_client_without_an_auth_cookie_is_rejected() {
        expect_token(&[], None);
        for line in [
            &b""[..],
            b"Auth=x",
            b"authx=x",
            b"a=auth=x",
            b"a=\"auth=x\"",
            b"\"auth\"=x",
            b"au th=x",
            b"=auth",
            b"auth\xff=x",
            b"auth=\xff",
            b"auth=a\\",
            b"a, auth=x",
        ] {
            expect_token(&[line], None);
        }
        let rejection = Easyws.rejection();
        assert_eq!(rejection.status, 403);
        assert_eq!(rejection.body, "Authentication failed\n");
        assert_eq!(rejection.body.len(), 22);
    }

    #[test]
    fn the_subprotocol_is_agreed_on_where_the_first_line_offers_it() {
        let check = |lines: &[&[u8]], is_agreed: bool| {
            let mut headers = vec![("cookie", &b"auth="[..])];
            headers.extend(lines.iter().map(|line| ("sec-webSocket-Protocol", *line)));
            let expected = Credentials {
                token: Some("".into()),
                subprotocol: is_agreed.then_some("cmd.fossores.de".into()),
                ..Credentials::default()
            };
            assert_eq!(admit(&headers), Ok(expected));
        };
        check(&[], false);
        check(&[b"chat, CMD.fossores.de"], false);
        check(&[b"cmd.fossores.de"], true);
        check(&[b"chat,cmd.fossores.de , x"], true);
        check(&[b"x, cmd.fossores.de", b"chat"], true);
        check(&[b"chat", b"x, cmd.fossores.de"], false);
    }

    #[test]
    fn pages_of_our_origin_join_declared_channels_and_are_welcomed() {
        let spec = Easyws.spec();
        assert!(spec.declared_channels);
        assert_eq!(spec.open_command, Some("open"));
        assert!(!spec.alive_by_messages && !spec.concurrent && !spec.appends_handlers);
        assert!(!spec.json_data && !spec.announces);
        for error in [DecodeError::Malformed, DecodeError::InvalidText] {
            assert_eq!(Easyws.on_invalid(error), OnInvalid::Ignore);
        }
    }

    fn decode(kind: MessageType, message: &[u8], check: impl FnOnce(&Intent<'_>)) {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let result = Easyws.decode(
            kind,
            &mut payload,
            &Options::default(),
            &mut scratch,
            &mut intents,
        );
        assert_eq!((result, intents.len()), (Ok(()), 1));
        check(&intents[0]);
    }

    fn call<'m>(command: &'m str, data: Option<&'m [u8]>, kind: MessageType) -> Intent<'m> {
        Intent::Call(Call {
            command,
            id: "",
            channel: "",
            from: "",
            data,
            kind,
        })
    }

    #[track_caller]
    fn expect_call(message: &[u8], command: &str, data: Option<&[u8]>) {
        for kind in [MessageType::Text, MessageType::Binary] {
            decode(kind, message, |intent| {
                let shown = message.escape_ascii().to_string();
                assert_eq!(*intent, call(command, data, kind), "{shown}");
            });
        }
    }

    #[test]
    fn a_command_ends_at_the_first_colon_and_space() {
        expect_call(b"echo: hi", "echo", Some(b"hi"));
        expect_call(b"echo: a: b \xff", "echo", Some(b"a: b \xff"));
        expect_call(b"echo:x: y", "echo:x", Some(b"y"));
        expect_call(b"echo::  ", "echo:", Some(b" "));
        expect_call(b" Echo\n: hi\n", " Echo\n", Some(b"hi\n"));
        expect_call(b"echo: ", "echo", None);
        expect_call(b"open: anything", "open", Some(b"anything"));
        expect_call(b"websocket: x", "websocket", Some(b"x"));
        expect_call(b"\xff: x", "\u{fffd}", Some(b"x"));
    }

    #[test]
    fn what_has_no_command_is_the_data_of_a_nameless_one() {
        for message in [
            &b"echo:x"[..],
            b"echo:",
            b"echo",
            b"echo :x",
            b": x",
            b": x: y",
            b"\xff",
        ] {
            expect_call(message, "", Some(message));
        }
        expect_call(b"", "", None);
    }

    #[test]
    fn a_command_of_254_bytes_is_the_longest() {
        for (length, is_seen) in [
            (1, true),
            (253, true),
            (254, true),
            (255, false),
            (300, false),
        ] {
            let command = "c".repeat(length);
            let message = format!("{command}: x");
            if is_seen {
                expect_call(message.as_bytes(), &command, Some(b"x"));
            } else {
                expect_call(message.as_bytes(), "", Some(message.as_bytes()));
            }
        }
    }

    #[test]
    fn listen_joins_the_channel_of_exactly_that_name() {
        for (message, channel) in [
            (&b"listen: test"[..], "test"),
            (b"listen: test ", "test "),
            (b"listen:  a: b", " a: b"),
            (b"listen: ", ""),
            (b"listen: \xff", "\u{fffd}"),
        ] {
            for kind in [MessageType::Text, MessageType::Binary] {
                decode(kind, message, |intent| {
                    let command = "listen";
                    let expected = Intent::Join(Request {
                        command,
                        id: "",
                        channel,
                        kind,
                    });
                    assert_eq!(*intent, expected);
                });
            }
        }
        expect_call(b"Listen: test", "Listen", Some(b"test"));
        expect_call(b"listen:test", "", Some(b"listen:test"));
    }

    /// Returns the message for the outcome of a command; `None` if there is none.
    fn encode_outcome(command: &str, outcome: &Outcome) -> Option<Vec<u8>> {
        let correlation = Correlation {
            command: command.into(),
            id: "".into(),
            channel: "".into(),
            kind: MessageType::Binary,
        };
        let mut message = b"before".to_vec();
        match Easyws.encode_outcome(&correlation, outcome, &Options::default(), &mut message) {
            ReplyAction::Skip => None,
            ReplyAction::Send(MessageType::Text) => {
                Some(message.strip_prefix(b"before").expect("appended").to_vec())
            }
            other @ (ReplyAction::Send(MessageType::Binary) | ReplyAction::Close(_)) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn errors_have_messages_and_success_is_silent() {
        for (outcome, expected) in [
            (Outcome::Joined(Reply::default()), None),
            (Outcome::Left, None),
            (Outcome::Published, None),
            (Outcome::Silent, None),
            (
                Outcome::Denied(Denial::AlreadyJoined),
                Some("websocket: already listening"),
            ),
            (
                Outcome::Denied(Denial::NoSuchChannel),
                Some("websocket: channel does not exist"),
            ),
            (
                Outcome::Denied(Denial::NotAuthorized),
                Some("websocket: not authorized"),
            ),
            (
                Outcome::Denied(Denial::TooManyChannels),
                Some("websocket: too many channels"),
            ),
            (
                Outcome::NotHandled,
                Some("websocket: command not supported by server"),
            ),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            for command in ["listen", "websocket", ""] {
                assert_eq!(encode_outcome(command, &outcome), expected, "{outcome:?}");
            }
        }
    }

    #[test]
    fn a_failure_is_not_sent_to_the_client() {
        for cause in [Cause::Chosen, Cause::Error, Cause::Panic] {
            let failure = Failure {
                status: 7,
                text: "secret".into(),
                data: OwnedData::Text("secret".into()),
                cause,
            };
            assert_eq!(encode_outcome("echo", &Outcome::Failed(failure)), None);
        }
    }

    fn replied(event: Option<&str>, data: OwnedData) -> Outcome {
        Outcome::Replied(Reply {
            event: event.map(Into::into),
            data,
        })
    }

    #[test]
    fn a_reply_without_data_is_not_sent_and_an_empty_one_is() {
        let text = |text: &str| OwnedData::Text(text.into());
        for (event, data, expected) in [
            (None, OwnedData::None, None),
            (Some("welcome"), OwnedData::None, None),
            (None, text(""), Some(&b"echo: "[..])),
            (None, OwnedData::Bytes((&b""[..]).into()), Some(b"echo: ")),
            (None, text("a: b "), Some(b"echo: a: b ")),
            (
                Some("welcome"),
                text("Hello 6b84764b-22d3-4c64-823f-a6e7db4ac2c7"),
                Some(b"welcome: Hello 6b84764b-22d3-4c64-823f-a6e7db4ac2c7"),
            ),
            (
                None,
                OwnedData::Json((&b"{ \"a\": 1 }"[..]).into()),
                Some(b"echo: { \"a\": 1 }"),
            ),
            (
                None,
                OwnedData::Bytes((&b"\xff\xfe"[..]).into()),
                Some(b"echo: \xff\xfe"),
            ),
        ] {
            let expected = expected.map(<[u8]>::to_vec);
            assert_eq!(encode_outcome("echo", &replied(event, data)), expected);
        }
    }

    #[test]
    fn a_reply_needs_a_command() {
        let hi = || OwnedData::Text("hi".into());
        assert_eq!(encode_outcome("", &replied(None, hi())), None);
        assert_eq!(encode_outcome("echo", &replied(Some(""), hi())), None);
        let named = encode_outcome("", &replied(Some("what"), hi()));
        assert_eq!(named.as_deref(), Some(&b"what: hi"[..]));
    }

    fn push(content: Content<'_>) -> Vec<u8> {
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 0,
            },
            position: None,
            audience: Audience::Everyone {
                namespace: 0,
                except: &[],
            },
            content,
            nonce: 5,
        };
        let options = Options {
            push_kind: MessageType::Binary,
            ..Options::default()
        };
        let mut message = b"before".to_vec();
        let kind = Easyws.encode_publication(&publication, &options, &mut message);
        assert_eq!(kind, MessageType::Text);
        message.strip_prefix(b"before").expect("appended").to_vec()
    }

    #[test]
    fn a_push_names_its_event_and_nothing_else() {
        for (event, data, expected) in [
            (
                "thanks",
                Data::Text("Thank you for listening!"),
                &b"thanks: Thank you for listening!"[..],
            ),
            ("nodata", Data::None, b"nodata: "),
            ("nodata", Data::Text(""), b"nodata: "),
            ("j", Data::Json(b"[ 1 ]"), b"j: [ 1 ]"),
            ("b", Data::Bytes(b"\xff: "), b"b: \xff: "),
        ] {
            let content = Content {
                event,
                data,
                from: "somebody",
                channel: "test".into(),
                correlation: "s",
                status: 7,
                status_text: "no",
            };
            assert_eq!(push(content), expected);
        }
    }

    /// Returns a message of few kinds of pieces, so that separators are frequent at any place.
    fn noise(prng: &mut Prng) -> Vec<u8> {
        const PIECES: &[&[u8]] = &[b": ", b": ", b":", b" ", b"c", b"c", b"\xff", b"\xc3\xa9"];
        let mut message = b"c".repeat(match prng.range(0, 2) {
            0 => 0,
            1 => prng.range(245, 260) as usize,
            _ => prng.range(0, 3) as usize,
        });
        for _ in 0..prng.range(0, 12) {
            message.extend_from_slice(prng.pick(PIECES.iter()).expect("some"));
        }
        message
    }

    #[test]
    fn is_total_on_any_bytes_and_sees_what_the_grammar_says() {
        let (mut named, mut nameless, mut replaced) = (0, 0, 0);
        for seed in 0..20_000 {
            let message = noise(&mut Prng::from_seed(seed));
            // The grammar the slow way: `at` is the first separator.
            let is_separator = |at: usize| message[at..].starts_with(b": ");
            let at = (0..message.len().min(255)).find(|at| is_separator(*at));
            let (command, content) = match at {
                Some(at) if at >= 1 => (&message[..at], &message[at + 2..]),
                Some(_) | None => (&b""[..], &message[..]),
            };
            let command = str::from_utf8(command).unwrap_or("\u{fffd}");
            match command {
                "" => nameless += 1,
                "\u{fffd}" => replaced += 1,
                _ => named += 1,
            }
            let data = (!content.is_empty()).then_some(content);
            expect_call(&message, command, data);
        }
        let tally = [named, nameless, replaced];
        assert!(tally.iter().all(|&count| count > 1_000), "{tally:?}");
    }

    #[test]
    fn any_header_is_a_token_or_none() {
        const BYTES: &[u8] = b"=;\" \t\\x,\x00\x7f\xff";
        let (mut admitted, mut rejected) = (0, 0);
        for seed in 0..20_000 {
            let prng = &mut Prng::from_seed(seed);
            let mut line = Vec::new();
            for _ in 0..prng.range(0, 8) {
                if prng.chance(1, 4) {
                    line.extend_from_slice(b"auth");
                } else {
                    line.push(*prng.pick(BYTES.iter()).expect("some"));
                }
            }
            match admit(&[("cookie", &line), ("sec-websocket-protocol", &line)]) {
                Ok(Credentials { token, .. }) => {
                    let token = token.expect("an accepted request has one");
                    assert!(!token.contains(['"', ';', '\\', '\0', '\t']), "{token:?}");
                    admitted += 1;
                }
                Err(_) => rejected += 1,
            }
        }
        assert!(admitted > 1_000 && rejected > 1_000);
    }

    #[test]
    fn what_is_sent_reads_as_a_command_and_its_content() {
        for seed in 0..5_000 {
            let prng = &mut Prng::from_seed(seed);
            let event = "e".repeat(prng.range(1, 254) as usize);
            let data = noise(prng);
            let content = Content {
                event: &event,
                data: Data::Bytes(&data),
                ..Content::default()
            };
            let reply = replied(Some(&event), OwnedData::Bytes(data.clone().into()));
            let message = push(content);
            assert_eq!(encode_outcome("asked", &reply).as_ref(), Some(&message));
            let data = (!data.is_empty()).then_some(&data[..]);
            expect_call(&message, &event, data);
        }
    }
}
