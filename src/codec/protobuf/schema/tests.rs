//! Tests of descriptor sets and their messages.

use super::super::tests::random_messages;
use super::*;
use campanile_tests::prng::Prng;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value as Dynamic};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MessageOptions, OneofDescriptorProto, descriptor_proto::ExtensionRange,
};

const ENVELOPE: &str = "ws.Message";
const MODERN: &str = "modern.Message";
/// The same without maps.
const PLAIN: &str = "plain.Message";
const CLASSIC: &str = "classic.Message";

#[test]
fn the_command_is_the_value_of_the_field_that_was_named() {
    let example = b"\x0a\x04chat\x12\x02hi";
    assert_eq!(
        schema(ENVELOPE, Some("type")).read(example),
        Ok(Some("chat"))
    );
    assert_eq!(schema(ENVELOPE, Some("id")).read(example), Ok(Some("")));
    assert_eq!(schema(ENVELOPE, None).read(example), Ok(None));
    assert_eq!(schema(ENVELOPE, Some("type")).read(b""), Ok(Some("")));
    assert_eq!(
        schema(ENVELOPE, Some("type")).read(b"\x0a\x01a\x0a\x01b\x22\x01c"),
        Ok(Some("b"))
    );
}

#[test]
fn a_field_has_to_have_its_type() {
    let read = |message: &[u8]| schema(ENVELOPE, None).read(message).err();
    assert_eq!(read(b"\x0a\x01\xff"), Some(ProtobufError::InvalidText));
    assert_eq!(read(b"\x12\x01\xff"), None);
    assert_eq!(read(b"\x08\x01"), Some(ProtobufError::WrongType));
    assert_eq!(read(b"\x0b\x0c"), Some(ProtobufError::WrongType));
    assert_eq!(read(b"\x20\x01"), None, "an unknown field");
    assert_eq!(read(b"\x23\x08\x01\x24"), None, "an unknown group");
    assert_eq!(read(b"\x0c"), Some(ProtobufError::UnbalancedGroup));
    assert_eq!(read(b"\x0a\x02a"), Some(ProtobufError::Truncated));
}

#[test]
fn repeated_numbers_may_be_packed_and_single_ones_may_not() {
    let read = |message: &[u8]| schema(MODERN, None).read(message).err();
    assert_eq!(read(b"\x4a\x03\x01\x80\x01\x48\x05"), None);
    assert_eq!(read(b"\x4a\x00"), None);
    assert_eq!(read(b"\x4a\x01\x80"), Some(ProtobufError::Truncated));
    assert_eq!(read(b"\x52\x08........"), None);
    assert_eq!(read(b"\x52\x06......"), Some(ProtobufError::Truncated));
    assert_eq!(read(b"\x1a\x01\x01"), Some(ProtobufError::WrongType));
}

#[test]
fn what_shares_a_oneof_with_the_command_clears_it() {
    let schema = schema(MODERN, Some("word"));
    assert_eq!(schema.read(b"\x82\x01\x01w"), Ok(Some("w")));
    assert_eq!(schema.read(b"\x82\x01\x01w\x88\x01\x05"), Ok(Some("")));
    assert_eq!(schema.read(b"\x88\x01\x05\x82\x01\x01w"), Ok(Some("w")));
}

