//! Tests of decoding and encoding.

use super::*;
use crate::vocabulary::content::{Cause, Content, Failure, OwnedData, Reply};
use crate::vocabulary::id::ShardId;
use crate::vocabulary::publication::PublicationId;
use campanile_tests::prng::Prng;
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
type Expected<'s> = (&'s str, &'s str, &'s str, Option<&'s str>);

/// Checks the call; `None` expects a decode error.
#[track_caller]
fn check(message: impl AsRef<[u8]>, expected: Option<Expected<'_>>) {
    let message = message.as_ref();
    for kind in [MessageType::Text, MessageType::Binary] {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let options = Options::default();
        let result = Projectforge.decode(kind, &mut payload, &options, &mut scratch, &mut intents);
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
        let refused = expected.is_none().then_some(DecodeError::Malformed);
        let shown = message.escape_ascii();
        assert_eq!(result.err(), refused, "{shown}");
        assert_eq!(intents[..], *expected.as_slice(), "{shown}");
    }
}

fn encode_publication(audience: Audience<'_>, content: Content<'_>) -> String {
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
    let kind = Projectforge.encode_publication(&publication, &Options::default(), &mut message);
    assert_eq!(kind, MessageType::Text);
    String::from_utf8(message).expect("JSON is UTF-8")
}

fn encode_outcome(channel: &str, outcome: &Outcome) -> (ReplyAction, String) {
    let correlation = Correlation {
        command: "ping".into(),
        id: "".into(),
        channel: channel.into(),
        kind: MessageType::Binary,
    };
    let mut message = Vec::new();
    let options = Options::default();
    let action = Projectforge.encode_outcome(&correlation, outcome, &options, &mut message);
    (action, String::from_utf8(message).expect("JSON is UTF-8"))
}

/// Returns `param` as encoded in a message.
fn param(data: Data<'_>) -> String {
    let content = Content {
        data,
        ..Content::default()
    };
    let message = encode_publication(EVERYONE, content);
    let param = message.strip_prefix("{\n  \"cmd\": \"\",\n  \"param\": ");
    let param = param.and_then(|param| param.strip_suffix("\n}"));
    param.expect("the last member").to_owned()
}

fn initial_channel(query: Option<&str>) -> InitialChannel<'_> {
    let headers = &[];
    let request = UpgradeRequest { query, headers };
    let credentials = Projectforge.admit(&request, &Options::default());
    let credentials = credentials.expect("no request is rejected");
    let others = Credentials {
        channel: InitialChannel::None,
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
        // Skipped as in Go: an incomplete escape, and a semicolon.
        ("ch=%zz&ch=b", "b"),
        ("ch=%4&ch=b", "b"),
        ("ch=%&ch=b", "b"),
        ("ch%=a&ch=b", "b"),
        ("ch=a;x&ch=b", "b"),
    ] {
        assert_eq!(
            initial_channel(Some(query)),
            InitialChannel::Named(name.into()),
            "{query}"
        );
    }
    for query in [
        "", "ch", "ch=", "ch=&ch=b", "CH=a", "chx=a", "x=ch", "ch=%zz",
    ] {
        assert_eq!(
            initial_channel(Some(query)),
            InitialChannel::Generated,
            "{query}"
        );
    }
    assert_eq!(initial_channel(None), InitialChannel::Generated);
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
fn what_go_cannot_decode_is_an_error() {
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
    for error in [DecodeError::Malformed, DecodeError::InvalidText] {
        assert_eq!(
            Projectforge.on_invalid(error),
            OnInvalid::Close(CloseCause::Malformed)
        );
    }
}

/// The message of docs/dialects/projectforge.md, "Messages".
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
    assert_eq!(encode_publication(ROOM, content), expected);
}

