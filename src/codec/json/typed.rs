//! The typed JSON reader: decodes JSON to a serde type as Go's `encoding/json` decodes to a struct.
//!
//! ```text
//!   struct Register { uid: i64, name: String, #[serde(default)] age: u8, tag: Option<String> }
//!
//!   {"UID": 1, "uid": 5, "age": null, "x": {}}      uid 5, name "", age the default, tag None
//!   {"uid": "5"}     json: cannot unmarshal string into Go struct field Register.uid of type int64
//! ```
//!
//! - Keys match exactly or else in any case. The last of several wins, but all must have the right
//!   type. Unknown members are ignored.
//! - `null` counts as missing. A missing member gets its `#[serde(default)]`, `None` for an
//!   `Option`, and otherwise the zero of its type: serde reports a missing member, and the text is
//!   read again with a zero for it, once for each member of each struct.
//! - Numbers are as strict as in Go: a fraction or an exponent is no integer, and nothing is
//!   rounded to fit. Invalid text becomes U+FFFD.
//! - The message of a mismatch has Go's form, with the names that serde knows.
//!
//! Each pass but the last learns one fact about a member of a type, wherever its values are: that
//! it is `null`, or that it is missing. So a text is read at most 1 + 2 x members times, over all
//! types in it, and each pass compares each key with the members of its struct. A message costs at
//! most its size times the square of the members. It comes near that only if members are missing in
//! the last of many objects and in none before.
//!
//! Where serde has more than Go (enums, tuples), serde's rules apply. A struct with
//! `#[serde(flatten)]` does not give serde its members: they match exactly unless one is reported
//! as missing, and flattened members have no zeros.
//!
//! One pass without recursion checks the text and records the end of each object and array, so that
//! no byte is read once per level. Typed values are read at most [`TYPED_DEPTH_MAX`] levels deep;
//! ignored ones may be as deep as [`DEPTH_MAX`](super::DEPTH_MAX).

mod document;
mod error;
mod hints;
mod members;
mod type_name;

use self::document::{Document, Kind, Value};
use self::error::Error;
use self::hints::{Hint, Hints, Key, Owner};
use self::members::{Elements, Members, Variant, one_entry};
use self::type_name::{name_of_map, name_of_seq};
use super::{JsonError, Text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use smallvec::{SmallVec, smallvec};

/// The reason that a text does not decode to a type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TypedError {
    /// The text is not JSON.
    Malformed,
    /// The JSON has another type; the message is Go's.
    Mismatch(String),
}

/// Maximum levels of objects and arrays of a type, including the outermost.
pub(crate) const TYPED_DEPTH_MAX: u32 = 128;

/// Decodes a text, which is one JSON value, to a `T`.
///
/// # Errors
///
/// [`TypedError::Malformed`] if the text is not one JSON value; [`TypedError::Mismatch`] if it does
/// not fit the type.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, TypedError> {
    let document = Document::parse(text).map_err(|_: JsonError| TypedError::Malformed)?;
    let mut hints = Hints::default();
    loop {
        let reader = Reader {
            document: &document,
            values: smallvec![document.root()],
            hints: &hints,
            field: None,
            member: None,
            depth: 0,
        };
        let error = match T::deserialize(reader) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // A hint that is there already does not help, so the loop ends.
        let is_new = match error {
            Error::Missing { key: Some(key), .. } => hints.add(key, Hint::Zero),
            Error::Null(key) => hints.add(key, Hint::Omit),
            Error::Missing { key: None, .. } | Error::Message(_) => false,
        };
        if !is_new {
            return Err(TypedError::Mismatch(error.to_string()));
        }
    }
}

/// The field being read, with the fields around it.
#[derive(Clone, Copy, Debug)]
struct Field<'f> {
    outer: Option<&'f Self>,
    structure: &'f str,
    name: &'f str,
}

/// All values of one member, in order, or the one value of anything else. Empty for the type's
/// zero.
type Values = SmallVec<[Value; 1]>;

/// A deserializer of one value.
struct Reader<'r> {
    document: &'r Document<'r>,
    values: Values,
    hints: &'r Hints,
    /// The innermost field around the value.
    field: Option<&'r Field<'r>>,
    /// The member whose value it is, if any.
    member: Option<Key>,
    /// Number of objects and arrays around the value.
    depth: u32,
}

