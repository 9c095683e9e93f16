//! The `edk` dialect, of `edk/pkg/ws`: Protocol Buffers in binary frames, with a token as
//! subprotocol.
//!
//! ```text
//! client                                            gateway                        handler
//!   | GET /ws HTTP/1.1                                 |                              |
//!   | Sec-WebSocket-Protocol: eyJhbGciOiJIUzI1.e30.sig |   Credentials { token, user, |
//!   | x-user-id: 42                                    |     subprotocol: the token } |
//!   |------------------------------------------------->|                              |
//!   | HTTP/1.1 101 Switching Protocols                 |                              |
//!   | Sec-WebSocket-Protocol: eyJhbGciOiJIUzI1.e30.sig |                              |
//!   |<-------------------------------------------------|                              |
//!   | binary 0A 04 63 68 61 74 12 02 68 69             |   Call, all bytes its data   |
//!   |------------------------------------------------->|----------------------------->|
//!   |                                                  |                        bytes |
//!   |                                    binary, bytes |<-----------------------------|
//!   |<-------------------------------------------------|                              |
//!   | binary 0A 04 63                                  |   Malformed: ignored         |
//!   |------------------------------------------------->|                              |
//! ```
//!
//! The schema of the original is not public, so a route sets the schema of its messages:
//!
//! ```text
//!   Schema::Opaque      any message             no command   the message is the data
//!   Schema::Builtin     our own ws.Message      its type     its payload, under its id
//!   Schema::Descriptor  the operator's message  a field      the message is the data
//! ```
//!
//! Messages may arrive in either type and are sent as binary. The dialect does not verify the token
//! and does not decide whether the user header is trusted: that is for the reader of the
//! [`Credentials`]. Data of handlers and backends are sent as they are.

use super::{
    Call, Credentials, DecodeError, DefaultRoute, Dialect, DialectSpec, Intent, Intents, Options,
    Playground, Rejection, ReplyAction, RouteFacts, RouteSpec, Schema, TokenPlace, UpgradeRequest,
};
use crate::codec::json::Scratch;
use crate::codec::protobuf::{self, Envelope, ProtobufError};
use crate::vocabulary::content::{Correlation, Data, Outcome};
use crate::vocabulary::publication::Publication;
use crate::ws::{MessageType, handshake};
use std::borrow::Cow;

/// The `edk` dialect.
#[derive(Debug)]
pub struct Edk;

impl Dialect for Edk {
    fn name(&self) -> &'static str {
        "edk"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            binary_data: true,
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "Protocol Buffers messages, one connection for each user",
            keys: "playground_path tokens jwt hooks commands channels join_on_open \
                   trust_user_header kick_out_new_user_conn schema descriptor_set message \
                   command_field",
            token: TokenPlace::Subprotocol,
            exclusive_users: true,
            playground: Playground::with_message("hello"),
            // No playground: a browser cannot send the user header.
            default_route: Some(DefaultRoute {
                name: "edk",
                keys: &[
                    ("join_on_open", r#"["lobby"]"#),
                    (
                        "commands",
                        r#"{ "" = { action = "publish", channel = "lobby" } }"#,
                    ),
                ],
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let credentials = if facts.needs_token {
            "Sec-WebSocket-Protocol: <token>"
        } else {
            "x-user-id: jack, Sec-WebSocket-Protocol: token"
        };
        let mut lines = vec![credentials.to_owned()];
        let goes_to = facts.goes_to;
        lines.extend(goes_to.map(|recipients| format!("any message goes to {recipients}")));
        lines
    }

    /// Takes the first offered subprotocol that is a valid HTTP token as the client's token, and
    /// accepts it as the subprotocol. The original's gateway accepts a single one and responds 401
    /// to a list; taking the first is harmless, since browsers accept any that they have offered.
    ///
    /// The user is the first `x-user-id` header; `None` if it is empty or not UTF-8. It is returned
    /// even if the header is not trusted, so that a contradiction to the token can be detected.
    fn admit<'r>(
        &self,
        request: &UpgradeRequest<'r>,
        _: &Options,
    ) -> Result<Credentials<'r>, Rejection> {
        let headers = request.headers.iter().copied();
        let token = handshake::subprotocols(headers)
            .next()
            .ok_or(MISSING_TOKEN)?;
        let user = request.header(USER_HEADER).next();
        Ok(Credentials {
            token: Some(Cow::Borrowed(token)),
            user: user
                .and_then(|value| str::from_utf8(value).ok())
                .map(|user| user.trim_matches([' ', '\t']))
                .filter(|user| !user.is_empty()),
            subprotocol: Some(Cow::Borrowed(token)),
            ..Credentials::default()
        })
    }

