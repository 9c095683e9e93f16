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
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SchemaError {
    /// The bytes are not a `FileDescriptorSet`, or not a complete and consistent one.
    #[error(
        "not a complete FileDescriptorSet, as written by `protoc --include_imports \
         --descriptor_set_out`: {reason}"
    )]
    NotADescriptorSet {
        /// What is wrong with them.
        reason: String,
    },
    /// A file is written in a syntax that is neither proto2 nor proto3.
    #[error("file {file:?} has the syntax {syntax:?}; only proto2 and proto3 are understood")]
    UnknownSyntax {
        /// The file's name.
        file: String,
        /// The syntax it says it has.
        syntax: String,
    },
    /// No message has that name.
    #[error("no message is named {message:?}; there are {}", listed(existing, *more))]
    NoSuchMessage {
        /// The name asked for.
        message: String,
        /// Full names of messages that exist, at most five, in order of definition.
        existing: Vec<String>,
        /// How many more exist.
        more: usize,
    },
    /// The message has no field of that name.
    #[error("message {message} has no field named {field:?}")]
    NoSuchField {
        /// The message's full name.
        message: String,
        /// The name asked for.
        field: String,
    },
    /// The field is not one single string.
    #[error(
        "field {field:?} of message {message} has to be a single string to be the command, but is \
         declared {declared}"
    )]
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

/// The names of some messages, and how many more there are.
fn listed(names: &[String], more: usize) -> String {
    match (names, more) {
        ([], _) => "none at all".to_owned(),
        (names, 0) => names.join(", "),
        (names, more) => format!("{} and {more} more", names.join(", ")),
    }
}

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
mod tests;
