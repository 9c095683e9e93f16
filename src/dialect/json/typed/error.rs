//! What keeps a text from being of a type, in Go's words, or has it read again.

use super::Field;
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// Why a pass over a text has not made a value.
#[derive(Clone, Debug)]
pub(super) enum Error {
    /// It cannot.
    Worded(String),
    /// A struct misses a member.
    Missing {
        name: &'static str,
        /// `None` as long as nobody has said whose member it is.
        key: Option<Key>,
    },
    /// A member is `null` where its type has no use for that.
    Null(Key),
}

/// A member, whatever value it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    /// One of a struct that tells its name and its members.
    OfStruct {
        structure: &'static str,
        fields: &'static [&'static str],
        member: &'static str,
    },
    /// One of a struct that tells neither, at this path.
    OfMap { path: String, member: &'static str },
}

impl Key {
    pub(super) fn of_struct(
        structure: &'static str,
        fields: &'static [&'static str],
        member: &'static str,
    ) -> Self {
        Self::OfStruct {
            structure,
            fields,
            member,
        }
    }

    pub(super) fn of_map(field: Option<&Field<'_>>, member: &'static str) -> Self {
        let path = field.map_or_else(String::new, Field::path);
        Self::OfMap { path, member }
    }

    /// The member, if it is one of this struct.
    pub(super) fn member_of(
        &self,
        of: (&'static str, &'static [&'static str]),
    ) -> Option<&'static str> {
        match *self {
            Self::OfStruct {
                structure,
                fields,
                member,
            } => ((structure, fields) == of).then_some(member),
            Self::OfMap { .. } => None,
        }
    }

    /// The member, if it is one of what is at this place and tells no members.
    pub(super) fn member_at(&self, field: Option<&Field<'_>>) -> Option<&'static str> {
        match self {
            Self::OfMap { member, .. } => (*self == Self::of_map(field, member)).then_some(*member),
            Self::OfStruct { .. } => None,
        }
    }
}

impl Field<'_> {
    /// The names of all fields from the outermost to this one.
    fn path(&self) -> String {
        let mut names = vec![self.name];
        let mut outer = self.outer;
        while let Some(field) = outer {
            names.push(field.name);
            outer = field.outer;
        }
        names.reverse();
        names.join(".")
    }
}

impl Error {
    /// A value that is not of the type that is wanted.
    pub(super) fn mismatch(value: &str, field: Option<&Field<'_>>, of_type: &str) -> Self {
        Self::Worded(match field {
            Some(field) => format!(
                "json: cannot unmarshal {value} into Go struct field {}.{} of type {of_type}",
                field.structure,
                field.path()
            ),
            None => format!("json: cannot unmarshal {value} into Go value of type {of_type}"),
        })
    }

    /// The same, with whose member it is that is missing.
    pub(super) fn locate(self, key_of: impl FnOnce(&'static str) -> Key) -> Self {
        match self {
            Self::Missing { name, key: None } => Self::Missing {
                name,
                key: Some(key_of(name)),
            },
            Self::Missing { .. } | Self::Worded(_) | Self::Null(_) => self,
        }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Worded(text.to_string())
    }

    fn missing_field(name: &'static str) -> Self {
        Self::Missing { name, key: None }
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        Self::Worded(format!("json: unknown field {name:?}"))
    }

    /// For what serde has read into a form of its own before it knows the type.
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let value = match unexpected {
            Unexpected::Bool(_) => "bool".to_owned(),
            Unexpected::Unsigned(number) => format!("number {number}"),
            Unexpected::Signed(number) => format!("number {number}"),
            Unexpected::Float(number) => format!("number {number}"),
            Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "string".to_owned(),
            Unexpected::Unit | Unexpected::Option => "null".to_owned(),
            Unexpected::Seq => "array".to_owned(),
            Unexpected::Map => "object".to_owned(),
            other @ (Unexpected::NewtypeStruct
            | Unexpected::Enum
            | Unexpected::UnitVariant
            | Unexpected::NewtypeVariant
            | Unexpected::TupleVariant
            | Unexpected::StructVariant
            | Unexpected::Other(_)) => other.to_string(),
        };
        Self::mismatch(&value, None, &expected.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worded(text) => f.write_str(text),
            Self::Missing { name, .. } => write!(f, "missing field `{name}`"),
            Self::Null(_) => f.write_str("null"),
        }
    }
}

impl std::error::Error for Error {}