#[test]
fn proto2_has_defaults_and_required_fields() {
    let schema = schema(CLASSIC, Some("verb"));
    assert_eq!(schema.read(b""), Err(ProtobufError::MissingRequired));
    assert_eq!(schema.read(b"\x0a\x00"), Ok(Some("say")));
    assert_eq!(schema.read(b"\x0a\x00\x12\x00"), Ok(Some("")));
    assert_eq!(schema.read(b"\x0a\x00\x12\x01x"), Ok(Some("x")));
    assert_eq!(schema.read(b"\x0a\x00\x12\x01x\x40\x05"), Ok(Some("say")));
    // Required within a message, a group, an extension and the value of a map.
    for incomplete in [
        &b"\x0a\x00\x1a\x00"[..],
        b"\x0a\x00\x23\x24",
        b"\x0a\x00\xa2\x06\x00",
        b"\x0a\x00\x32\x04\x08\x01\x12\x00",
        b"\x0a\x00\x32\x02\x08\x01",
    ] {
        assert_eq!(schema.read(incomplete), Err(ProtobufError::MissingRequired));
    }
    for complete in [
        &b"\x0a\x00\x1a\x02\x08\x01"[..],
        b"\x0a\x00\x23\x08\x01\x24",
        b"\x0a\x00\xa2\x06\x02\x08\x01",
        b"\x0a\x00\x32\x06\x08\x01\x12\x02\x08\x01",
    ] {
        assert_eq!(schema.read(complete), Ok(Some("say")));
    }
    // By the specification these two pieces are one complete message; see `read`.
    let part = |number: u8| [b"\x2a\x02", &[number << 3, 1][..]].concat();
    let pieces = [b"\x0a\x00", &part(1)[..], &part(2)].concat();
    assert_eq!(schema.read(&pieces), Err(ProtobufError::MissingRequired));
    assert_eq!(
        second_opinion(&descriptor(CLASSIC), "verb", &pieces),
        Some("say".into())
    );
}

#[test]
fn more_required_fields_than_a_word_has_bits() {
    let fields = (1..=70).map(|number| FieldDescriptorProto {
        label: Some(Label::Required.into()),
        ..field(&format!("f{number}"), number, Type::Bool)
    });
    let set = set(vec![file("p", "proto2", vec![message("M", fields)])]);
    let schema = Schema::from_descriptor_set(&set, "p.M", None).expect("a schema");
    let mut whole = Vec::new();
    for number in 1..=70 {
        assert_eq!(schema.read(&whole), Err(ProtobufError::MissingRequired));
        encode_key(number, WireType::Varint, &mut whole);
        whole.push(1);
    }
    assert_eq!(schema.read(&whole), Ok(None));
}

#[test]
fn messages_nest_to_the_limit_and_no_deeper() {
    let schema = schema(MODERN, None);
    let nested = |depth: u32| {
        let mut message = Vec::new();
        for _ in 0..depth {
            let inner = std::mem::take(&mut message);
            random_messages::put_bytes(11, &inner, &mut message);
        }
        message
    };
    assert_eq!(schema.read(&nested(DEPTH_MAX)), Ok(None));
    assert!(second_opinion(&descriptor(MODERN), "word", &nested(DEPTH_MAX)).is_some());
    assert_eq!(
        schema.read(&nested(DEPTH_MAX + 1)),
        Err(ProtobufError::TooDeep)
    );
    assert!(second_opinion(&descriptor(MODERN), "word", &nested(DEPTH_MAX + 1)).is_none());
    assert_eq!(schema.read(&nested(2_000)), Err(ProtobufError::TooDeep));

    // An unknown group counts too.
    let with_group = |depth: u32| {
        let mut message = b"\xfb\x01\xfc\x01".to_vec();
        for _ in 0..depth {
            let inner = std::mem::take(&mut message);
            random_messages::put_bytes(11, &inner, &mut message);
        }
        message
    };
    assert_eq!(schema.read(&with_group(DEPTH_MAX - 1)), Ok(None));
    assert_eq!(
        schema.read(&with_group(DEPTH_MAX)),
        Err(ProtobufError::TooDeep)
    );
}

#[test]
fn messages_are_validated_as_prost_reflect_judges_them() {
    let (ours, theirs) = (schema(PLAIN, Some("word")), descriptor(PLAIN));
    let (mut prng, mut read, mut wrong_types) = (Prng::from_seed(1), 0, 0);
    for _ in 0..20_000 {
        let message = message_of(&theirs, &mut prng);
        let result = ours.read(&message);
        wrong_types += u32::from(result == Err(ProtobufError::WrongType));
        read += u32::from(result.is_ok());
        assert_eq!(
            result.ok().flatten(),
            second_opinion(&theirs, "word", &message).as_deref(),
            "{}",
            message.escape_ascii()
        );
    }
    assert!((8_000..18_000).contains(&read), "{read}");
    assert!(wrong_types > 300, "{wrong_types}");
}

