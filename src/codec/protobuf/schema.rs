//! The operator's own message type, made from a compiled descriptor.
//!
//! ```text
//!   protoc --include_imports --descriptor_set_out=FILE chat.proto
//!
//!   FILE --prost-reflect--> descriptors --once--> shapes      a message type each: which
//!                                                   |         number has which wire type
//!   message --------------------------------------> read ---> the command, borrowed
//! ```
//!
//! prost-reflect checks the descriptor and resolves its names when the gateway starts. Messages are
//! then checked against a table of our own and not decoded into a `DynamicMessage`, which was
//! measured to take 36 to 438 bytes of memory for one byte of various hostile messages and counts
//! references across shards. The tests ask it for a second opinion.

use super::wire::{Reader, Value};
use super::{DEPTH_MAX, NotProtobuf, text};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A message type that messages are checked against, and where its command is.
///
/// Cloning is cheap and shares the table, which nobody writes to.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Every message type that can be met, the outermost message's first.
    shapes: Arc<[Shape]>,
    command: Option<Arc<Command>>,
}

/// Why a descriptor cannot be used. Worded for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SchemaError {
    /// The bytes are not a `FileDescriptorSet`, or not a complete and consistent one.
    NotADescriptorSet {
        /// What is wrong with them.
        reason: String,
    },
    /// A file is written in a syntax that is neither proto2 nor proto3.
    UnknownSyntax {
        /// The file's name.
        file: String,
        /// The syntax it says it has.
        syntax: String,
    },
    /// No message has that name.
    NoSuchMessage {
        /// The name asked for.
        message: String,
        /// Full names of messages that exist, at most five, in order of definition.
        existing: Vec<String>,
        /// How many more exist.
        more: usize,
    },
    /// The message has no field of that name.
    NoSuchField {
        /// The message's full name.
        message: String,
        /// The name asked for.
        field: String,
    },
    /// The field is not one single string.
    NotAString {
        /// The message's full name.
        message: String,
        /// The field's name.
        field: String,
        /// What the field is instead, as a `.proto` file would say it.
        declared: String,
    },
}

/// One message type, or the entry of a map, which is a message on the wire.
#[derive(Clone, Debug)]
struct Shape {
    /// In order of their numbers, each number once.
    fields: Vec<Field>,
    required_count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    number: u32,
    form: Form,
    /// A repeated number may come packed or not, whatever its declaration says.
    is_repeated: bool,
    /// Its position among the required fields of its message.
    required: Option<usize>,
}

/// How a field's values look on the wire.
#[derive(Clone, Copy, Debug)]
enum Form {
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    /// A message of the shape with this index.
    Message(usize),
    /// The same between tags instead of behind a length.
    Group(usize),
}

#[derive(Debug)]
struct Command {
    number: u32,
    /// What it is if the message does not say.
    default: String,
    /// The fields of the `oneof` that it is in: setting another clears the command.
    choices: Vec<u32>,
}

/// Message types in order of discovery; the position of each is the index of its shape.
struct Catalog {
    indices: BTreeMap<String, usize>,
    messages: Vec<MessageDescriptor>,
}

/// One reading of one message.
struct Reading<'a> {
    schema: &'a Schema,
    command: &'a str,
}

impl Schema {
    /// The message type `message`, given by its full name, from a compiled descriptor.
    ///
    /// `bytes` is what `protoc --include_imports --descriptor_set_out` writes, in the syntax
    /// proto2 or proto3; editions are refused. `command_field` names a field of the outermost
    /// message that is a string and not repeated.
    pub fn from_descriptor_set(
        bytes: &[u8],
        message: &str,
        command_field: Option<&str>,
    ) -> Result<Self, SchemaError> {
        let pool = pool(bytes)?;
        let root = pool
            .get_message_by_name(message)
            .ok_or_else(|| no_such_message(&pool, message))?;
        let command = command_field.map(|field| Command::find(&root, field));
        let command = command.transpose()?.map(Arc::new);
        Ok(Self {
            shapes: shapes(root).into(),
            command,
        })
    }

