//! Go's names for types that have no name in serde, lists and maps: a probe is read as the type and
//! records which types are requested.

use super::error::Error;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use std::cell::RefCell;

/// Returns the name of a list type, `[]int64`, or of an array type, `[3]int64`.
pub(super) fn name_of_seq<'de, V: Visitor<'de>>(len: Option<usize>, visitor: V) -> String {
    let name = RefCell::new(String::new());
    Probe(&name).seq(len, visitor);
    name.into_inner()
}

/// Returns the name of a map type, `map[string]int64`.
pub(super) fn name_of_map<'de, V: Visitor<'de>>(visitor: V) -> String {
    let name = RefCell::new(String::new());
    Probe(&name).map(visitor);
    name.into_inner()
}

/// A deserializer that records the requested type and has no value.
#[derive(Clone, Copy)]
struct Probe<'n>(&'n RefCell<String>);

impl Probe<'_> {
    fn put(self, part: &str) -> Error {
        self.0.borrow_mut().push_str(part);
        de::Error::custom("a probe has no value")
    }

    fn seq<'de, V: Visitor<'de>>(self, len: Option<usize>, visitor: V) -> Error {
        self.put(&len.map_or_else(|| "[]".to_owned(), |len| format!("[{len}]")));
        self.within(|| visitor.visit_seq(self))
    }

    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Error {
        self.put("map[");
        self.within(|| visitor.visit_map(self))
    }

    /// Records the inner type, unless the name is long: a recursive type has no end.
    fn within<T>(self, visit: impl FnOnce() -> Result<T, Error>) -> Error {
        if self.0.borrow().len() < NAME_BYTES_MAX {
            match visit() {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        self.put("")
    }
}

/// Length in bytes above which inner types are left out.
const NAME_BYTES_MAX: usize = 64;

/// Defines methods for types with a name.
macro_rules! named {
    ($($method:ident $name:literal)+) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(self.put($name))
        })+
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    named! {
        deserialize_any "interface {}"
        deserialize_bool "bool"
        deserialize_i8 "int8"
        deserialize_i16 "int16"
        deserialize_i32 "int32"
        deserialize_i64 "int64"
        deserialize_i128 "int128"
        deserialize_u8 "uint8"
        deserialize_u16 "uint16"
        deserialize_u32 "uint32"
        deserialize_u64 "uint64"
        deserialize_u128 "uint128"
        deserialize_f32 "float32"
        deserialize_f64 "float64"
        deserialize_char "string"
        deserialize_str "string"
        deserialize_string "string"
        deserialize_bytes "[]uint8"
        deserialize_byte_buf "[]uint8"
        deserialize_unit "struct {}"
        deserialize_identifier "string"
        deserialize_ignored_any "interface {}"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.put("*");
        Err(self.within(|| visitor.visit_some(self)))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.put(name))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        Err(self.within(|| visitor.visit_newtype_struct(self)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Err(self.seq(None, visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        Err(self.seq(Some(len), visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.put(name))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Err(self.map(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.put(name))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(self.put(name))
    }
}

impl<'de> SeqAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        seed.deserialize(*self).map(Some)
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let key = seed.deserialize(ProbeKey(*self))?;
        self.put("]");
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(*self)
    }
}

/// A deserializer that records the requested key type and has a value for it.
struct ProbeKey<'n>(Probe<'n>);

/// Defines methods for key types.
macro_rules! keys {
    ($($method:ident, $visit:ident, $value:expr, $name:literal;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.0.put($name);
            visitor.$visit($value)
        })+
    };
}

impl<'de> Deserializer<'de> for ProbeKey<'_> {
    type Error = Error;

    keys! {
        deserialize_i8, visit_i8, 0, "int8";
        deserialize_i16, visit_i16, 0, "int16";
        deserialize_i32, visit_i32, 0, "int32";
        deserialize_i64, visit_i64, 0, "int64";
        deserialize_u8, visit_u8, 0, "uint8";
        deserialize_u16, visit_u16, 0, "uint16";
        deserialize_u32, visit_u32, 0, "uint32";
        deserialize_u64, visit_u64, 0, "uint64";
        deserialize_any, visit_str, "0", "string";
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