    fn rejection(&self) -> Rejection {
        INVALID_TOKEN
    }

    fn no_user(&self) -> Rejection {
        MISSING_USER
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        options: &Options,
        scratch: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let envelope =
            read(payload, &options.schema, scratch).map_err(|_| DecodeError::Malformed)?;
        intents.push(Intent::Call(Call {
            command: envelope.kind,
            id: envelope.id,
            channel: "",
            from: "",
            data: Some(envelope.payload),
            kind,
        }));
        Ok(())
    }

    /// Encodes only replies with a body: a message of unknown schema has no place for errors, and
    /// the original is not known to respond by itself.
    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        match outcome {
            Outcome::Replied(reply) if reply.data() != Data::None => {
                let envelope = Envelope {
                    kind: reply.event().unwrap_or(&correlation.command),
                    payload: reply.data().bytes(),
                    id: &correlation.id,
                };
                put(&envelope, &options.schema, message);
                ReplyAction::Send(MessageType::Binary)
            }
            // Only `ws.Message` has a place for the gateway's own messages.
            Outcome::Denied(denial) if matches!(options.schema, Schema::Builtin) => {
                let envelope = Envelope {
                    kind: "error",
                    payload: denial.as_str().as_bytes(),
                    id: &correlation.id,
                };
                put(&envelope, &options.schema, message);
                ReplyAction::Send(MessageType::Binary)
            }
            Outcome::Replied(_)
            | Outcome::Silent
            | Outcome::NotHandled
            | Outcome::Failed(_)
            | Outcome::Joined(_)
            | Outcome::Left
            | Outcome::Published
            | Outcome::Identified(_)
            | Outcome::Denied(_) => ReplyAction::Skip,
        }
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let content = &publication.content;
        let envelope = Envelope {
            kind: content.event,
            payload: content.data.bytes(),
            id: content.correlation,
        };
        put(&envelope, &options.schema, message);
        MessageType::Binary
    }
}

/// Decodes a message by its schema. Without an envelope, the whole message is the payload.
fn read<'m>(
    message: &'m [u8],
    schema: &Schema,
    scratch: &'m mut Scratch,
) -> Result<Envelope<'m>, ProtobufError> {
    let kind = match schema {
        Schema::Builtin => return protobuf::read_envelope(message),
        Schema::Opaque => {
            protobuf::check_wire(message)?;
            ""
        }
        // Copied, since it may be a default that is stored in the schema.
        Schema::Descriptor(schema) => schema
            .read(message)?
            .map_or("", |command| scratch.keep(command)),
    };
    Ok(Envelope {
        kind,
        payload: message,
        id: "",
    })
}

/// Appends a message: an envelope if that is the schema, otherwise only the payload.
fn put(envelope: &Envelope<'_>, schema: &Schema, out: &mut Vec<u8>) {
    match schema {
        Schema::Builtin => protobuf::put_envelope(envelope, out),
        Schema::Opaque | Schema::Descriptor(_) => out.extend_from_slice(envelope.payload),
    }
}

const USER_HEADER: &str = "x-user-id";

const MISSING_TOKEN: Rejection = Rejection {
    status: 401,
    body: Cow::Borrowed("missing token\n"),
};

const MISSING_USER: Rejection = Rejection {
    status: 401,
    body: Cow::Borrowed("missing user\n"),
};