    /// Checks a message against the type and returns its command; `None` if no field is the
    /// command.
    ///
    /// Fields of unknown numbers are skipped. Strings have to be UTF-8 under proto2 too. A command
    /// that is missing is the field's default, normally empty.
    ///
    /// Every piece is checked by itself: if a message type with required fields arrives in several
    /// pieces for one field, each piece needs them all. No encoder splits a message so.
    pub fn read<'a>(&'a self, message: &'a [u8]) -> Result<Option<&'a str>, NotProtobuf> {
        let command = self.command.as_deref();
        let mut reading = Reading {
            schema: self,
            command: command.map_or("", |command| &command.default),
        };
        reading.message(0, &mut Reader::new(message), None, 0)?;
        Ok(command.map(|_| reading.command))
    }
}

impl<'a> Reading<'a> {
    /// Reads the fields of a message up to the end of the bytes, or of the group that it is.
    ///
    /// Recurses once for each message and group in it, [`DEPTH_MAX`] deep.
    fn message(
        &mut self,
        shape: usize,
        reader: &mut Reader<'a>,
        group: Option<u32>,
        depth: u32,
    ) -> Result<(), NotProtobuf> {
        let shape = &self.schema.shapes[shape];
        let mut present: SmallVec<[u64; 1]> = smallvec![0; shape.required_count.div_ceil(64)];
        loop {
            let Some((number, value)) = reader.field()? else {
                if group.is_some() {
                    return Err(NotProtobuf::UnbalancedGroup);
                }
                break;
            };
            if matches!(value, Value::GroupEnd) {
                if group != Some(number) {
                    return Err(NotProtobuf::UnbalancedGroup);
                }
                break;
            }
            let Some(field) = shape.field(number) else {
                reader.skip_rest(number, value, depth)?;
                continue;
            };
            self.value(field, value, reader, depth)?;
            if let Some(position) = field.required {
                present[position / 64] |= 1 << (position % 64);
            }
        }
        let present: u32 = present.iter().map(|word| word.count_ones()).sum();
        if present as usize == shape.required_count {
            Ok(())
        } else {
            Err(NotProtobuf::MissingRequired)
        }
    }

    /// Reads one value of a field of a message at `depth`.
    fn value(
        &mut self,
        field: &Field,
        value: Value<'a>,
        reader: &mut Reader<'a>,
        depth: u32,
    ) -> Result<(), NotProtobuf> {
        if depth == 0 {
            self.forget_command(field.number);
        }
        match (field.form, value) {
            (Form::Varint, Value::Varint)
            | (Form::Fixed64, Value::Fixed64)
            | (Form::Fixed32, Value::Fixed32)
            | (Form::Bytes, Value::Bytes(_)) => Ok(()),
            (Form::Text, Value::Bytes(bytes)) => {
                let text = text(bytes)?;
                if depth == 0 {
                    self.note_command(field.number, text);
                }
                Ok(())
            }
            (Form::Message(shape), Value::Bytes(bytes)) => {
                let depth = deeper(depth)?;
                self.message(shape, &mut Reader::new(bytes), None, depth)
            }
            (Form::Group(shape), Value::GroupStart) => {
                self.message(shape, reader, Some(field.number), deeper(depth)?)
            }
            (form, Value::Bytes(bytes)) if field.is_repeated => check_packed(form, bytes),
            _ => Err(NotProtobuf::WrongType),
        }
    }

    fn note_command(&mut self, number: u32, text: &'a str) {
        let command = self.schema.command.as_deref();
        if command.is_some_and(|command| command.number == number) {
            self.command = text;
        }
    }

    fn forget_command(&mut self, number: u32) {
        if let Some(command) = self.schema.command.as_deref()
            && command.choices.contains(&number)
        {
            self.command = &command.default;
        }
    }
}

impl Shape {
    fn new(message: &MessageDescriptor, catalog: &mut Catalog) -> Self {
        let (mut fields, mut required_count) = (Vec::new(), 0);
        for field in message.fields() {
            let is_required = field.is_required() || is_value_with_required(message, &field);
            fields.push(Field {
                number: field.number(),
                form: Form::new(&field.kind(), field.is_group(), catalog),
                is_repeated: field.cardinality() == Cardinality::Repeated,
                required: is_required.then_some(required_count),
            });
            required_count += usize::from(is_required);
        }
        for extension in message.extensions() {
            fields.push(Field {
                number: extension.number(),
                form: Form::new(&extension.kind(), extension.is_group(), catalog),
                is_repeated: extension.cardinality() == Cardinality::Repeated,
                required: None,
            });
        }
        fields.sort_by_key(|field| field.number);
        fields.dedup_by_key(|field| field.number);
        Self {
            fields,
            required_count,
        }
    }