impl Reader<'_> {
    /// Returns the values that are not `null`, in order. Most types use only these.
    ///
    /// # Errors
    ///
    /// [`Error::Null`] if a member is only `null`, so that it is left out in the next pass.
    fn present(&self) -> Result<impl Iterator<Item = Value> + use<'_>, Error> {
        if let Some(key) = self.member
            && !self.values.is_empty()
            && self.are_null(&self.values)
        {
            return Err(Error::Null(key));
        }
        let values = self.values.iter().copied();
        Ok(values.filter(|value| self.document.kind(*value) != Kind::Null))
    }

    fn are_null(&self, values: &[Value]) -> bool {
        let mut kinds = values.iter().map(|value| self.document.kind(*value));
        kinds.all(|kind| kind == Kind::Null)
    }

    /// Returns a reader of values within this one.
    fn within(&self, values: Values) -> Reader<'_> {
        Reader {
            document: self.document,
            values,
            hints: self.hints,
            field: self.field,
            member: None,
            depth: self.depth + 1,
        }
    }

    /// Returns the last value; `None` for the zero.
    fn last(&self) -> Option<Value> {
        self.values.last().copied()
    }

    fn mismatch(&self, value: &str, of_type: &str) -> Error {
        Error::mismatch(value, self.field, of_type)
    }

    /// Returns the values that are not `null`; an error if one is of another kind.
    fn present_of(&self, kind: Kind, of_type: impl FnOnce() -> String) -> Result<Values, Error> {
        let mut values = Values::new();
        for value in self.present()? {
            let found = self.document.kind(value);
            if found != kind {
                return Err(self.mismatch(found.go_name(), &of_type()));
            }
            values.push(value);
        }
        Ok(values)
    }

    /// Returns the values of an object or array as [`Reader::present_of`] does, and checks the
    /// depth.
    fn containers(&self, kind: Kind, of_type: impl FnOnce() -> String) -> Result<Values, Error> {
        let values = self.present_of(kind, of_type)?;
        self.check_depth()?;
        Ok(values)
    }

    fn check_depth(&self) -> Result<(), Error> {
        if self.depth >= TYPED_DEPTH_MAX {
            return Err(Error::Message("exceeded max depth".to_owned()));
        }
        Ok(())
    }

    /// Returns the last number; `None` for the zero. An error if `read` rejects one of them.
    fn number<N>(
        &self,
        of_type: &str,
        read: impl Fn(&str) -> Option<N>,
    ) -> Result<Option<N>, Error> {
        let mut last = None;
        for value in self.present_of(Kind::Number, || of_type.to_owned())? {
            let literal = self.document.literal(value);
            let number = read(literal);
            let wrong = || self.mismatch(&format!("number {literal}"), of_type);
            last = Some(number.ok_or_else(wrong)?);
        }
        Ok(last)
    }

    /// Returns the last string, decoded; empty for the zero.
    fn string(&self) -> Result<String, Error> {
        let values = self.present_of(Kind::String, || "string".to_owned())?;
        let text = values.last().map(|&value| self.document.text(value));
        Ok(text.map(decoded).unwrap_or_default())
    }

    /// Returns the error for a value of a kind that a type of this name cannot be decoded from.
    fn kind_mismatch(&self, of_type: &str) -> Error {
        let kind = self.last().map_or(Kind::Null, |it| self.document.kind(it));
        self.mismatch(kind.go_name(), of_type)
    }
}

/// Decodes a string.
fn decoded(text: Text<'_>) -> String {
    let mut decoded = String::new();
    text.decode(&mut decoded);
    decoded
}