#[test]
fn the_channel_is_the_one_named_or_else_the_one_it_is_for() {
    let channel = |audience, channel: &str| {
        let content = Content {
            channel: channel.into(),
            ..Content::default()
        };
        let message = encode_publication(audience, content);
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
    assert_eq!(encode_publication(EVERYONE, content), expected);
}

#[test]
fn presence_is_encoded_as_in_the_original() {
    let mut json = Vec::new();
    let presence = Presence {
        name: ID,
        connected: true,
    };
    let event = Projectforge.encode_presence(presence, &mut json);
    let content = Content {
        event: event.expect("presence has an event"),
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
    assert_eq!(encode_publication(ROOM, content), expected);

    let mut json = Vec::new();
    let presence = Presence {
        name: "a\"b",
        connected: false,
    };
    Projectforge.encode_presence(presence, &mut json);
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
    assert_eq!(encode_publication(EVERYONE, content), expected);
}

#[test]
fn a_reply_goes_to_the_channel_that_was_named() {
    let reply = |event: Option<&str>, data| {
        Outcome::Replied(Reply {
            event: event.map(Into::into),
            data,
        })
    };
    let (action, message) = encode_outcome("room", &reply(None, OwnedData::Json("[1]".into())));
    assert_eq!(action, ReplyAction::Send(MessageType::Text));
    let expected = r#"{
  "channel": "room",
  "cmd": "ping",
  "param": [
    1
  ]
}"#;
    assert_eq!(message, expected);
    let (_, message) = encode_outcome("", &reply(Some("pong"), OwnedData::None));
    assert_eq!(message, "{\n  \"cmd\": \"pong\",\n  \"param\": null\n}");
}

#[test]
fn a_failure_ends_the_session_and_all_else_is_silent() {
    let failed = Outcome::Failed(Failure {
        status: 1,
        text: "no".into(),
        data: OwnedData::None,
        cause: Cause::Panic,
    });
    let leave = ReplyAction::Close(CloseCause::HandlerFailed);
    assert_eq!(encode_outcome("room", &failed).0, leave);
    for outcome in [
        Outcome::Silent,
        Outcome::NotHandled,
        Outcome::Joined(Reply::default()),
        Outcome::Left,
        Outcome::Published,
    ] {
        assert_eq!(
            encode_outcome("room", &outcome).0,
            ReplyAction::Skip,
            "{outcome:?}"
        );
    }
}

#[test]
fn what_the_rules_are_against_is_an_error_of_ours() {
    let denied = Outcome::Denied(Denial::NotJoined);
    let (action, message) = encode_outcome("room", &denied);
    assert_eq!(action, ReplyAction::Send(MessageType::Text));
    let expected = "{\n  \"channel\": \"room\",\n  \"cmd\": \"error\",\n  \"param\": {\n    \
        \"cmd\": \"ping\",\n    \"message\": \"not on the channel\"\n  }\n}";
    assert_eq!(message, expected);
}

#[test]
fn only_pages_of_our_own_may_connect() {
    let expected = DialectSpec {
        announces: true,
        json_data: true,
        names_channels: true,
        ..DialectSpec::default()
    };
    assert_eq!(Projectforge.spec(), expected);
}

/// Command, channel and parameter.
type Read = (String, String, Option<Vec<u8>>);

/// Decodes a message as a route with `lenient` does.
fn read_leniently(message: &[u8]) -> Option<Read> {
    let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
    let mut intents = Intents::new();
    let options = Options {
        lenient: true,
        ..Options::default()
    };
    let kind = MessageType::Text;
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
    // Up to this depth indented, beyond it compact.
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
    // Brackets and quotes within strings do not count.
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
        // The space after each colon is no indentation.
        let colons = json.matches(':').count();
        let counted = indentation_bytes(json.as_bytes(), MEMBER_DEPTH);
        assert_eq!(json.len() + colons + counted, indented.len(), "{json}");
    }
    assert!(indentation_bytes(br#"{"a":"\"#, 1) > 0);
}

/// Random bytes that resemble messages. Accepted data can be relayed, and decodes again, here and
/// with another parser.
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
        let kind = MessageType::Text;
        let result = Projectforge.decode(kind, &mut payload, &options, &mut scratch, &mut intents);
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
        let relayed = encode_publication(EVERYONE, content);
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
