//! Protocol Buffers, for the three kinds of schema of an `edk` route.
//!
//! ```text
//!   0A 04 63 68 61 74 12 02 68 69        type = "chat", payload = "hi"
//!   |  |  '---------' |  |  '---'
//!   |  |     value    |  |  value        check_wire     tags, lengths, groups; no schema
//!   |  length 4       |  length 2        read_envelope  the built-in schema, borrowed
//!   field 1, type 2   field 2, type 2    Schema::read   the operator's own descriptor
//! ```
//!
//! Each reader is total on any bytes, takes time linear in the message, and no memory that grows
//! with it: no tree is built, and text is borrowed from the message. Libraries build a tree of each
//! message, which can be hundreds of times its size.

mod schema;
mod wire;

pub use schema::{Schema, SchemaError};

use wire::{Reader, Value, put_bytes};

/// The built-in schema as a `.proto` file, for generating clients.
pub const SCHEMA: &str = r#"// Messages of clients and of the gateway in the dialect `edk`.

syntax = "proto3";

package ws;

message Message {
  // The command or event.
  string type = 1;
  // The data of the application. The gateway does not decode them.
  bytes payload = 2;
  // Chosen by the requester and repeated in the response. May be empty.
  string id = 3;
}
"#;

/// Maximum depth of messages and groups below the outermost message, the usual limit of Protocol
/// Buffers. Map entries count as messages.
pub const DEPTH_MAX: u32 = 100;

/// A message of the built-in schema, see [`SCHEMA`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Envelope<'m> {
    /// Field `type`: command or event.
    pub kind: &'m str,
    /// Field `payload`: bytes of the application.
    pub payload: &'m [u8],
    /// Field `id`, which a response repeats.
    pub id: &'m str,
}

/// The reason that bytes are not a message of the expected type.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProtobufError {
    /// A variable-length integer does not end within ten bytes or does not fit 64 bits.
    #[error("an integer is longer than ten bytes or 64 bits")]
    BadVarint,
    /// A field number is 0 or above 2^29 - 1.
    #[error("a field number is out of range")]
    BadFieldNumber,
    /// A wire type is 6 or 7, which are undefined.
    #[error("a wire type is unknown")]
    BadWireType,
    /// A field extends beyond the end of its message.
    #[error("a field reaches beyond the end of its message")]
    Truncated,
    /// A group end does not match the innermost open group, or a group has no end.
    #[error("a group is not closed as it was opened")]
    UnbalancedGroup,
    /// More than [`DEPTH_MAX`] messages and groups are open at once.
    #[error("messages and groups are nested too deep")]
    TooDeep,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    InvalidText,
    /// A field has a wire type that does not fit its declared type.
    #[error("a field does not have the type that the schema declares")]
    WrongType,
    /// A field that the schema requires is missing.
    #[error("a field that the schema requires is missing")]
    MissingRequired,
}

/// Checks that bytes are a well-formed message of any type.
///
/// Checks field numbers, wire types, lengths and the balance of groups, but not the inside of
/// length-delimited fields. Empty bytes are a message without fields.
///
/// # Errors
///
/// The first fault, except [`ProtobufError::InvalidText`], [`ProtobufError::WrongType`] and
/// [`ProtobufError::MissingRequired`].
pub fn check_wire(message: &[u8]) -> Result<(), ProtobufError> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.field()? {
        reader.skip_rest(number, value, 0)?;
    }
    Ok(())
}

/// Decodes a message of the built-in schema.
///
/// As in proto3, a missing field is empty, and of several the last one wins, though each string
/// must be UTF-8. Unknown fields are skipped, and so are known numbers with another wire type.
///
/// # Errors
///
/// As [`check_wire`], and [`ProtobufError::InvalidText`].
pub fn read_envelope(message: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.field()? {
        match (number, value) {
            (KIND, Value::Bytes(bytes)) => envelope.kind = text(bytes)?,
            (PAYLOAD, Value::Bytes(bytes)) => envelope.payload = bytes,
            (ID, Value::Bytes(bytes)) => envelope.id = text(bytes)?,
            _ => reader.skip_rest(number, value, 0)?,
        }
    }
    Ok(envelope)
}

