//! All combinations of route options, and prost declarations of the Protocol Buffers messages.

use campanile::codec::protobuf;
use campanile::dialect::{Options, Schema};
use campanile::ws::MessageType;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use std::sync::Arc;

/// A declaration of the built-in `ws.Message`, independent of the gateway's.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Envelope {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
}

/// A message of an operator's schema, whose command field is `verb`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Custom {
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    #[prost(message, optional, boxed, tag = "3")]
    pub(crate) inner: Option<Box<Self>>,
    #[prost(string, tag = "5")]
    pub(crate) verb: String,
}

/// Returns `true` if the schema is an operator's with a command field.
pub(crate) fn has_command(options: &Options) -> bool {
    let schema = match &options.schema {
        Schema::Descriptor(schema) => schema,
        Schema::Opaque | Schema::Builtin => return false,
    };
    schema.read(b"").expect("nothing is a message").is_some()
}

/// Returns the options of every schema combined with every other setting.
pub(crate) fn all_options() -> Vec<Options> {
    let schemas = [
        Schema::Opaque,
        Schema::Builtin,
        descriptor(Some("verb")),
        descriptor(None),
    ];
    let mut all = Vec::new();
    for schema in schemas {
        for push_kind in [MessageType::Text, MessageType::Binary] {
            all.push(Options {
                format: 0,
                push_kind,
                schema: schema.clone(),
                lenient: push_kind == MessageType::Binary,
            });
        }
    }
    all
}

fn descriptor(command_field: Option<&str>) -> Schema {
    let field = |name: &str, number, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let inner = FieldDescriptorProto {
        type_name: Some(".test.Custom".to_owned()),
        ..field("inner", 3, Type::Message)
    };
    let message = DescriptorProto {
        name: Some("Custom".to_owned()),
        field: vec![
            field("number", 1, Type::Uint32),
            inner,
            field("verb", 5, Type::String),
        ],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![message],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let schema = protobuf::Schema::from_descriptor_set(&set, "test.Custom", command_field);
    Schema::Descriptor(Arc::new(schema.expect("a complete descriptor")))
}
