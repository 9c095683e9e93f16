//! The errors of a pass: mismatches with Go's messages, and reasons to read the text again.

use super::Field;
use super::hints::{Key, Owner};
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// The reason that a pass over a text has no value.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// The text does not decode to the type.
    #[error("{0}")]
    Message(String),
    /// A struct has no value for a member.
    #[error("missing field `{name}`")]
    Missing {
        name: &'static str,
        /// `None` until [`Error::locate`] has set it.
        key: Option<Key>,
    },
    /// A member is `null`, which its type does not accept.
    #[error("null")]
    Null(Key),
}

impl Field<'_> {
    /// Returns the names of all fields from the outermost to this one, joined by dots.
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
    /// Creates the error of a value with another type than `of_type`.
    pub(super) fn mismatch(value: &str, field: Option<&Field<'_>>, of_type: &str) -> Self {
        Self::Message(match field {
            Some(field) => format!(
                "json: cannot unmarshal {value} into Go struct field {}.{} of type {of_type}",
                field.structure,
                field.path()
            ),
            None => format!("json: cannot unmarshal {value} into Go value of type {of_type}"),
        })
    }

    /// Sets the owner of a missing member.
    pub(super) fn locate(self, owner: Owner) -> Self {
        match self {
            Self::Missing { name, key: None } => Self::Missing {
                name,
                key: Some(Key {
                    owner,
                    member: name,
                }),
            },
            Self::Missing { .. } | Self::Message(_) | Self::Null(_) => self,
        }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Message(text.to_string())
    }

    fn missing_field(name: &'static str) -> Self {
        Self::Missing { name, key: None }
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        Self::Message(format!("json: unknown field {name:?}"))
    }

    /// For values that serde buffers before it knows the type.
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
