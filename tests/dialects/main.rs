//! Property tests of the dialects with random input from fixed seeds.
//!
//! - Decoding any bytes in any message type, with any route options, ends with intents or an error.
//! - Any upgrade request is admitted or rejected.
//! - Third-party parsers (`serde_json`, prost) read every encoded publication and reply, and find
//!   the members that the dialect defines with the original contents.
//! - A dialect with one format for both directions decodes its own messages.
//!
//! The exact bytes are tested in the dialects' unit tests and in the transcripts.

use campanile::codec::json::Scratch;
use campanile::content::{Correlation, Data, Outcome};
use campanile::dialect::{
    ALL, Call, DecodeError, Dialect, Intent, Intents, Options, Presence, ReplyAction, Schema, named,
};
use campanile::public_id::parse_uuid;
use campanile::ws::MessageType;
use campanile_tests::prng::Prng;
use client_messages::{ClientMessage, Contents};
use prost::Message as _;
use schema::Envelope;
use serde::de::IgnoredAny;
use serde_json::Value;
use server_messages::RandomPublication;

mod client_messages;
mod encoded;
mod schema;
mod server_messages;
mod upgrades;

const KINDS: [MessageType; 2] = [MessageType::Text, MessageType::Binary];

#[test]
fn any_bytes_decode_to_intents_or_an_error() {
    let all_options = schema::all_options();
    let (mut accepted, mut refused) = ([0; ALL.len()], [0; ALL.len()]);
    for seed in 0..10_000 {
        let mut prng = Prng::from_seed(seed);
        let message = match prng.range(0, 3) {
            0 => client_messages::noise(&mut prng, 60),
            1 => client_messages::client_message(&mut prng).bytes,
            _ => {
                let message = client_messages::client_message(&mut prng).bytes;
                client_messages::damaged(&mut prng, &message)
            }
        };
        let options = prng.pick(all_options.iter()).expect("some");
        for (index, dialect) in ALL.iter().enumerate() {
            for kind in KINDS {
                decode(*dialect, kind, &message, options, |result, intents| {
                    let counts = if result.is_ok() {
                        &mut accepted
                    } else {
                        &mut refused
                    };
                    counts[index] += 1;
                    check_intents(*dialect, kind, &message, options, intents);
                });
            }
        }
    }
    for (index, dialect) in ALL.iter().enumerate() {
        let name = dialect.name();
        assert!(accepted[index] > 1_000, "{name} took {}", accepted[index]);
        assert!(
            refused[index] > 1_000 || name == "easyws",
            "{name} refuses nothing"
        );
    }
}