const INVALID_TOKEN: Rejection = Rejection {
    status: 401,
    body: Cow::Borrowed("invalid token\n"),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::OnInvalid;
    use crate::vocabulary::content::{Content, Denial, Failure, OwnedData, Reply};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::{Audience, PublicationId};
    use campanile_tests::prng::Prng;
    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    };
    use std::sync::Arc;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiNDIifQ.sig";
    /// The example of docs/dialects/edk.md, "Messages": type `chat`, payload `hi`.
    const CHAT: &[u8] = &[0x0a, 4, b'c', b'h', b'a', b't', 0x12, 2, b'h', b'i'];

    fn options(schema: Schema) -> Options {
        Options {
            schema,
            ..Options::default()
        }
    }

    /// `message Custom { optional string verb = 5 [default = "say"]; }`, with or without `verb` as
    /// the command.
    fn custom(command_field: Option<&str>) -> Schema {
        let verb = FieldDescriptorProto {
            name: Some("verb".to_owned()),
            number: Some(5),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::String.into()),
            default_value: Some("say".to_owned()),
            ..FieldDescriptorProto::default()
        };
        let set = FileDescriptorSet {
            file: vec![FileDescriptorProto {
                name: Some("custom.proto".to_owned()),
                message_type: vec![DescriptorProto {
                    name: Some("Custom".to_owned()),
                    field: vec![verb],
                    ..DescriptorProto::default()
                }],
                ..FileDescriptorProto::default()
            }],
        };
        let schema =
            protobuf::Schema::from_descriptor_set(&set.encode_to_vec(), "Custom", command_field);
        Schema::Descriptor(Arc::new(schema.expect("a complete descriptor")))
    }

    fn schemas() -> [Schema; 4] {
        [
            Schema::Opaque,
            Schema::Builtin,
            custom(Some("verb")),
            custom(None),
        ]
    }

    fn admit(headers: &[(&str, &[u8])]) -> Result<(String, Option<String>), Rejection> {
        let request = UpgradeRequest {
            query: None,
            headers,
        };
        let credentials = Edk.admit(&request, &Options::default())?;
        assert_eq!(credentials.token, credentials.subprotocol);
        let token = credentials.token.expect("shown, or rejected");
        Ok((token.into_owned(), credentials.user.map(str::to_owned)))
    }

    /// Checks command, id and data; `None` expects a decode error.
    #[track_caller]
    fn check(schema: &Schema, message: &[u8], expected: Option<(&str, &str, &[u8])>) {
        for kind in [MessageType::Text, MessageType::Binary] {
            let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
            let mut intents = Intents::new();
            let options = options(schema.clone());
            let result = Edk.decode(kind, &mut payload, &options, &mut scratch, &mut intents);

            let expected = expected.map(|(command, id, data)| {
                Intent::Call(Call {
                    command,
                    id,
                    channel: "",
                    from: "",
                    data: Some(data),
                    kind,
                })
            });
            let refused = expected.is_none().then_some(DecodeError::Malformed);
            assert_eq!(result.err(), refused, "{schema:?} {message:x?}");
            assert_eq!(intents[..], *expected.as_slice(), "{schema:?} {message:x?}");
        }
    }

    fn encode_outcome(schema: Schema, outcome: &Outcome) -> (ReplyAction, Vec<u8>) {
        let correlation = Correlation {
            command: "chat".into(),
            id: "7".into(),
            channel: "".into(),
            kind: MessageType::Text,
        };
        let mut message = Vec::new();
        let action = Edk.encode_outcome(&correlation, outcome, &options(schema), &mut message);
        (action, message)
    }

    fn replied(event: Option<&str>, data: OwnedData) -> Outcome {
        Outcome::Replied(Reply {
            event: event.map(Into::into),
            data,
        })
    }

    fn encode_publication(schema: Schema, content: Content<'_>) -> Vec<u8> {
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 0,
            },
            position: None,
            audience: Audience::User {
                namespace: 0,
                name: b"42",
                event: None,
            },
            content,
            nonce: 0,
        };
        let mut message = Vec::new();
        let kind = Edk.encode_publication(&publication, &options(schema), &mut message);
        assert_eq!(kind, MessageType::Binary);
        message
    }

    #[test]
    fn the_token_is_the_subprotocol_and_the_header_names_the_user() {
        let headers = [
            ("Sec-WebSocket-Protocol", TOKEN.as_bytes()),
            ("x-user-id", b"42"),
        ];
        assert_eq!(
            admit(&headers),
            Ok((TOKEN.to_owned(), Some("42".to_owned())))
        );
    }

    #[test]
    fn without_a_token_a_client_is_turned_away() {
        let missing = Rejection {
            status: 401,
            body: "missing token\n".into(),
        };
        for value in [
            &b""[..],
            b" ",
            b",",
            b"two words",
            b"pad=",
            b"\xff",
            b"\"q\"",
        ] {
            let headers = [("sec-websocket-protocol", value), ("x-user-id", b"42")];
            assert_eq!(admit(&headers), Err(missing.clone()), "{value:x?}");
        }
        assert_eq!(admit(&[("x-user-id", b"42")]), Err(missing));
        let invalid = Rejection {
            status: 401,
            body: "invalid token\n".into(),
        };
        assert_eq!(Edk.rejection(), invalid);
    }

    #[test]
    fn of_a_list_the_first_token_alone_is_agreed_on() {
        let token = |values: &[&[u8]]| {
            let lines = values
                .iter()
                .map(|value| ("Sec-WebSocket-Protocol", *value));
            let lines: Vec<_> = lines.collect();
            admit(&lines).map(|(token, _)| token)
        };
        assert_eq!(token(&[b"a, b"]), Ok("a".to_owned()));
        assert_eq!(token(&[b"no token,b"]), Ok("b".to_owned()));
        assert_eq!(token(&[b"", b"b", b"c"]), Ok("b".to_owned()));
    }

    #[test]
    fn a_user_is_text_that_the_first_header_says() {
        let user = |values: &[&[u8]]| {
            let mut lines = vec![("Sec-WebSocket-Protocol", &b"t"[..])];
            lines.extend(values.iter().map(|value| ("X-User-Id", *value)));
            admit(&lines).expect("it has a token").1
        };
        assert_eq!(user(&[]), None);
        assert_eq!(user(&[b""]), None);
        assert_eq!(user(&[b" \t"]), None);
        assert_eq!(user(&[b"\xff"]), None);
        assert_eq!(
            user(&[b" j\xc3\xa9r\xc3\xb4me "]).as_deref(),
            Some("j\u{e9}r\u{f4}me")
        );
        assert_eq!(user(&[b"1", b"2"]).as_deref(), Some("1"));
        assert_eq!(user(&[b"", b"2"]), None);
    }

    #[test]
    fn an_opaque_message_is_anything_well_formed() {
        for message in [
            &b""[..],
            CHAT,
            &[0x08, 0x96, 0x01],
            &[0x09, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x0d, 1, 2, 3, 4],
            &[0x0b, 0x08, 1, 0x0c],
            &[0x0a, 2, 0xff, 0xfe],
        ] {
            check(&Schema::Opaque, message, Some(("", "", message)));
        }
        for message in [
            // Field 0; a length beyond the end; truncated; groups that do not match; wire type 7.
            &[0x02, 0][..],
            &[0x0a, 3, b'h', b'i'],
            &[0x08],
            &[0x09, 1, 2, 3],
            &[0x0b],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x0f],
            b"hello",
        ] {
            check(&Schema::Opaque, message, None);
        }
        for error in [DecodeError::Malformed, DecodeError::InvalidText] {
            assert_eq!(Edk.on_invalid(error), OnInvalid::Ignore);
        }
    }

    #[test]
    fn an_envelope_has_command_and_id() {
        let builtin = Schema::Builtin;
        check(&builtin, CHAT, Some(("chat", "", b"hi")));
        check(&builtin, b"", Some(("", "", b"")));
        check(&builtin, b"\x1a\x017\x12\x00\x20\x05", Some(("", "7", b"")));
        check(&builtin, &CHAT[..9], None);
        check(&builtin, b"\x0a\x01\xff", None);
    }

    #[test]
    fn an_operators_message_has_a_command_and_is_passed_on_whole() {
        let schema = custom(Some("verb"));
        let message = b"\x2a\x04sing\x08\x01";
        check(&schema, message, Some(("sing", "", message)));
        // The default belongs to the schema, not to the message.
        check(&schema, b"", Some(("say", "", b"")));
        check(&schema, b"\x28\x01", None);
        check(&schema, b"\x2a\x05sing", None);
        check(&custom(None), message, Some(("", "", message)));
    }

    #[test]
    fn a_reply_is_the_bytes_or_an_envelope_that_repeats_the_id() {
        let reply = || replied(None, OwnedData::Bytes(CHAT.into()));
        let binary = ReplyAction::Send(MessageType::Binary);
        for schema in [Schema::Opaque, custom(Some("verb"))] {
            assert_eq!(encode_outcome(schema, &reply()), (binary, CHAT.to_vec()));
        }
        let hi = || OwnedData::Text("hi".into());
        let (action, message) = encode_outcome(Schema::Builtin, &replied(None, hi()));
        assert_eq!(action, binary);
        assert_eq!(message, b"\x0a\x04chat\x12\x02hi\x1a\x017");
        let (_, message) = encode_outcome(Schema::Builtin, &replied(Some("said"), hi()));
        assert_eq!(message, b"\x0a\x04said\x12\x02hi\x1a\x017");
        // An empty body is a body.
        let empty = || replied(None, OwnedData::Bytes(Vec::new().into()));
        assert_eq!(
            encode_outcome(Schema::Opaque, &empty()),
            (binary, Vec::new())
        );
        let (_, message) = encode_outcome(Schema::Builtin, &empty());
        assert_eq!(message, b"\x0a\x04chat\x1a\x017");
    }

    #[test]
    fn nothing_else_is_answered() {
        for schema in schemas() {
            for outcome in [
                replied(Some("said"), OwnedData::None),
                Outcome::Silent,
                Outcome::NotHandled,
                Outcome::Failed(Failure {
                    status: 1,
                    text: "no".into(),
                    data: OwnedData::Text("no".into()),
                    cause: crate::vocabulary::content::Cause::Chosen,
                }),
                Outcome::Joined(Reply::default()),
                Outcome::Left,
                Outcome::Published,
            ] {
                let (action, _) = encode_outcome(schema.clone(), &outcome);
                assert_eq!(action, ReplyAction::Skip, "{outcome:?}");
            }
        }
    }

    #[test]
    fn a_denial_is_sent_if_the_schema_has_a_place_for_it() {
        let denied = Outcome::Denied(Denial::NotAuthorized);
        let (action, message) = encode_outcome(Schema::Builtin, &denied);
        assert_eq!(action, ReplyAction::Send(MessageType::Binary));
        assert_eq!(message, b"\x0a\x05error\x12\x0enot authorized\x1a\x017");
        for schema in [Schema::Opaque, custom(Some("verb")), custom(None)] {
            assert_eq!(encode_outcome(schema, &denied).0, ReplyAction::Skip);
        }
    }

    #[test]
    fn a_push_is_the_bytes_or_an_envelope_of_its_event() {
        let chat = Content {
            event: "chat",
            data: Data::Bytes(b"hi"),
            ..Content::default()
        };
        for schema in [Schema::Opaque, custom(Some("verb")), custom(None)] {
            assert_eq!(encode_publication(schema, chat), b"hi");
        }
        assert_eq!(encode_publication(Schema::Builtin, chat), CHAT);
        for data in [Data::Text("hi"), Data::Json(b"hi")] {
            assert_eq!(
                encode_publication(Schema::Builtin, Content { data, ..chat }),
                CHAT
            );
        }
        let answering = Content {
            data: Data::None,
            correlation: "7",
            ..chat
        };
        assert_eq!(
            encode_publication(Schema::Builtin, answering),
            b"\x0a\x04chat\x1a\x017"
        );
        assert_eq!(encode_publication(Schema::Opaque, answering), b"");
    }

    #[test]
    fn pages_of_any_origin_may_connect() {
        assert!(Edk.spec().binary_data && !Edk.spec().json_data);
    }

    /// Random and damaged envelopes: decoded data is within the message, and encoded data decodes.
    #[test]
    fn is_total_on_any_bytes_and_reads_what_it_writes() {
        let schemas = schemas();
        let mut tally = [[0; 2]; 4];
        for seed in 0..20_000 {
            let mut prng = Prng::from_seed(seed);
            let mut message = noise(&mut prng, 24);
            if prng.chance(3, 4) {
                let (event, id) = (prng.pick(["", "chat", "\u{e9}"].into_iter()), "7");
                let content = Content {
                    event: event.expect("some"),
                    data: Data::Bytes(&message),
                    correlation: if prng.chance(1, 2) { id } else { "" },
                    ..Content::default()
                };
                let written = encode_publication(Schema::Builtin, content);
                let expected = Some((content.event, content.correlation, &message[..]));
                check(&Schema::Builtin, &written, expected);
                check(&Schema::Opaque, &written, Some(("", "", &written)));
                message = written;
                if !message.is_empty() {
                    let at = prng.below(message.len() as u64);
                    let at = usize::try_from(at).expect("an index");
                    message[at] ^= 1 << prng.range(0, 7);
                }
            }
            for (index, schema) in schemas.iter().enumerate() {
                let (mut payload, mut scratch) = (message.clone(), Scratch::new());
                let mut intents = Intents::new();
                let options = options(schema.clone());
                let kind = MessageType::Binary;
                let result = Edk.decode(kind, &mut payload, &options, &mut scratch, &mut intents);
                tally[index][usize::from(result.is_ok())] += 1;
                assert_eq!(intents.len(), usize::from(result.is_ok()), "seed {seed}");
                if let Some(Intent::Call(call)) = intents.first() {
                    let data = call.data.expect("always some");
                    let is_whole = !matches!(schema, Schema::Builtin);
                    assert!(!is_whole || data == message, "seed {seed}");
                    assert!(data.is_empty() || message.windows(data.len()).any(|it| it == data));
                }
            }
        }
        let one_sided = tally.iter().flatten().any(|&count| count < 2_000);
        assert!(!one_sided, "one-sided: {tally:?}");
    }

    fn noise(prng: &mut Prng, bytes_max: u32) -> Vec<u8> {
        (0..prng.range(0, bytes_max))
            .map(|_| u8::try_from(prng.range(0, 255)).expect("a byte"))
            .collect()
    }
}
