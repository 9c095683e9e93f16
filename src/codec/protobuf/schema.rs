//! The operator's own message type, from a compiled descriptor set.
//!
//! ```text
//!   protoc --include_imports --descriptor_set_out=FILE chat.proto
//!
//!   FILE --prost-reflect--> descriptors --once--> shapes      one per message type: the wire
//!                                                   |         type of each field number
//!   message --------------------------------------> read ---> the command, borrowed
//! ```
//!
//! prost-reflect checks the descriptors and resolves names when the gateway starts. Messages are
//! then checked against a table of shapes. They are not decoded to a `DynamicMessage`, which was
//! measured to take 36 to 438 bytes of memory per byte of various hostile messages and shares
//! reference counts between shards. The tests compare with it.

use super::wire::{Reader, Value};
use super::{DEPTH_MAX, ProtobufError, text};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

/// A message type to check messages against, with the place of the command.
///
/// Clones share the table, which is immutable.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Shapes of all reachable message types, the outermost message's first.
    shapes: Arc<[Shape]>,
    command: Option<Arc<Command>>,
}

/// The reason that a descriptor set cannot be used, with a message for the operator.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SchemaError {
    /// The bytes are not a complete and consistent `FileDescriptorSet`.
    #[error(
        "not a complete FileDescriptorSet, as written by `protoc --include_imports \
         --descriptor_set_out`: {reason}"
    )]
    NotADescriptorSet {
        /// The problem.
        reason: String,
    },
    /// A file has a syntax other than proto2 and proto3.
    #[error("file {file:?} has the syntax {syntax:?}; only proto2 and proto3 are understood")]
    UnknownSyntax {
        /// Name of the file.
        file: String,
        /// Its syntax.
        syntax: String,
    },
    /// No message has the name.
    #[error("no message is named {message:?}; there are {}", listed(existing, *more))]
    NoSuchMessage {
        /// The name in the config.
        message: String,
        /// Full names of at most five existing messages, in order of definition.
        existing: Vec<String>,
        /// Number of further messages.
        more: usize,
    },
    /// The message has no field with the name.
    #[error("message {message} has no field named {field:?}")]
    NoSuchField {
        /// The message's full name.
        message: String,
        /// The name in the config.
        field: String,
    },
    /// The field is not a single string.
    #[error(
        "field {field:?} of message {message} has to be a single string to be the command, but is \
         declared {declared}"
    )]
    NotAString {
        /// The message's full name.
        message: String,
        /// The field's name.
        field: String,
        /// Its declaration, as in a `.proto` file.
        declared: String,
    },
}

/// A message type, or a map entry, which is a message on the wire.
#[derive(Clone, Debug)]
struct Shape {
    /// In order of number, each number once.
    fields: Vec<Field>,
    required_count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    number: u32,
    form: Form,
    /// Repeated numbers may be packed or not, whatever the declaration.
    is_repeated: bool,
    /// Its index among the required fields of its message; `None` if it is not required.
    required: Option<usize>,
}

/// The wire form of a field's values.
#[derive(Clone, Copy, Debug)]
enum Form {
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    /// A message of the shape with this index, behind a length.
    Message(usize),
    /// A message of the shape with this index, between group tags.
    Group(usize),
}

#[derive(Debug)]
struct Command {
    number: u32,
    /// Value if the field is missing.
    default: String,
    /// Field numbers of its `oneof`: another one resets the command to the default.
    choices: Vec<u32>,
}

/// Message types in order of discovery. The index of each is that of its shape.
struct Catalog {
    indices: BTreeMap<String, usize>,
    messages: Vec<MessageDescriptor>,
}

/// The state of reading a message.
struct Reading<'a> {
    schema: &'a Schema,
    command: &'a str,
}

impl Schema {
    /// Creates the schema of the message type with the full name `message`, from a compiled
    /// descriptor set.
    ///
    /// `bytes` is the output of `protoc --include_imports --descriptor_set_out`, with syntax proto2
    /// or proto3; editions are rejected. `command_field` names a field of that message that is a
    /// single string.
    ///
    /// # Errors
    ///
    /// [`SchemaError::NotADescriptorSet`], [`SchemaError::UnknownSyntax`],
    /// [`SchemaError::NoSuchMessage`], [`SchemaError::NoSuchField`] or [`SchemaError::NotAString`].
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