/// Checks the properties of the intents of any message.
fn check_intents(
    dialect: &dyn Dialect,
    kind: MessageType,
    message: &[u8],
    options: &Options,
    intents: &[Intent<'_>],
) {
    let name = dialect.name();
    assert!(intents.len() <= 1, "one message is one intent");
    let is_whole = name == "wsrv" || (name == "projectforge" && !options.lenient);
    if is_whole && !intents.is_empty() && !message.is_empty() {
        let json = serde_json::from_slice::<IgnoredAny>(message);
        assert!(json.is_ok(), "{name} took {}", message.escape_ascii());
    }
    for intent in intents {
        match *intent {
            Intent::Heartbeat => assert!(name == "wsrv" && message.is_empty()),
            Intent::Identify { event, .. } => {
                assert!(
                    name == "wserver" && !event.is_empty(),
                    "there is no handler"
                );
            }
            Intent::Reply { payload, .. } => assert_eq!((name, payload), ("echo", message)),
            Intent::Join(request) => {
                let of = (name, request.command, request.id, request.kind);
                assert_eq!(of, ("easyws", "listen", "", kind));
            }
            Intent::Leave(_) | Intent::Publish(_) => panic!("{name} has no words for it"),
            Intent::Call(call) => {
                assert_eq!(call.kind, kind);
                let data = call.data.unwrap_or_default();
                let is_part = data.is_empty() || message.windows(data.len()).any(|it| it == data);
                assert!(is_part, "{name} made up its data");
                if dialect.spec().json_data && call.data.is_some() {
                    let json = serde_json::from_slice::<IgnoredAny>(data);
                    assert!(json.is_ok(), "{name}: {}", data.escape_ascii());
                }
                let is_named = parse_uuid(call.from).is_some();
                assert!(call.from.is_empty() || is_named, "{}", call.from);
            }
        }
    }
}

/// Messages of third-party encoders are decoded to the same contents.
#[test]
fn messages_of_third_party_encoders_are_decoded() {
    let all_options = schema::all_options();
    let mut understood = [0; 6];
    for seed in 0..10_000 {
        let mut prng = Prng::from_seed(seed);
        let ClientMessage { bytes, contents } = client_messages::client_message(&mut prng);
        let options = all_options[usize::try_from(seed % 8).expect("small")].clone();
        // A schema of another message does not apply to this one.
        let is_protobuf = matches!(contents, Contents::Envelope(_) | Contents::Custom(_));
        let is_foreign = is_protobuf && !matches_schema(&options, &contents);
        let options = if is_foreign {
            Options::default()
        } else {
            options
        };
        let (index, name) = match &contents {
            Contents::Wsrv { .. } => (0, "wsrv"),
            Contents::Projectforge { .. } => (1, "projectforge"),
            Contents::Easyws { .. } => (2, "easyws"),
            Contents::Envelope(_) => (3, "edk"),
            Contents::Custom(_) => (4, "edk"),
            Contents::Register { .. } => (5, "wserver"),
        };
        let dialect = named(name).expect("it is built in");
        for kind in KINDS {
            decode(dialect, kind, &bytes, &options, |result, intents| {
                let shown = bytes.escape_ascii();
                assert_eq!(result, Ok(()), "seed {seed}, {name}: {shown}");
                let [intent] = intents else {
                    panic!("seed {seed}, {name}: {shown}");
                };
                understood[index] += i32::from(matches_intent(&contents, &bytes, &options, intent));
            });
        }
    }
    assert!(
        understood.iter().all(|&count| count > 500),
        "{understood:?}"
    );
}

/// Returns `true` if a Protocol Buffers message belongs to the schema.
fn matches_schema(options: &Options, contents: &Contents) -> bool {
    matches!(
        (&options.schema, contents),
        (Schema::Builtin, Contents::Envelope(_)) | (Schema::Descriptor(_), Contents::Custom(_))
    )
}

/// Compares a message's contents with the decoded intent. Returns `false` if the options exclude
/// the comparison.
#[track_caller]
fn matches_intent(
    contents: &Contents,
    bytes: &[u8],
    options: &Options,
    intent: &Intent<'_>,
) -> bool {
    match (contents, intent) {
        (Contents::Wsrv { command, id, data }, Intent::Call(call)) => {
            assert_eq!((call.command, call.id), (command.as_str(), id.as_str()));
            assert_eq!(
                call.data
                    .map(|json| server_messages::as_json(Data::Json(json))),
                *data
            );
        }
        (
            Contents::Projectforge {
                from,
                channel,
                command,
                data,
            },
            Intent::Call(call),
        ) => {
            assert_eq!((call.from, call.channel), (from.as_str(), channel.as_str()));
            assert_eq!(call.command, command);
            assert_eq!(
                call.data
                    .map(|json| server_messages::as_json(Data::Json(json))),
                *data
            );
        }
        (Contents::Easyws { command, content }, Intent::Join(request)) => {
            assert_eq!(command, "listen");
            let channel = str::from_utf8(content).unwrap_or("\u{fffd}");
            assert_eq!(request.channel, channel);
        }
        (Contents::Easyws { command, content }, Intent::Call(call)) => {
            assert_eq!(
                (call.command, call.data.unwrap_or_default()),
                (&**command, &**content)
            );
            assert_ne!(command, "listen");
        }
        (Contents::Envelope(envelope), Intent::Call(call)) if encoded::is_builtin(options) => {
            assert_eq!(
                (call.command, call.id),
                (envelope.kind.as_str(), envelope.id.as_str())
            );
            assert_eq!(call.data, Some(&envelope.payload[..]));
        }
        (Contents::Custom(custom), Intent::Call(call)) if schema::has_command(options) => {
            assert_eq!(
                (call.command, call.data),
                (custom.verb.as_str(), Some(bytes))
            );
        }
        (Contents::Envelope(_) | Contents::Custom(_), Intent::Call(_)) => return false,
        (
            Contents::Register { token, event },
            Intent::Identify {
                token: t, event: e, ..
            },
        ) => {
            assert_eq!((*t, *e), (token.as_str(), event.as_str()));
        }
        (_, other) => panic!("{other:?}"),
    }
    true
}

/// prost may be stricter, but every message that prost decodes must be decoded equally.
#[test]
fn every_envelope_that_prost_decodes_is_decoded() {
    let builtin = schema::all_options()
        .into_iter()
        .find(encoded::is_builtin)
        .expect("one is");
    let edk = named("edk").expect("it is built in");
    let mut taken = 0;
    for seed in 0..20_000 {
        let mut prng = Prng::from_seed(seed);
        let message = client_messages::envelope(&mut prng).encode_to_vec();
        let message = client_messages::damaged(&mut prng, &message);
        let Ok(theirs) = Envelope::decode(&message[..]) else {
            continue;
        };
        decode(
            edk,
            MessageType::Binary,
            &message,
            &builtin,
            |result, intents| {
                assert_eq!(result, Ok(()), "seed {seed}: {}", message.escape_ascii());
                let [Intent::Call(call)] = intents else {
                    panic!("seed {seed}")
                };
                assert_eq!(
                    (call.command, call.id),
                    (theirs.kind.as_str(), theirs.id.as_str())
                );
                assert_eq!(call.data, Some(&theirs.payload[..]), "seed {seed}");
            },
        );
        taken += 1;
    }
    assert!(taken > 1_500, "{taken} taken");
}

#[test]
fn publications_are_encoded_in_the_dialect() {
    let all_options = schema::all_options();
    for seed in 0..6_000 {
        let mut prng = Prng::from_seed(seed);
        let random = RandomPublication::generate(&mut prng);
        for options in &all_options {
            for dialect in ALL {
                let mut message = b"before".to_vec();
                let kind = dialect.encode_publication(&random.publication(), options, &mut message);
                let message = message.strip_prefix(b"before").expect("appended");
                encoded::check_publication(*dialect, &random, options, kind, message);
            }
        }
    }
}

#[test]
fn outcomes_are_encoded_in_the_dialect() {
    let all_options = schema::all_options();
    let mut answered = [0; ALL.len()];
    for seed in 0..6_000 {
        let mut prng = Prng::from_seed(seed);
        let (correlation, outcome) = (
            server_messages::correlation(&mut prng),
            server_messages::outcome(&mut prng),
        );
        let options = prng.pick(all_options.iter()).expect("some");
        for (index, dialect) in ALL.iter().enumerate() {
            let mut message = b"before".to_vec();
            let how = dialect.encode_outcome(&correlation, &outcome, options, &mut message);
            let message = message.strip_prefix(b"before").expect("appended");
            check_reply(*dialect, &correlation, &outcome, options, how, message);
            answered[index] += i32::from(matches!(how, ReplyAction::Send(_)));
        }
    }
    for (index, dialect) in ALL.iter().enumerate() {
        let is_silent = ["wserver", "tap", "echo"].contains(&dialect.name());
        assert_eq!(answered[index] == 0, is_silent, "{}", dialect.name());
    }
}

#[track_caller]
fn check_reply(
    dialect: &dyn Dialect,
    correlation: &Correlation,
    outcome: &Outcome,
    options: &Options,
    how: ReplyAction,
    message: &[u8],
) {
    let expected = match dialect.name() {
        "wsrv" => encoded::wsrv_reply(correlation, outcome),
        "projectforge" => encoded::projectforge_reply(correlation, outcome),
        "easyws" => encoded::easyws_reply(correlation, outcome),
        "edk" => encoded::edk_reply(correlation, outcome, options),
        _ => encoded::Expected::Nothing,
    };
    encoded::check(&expected, how, message, outcome);
}

#[test]
fn every_valid_easyws_event_is_a_command() {
    let easyws = named("easyws").expect("it is built in");
    let mut valid = 0;
    for seed in 0..5_000 {
        let event = client_messages::text(&mut Prng::from_seed(seed));
        let is_valid = easyws.check_event(&event).is_ok();
        assert_eq!(is_valid, encoded::is_easyws_event(&event), "{event:?}");
        valid += i32::from(is_valid);
    }
    assert!(valid > 1_000, "{valid} valid events");
}

/// A publication, decoded as a request, has the same contents.
#[test]
fn a_dialect_decodes_its_own_publications() {
    let all_options = schema::all_options();
    let mut read = [0; 5];
    for seed in 0..10_000 {
        let mut prng = Prng::from_seed(seed);
        let random = RandomPublication::generate(&mut prng);
        let options = prng.pick(all_options.iter()).expect("some");
        for (index, name) in ["wsrv", "projectforge", "tap", "easyws", "edk"]
            .iter()
            .enumerate()
        {
            let dialect = named(name).expect("it is built in");
            let mut message = Vec::new();
            let kind = dialect.encode_publication(&random.publication(), options, &mut message);
            decode(dialect, kind, &message, options, |result, intents| {
                let is_read = is_same(dialect, &random, options, (result, intents));
                read[index] += i32::from(is_read);
            });
        }
    }
    assert!(read.iter().all(|&count| count > 1_000), "{read:?}");
}

/// Compares a publication with its decoded form. Returns `false` if they may differ.
#[track_caller]
fn is_same(
    dialect: &dyn Dialect,
    random: &RandomPublication,
    options: &Options,
    (result, intents): (Result<(), DecodeError>, &[Intent<'_>]),
) -> bool {
    let data = random.data.borrow();
    let channel = random.encoded_channel();
    let is_sender = random.from.is_empty() || parse_uuid(&random.from).is_some();
    match dialect.name() {
        "wsrv" => {
            let call = only_call(result, intents);
            assert_eq!(call.command, random.event);
            assert!(random.correlation.is_empty() || call.id == random.correlation);
            assert_eq!(of_call(call), server_messages::as_json(data));
        }
        "projectforge" if is_sender => {
            let call = only_call(result, intents);
            let expected = (&*random.event, &*random.from, &*channel);
            assert_eq!((call.command, call.from, call.channel), expected);
            assert_eq!(of_call(call), server_messages::as_json(data));
        }
        "tap" if is_sender => assert_eq!((result, intents.len()), (Ok(()), 0)),
        // Only embedders use names that are not UUIDs; the original's decoder rejects them, too.
        "projectforge" | "tap" => assert_eq!(result, Err(DecodeError::Malformed)),
        "easyws" if client_messages::is_command(&random.event) && random.event != "listen" => {
            let call = only_call(result, intents);
            assert_eq!(call.command, random.event);
            assert_eq!(call.data.unwrap_or_default(), data.bytes());
        }
        "edk" if encoded::is_builtin(options) => {
            let call = only_call(result, intents);
            assert_eq!(
                (call.command, call.id),
                (&*random.event, &*random.correlation)
            );
            assert_eq!(call.data, Some(data.bytes()));
        }
        _ => return false,
    }
    true
}

#[track_caller]
fn only_call<'c>(result: Result<(), DecodeError>, intents: &[Intent<'c>]) -> Call<'c> {
    assert_eq!(result, Ok(()));
    let [Intent::Call(call)] = intents else {
        panic!("{intents:?}");
    };
    *call
}