#[test]
fn where_prost_reflect_errs_on_the_lenient_side_we_do_not() {
    // prost-reflect takes any value of a map field as length-delimited, and accepts pieces that are
    // complete only together.
    for (name, command, forgiven, seed) in [
        (MODERN, "word", ProtobufError::WrongType, 2),
        (CLASSIC, "verb", ProtobufError::MissingRequired, 3),
    ] {
        let (ours, theirs) = (schema(name, Some(command)), descriptor(name));
        let (mut prng, mut read, mut refused, mut lenient) = (Prng::from_seed(seed), 0, 0, 0);
        for _ in 0..20_000 {
            let message = message_of(&theirs, &mut prng);
            let expected = second_opinion(&theirs, command, &message);
            let result = ours.read(&message);
            if result == Err(ProtobufError::WrongType) || result == Err(forgiven) {
                lenient += u32::from(expected.is_some());
                refused += 1;
            } else {
                let message = message.escape_ascii();
                assert_eq!(result.ok().flatten(), expected.as_deref(), "{message}");
                read += u32::from(expected.is_some());
            }
        }
        assert!(read > 5_000 && refused > 300, "{name}: {read}, {refused}");
        assert!(lenient < refused / 4, "{name}: {lenient} of {refused}");
    }
}

#[test]
fn any_bytes_are_read_or_rejected() {
    let mut prng = Prng::from_seed(6);
    let schemas = [schema(MODERN, Some("word")), schema(CLASSIC, Some("verb"))];
    for _ in 0..50_000 {
        let noise = random_messages::bytes(&mut prng, 40);
        for schema in &schemas {
            let command = schema.read(&noise);
            assert!(command.is_err() || command.is_ok_and(|command| command.is_some()));
        }
    }
}

#[test]
fn an_invalid_descriptor_is_rejected_with_a_sentence() {
    let error_of = |bytes: &[u8], message: &str, field: Option<&str>| {
        let result = Schema::from_descriptor_set(bytes, message, field);
        result.expect_err("not a schema").to_string()
    };
    let prefix = "not a complete FileDescriptorSet, as written by `protoc --include_imports \
                  --descriptor_set_out`: ";
    for garbage in [&b"syntax = \"proto3\";"[..], b"\xff", b"\x0a\x05"] {
        let sentence = error_of(garbage, "M", None);
        assert!(sentence.starts_with(prefix), "{sentence}");
    }
    let lonely = FileDescriptorProto {
        dependency: vec!["other.proto".into()],
        ..file("p", "proto3", vec![])
    };
    assert_eq!(
        error_of(&set(vec![lonely]), "M", None),
        format!("{prefix}imported file 'other.proto' has not been added")
    );
    assert_eq!(
        error_of(&set(vec![file("p", "editions", vec![])]), "M", None),
        "file \"p.proto\" has the syntax \"editions\"; only proto2 and proto3 are understood"
    );

    assert_eq!(
        error_of(b"", "M", None),
        "no message is named \"M\"; there are none at all"
    );
    let named = |names: &[&str]| {
        let messages = names.iter().map(|name| message(name, [])).collect();
        set(vec![file("p", "proto3", messages)])
    };
    assert_eq!(
        error_of(&named(&["A", "B"]), "M", None),
        "no message is named \"M\"; there are p.A, p.B"
    );
    assert_eq!(
        error_of(&named(&["A", "B", "C", "D", "E", "F", "G"]), "p.M", None),
        "no message is named \"p.M\"; there are p.A, p.B, p.C, p.D, p.E and 2 more"
    );
    let sentence = error_of(&descriptors(), "nope", None);
    let expected = "ws.Message, modern.Message, plain.Message, classic.Message, ";
    assert!(
        sentence.contains(expected),
        "entries of maps are listed: {sentence}"
    );
    assert_eq!(
        error_of(&descriptors(), MODERN, Some("nope")),
        "message modern.Message has no field named \"nope\""
    );
    for (field, declared) in [
        ("flag", "bool"),
        ("blob", "bytes"),
        ("names", "repeated string"),
        ("one", "modern.Message"),
        ("by_name", "a map"),
    ] {
        assert_eq!(
            error_of(&descriptors(), MODERN, Some(field)),
            format!(
                "field {field:?} of message modern.Message has to be a single string to be \
                 the command, but is declared {declared}"
            )
        );
    }
}