    fn field(&self, number: u32) -> Option<&Field> {
        let found = self
            .fields
            .binary_search_by_key(&number, |field| field.number);
        found.ok().map(|index| &self.fields[index])
    }
}

impl Form {
    fn new(kind: &Kind, is_group: bool, catalog: &mut Catalog) -> Self {
        match kind {
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Bool
            | Kind::Enum(_) => Self::Varint,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Self::Fixed64,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Self::Fixed32,
            Kind::String => Self::Text,
            Kind::Bytes => Self::Bytes,
            Kind::Message(message) if is_group => Self::Group(catalog.index_of(message)),
            Kind::Message(message) => Self::Message(catalog.index_of(message)),
        }
    }
}

impl Command {
    fn find(message: &MessageDescriptor, name: &str) -> Result<Self, SchemaError> {
        let Some(field) = message.get_field_by_name(name) else {
            return Err(SchemaError::NoSuchField {
                message: message.full_name().to_owned(),
                field: name.to_owned(),
            });
        };
        let prost_reflect::Value::String(default) = field.default_value() else {
            return Err(SchemaError::NotAString {
                message: message.full_name().to_owned(),
                field: name.to_owned(),
                declared: declared(&field),
            });
        };
        let choices = field.containing_oneof().map_or_else(Vec::new, |oneof| {
            oneof.fields().map(|field| field.number()).collect()
        });
        Ok(Self {
            number: field.number(),
            default,
            choices,
        })
    }
}

impl Catalog {
    fn index_of(&mut self, message: &MessageDescriptor) -> usize {
        let next = self.messages.len();
        let name = message.full_name().to_owned();
        let index = *self.indices.entry(name).or_insert(next);
        if index == next {
            self.messages.push(message.clone());
        }
        index
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADescriptorSet { reason } => write!(
                f,
                "not a complete FileDescriptorSet, as written by `protoc --include_imports \
                 --descriptor_set_out`: {reason}"
            ),
            Self::UnknownSyntax { file, syntax } => write!(
                f,
                "file {file:?} has the syntax {syntax:?}; only proto2 and proto3 are understood"
            ),
            Self::NoSuchMessage {
                message, existing, ..
            } if existing.is_empty() => {
                write!(f, "no message is named {message:?}; there are none at all")
            }
            Self::NoSuchMessage {
                message,
                existing,
                more,
            } => {
                let existing = existing.join(", ");
                write!(f, "no message is named {message:?}; there are {existing}")?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::NoSuchField { message, field } => {
                write!(f, "message {message} has no field named {field:?}")
            }
            Self::NotAString {
                message,
                field,
                declared,
            } => write!(
                f,
                "field {field:?} of message {message} has to be a single string to be the command, \
                 but is declared {declared}"
            ),
        }
    }
}

impl Error for SchemaError {}

/// What a compiled descriptor describes.
fn pool(bytes: &[u8]) -> Result<DescriptorPool, SchemaError> {
    let set = FileDescriptorSet::decode(bytes).map_err(|error| not_a_set(&error))?;
    for file in &set.file {
        // prost-reflect 0.16 panics where it means to refuse this.
        let syntax = file.syntax.as_deref().unwrap_or("proto2");
        if !["proto2", "proto3"].contains(&syntax) {
            return Err(SchemaError::UnknownSyntax {
                file: file.name().to_owned(),
                syntax: syntax.to_owned(),
            });
        }
    }
    DescriptorPool::from_file_descriptor_set(set).map_err(|error| not_a_set(&error))
}

fn not_a_set(error: &dyn Error) -> SchemaError {
    SchemaError::NotADescriptorSet {
        reason: error.to_string(),
    }
}