fn of_call(call: Call<'_>) -> Value {
    server_messages::as_json(Data::Json(call.data.expect("it has data, if only null")))
}

/// JSON of a client may contain invalid UTF-8; the gateway's output must be valid text.
#[test]
fn json_with_invalid_utf8_is_encoded_as_valid_json() {
    let mut broken = 0;
    for seed in 0..20_000 {
        let mut prng = Prng::from_seed(seed);
        let mut data = server_messages::payload(&mut prng)
            .borrow()
            .bytes()
            .to_vec();
        for _ in 0..prng.range(1, 3) {
            let at = usize::try_from(prng.below(data.len() as u64 + 1)).expect("an index");
            let pieces: [&[u8]; 5] = [
                b"\xff",
                b"\xed\xa0\x80",
                b"\\ud834",
                b"\\udd1e",
                b"\xe2\x80",
            ];
            let piece = prng.pick(pieces.iter()).expect("some");
            data.splice(at..at, piece.iter().copied());
        }
        if serde_json::from_slice::<IgnoredAny>(&data).is_err() {
            continue;
        }
        broken += 1;
        let mut random = RandomPublication::generate(&mut prng);
        random.data = campanile::content::OwnedData::Json(data.into());
        for name in ["wsrv", "projectforge", "tap"] {
            let dialect = named(name).expect("it is built in");
            let mut message = Vec::new();
            let options = Options::default();
            assert_eq!(
                dialect.encode_publication(&random.publication(), &options, &mut message),
                MessageType::Text
            );
            let shown = message.escape_ascii();
            assert!(str::from_utf8(&message).is_ok(), "{name}: {shown}");
            assert!(
                serde_json::from_slice::<IgnoredAny>(&message).is_ok(),
                "{name}: {shown}"
            );
        }
    }
    assert!(broken > 1_000, "{broken} were still JSON");
}

#[test]
fn presence_is_encoded_as_json() {
    for seed in 0..2_000 {
        let who = client_messages::text(&mut Prng::from_seed(seed));
        for dialect in ALL {
            let mut json = b"before".to_vec();
            let connected = seed % 2 == 0;
            let presence = Presence {
                name: &who,
                connected,
            };
            let event = dialect.encode_presence(presence, &mut json);
            assert_eq!(
                event.is_some(),
                dialect.spec().announces,
                "{}",
                dialect.name()
            );
            let json = json.strip_prefix(b"before").expect("appended");
            if event.is_some() {
                let expected = serde_json::json!({ "userID": who, "connected": connected });
                assert_eq!(server_messages::as_json(Data::Json(json)), expected);
            }
        }
    }
}

fn decode(
    dialect: &dyn Dialect,
    kind: MessageType,
    message: &[u8],
    options: &Options,
    check: impl FnOnce(Result<(), DecodeError>, &[Intent<'_>]),
) {
    let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
    let mut intents = Intents::new();
    let result = dialect.decode(kind, &mut payload, options, &mut scratch, &mut intents);
    check(result, if result.is_ok() { &intents } else { &[] });
}
