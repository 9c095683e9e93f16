//! The `wsrv` dialect, of `go-eyas/toolkit`: JSON requests, each with its own response.
//!
//! ```text
//! client                                        gateway
//!   | {"cmd":"register","seqno":"s1",              |   Call { command: "register", id: "s1", .. }
//!   |  "data":{"UID":5}}                           |
//!   |--------------------------------------------->|
//!   |      {"cmd":"user_register","seqno":         |   a push, with a `seqno` of its own,
//!   |       "Hph7bg5S","status":0,"msg":"ok",      |   in a frame of the route's type
//!   |       "data":{"uid":5}}                      |
//!   |<---------------------------------------------|
//!   |      {"cmd":"register","seqno":"s1",         |   the response, in a frame of the type that
//!   |       "status":0,"msg":"ok","data":{}}       |   the request came in
//!   |<---------------------------------------------|
//!   | {"cmd":"no","seqno":"s2"}                    |   no handler
//!   |--------------------------------------------->|
//!   |      {"cmd":"no","seqno":"s2","status":-1,   |
//!   |       "msg":"not implement","data":{}}       |
//!   |<---------------------------------------------|
//!   | (an empty message)                           |   Heartbeat; no response
//!   |--------------------------------------------->|
//!   | {"cmd":"no","seqno":3}                       |   Malformed: ignored
//!   |--------------------------------------------->|
//! ```
//!
//! Each request has exactly one response. Responses may come in any order: clients match them by
//! `seqno`. JSON is decoded and encoded as Go does, down to the escapes, so that responses have the
//! same bytes as the original's. The message of a handler's panic is logged and not sent, unlike in
//! the original.

use super::{
    Call, DecodeError, DefaultRoute, Dialect, DialectSpec, Intent, Intents, Options, Playground,
    ReplyAction, RouteFacts, RouteSpec, TokenPlace,
};
use crate::codec::json::write::{put_base64_string, put_compact_go, put_string_go};
use crate::codec::json::{Scratch, Wanted};
use crate::vocabulary::content::{Cause, Correlation, Data, Denial, Failure, Outcome};
use crate::vocabulary::limits::{Limits, RouteLimits};
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;
use std::array;
use std::io::Write as _;

/// The `wsrv` dialect.
#[derive(Debug)]
pub struct Wsrv;