/// Defines methods for number types: name in Go, parser, and a filter.
macro_rules! numbers {
    ($($method:ident, $visit:ident, $number:ty, $name:literal, $is_fit:expr;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let read = |text: &str| text.parse::<$number>().ok().filter($is_fit);
            visitor.$visit(self.number($name, read)?.unwrap_or_default())
        })+
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    numbers! {
        deserialize_i8, visit_i8, i8, "int8", |_| true;
        deserialize_i16, visit_i16, i16, "int16", |_| true;
        deserialize_i32, visit_i32, i32, "int32", |_| true;
        deserialize_i64, visit_i64, i64, "int64", |_| true;
        deserialize_i128, visit_i128, i128, "int128", |_| true;
        deserialize_u8, visit_u8, u8, "uint8", |_| true;
        deserialize_u16, visit_u16, u16, "uint16", |_| true;
        deserialize_u32, visit_u32, u32, "uint32", |_| true;
        deserialize_u64, visit_u64, u64, "uint64", |_| true;
        deserialize_u128, visit_u128, u128, "uint128", |_| true;
        deserialize_f32, visit_f32, f32, "float32", |it| it.is_finite();
        deserialize_f64, visit_f64, f64, "float64", |it| it.is_finite();
    }

    /// Decodes any kind, for types such as `serde_json::Value`. The last value replaces the others,
    /// of whatever kind they are.
    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let Some(value) = self.last() else {
            return visitor.visit_unit();
        };
        self.values = smallvec![value];
        match self.document.kind(value) {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool => self.deserialize_bool(visitor),
            Kind::String => self.deserialize_string(visitor),
            Kind::Array => self.deserialize_seq(visitor),
            Kind::Object => self.deserialize_map(visitor),
            Kind::Number => {
                let literal = self.document.literal(value);
                if let Ok(number) = literal.parse() {
                    return visitor.visit_u64(number);
                }
                // A float keeps the sign of `-0`.
                match literal.parse() {
                    Ok(number) if literal != "-0" => visitor.visit_i64(number),
                    Ok(_) | Err(_) => self.deserialize_f64(visitor),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let values = self.present_of(Kind::Bool, || "bool".to_owned())?;
        let last = values.last().map(|&value| self.document.literal(value));
        visitor.visit_bool(last == Some("true"))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.string()?;
        if text.is_empty() {
            return visitor.visit_char('\0');
        }
        visitor.visit_string(text)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.string()?)
    }

    /// Decodes a base64 string to bytes, as Go does.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let is_string = |value: Value| self.document.kind(value) == Kind::String;
        if !self.present()?.all(is_string) {
            return self.deserialize_seq(visitor);
        }
        let bytes = STANDARD.decode(self.string()?);
        visitor.visit_byte_buf(bytes.map_err(|_| Error::Message("illegal base64 data".to_owned()))?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.last() {
            Some(value) if self.document.kind(value) != Kind::Null => visitor.visit_some(self),
            Some(_) | None => visitor.visit_none(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.present_of(Kind::Object, || "struct {}".to_owned())?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_VALUE {
            let raw = self.last().map_or(&b"null"[..], |it| self.document.raw(it));
            let raw = String::from_utf8_lossy(raw).into_owned();
            return visitor.visit_map(one_entry(RAW_VALUE, raw));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some(kind) = self.other_kind(Kind::Array)? {
            return Err(self.mismatch(kind.go_name(), &name_of_seq(None, visitor)));
        }
        let values = self.containers(Kind::Array, String::new)?;
        visitor.visit_seq(Elements::of(&self, values.last().copied(), None))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        if let Some(kind) = self.other_kind(Kind::Array)? {
            return Err(self.mismatch(kind.go_name(), &name_of_seq(Some(len), visitor)));
        }
        let values = self.containers(Kind::Array, String::new)?;
        visitor.visit_seq(Elements::of(&self, values.last().copied(), Some(len)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some(kind) = self.other_kind(Kind::Object)? {
            return Err(self.mismatch(kind.go_name(), &name_of_map(visitor)));
        }
        let values = self.containers(Kind::Object, String::new)?;
        let owner = Owner::map_of::<V>();
        let result = visitor.visit_map(Members::of_map(&self, owner, &values));
        result.map_err(|error: Error| error.locate(owner))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let values = self.containers(Kind::Object, || name.to_owned())?;
        let owner = Owner::Struct { name, fields };
        let result = visitor.visit_map(Members::of_struct(&self, (name, fields), &values));
        result.map_err(|error: Error| error.locate(owner))
    }

    /// Decodes an enum: a string is a variant without data, an object has one member, the variant
    /// with its data.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(value) = self.present()?.last() else {
            return Err(self.kind_mismatch(name));
        };
        self.check_depth()?;
        match self.document.kind(value) {
            Kind::String => {
                let variant = decoded(self.document.text(value));
                let variant: StrDeserializer<'_, Error> = variant.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            Kind::Object => match Variant::of(&self, value) {
                Some(variant) => visitor.visit_enum(variant),
                None => Err(self.kind_mismatch(name)),
            },
            Kind::Null | Kind::Bool | Kind::Number | Kind::Array => Err(self.kind_mismatch(name)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

impl Reader<'_> {
    /// Returns the first kind of value that is neither `null` nor `kind`; `None` if there is none.
    fn other_kind(&self, kind: Kind) -> Result<Option<Kind>, Error> {
        let mut kinds = self.present()?.map(|value| self.document.kind(value));
        Ok(kinds.find(|found| *found != kind))
    }
}

/// The struct name by which `serde_json` requests a raw value.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

#[cfg(test)]
mod tests;
