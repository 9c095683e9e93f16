//! What keeps a text from being of a type, in Go's words, or has it read again.

use super::Field;
use super::hints::{Key, Owner};
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// Why a pass over a text has not made a value.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// It cannot.
    #[error("{0}")]
    Worded(String),
    /// A struct misses a member.
    #[error("missing field `{name}`")]
    Missing {
        name: &'static str,
        /// `None` as long as nobody has said whose member it is.
        key: Option<Key>,
    },
    /// A member is `null` where its type has no use for that.
    #[error("null")]
    Null(Key),
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
    pub(super) fn locate(self, owner: Owner) -> Self {
        match self {
            Self::Missing { name, key: None } => Self::Missing {
                name,
                key: Some(Key {
                    owner,
                    member: name,
                }),
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