/// Appends a message of the built-in schema to `out`, without empty fields.
pub fn put_envelope(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let fields = [
        (KIND, envelope.kind.as_bytes()),
        (PAYLOAD, envelope.payload),
        (ID, envelope.id.as_bytes()),
    ];
    for (number, bytes) in fields {
        if !bytes.is_empty() {
            put_bytes(number, bytes, out);
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, ProtobufError> {
    str::from_utf8(bytes).map_err(|_| ProtobufError::InvalidText)
}

const KIND: u32 = 1;
const PAYLOAD: u32 = 2;
const ID: u32 = 3;

#[cfg(test)]
mod tests {
    pub(super) mod random_messages;

    use super::*;
    use campanile_tests::prng::Prng;
    use prost::Message as _;
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

    /// The built-in schema as prost reads it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Reference {
        #[prost(string, tag = "1")]
        kind: String,
        #[prost(bytes = "vec", tag = "2")]
        payload: Vec<u8>,
        #[prost(string, tag = "3")]
        id: String,
    }

    /// A message without fields: decoding it is prost's own check of the wire format.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Nothing {}

    #[track_caller]
    fn check(message: &[u8], expected: Result<(&str, &[u8], &str), ProtobufError>) {
        let expected = expected.map(|(kind, payload, id)| Envelope { kind, payload, id });
        assert_eq!(read_envelope(message), expected);
    }

    #[test]
    fn the_example_of_the_wire_reference() {
        let example = b"\x0a\x04chat\x12\x02hi";
        check(example, Ok(("chat", b"hi", "")));
        assert_eq!(check_wire(example), Ok(()));

        let mut out = b"before ".to_vec();
        let envelope = Envelope {
            kind: "chat",
            payload: b"hi",
            id: "",
        };
        put_envelope(&envelope, &mut out);
        assert_eq!(out, [&b"before "[..], example].concat());
    }

    #[test]
    fn an_envelope_is_read_by_the_rules_of_proto3() {
        check(b"", Ok(("", b"", "")));
        check(b"\x1a\x01i\x12\x01p\x0a\x01k", Ok(("k", b"p", "i")));
        check(b"\x0a\x01a\x0a\x01b", Ok(("b", b"", "")));
        check(b"\x0a\x01a\x0a\x00", Ok(("", b"", "")));
        check(b"\x20\x05\x0a\x01a\x2b\x0a\x01b\x2c", Ok(("a", b"", "")));
        check(b"\x12\x01\xff", Ok(("", b"\xff", "")));
        check(b"\x0a\x01\xff", Err(ProtobufError::InvalidText));
        check(b"\x0a\x01\xff\x0a\x01b", Err(ProtobufError::InvalidText));
        check(b"\x1a\x01\xff", Err(ProtobufError::InvalidText));
        check(b"\x0a\x02a", Err(ProtobufError::Truncated));
    }

    #[test]
    fn a_known_number_with_another_wire_type_is_unknown() {
        check(b"\x0a\x01k\x08\x05", Ok(("k", b"", "")));
        check(b"\x12\x01p\x15....", Ok(("", b"p", "")));
        check(b"\x1a\x01i\x1b\x1a\x01j\x1c", Ok(("", b"", "i")));
        check(b"\x0c", Err(ProtobufError::UnbalancedGroup));
    }

    #[test]
    fn the_published_schema_is_the_one_used() {
        for field in ["string type = 1;", "bytes payload = 2;", "string id = 3;"] {
            assert!(SCHEMA.contains(field), "{field}");
        }
        assert!(SCHEMA.contains("\npackage ws;\n\nmessage Message {\n"));
        assert_eq!((KIND, PAYLOAD, ID), (1, 2, 3));
    }

    #[test]
    fn only_well_formed_bytes_pass() {
        let fine: [&[u8]; 9] = [
            b"",
            b"\x08\x00",
            b"\x09........",
            b"\x0d....",
            b"\x0a\x00",
            b"\x0b\x0c",
            b"\x0b\x13\x08\x01\x14\x0c",
            b"\xf8\xff\xff\xff\x0f\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ];
        for message in fine {
            assert_eq!(check_wire(message), Ok(()), "{}", message.escape_ascii());
        }
        for (message, error) in [
            (&b"\x00\x00"[..], ProtobufError::BadFieldNumber),
            (b"\x80\x80\x80\x80\x10\x00", ProtobufError::BadFieldNumber),
            (b"\x0e", ProtobufError::BadWireType),
            (b"\x0f", ProtobufError::BadWireType),
            (b"\x08", ProtobufError::Truncated),
            (b"\x08\x80", ProtobufError::Truncated),
            (b"\x80", ProtobufError::Truncated),
            (b"\x09.......", ProtobufError::Truncated),
            (b"\x0d...", ProtobufError::Truncated),
            (b"\x0a\x01", ProtobufError::Truncated),
            (b"\x0a", ProtobufError::Truncated),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                ProtobufError::Truncated,
            ),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                ProtobufError::BadVarint,
            ),
            (
                b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
                ProtobufError::BadVarint,
            ),
            (b"\x0b", ProtobufError::UnbalancedGroup),
            (b"\x0b\x14", ProtobufError::UnbalancedGroup),
            (b"\x0b\x13\x0c\x14", ProtobufError::UnbalancedGroup),
            (b"\x0c", ProtobufError::UnbalancedGroup),
        ] {
            assert_eq!(
                check_wire(message),
                Err(error),
                "{}",
                message.escape_ascii()
            );
        }
    }

    #[test]
    fn groups_nest_to_the_limit_and_no_deeper() {
        let nested = |depth: usize| [b"\x0b".repeat(depth), b"\x0c".repeat(depth)].concat();
        let max = DEPTH_MAX as usize;
        assert_eq!(check_wire(&nested(max)), Ok(()));
        assert_eq!(check_wire(&nested(max + 1)), Err(ProtobufError::TooDeep));
        assert_eq!(check_wire(&nested(1_000_000)), Err(ProtobufError::TooDeep));
        check(&nested(max), Ok(("", b"", "")));
        check(&nested(max + 1), Err(ProtobufError::TooDeep));

        // The limit is one of depth, not of number.
        assert_eq!(check_wire(&b"\x0b\x0c".repeat(1_000)), Ok(()));
    }

    #[test]
    fn the_wire_check_agrees_with_prost() {
        // The only difference: prost requires the group at the limit to be empty.
        let mut prng = Prng::from_seed(1);
        let mut well_formed = 0;
        for _ in 0..40_000 {
            let message = random_messages::message(&mut prng);
            let expected = Nothing::decode(&message[..]).is_ok();
            assert_eq!(
                check_wire(&message).is_ok(),
                expected,
                "{}",
                message.escape_ascii()
            );
            well_formed += u32::from(expected);
        }
        assert!((8_000..32_000).contains(&well_formed), "{well_formed}");
    }

    #[test]
    fn a_cut_is_noticed_unless_it_falls_between_fields() {
        let mut prng = Prng::from_seed(2);
        for _ in 0..500 {
            let (mut message, mut ends) = (Vec::new(), vec![0]);
            for _ in 0..prng.range(1, 6) {
                random_messages::put_field(&mut prng, 3, &mut message);
                ends.push(message.len());
            }
            for cut in 0..=message.len() {
                assert_eq!(
                    check_wire(&message[..cut]).is_ok(),
                    ends.contains(&cut),
                    "{} at {cut}",
                    message.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn envelopes_are_read_as_prost_reads_them() {
        let mut prng = Prng::from_seed(3);
        let (mut read, mut refused, mut lenient) = (0, 0, 0);
        for _ in 0..60_000 {
            let message = if prng.chance(1, 2) {
                random_messages::message(&mut prng)
            } else {
                let encoded = reference(&mut prng).encode_to_vec();
                random_messages::mutated(&mut prng, &encoded)
            };
            match (read_envelope(&message), Reference::decode(&message[..])) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(ours, borrowed(&theirs));
                    read += 1;
                }
                (Err(_), Err(_)) => refused += 1,
                // prost rejects a known number with another wire type. By the specification and in
                // the official implementations it is an unknown field.
                (Ok(_), Err(_)) => {
                    assert!(has_another_wire_type(&message));
                    lenient += 1;
                }
                (Err(error), Ok(_)) => panic!("{error} in {}", message.escape_ascii()),
            }
        }
        assert!(
            read > 5_000 && refused > 5_000 && lenient > 500,
            "{read}, {refused}, {lenient}"
        );
    }

    #[test]
    fn envelopes_are_written_as_prost_writes_them() {
        let mut prng = Prng::from_seed(4);
        for _ in 0..2_000 {
            let reference = reference(&mut prng);
            let mut out = Vec::new();
            put_envelope(&borrowed(&reference), &mut out);
            assert_eq!(out, reference.encode_to_vec());
            assert_eq!(read_envelope(&out), Ok(borrowed(&reference)));
            assert_eq!(check_wire(&out), Ok(()));
        }
    }

    fn reference(prng: &mut Prng) -> Reference {
        Reference {
            kind: random_messages::text(prng),
            payload: {
                // Beyond 16 KiB a length takes three bytes.
                let long = if prng.chance(1, 20) { 20_000 } else { 200 };
                random_messages::bytes(prng, long)
            },
            id: random_messages::text(prng),
        }
    }

    fn borrowed(reference: &Reference) -> Envelope<'_> {
        Envelope {
            kind: &reference.kind,
            payload: &reference.payload,
            id: &reference.id,
        }
    }

    /// Returns whether a known field has another wire type, as prost sees it.
    fn has_another_wire_type(mut message: &[u8]) -> bool {
        while let Ok((number, wire_type)) = decode_key(&mut message) {
            if (KIND..=ID).contains(&number) && wire_type != WireType::LengthDelimited {
                return true;
            }
            let context = DecodeContext::default();
            skip_field(wire_type, number, &mut message, context).expect("a well-formed message");
        }
        false
    }
}