impl Dialect for Wsrv {
    fn name(&self) -> &'static str {
        "wsrv"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            alive_by_messages: true,
            acknowledges: true,
            concurrent: true,
            appends_handlers: true,
            json_data: true,
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "JSON requests, each with its response, and pushes",
            keys: "subprotocols playground_path tokens token_from anonymous jwt hooks commands \
                   channels join_on_open push_frame requests_in_flight_max",
            token: TokenPlace::Sources,
            playground: Playground {
                heartbeat_ms: 10_000,
                ..Playground::with_message(r#"{"cmd":"join","seqno":"1","data":"room"}"#)
            },
            default_route: Some(DefaultRoute {
                name: "wsrv",
                has_playground: true,
                has_chat: true,
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn default_limits(&self, route: &mut RouteLimits, _: &Limits) {
        route.idle_timeout_ms = IDLE_TIMEOUT_MS;
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let mut lines: Vec<String> = facts.token_shown.map(Into::into).into_iter().collect();
        match facts.chat() {
            Some([join, publish, room]) => lines.extend([
                format!(r#"send {{"cmd":"{join}","data":"{room}"}}, then"#),
                format!(r#"{{"cmd":"{publish}","data":{{"channel":"{room}","data":"hi"}}}}"#),
            ]),
            None => lines.push(format!(r#"send {{"cmd":"{}","seqno":"1"}}"#, facts.command)),
        }
        // Pongs do not reset this dialect's idle timeout, so even a client that only receives must
        // send.
        let every = match facts.idle_timeout_ms {
            ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
            ms => format!("{ms} ms"),
        };
        lines.push(format!(
            "send a message every {every}, an empty one suffices"
        ));
        lines
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        scratch: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        if payload.is_empty() {
            intents.push(Intent::Heartbeat);
            return Ok(());
        }
        let found = REQUEST.find(payload).map_err(|_| DecodeError::Malformed)?;
        if !found.is_whole() {
            return Err(DecodeError::Malformed);
        }
        let [command, id] = scratch.read(found.strings).map(Option::unwrap_or_default);
        let [data] = found.raws;
        intents.push(Intent::Call(Call {
            command,
            id,
            channel: "",
            from: "",
            data,
            kind,
        }));
        Ok(())
    }

    /// Encodes a response. It repeats the request's command, even if the handler's reply names an
    /// event.
    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        let (status, msg, data) = match outcome {
            Outcome::NotHandled | Outcome::Silent => (STATUS_REJECTED, "not implement", EMPTY),
            // The original has no joins, so their response is Campanile's.
            Outcome::Replied(reply) | Outcome::Joined(reply) => {
                (STATUS_OK, TEXT_OK, or_empty(reply.data()))
            }
            Outcome::Failed(failure) => failure_fields(failure),
            Outcome::Left
            | Outcome::Published
            | Outcome::Identified(_)
            | Outcome::Denied(Denial::AlreadyJoined) => (STATUS_OK, TEXT_OK, EMPTY),
            Outcome::Denied(denial) => (STATUS_REJECTED, denial.as_str(), EMPTY),
        };
        let response = ResponseMessage {
            cmd: &correlation.command,
            seqno: &correlation.id,
            status,
            msg,
            data,
        };
        response.put(message);
        ReplyAction::Send(correlation.kind)
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let content = &publication.content;
        let name = generate_seqno(publication.nonce);
        let seqno = if content.correlation.is_empty() {
            str::from_utf8(&name).expect("the alphabet is ASCII")
        } else {
            content.correlation
        };
        let push = ResponseMessage {
            cmd: content.event,
            seqno,
            status: content.status,
            msg: msg_or_ok(content.status, content.status_text),
            data: content.data,
        };
        push.put(message);
        options.push_kind
    }
}

/// A response or a push, with its members in the order of encoding.
#[derive(Debug)]
struct ResponseMessage<'r> {
    cmd: &'r str,
    seqno: &'r str,
    status: i64,
    msg: &'r str,
    /// `None` is sent as `null`.
    data: Data<'r>,
}

impl ResponseMessage<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"cmd\":");
        put_string_go(self.cmd, out);
        out.extend_from_slice(b",\"seqno\":");
        put_string_go(self.seqno, out);
        write!(out, ",\"status\":{},\"msg\":", self.status).expect("a vector takes any bytes");
        put_string_go(self.msg, out);
        out.extend_from_slice(b",\"data\":");
        match self.data {
            Data::None => out.extend_from_slice(b"null"),
            Data::Json(json) => put_compact_go(json, out),
            Data::Text(text) => put_string_go(text, out),
            // As Go encodes a slice of bytes, text or not.
            Data::Bytes(bytes) => put_base64_string(bytes, out),
        }
        out.push(b'}');
    }
}

/// Returns the status, text and data of a failure.
fn failure_fields(failure: &Failure) -> (i64, &str, Data<'_>) {
    let status = failure.status();
    let (status, msg) = match failure.cause() {
        Cause::Chosen | Cause::Denied(_) => (status, msg_or_ok(status, failure.text())),
        Cause::Error => (STATUS_ERROR, failure.text()),
        Cause::Panic => (STATUS_ERROR, "internal error"),
    };
    (status, msg, or_empty(failure.data()))
}

/// Returns the text, or `ok` for a success without one. A failure may have an empty text.
fn msg_or_ok(status: i64, text: &str) -> &str {
    if status == STATUS_OK && text.is_empty() {
        TEXT_OK
    } else {
        text
    }
}

/// Returns the data, or an empty object if there are none.
fn or_empty(data: Data<'_>) -> Data<'_> {
    match data {
        Data::None => EMPTY,
        Data::Json(_) | Data::Text(_) | Data::Bytes(_) => data,
    }
}

/// Generates the `seqno` of a push that is no response: eight letters, each from six bits of the
/// nonce.
fn generate_seqno(nonce: u64) -> [u8; SEQNO_BYTES] {
    let mut bits = nonce;
    array::from_fn(|_| {
        let index = usize::try_from(bits % SEQNO_LETTERS.len() as u64).expect("below 64");
        bits /= SEQNO_LETTERS.len() as u64;
        SEQNO_LETTERS[index]
    })
}

const REQUEST: Wanted<2, 1> = Wanted::new(["cmd", "seqno"], ["data"]);

const STATUS_OK: i64 = 0;
const STATUS_REJECTED: i64 = -1;
/// Nine nines, for any error.
const STATUS_ERROR: i64 = 999_999_999;
const TEXT_OK: &str = "ok";
const EMPTY: Data<'static> = Data::Json(b"{}");

const SEQNO_BYTES: usize = 8;
const SEQNO_LETTERS: &[u8; 64] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$@";

/// Default idle timeout in milliseconds. The original closes a session up to two seconds later.
const IDLE_TIMEOUT_MS: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::OnInvalid;
    use crate::vocabulary::content::{Content, OwnedData, Reply};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::{Audience, PublicationId};
    use campanile_tests::prng::Prng;

    /// The command, `seqno` and data of a request.
    type Request<'r> = (&'r str, &'r str, Option<&'r [u8]>);

    fn decode(
        kind: MessageType,
        message: &[u8],
        check: impl FnOnce(Result<(), DecodeError>, &[Intent<'_>]),
    ) {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let result = Wsrv.decode(
            kind,
            &mut payload,
            &Options::default(),
            &mut scratch,
            &mut intents,
        );
        check(result, &intents);
    }

    #[track_caller]
    fn expect_request(message: impl AsRef<[u8]>, (command, id, data): Request<'_>) {
        for kind in [MessageType::Text, MessageType::Binary] {
            decode(kind, message.as_ref(), |result, intents| {
                let shown = message.as_ref().escape_ascii().to_string();
                assert_eq!(result, Ok(()), "{shown}");
                let call = Call {
                    command,
                    id,
                    channel: "",
                    from: "",
                    data,
                    kind,
                };
                assert_eq!(intents, [Intent::Call(call)], "{shown}");
            });
        }
    }

    #[test]
    fn a_request_is_read_as_go_would_have_read_it() {
        expect_request(
            br#"{"cmd":"register","seqno":"unique string","data":{}}"#,
            ("register", "unique string", Some(b"{}")),
        );
        expect_request(
            b" {\"CMD\" : \"c\", \"SeqNo\":\"s\", \"x\":[1], \"Data\": [ 1 ] }\r\n\t ",
            ("c", "s", Some(b"[ 1 ]")),
        );
        expect_request(
            br#"{"seqno":"a","SEQNO":"b","data":1,"DATA":2,"cmd":"c","cmd":null}"#,
            ("c", "b", Some(b"2")),
        );
        expect_request(
            b"{\"cmd\":\"\\u006e\\ud800\",\"seqno\":\"\xff\\n\"}",
            ("n\u{fffd}", "\u{fffd}\n", None),
        );
    }

    #[test]
    fn what_is_missing_or_null_is_empty() {
        for nothing in ["{}", "null", r#"{"cmd":null,"seqno":null}"#] {
            expect_request(nothing, ("", "", None));
        }
        expect_request(r#"{"data":null}"#, ("", "", Some(b"null")));
    }

    #[test]
    fn whatever_is_no_request_is_met_with_silence() {
        let deep = |depth: usize| {
            let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(depth - 1));
            format!("{{\"cmd\":\"\",\"data\":{open}{close}}}").into_bytes()
        };
        for message in [
            &b"x"[..],
            b" ",
            b"[]",
            b"\"x\"",
            b"5",
            b"{\"cmd\":\"c\"} x",
            b"{}{}",
            b"null null",
            b"{\"cmd\":5}",
            b"{\"cmd\":\"c\",\"seqno\":1}",
            b"{\"seqno\":1,\"seqno\":\"s\"}",
            b"{\"cmd\":\"c\",\"data\":}",
            b"{\"cmd\":\"c\"",
            b"\xef\xbb\xbf{\"cmd\":\"c\"}",
            &deep(10_001),
        ] {
            decode(MessageType::Text, message, |result, _| {
                let shown = message.escape_ascii().to_string();
                assert_eq!(result, Err(DecodeError::Malformed), "{shown}");
            });
        }
        decode(MessageType::Text, &deep(9_000), |result, _| {
            assert_eq!(result, Ok(()));
        });
        for error in [DecodeError::Malformed, DecodeError::InvalidText] {
            assert_eq!(Wsrv.on_invalid(error), OnInvalid::Ignore);
        }
    }

    #[test]
    fn an_empty_message_is_a_heartbeat() {
        for kind in [MessageType::Text, MessageType::Binary] {
            decode(kind, b"", |result, intents| {
                assert_eq!(result, Ok(()));
                assert_eq!(intents, [Intent::Heartbeat]);
            });
        }
    }

    #[test]
    fn only_messages_keep_alive_and_requests_need_not_wait() {
        let spec = Wsrv.spec();
        assert!(spec.alive_by_messages && spec.concurrent && spec.appends_handlers);
        assert!(spec.json_data && !spec.announces);
        assert!(!spec.declared_channels);
        assert_eq!(spec.open_command, None);
    }

    fn correlation(command: &str, id: &str, kind: MessageType) -> Correlation {
        Correlation {
            command: command.into(),
            id: id.into(),
            channel: "".into(),
            kind,
        }
    }

    fn encode_outcome(
        correlation: &Correlation,
        outcome: &Outcome,
        options: &Options,
    ) -> (String, MessageType) {
        let mut message = Vec::new();
        match Wsrv.encode_outcome(correlation, outcome, options, &mut message) {
            ReplyAction::Send(kind) => (String::from_utf8(message).expect("text"), kind),
            other @ (ReplyAction::Skip | ReplyAction::Close(_)) => panic!("{other:?}"),
        }
    }

    /// Checks the members after `seqno` in a response.
    #[track_caller]
    fn expect_response(outcome: &Outcome, expected: &str) {
        let correlation = correlation("c", "s", MessageType::Text);
        let (answer, _) = encode_outcome(&correlation, outcome, &Options::default());
        assert_eq!(answer, format!(r#"{{"cmd":"c","seqno":"s",{expected}}}"#));
    }

    fn replied(data: OwnedData) -> Outcome {
        let event = Some("another".into());
        Outcome::Replied(Reply { event, data })
    }

    fn failed(status: i64, text: &str, data: OwnedData, cause: Cause) -> Outcome {
        Outcome::Failed(Failure {
            status,
            text: text.into(),
            data,
            cause,
        })
    }

    fn json(json: &'static str) -> OwnedData {
        OwnedData::Json(json.as_bytes().into())
    }

    #[test]
    fn a_request_without_a_handler_is_not_implemented() {
        let expected = r#""status":-1,"msg":"not implement","data":{}"#;
        expect_response(&Outcome::NotHandled, expected);
        expect_response(&Outcome::Silent, expected);
        let nothing = correlation("", "", MessageType::Text);
        let (answer, _) = encode_outcome(&nothing, &Outcome::NotHandled, &Options::default());
        assert_eq!(
            answer,
            r#"{"cmd":"","seqno":"","status":-1,"msg":"not implement","data":{}}"#
        );
    }

    #[test]
    fn success_is_ok_with_the_data_of_the_reply() {
        for (data, expected) in [
            (OwnedData::None, "{}"),
            (json("null"), "null"),
            (json("{ \"a\": [1, \"<\"] }"), r#"{"a":[1,"\u003c"]}"#),
            (OwnedData::Text("a \"b\"".into()), r#""a \"b\"""#),
            (OwnedData::Bytes((&b"hi\xff"[..]).into()), r#""aGn/""#),
            (OwnedData::Bytes((&b"text"[..]).into()), r#""dGV4dA==""#),
        ] {
            let expected = format!(r#""status":0,"msg":"ok","data":{expected}"#);
            expect_response(&replied(data), &expected);
        }
    }

    #[test]
    fn errors_and_panics_are_nine_nines() {
        expect_response(
            &failed(5, "unexpected end", OwnedData::None, Cause::Error),
            r#""status":999999999,"msg":"unexpected end","data":{}"#,
        );
        expect_response(
            &failed(0, "index 7 of 5", OwnedData::None, Cause::Panic),
            r#""status":999999999,"msg":"internal error","data":{}"#,
        );
        expect_response(
            &failed(0, "", json("[1]"), Cause::Error),
            r#""status":999999999,"msg":"","data":[1]"#,
        );
    }

    #[test]
    fn a_chosen_failure_is_encoded_as_chosen() {
        expect_response(
            &failed(403, "no", OwnedData::None, Cause::Chosen),
            r#""status":403,"msg":"no","data":{}"#,
        );
        expect_response(
            &failed(-7, "", json("null"), Cause::Chosen),
            r#""status":-7,"msg":"","data":null"#,
        );
        // The original treats a panic with a text, a number or an empty map as a success, and so
        // does this.
        for (data, expected) in [
            (OwnedData::Text("text".into()), r#""text""#),
            (json("42"), "42"),
            (OwnedData::None, "{}"),
        ] {
            let expected = format!(r#""status":0,"msg":"ok","data":{expected}"#);
            expect_response(&failed(0, "", data, Cause::Chosen), &expected);
        }
    }

    #[test]
    fn even_what_cannot_arise_is_answered() {
        for outcome in [
            Outcome::Joined(Reply::default()),
            Outcome::Left,
            Outcome::Published,
            Outcome::Denied(Denial::AlreadyJoined),
        ] {
            expect_response(&outcome, r#""status":0,"msg":"ok","data":{}"#);
        }
        for (outcome, msg) in [
            (
                Outcome::Denied(Denial::NoSuchChannel),
                "channel does not exist",
            ),
            (Outcome::Denied(Denial::NotAuthorized), "not authorized"),
            (Outcome::Denied(Denial::NotJoined), "not on the channel"),
        ] {
            expect_response(
                &outcome,
                &format!(r#""status":-1,"msg":"{msg}","data":{{}}"#),
            );
        }
    }

    #[test]
    fn a_response_goes_in_the_frame_type_of_its_request() {
        for push_kind in [MessageType::Text, MessageType::Binary] {
            let options = Options {
                push_kind,
                ..Options::default()
            };
            for kind in [MessageType::Text, MessageType::Binary] {
                let correlation = correlation("c", "s", kind);
                assert_eq!(
                    encode_outcome(&correlation, &Outcome::Silent, &options).1,
                    kind
                );
            }
            assert_eq!(push(Content::default(), 0, &options).1, push_kind);
        }
    }

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let correlation = correlation("<&>\u{7f}/", "\u{8}\n\"\\\u{2028}\u{e9}", MessageType::Text);
        let (answer, _) = encode_outcome(&correlation, &Outcome::Silent, &Options::default());
        let expected = concat!(
            r#"{"cmd":"\u003c\u0026\u003e"#,
            "\u{7f}/",
            r#"","seqno":"\u0008\n\"\\\u2028"#,
            "\u{e9}",
            r#"","status":-1,"msg":"not implement","data":{}}"#,
        );
        assert_eq!(answer, expected);
    }

    fn push(content: Content<'_>, nonce: u64, options: &Options) -> (String, MessageType) {
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
            nonce,
        };
        let mut message = b"before".to_vec();
        let kind = Wsrv.encode_publication(&publication, options, &mut message);
        let message = message.strip_prefix(b"before").expect("it is appended");
        (String::from_utf8(message.to_vec()).expect("text"), kind)
    }

    #[track_caller]
    fn expect_push(content: Content<'_>, expected: &str) {
        let content = Content {
            event: "e",
            ..content
        };
        let (push, _) = push(content, 0, &Options::default());
        assert_eq!(push, format!(r#"{{"cmd":"e",{expected}}}"#));
    }

    #[test]
    fn a_push_has_the_shape_of_a_response() {
        let named = Content {
            correlation: "s",
            ..Content::default()
        };
        expect_push(
            Content {
                data: Data::Json(b"{ \"uid\": 5 }"),
                ..Content::default()
            },
            r#""seqno":"aaaaaaaa","status":0,"msg":"ok","data":{"uid":5}"#,
        );
        expect_push(named, r#""seqno":"s","status":0,"msg":"ok","data":null"#);
        expect_push(
            Content { status: 7, ..named },
            r#""seqno":"s","status":7,"msg":"","data":null"#,
        );
        expect_push(
            Content {
                data: Data::Text("<"),
                from: "nobody",
                channel: "nowhere".into(),
                status_text: "fine",
                ..named
            },
            r#""seqno":"s","status":0,"msg":"fine","data":"\u003c""#,
        );
        expect_push(
            Content {
                data: Data::Bytes(b"\xff"),
                status: i64::MIN,
                ..named
            },
            r#""seqno":"s","status":-9223372036854775808,"msg":"","data":"/w==""#,
        );
    }

    #[test]
    fn a_push_without_a_name_is_given_one() {
        assert_eq!(generate_seqno(u64::MAX), *b"@@@@@@@@");
        let all = (0..64).map(|index| generate_seqno(index)[0]);
        assert_eq!(all.collect::<Vec<_>>(), SEQNO_LETTERS);
        assert!(SEQNO_LETTERS.is_sorted_by_key(|letter| {
            let groups: [fn(&u8) -> bool; 5] = [
                u8::is_ascii_lowercase,
                u8::is_ascii_uppercase,
                u8::is_ascii_digit,
                |letter| *letter == b'$',
                |letter| *letter == b'@',
            ];
            (groups.iter().position(|group| group(letter)), *letter)
        }));
        // Each letter stands for bits of its own.
        for place in 0..SEQNO_BYTES {
            let mut expected = [b'a'; SEQNO_BYTES];
            expected[place] = b'@';
            assert_eq!(generate_seqno(63 << (6 * place)), expected);
        }
    }

    /// Checks the members of an encoded message with the JSON reader, which is tested elsewhere.
    #[track_caller]
    fn expect_whole(message: &str, cmd: &str, seqno: &str) {
        const RESPONSE: Wanted<3, 2> = Wanted::new(["cmd", "seqno", "msg"], ["status", "data"]);
        let found = RESPONSE.find(message.as_bytes()).expect(message);
        assert!(found.is_whole() && found.rest.is_empty(), "{message}");
        let mut scratch = Scratch::new();
        let [read_cmd, read_seqno, msg] = scratch.read(found.strings);
        assert_eq!((read_cmd, read_seqno), (Some(cmd), Some(seqno)));
        assert!(msg.is_some() && found.raws.iter().all(Option::is_some));
    }

    #[test]
    fn whatever_is_sent_is_json_that_names_what_it_answers() {
        for seed in 0..5_000 {
            let prng = &mut Prng::from_seed(seed);
            let [cmd, seqno, text] = [(); 3].map(|()| noise_text(prng));
            let data = match prng.range(0, 3) {
                0 => OwnedData::None,
                1 => OwnedData::Text(noise_text(prng).into()),
                2 => OwnedData::Bytes(noise(prng).into()),
                _ => json(" [ {\"<\" : \"\\u003c \\\" \"} , -1e5,null ] "),
            };
            let status = i64::from(prng.range(0, 3)) - 1;
            let content = Content {
                event: &cmd,
                data: data.borrow(),
                correlation: &seqno,
                status,
                status_text: &text,
                ..Content::default()
            };
            let nonce = prng.below(u64::MAX);
            let (push, _) = push(content, nonce, &Options::default());
            let generated = generate_seqno(nonce);
            let generated = str::from_utf8(&generated).expect("ASCII");
            let name = if seqno.is_empty() { generated } else { &seqno };
            expect_whole(&push, &cmd, name);

            let outcome = match prng.range(0, 2) {
                0 => Outcome::Silent,
                1 => replied(data),
                _ => failed(status, &text, data, Cause::Chosen),
            };
            let correlation = correlation(&cmd, &seqno, MessageType::Text);
            let (answer, _) = encode_outcome(&correlation, &outcome, &Options::default());
            expect_whole(&answer, &cmd, &seqno);
        }
    }

    #[test]
    fn is_total_on_any_bytes() {
        let (mut accepted, mut refused) = (0, 0);
        for seed in 0..20_000 {
            let prng = &mut Prng::from_seed(seed);
            let mut message = br#"{"cmd":"c","seqno":"\u0073","data":[1,{}]} "#.to_vec();
            for _ in 0..prng.range(0, 2) {
                let last = u32::try_from(message.len() - 1).expect("a small message");
                let at = prng.range(0, last) as usize;
                match prng.range(0, 2) {
                    0 => message[at] = u8::try_from(prng.range(0, 255)).expect("a byte"),
                    1 => message.truncate(at + 1),
                    _ => message.extend_from_within(at..),
                }
            }
            if prng.chance(1, 4) {
                message = noise(prng);
            }
            decode(
                MessageType::Text,
                &message,
                |result, intents| match result {
                    Ok(()) => {
                        assert_eq!(intents.len(), 1);
                        accepted += 1;
                    }
                    Err(_) => refused += 1,
                },
            );
        }
        assert!(accepted > 5_000 && refused > 5_000, "{accepted}, {refused}");
    }

    fn noise(prng: &mut Prng) -> Vec<u8> {
        let length = prng.range(0, 12);
        let byte = |_| u8::try_from(prng.range(0, 255)).expect("a byte");
        (0..length).map(byte).collect()
    }

    fn noise_text(prng: &mut Prng) -> String {
        const LETTERS: &str =
            "ab\"\\/<>&\u{0}\u{8}\n\u{1f}\u{7f}\u{e9}\u{2028}\u{2029}\u{fffd}\u{1f600}";
        let letters: Vec<char> = LETTERS.chars().collect();
        let length = prng.range(0, 6);
        let letter = |_| *prng.pick(letters.iter()).expect("some");
        (0..length).map(letter).collect()
    }
}