/// The shapes of a message type and of every type that it leads to.
fn shapes(root: MessageDescriptor) -> Vec<Shape> {
    let mut catalog = Catalog {
        indices: BTreeMap::from([(root.full_name().to_owned(), 0)]),
        messages: vec![root],
    };
    let mut shapes = Vec::new();
    // Making a shape may add to the catalog.
    while let Some(message) = catalog.messages.get(shapes.len()).cloned() {
        shapes.push(Shape::new(&message, &mut catalog));
    }
    shapes
}

/// Whether this is a map's value that must not be left out of its entry: the empty message that it
/// would be then lacks required fields.
fn is_value_with_required(message: &MessageDescriptor, field: &FieldDescriptor) -> bool {
    let is_required = |kind: &Kind| {
        let value = kind.as_message();
        value.is_some_and(|value| value.fields().any(|field| field.is_required()))
    };
    message.is_map_entry() && field.number() == MAP_VALUE && is_required(&field.kind())
}

/// Checks that bytes are numbers one after another.
fn check_packed(form: Form, bytes: &[u8]) -> Result<(), NotProtobuf> {
    let number_bytes = match form {
        Form::Varint => {
            let mut reader = Reader::new(bytes);
            while !reader.is_empty() {
                reader.varint()?;
            }
            return Ok(());
        }
        Form::Fixed64 => 8,
        Form::Fixed32 => 4,
        Form::Text | Form::Bytes | Form::Message(_) | Form::Group(_) => {
            return Err(NotProtobuf::WrongType);
        }
    };
    if bytes.len().is_multiple_of(number_bytes) {
        Ok(())
    } else {
        Err(NotProtobuf::Truncated)
    }
}

fn deeper(depth: u32) -> Result<u32, NotProtobuf> {
    if depth < DEPTH_MAX {
        Ok(depth + 1)
    } else {
        Err(NotProtobuf::TooDeep)
    }
}

fn no_such_message(pool: &DescriptorPool, message: &str) -> SchemaError {
    let mut names: Vec<String> = pool
        .all_messages()
        .filter(|message| !message.is_map_entry())
        .map(|message| message.full_name().to_owned())
        .collect();
    let more = names.len().saturating_sub(NAMES_LISTED_MAX);
    names.truncate(NAMES_LISTED_MAX);
    SchemaError::NoSuchMessage {
        message: message.to_owned(),
        existing: names,
        more,
    }
}

/// The type of a field as a `.proto` file says it.
fn declared(field: &FieldDescriptor) -> String {
    if field.is_map() {
        return "a map".to_owned();
    }
    let repeated = if field.is_list() { "repeated " } else { "" };
    format!("{repeated}{:?}", field.kind())
}