#[test]
fn a_damaged_descriptor_is_accepted_or_rejected() {
    let (whole, of, mut prng) = (descriptors(), descriptor(MODERN), Prng::from_seed(7));
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..5_000 {
        let spoiled = random_messages::mutated(&mut prng, &whole);
        match Schema::from_descriptor_set(&spoiled, MODERN, Some("word")) {
            Ok(schema) => {
                let message = message_of(&of, &mut prng);
                assert!(schema.read(&message).map_or(true, |it| it.is_some()));
                taken += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 200 && refused > 200, "{taken}, {refused}");
}

#[test]
fn a_schema_goes_to_every_shard() {
    fn is_shared<T: Clone + std::fmt::Debug + Send + Sync>() {}
    is_shared::<Schema>();
}

fn schema(message: &str, command: Option<&str>) -> Schema {
    Schema::from_descriptor_set(&descriptors(), message, command).expect("a schema")
}

fn descriptor(message: &str) -> MessageDescriptor {
    let pool = DescriptorPool::decode(&descriptors()[..]).expect("descriptors");
    pool.get_message_by_name(message).expect("a message")
}

/// Returns the command of a message as prost-reflect decodes it; `None` if the message is invalid
/// or incomplete.
fn second_opinion(of: &MessageDescriptor, command: &str, message: &[u8]) -> Option<String> {
    let message = DynamicMessage::decode(of.clone(), message).ok()?;
    let text = message.get_field_by_name(command).expect("a field");
    is_complete(&message).then(|| text.as_str().expect("a string").to_owned())
}

fn is_complete(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let mut required = descriptor.fields().filter(FieldDescriptor::is_required);
    let fields = message.fields().map(|(_, value)| value);
    let extensions = message.extensions().map(|(_, value)| value);
    required.all(|field| message.has_field(&field)) && fields.chain(extensions).all(is_whole)
}

fn is_whole(value: &Dynamic) -> bool {
    let message = value.as_message();
    let list = value.as_list().unwrap_or_default();
    let map = value.as_map().into_iter().flatten();
    message.is_none_or(is_complete) && list.iter().chain(map.map(|(_, value)| value)).all(is_whole)
}

/// Returns a message of this type, sometimes damaged.
fn message_of(descriptor: &MessageDescriptor, prng: &mut Prng) -> Vec<u8> {
    let mut message = Vec::new();
    put_fields(descriptor, 3, prng, &mut message);
    if prng.chance(1, 3) {
        message = random_messages::mutated(prng, &message);
    }
    message
}

fn put_fields(of: &MessageDescriptor, depth: u32, prng: &mut Prng, out: &mut Vec<u8>) {
    for field in of.fields() {
        let count = match (field.is_required(), field.is_list() || field.is_map()) {
            (true, _) => u32::from(prng.chance(60, 61)),
            (false, true) => prng.range(0, 5).saturating_sub(3),
            (false, false) => u32::from(prng.chance(1, 4)),
        };
        for _ in 0..count {
            let how = (field.is_group(), field.is_list() && prng.chance(1, 2));
            put_value(field.number(), &field.kind(), how, depth, prng, out);
        }
    }
    for field in of.extensions() {
        if prng.chance(1, 4) {
            let how = (field.is_group(), false);
            put_value(field.number(), &field.kind(), how, depth, prng, out);
        }
    }
    if prng.chance(1, 20) {
        random_messages::put_field(prng, 1, out);
    }
}

fn put_value(
    number: u32,
    kind: &Kind,
    (is_group, is_packed): (bool, bool),
    depth: u32,
    prng: &mut Prng,
    out: &mut Vec<u8>,
) {
    if let Kind::Message(message) = kind {
        let mut inner = Vec::new();
        if depth > 0 {
            put_fields(message, depth - 1, prng, &mut inner);
        }
        if is_group {
            encode_key(number, WireType::StartGroup, out);
            out.extend_from_slice(&inner);
            encode_key(number, WireType::EndGroup, out);
        } else {
            random_messages::put_bytes(number, &inner, out);
        }
    } else if *kind == Kind::String {
        random_messages::put_bytes(number, random_messages::text(prng).as_bytes(), out);
    } else if *kind == Kind::Bytes {
        random_messages::put_bytes(number, &random_messages::bytes(prng, 9), out);
    } else if is_packed {
        let mut packed = Vec::new();
        for _ in 0..prng.range(0, 4) {
            put_number(kind.wire_type(), prng, &mut packed);
        }
        random_messages::put_bytes(number, &packed, out);
    } else {
        encode_key(number, kind.wire_type(), out);
        put_number(kind.wire_type(), prng, out);
    }
}

fn put_number(wire_type: WireType, prng: &mut Prng, out: &mut Vec<u8>) {
    if wire_type == WireType::SixtyFourBit {
        out.extend_from_slice(b"\x00\x01\x02\x03....");
    } else if wire_type == WireType::ThirtyTwoBit {
        out.extend_from_slice(b"\xff\x80..");
    } else {
        encode_varint(prng.below(u64::MAX) >> prng.range(0, 63), out);
    }
}

fn descriptors() -> Vec<u8> {
    set(vec![
        envelope_file(),
        modern_file("modern"),
        modern_file("plain"),
        classic_file(),
    ])
}

fn envelope_file() -> FileDescriptorProto {
    let fields = [
        field("type", 1, Type::String),
        field("payload", 2, Type::Bytes),
        field("id", 3, Type::String),
    ];
    file("ws", "proto3", vec![message("Message", fields)])
}

fn modern_file(package: &str) -> FileDescriptorProto {
    let colour = EnumDescriptorProto {
        name: Some("Colour".into()),
        value: vec![EnumValueDescriptorProto {
            name: Some("RED".into()),
            number: Some(0),
            options: None,
        }],
        ..EnumDescriptorProto::default()
    };
    let entry = |name: &str, key: Type, value: FieldDescriptorProto| DescriptorProto {
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..message(name, [field("key", 1, key), value])
    };
    let in_oneof = |field: FieldDescriptorProto| FieldDescriptorProto {
        oneof_index: Some(0),
        ..field
    };
    let own = &format!(".{package}.Message");
    let fields = [
        field("text", 1, Type::String),
        field("blob", 2, Type::Bytes),
        field("flag", 3, Type::Bool),
        field("zigzag", 4, Type::Sint64),
        field("wide", 5, Type::Double),
        field("narrow", 6, Type::Sfixed32),
        typed(
            field("colour", 7, Type::Enum),
            &format!(".{package}.Colour"),
        ),
        repeated(field("names", 8, Type::String)),
        repeated(field("numbers", 9, Type::Int32)),
        repeated(field("fixed", 10, Type::Fixed64)),
        typed(field("one", 11, Type::Message), own),
        repeated(typed(field("many", 12, Type::Message), own)),
        repeated(typed(
            field("by_name", 13, Type::Message),
            &format!("{own}.ByNameEntry"),
        )),
        repeated(typed(
            field("by_number", 14, Type::Message),
            &format!("{own}.ByNumberEntry"),
        )),
        repeated(field("floats", 15, Type::Float)),
        in_oneof(field("word", 16, Type::String)),
        in_oneof(field("count", 17, Type::Uint32)),
        in_oneof(typed(field("tree", 18, Type::Message), own)),
    ];
    let maps = ["by_name", "by_number"];
    let is_wanted =
        |field: &FieldDescriptorProto| package != "plain" || !maps.contains(&field.name());
    let whole = DescriptorProto {
        nested_type: vec![
            entry(
                "ByNameEntry",
                Type::String,
                typed(field("value", 2, Type::Message), own),
            ),
            entry(
                "ByNumberEntry",
                Type::Int32,
                field("value", 2, Type::String),
            ),
        ],
        oneof_decl: vec![oneof("choice")],
        ..message("Message", fields.into_iter().filter(is_wanted))
    };
    FileDescriptorProto {
        enum_type: vec![colour],
        ..file(package, "proto3", vec![whole])
    }
}

fn classic_file() -> FileDescriptorProto {
    let required = |field: FieldDescriptorProto| FieldDescriptorProto {
        label: Some(Label::Required.into()),
        ..field
    };
    let part = message("Part", [required(field("number", 1, Type::Int32))]);
    let pair = message(
        "Pair",
        [
            required(field("left", 1, Type::Int32)),
            required(field("right", 2, Type::Int32)),
        ],
    );
    let entry = DescriptorProto {
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..message(
            "PartsEntry",
            [
                field("key", 1, Type::Int32),
                typed(field("value", 2, Type::Message), ".classic.Part"),
            ],
        )
    };
    let fields = [
        required(field("name", 1, Type::String)),
        FieldDescriptorProto {
            default_value: Some("say".into()),
            oneof_index: Some(0),
            ..field("verb", 2, Type::String)
        },
        FieldDescriptorProto {
            oneof_index: Some(0),
            ..field("code", 8, Type::Int32)
        },
        typed(field("part", 3, Type::Message), ".classic.Part"),
        repeated(typed(
            field("inner", 4, Type::Group),
            ".classic.Message.Inner",
        )),
        typed(field("pair", 5, Type::Message), ".classic.Pair"),
        repeated(typed(
            field("parts", 6, Type::Message),
            ".classic.Message.PartsEntry",
        )),
        repeated(field("loose", 7, Type::Uint64)),
    ];
    let inner = message(
        "Inner",
        [
            required(field("number", 1, Type::Int32)),
            typed(field("again", 2, Type::Message), ".classic.Message"),
        ],
    );
    let whole = DescriptorProto {
        nested_type: vec![inner, entry],
        oneof_decl: vec![oneof("choice")],
        extension_range: vec![ExtensionRange {
            start: Some(100),
            end: Some(200),
            options: None,
        }],
        ..message("Message", fields)
    };
    let extension = FieldDescriptorProto {
        extendee: Some(".classic.Message".into()),
        ..typed(field("more", 100, Type::Message), ".classic.Part")
    };
    FileDescriptorProto {
        extension: vec![extension],
        ..file("classic", "proto2", vec![whole, part, pair])
    }
}

fn oneof(name: &str) -> OneofDescriptorProto {
    OneofDescriptorProto {
        name: Some(name.to_owned()),
        options: None,
    }
}

fn set(file: Vec<FileDescriptorProto>) -> Vec<u8> {
    FileDescriptorSet { file }.encode_to_vec()
}

fn file(package: &str, syntax: &str, messages: Vec<DescriptorProto>) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(format!("{package}.proto")),
        package: Some(package.to_owned()),
        syntax: Some(syntax.to_owned()),
        message_type: messages,
        ..FileDescriptorProto::default()
    }
}

fn message(name: &str, fields: impl IntoIterator<Item = FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: fields.into_iter().collect(),
        ..DescriptorProto::default()
    }
}

fn field(name: &str, number: i32, r#type: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(r#type.into()),
        ..FieldDescriptorProto::default()
    }
}

fn typed(field: FieldDescriptorProto, name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto {
        type_name: Some(name.to_owned()),
        ..field
    }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto {
        label: Some(Label::Repeated.into()),
        ..field
    }
}