    /// Checks a message against the type and returns its command; `None` if the schema has no
    /// command field.
    ///
    /// Unknown fields are skipped. Strings must be UTF-8 under proto2 too. A missing command is the
    /// field's default, normally empty.
    ///
    /// Each piece is checked by itself: if a message type with required fields arrives in several
    /// pieces for one field, each piece needs them all. No encoder splits messages so.
    ///
    /// # Errors
    ///
    /// The first fault, any [`ProtobufError`].
    pub fn read<'a>(&'a self, message: &'a [u8]) -> Result<Option<&'a str>, ProtobufError> {
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
    /// Reads the fields of a message up to the end of the bytes or of its group.
    ///
    /// Recurses once per message and group in it, at most [`DEPTH_MAX`] deep.
    fn message(
        &mut self,
        shape: usize,
        reader: &mut Reader<'a>,
        group: Option<u32>,
        depth: u32,
    ) -> Result<(), ProtobufError> {
        let shape = &self.schema.shapes[shape];
        let mut present: SmallVec<[u64; 1]> = smallvec![0; shape.required_count.div_ceil(64)];
        loop {
            let Some((number, value)) = reader.field()? else {
                if group.is_some() {
                    return Err(ProtobufError::UnbalancedGroup);
                }
                break;
            };
            if matches!(value, Value::GroupEnd) {
                if group != Some(number) {
                    return Err(ProtobufError::UnbalancedGroup);
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
            Err(ProtobufError::MissingRequired)
        }
    }

    /// Reads a value of a field of a message at `depth`.
    fn value(
        &mut self,
        field: &Field,
        value: Value<'a>,
        reader: &mut Reader<'a>,
        depth: u32,
    ) -> Result<(), ProtobufError> {
        if depth == 0 {
            self.clear_command(field.number);
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
            _ => Err(ProtobufError::WrongType),
        }
    }

    fn note_command(&mut self, number: u32, text: &'a str) {
        let command = self.schema.command.as_deref();
        if command.is_some_and(|command| command.number == number) {
            self.command = text;
        }
    }

    fn clear_command(&mut self, number: u32) {
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

/// Formats names of messages and the number of further ones.
fn listed(names: &[String], more: usize) -> String {
    match (names, more) {
        ([], _) => "none at all".to_owned(),
        (names, 0) => names.join(", "),
        (names, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Decodes a compiled descriptor set.
fn pool(bytes: &[u8]) -> Result<DescriptorPool, SchemaError> {
    let set = FileDescriptorSet::decode(bytes).map_err(|error| not_a_set(&error))?;
    for file in &set.file {
        // prost-reflect 0.16 panics on other syntaxes instead of returning an error.
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

/// Returns the shapes of a message type and of all types reachable from it.
fn shapes(root: MessageDescriptor) -> Vec<Shape> {
    let mut catalog = Catalog {
        indices: BTreeMap::from([(root.full_name().to_owned(), 0)]),
        messages: vec![root],
    };
    let mut shapes = Vec::new();
    // Creating a shape may add to the catalog.
    while let Some(message) = catalog.messages.get(shapes.len()).cloned() {
        shapes.push(Shape::new(&message, &mut catalog));
    }
    shapes
}

/// Returns whether this is a map value that must be present: without it the value is the empty
/// message, which lacks required fields.
fn is_value_with_required(message: &MessageDescriptor, field: &FieldDescriptor) -> bool {
    let is_required = |kind: &Kind| {
        let value = kind.as_message();
        value.is_some_and(|value| value.fields().any(|field| field.is_required()))
    };
    message.is_map_entry() && field.number() == MAP_VALUE && is_required(&field.kind())
}

/// Checks that bytes are packed numbers.
fn check_packed(form: Form, bytes: &[u8]) -> Result<(), ProtobufError> {
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
            return Err(ProtobufError::WrongType);
        }
    };
    if bytes.len().is_multiple_of(number_bytes) {
        Ok(())
    } else {
        Err(ProtobufError::Truncated)
    }
}

fn deeper(depth: u32) -> Result<u32, ProtobufError> {
    if depth < DEPTH_MAX {
        Ok(depth + 1)
    } else {
        Err(ProtobufError::TooDeep)
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

/// Returns the type of a field as in a `.proto` file.
fn declared(field: &FieldDescriptor) -> String {
    if field.is_map() {
        return "a map".to_owned();
    }
    let repeated = if field.is_list() { "repeated " } else { "" };
    format!("{repeated}{:?}", field.kind())
}

/// Maximum names listed in an error.
const NAMES_LISTED_MAX: usize = 5;
/// Field number of the value in a map entry.
const MAP_VALUE: u32 = 2;

#[cfg(test)]
mod tests;