/// How many names an error lists.
const NAMES_LISTED_MAX: usize = 5;
/// The number of the value in a map's entry.
const MAP_VALUE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::super::dice;
    use super::*;
    use crate::testing::Prng;
    use prost::encoding::{WireType, encode_key, encode_varint};
    use prost_reflect::{DynamicMessage, ReflectMessage as _, Value as Dynamic};
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
        FileDescriptorProto, MessageOptions, OneofDescriptorProto,
        descriptor_proto::ExtensionRange,
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
        assert_eq!(read(b"\x0a\x01\xff"), Some(NotProtobuf::InvalidText));
        assert_eq!(read(b"\x12\x01\xff"), None);
        assert_eq!(read(b"\x08\x01"), Some(NotProtobuf::WrongType));
        assert_eq!(read(b"\x0b\x0c"), Some(NotProtobuf::WrongType));
        assert_eq!(read(b"\x20\x01"), None, "an unknown field");
        assert_eq!(read(b"\x23\x08\x01\x24"), None, "an unknown group");
        assert_eq!(read(b"\x0c"), Some(NotProtobuf::UnbalancedGroup));
        assert_eq!(read(b"\x0a\x02a"), Some(NotProtobuf::Truncated));
    }

    #[test]
    fn repeated_numbers_may_be_packed_and_single_ones_may_not() {
        let read = |message: &[u8]| schema(MODERN, None).read(message).err();
        assert_eq!(read(b"\x4a\x03\x01\x80\x01\x48\x05"), None);
        assert_eq!(read(b"\x4a\x00"), None);
        assert_eq!(read(b"\x4a\x01\x80"), Some(NotProtobuf::Truncated));
        assert_eq!(read(b"\x52\x08........"), None);
        assert_eq!(read(b"\x52\x06......"), Some(NotProtobuf::Truncated));
        assert_eq!(read(b"\x1a\x01\x01"), Some(NotProtobuf::WrongType));
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
        assert_eq!(schema.read(b""), Err(NotProtobuf::MissingRequired));
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
            assert_eq!(schema.read(incomplete), Err(NotProtobuf::MissingRequired));
        }
        for complete in [
            &b"\x0a\x00\x1a\x02\x08\x01"[..],
            b"\x0a\x00\x23\x08\x01\x24",
            b"\x0a\x00\xa2\x06\x02\x08\x01",
            b"\x0a\x00\x32\x06\x08\x01\x12\x02\x08\x01",
        ] {
            assert_eq!(schema.read(complete), Ok(Some("say")));
        }
        // By the letter these two pieces make one whole message; see `read`.
        let part = |number: u8| [b"\x2a\x02", &[number << 3, 1][..]].concat();
        let pieces = [b"\x0a\x00", &part(1)[..], &part(2)].concat();
        assert_eq!(schema.read(&pieces), Err(NotProtobuf::MissingRequired));
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
            assert_eq!(schema.read(&whole), Err(NotProtobuf::MissingRequired));
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
                dice::put_bytes(11, &inner, &mut message);
            }
            message
        };
        assert_eq!(schema.read(&nested(DEPTH_MAX)), Ok(None));
        assert!(second_opinion(&descriptor(MODERN), "word", &nested(DEPTH_MAX)).is_some());
        assert_eq!(
            schema.read(&nested(DEPTH_MAX + 1)),
            Err(NotProtobuf::TooDeep)
        );
        assert!(second_opinion(&descriptor(MODERN), "word", &nested(DEPTH_MAX + 1)).is_none());
        assert_eq!(schema.read(&nested(2_000)), Err(NotProtobuf::TooDeep));

        // An unknown group counts like any other.
        let with_group = |depth: u32| {
            let mut message = b"\xfb\x01\xfc\x01".to_vec();
            for _ in 0..depth {
                let inner = std::mem::take(&mut message);
                dice::put_bytes(11, &inner, &mut message);
            }
            message
        };
        assert_eq!(schema.read(&with_group(DEPTH_MAX - 1)), Ok(None));
        assert_eq!(
            schema.read(&with_group(DEPTH_MAX)),
            Err(NotProtobuf::TooDeep)
        );
    }

    #[test]
    fn messages_are_judged_as_prost_reflect_judges_them() {
        let (ours, theirs) = (schema(PLAIN, Some("word")), descriptor(PLAIN));
        let (mut prng, mut read, mut wrong_types) = (Prng::from_seed(1), 0, 0);
        for _ in 0..20_000 {
            let message = message_of(&theirs, &mut prng);
            let result = ours.read(&message);
            wrong_types += u32::from(result == Err(NotProtobuf::WrongType));
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
        // It takes any value of a map's field for a length-delimited one, and it forgives pieces
        // that are whole only together.
        for (name, command, forgiven, seed) in [
            (MODERN, "word", NotProtobuf::WrongType, 2),
            (CLASSIC, "verb", NotProtobuf::MissingRequired, 3),
        ] {
            let (ours, theirs) = (schema(name, Some(command)), descriptor(name));
            let (mut prng, mut read, mut refused, mut lenient) = (Prng::from_seed(seed), 0, 0, 0);
            for _ in 0..20_000 {
                let message = message_of(&theirs, &mut prng);
                let expected = second_opinion(&theirs, command, &message);
                let result = ours.read(&message);
                if result == Err(NotProtobuf::WrongType) || result == Err(forgiven) {
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
    fn any_bytes_are_read_or_refused() {
        let mut prng = Prng::from_seed(6);
        let schemas = [schema(MODERN, Some("word")), schema(CLASSIC, Some("verb"))];
        for _ in 0..50_000 {
            let noise = dice::bytes(&mut prng, 40);
            for schema in &schemas {
                let command = schema.read(&noise);
                assert!(command.is_err() || command.is_ok_and(|command| command.is_some()));
            }
        }
    }

    #[test]
    fn a_descriptor_that_cannot_be_used_is_refused_in_a_sentence() {
        let refuse = |bytes: &[u8], message: &str, field: Option<&str>| {
            let result = Schema::from_descriptor_set(bytes, message, field);
            result.expect_err("not a schema").to_string()
        };
        let prefix = "not a complete FileDescriptorSet, as written by `protoc --include_imports \
                      --descriptor_set_out`: ";
        for garbage in [&b"syntax = \"proto3\";"[..], b"\xff", b"\x0a\x05"] {
            let sentence = refuse(garbage, "M", None);
            assert!(sentence.starts_with(prefix), "{sentence}");
        }
        let lonely = FileDescriptorProto {
            dependency: vec!["other.proto".into()],
            ..file("p", "proto3", vec![])
        };
        assert_eq!(
            refuse(&set(vec![lonely]), "M", None),
            format!("{prefix}imported file 'other.proto' has not been added")
        );
        assert_eq!(
            refuse(&set(vec![file("p", "editions", vec![])]), "M", None),
            "file \"p.proto\" has the syntax \"editions\"; only proto2 and proto3 are understood"
        );

        assert_eq!(
            refuse(b"", "M", None),
            "no message is named \"M\"; there are none at all"
        );
        let named = |names: &[&str]| {
            let messages = names.iter().map(|name| message(name, [])).collect();
            set(vec![file("p", "proto3", messages)])
        };
        assert_eq!(
            refuse(&named(&["A", "B"]), "M", None),
            "no message is named \"M\"; there are p.A, p.B"
        );
        assert_eq!(
            refuse(&named(&["A", "B", "C", "D", "E", "F", "G"]), "p.M", None),
            "no message is named \"p.M\"; there are p.A, p.B, p.C, p.D, p.E and 2 more"
        );
        let sentence = refuse(&descriptors(), "nope", None);
        let expected = "ws.Message, modern.Message, plain.Message, classic.Message, ";
        assert!(
            sentence.contains(expected),
            "entries of maps are listed: {sentence}"
        );
        assert_eq!(
            refuse(&descriptors(), MODERN, Some("nope")),
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
                refuse(&descriptors(), MODERN, Some(field)),
                format!(
                    "field {field:?} of message modern.Message has to be a single string to be \
                     the command, but is declared {declared}"
                )
            );
        }
    }

    #[test]
    fn a_spoiled_descriptor_is_taken_or_refused() {
        let (whole, of, mut prng) = (descriptors(), descriptor(MODERN), Prng::from_seed(7));
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..5_000 {
            let spoiled = dice::mutated(&mut prng, &whole);
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
        fn is_shared<T: Clone + fmt::Debug + Send + Sync>() {}
        is_shared::<Schema>();
    }

    fn schema(message: &str, command: Option<&str>) -> Schema {
        Schema::from_descriptor_set(&descriptors(), message, command).expect("a schema")
    }

    fn descriptor(message: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(&descriptors()[..]).expect("descriptors");
        pool.get_message_by_name(message).expect("a message")
    }

    /// The command of a message as prost-reflect sees it; `None` if it is not a message, or not
    /// a complete one.
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
        message.is_none_or(is_complete)
            && list.iter().chain(map.map(|(_, value)| value)).all(is_whole)
    }

    /// A message of this type, now and then spoiled.
    fn message_of(descriptor: &MessageDescriptor, prng: &mut Prng) -> Vec<u8> {
        let mut message = Vec::new();
        put_fields(descriptor, 3, prng, &mut message);
        if prng.chance(1, 3) {
            message = dice::mutated(prng, &message);
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
            dice::put_field(prng, 1, out);
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
                dice::put_bytes(number, &inner, out);
            }
        } else if *kind == Kind::String {
            dice::put_bytes(number, dice::text(prng).as_bytes(), out);
        } else if *kind == Kind::Bytes {
            dice::put_bytes(number, &dice::bytes(prng, 9), out);
        } else if is_packed {
            let mut packed = Vec::new();
            for _ in 0..prng.range(0, 4) {
                put_number(kind.wire_type(), prng, &mut packed);
            }
            dice::put_bytes(number, &packed, out);
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

    fn message(
        name: &str,
        fields: impl IntoIterator<Item = FieldDescriptorProto>,
    ) -> DescriptorProto {
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
}
