//! Members of objects and elements of arrays, given to serde one by one.

use super::document::{Children, Document, Value};
use super::error::Error;
use super::hints::{Hint, Key, Owner};
use super::{Field, Reader, Values, decoded};
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use smallvec::smallvec;
use std::borrow::Cow;
use std::iter;

/// Returns a map with one entry.
pub(super) fn one_entry<'de>(
    key: &'static str,
    value: String,
) -> MapDeserializer<'de, iter::Once<(&'static str, String)>, Error> {
    MapDeserializer::new(iter::once((key, value)))
}

/// A member as given to serde.
struct Member<'m> {
    name: Cow<'m, str>,
    values: Values,
    key: Option<Key>,
}

/// The members of an object, or of several objects that are values of one member.
pub(super) struct Members<'m> {
    reader: &'m Reader<'m>,
    /// Name of the struct; `None` for a map.
    structure: Option<&'static str>,
    left: std::vec::IntoIter<Member<'m>>,
    current: Option<Member<'m>>,
}

impl<'m> Members<'m> {
    /// Collects the members of a struct: known ones by the struct's names, each once with all of
    /// its values, and others as spelled.
    pub(super) fn of_struct(
        reader: &'m Reader<'m>,
        (structure, fields): (&'static str, &'static [&'static str]),
        objects: &[Value],
    ) -> Self {
        let owner = Owner::Struct {
            name: structure,
            fields,
        };
        let mut members: Vec<Member<'_>> = Vec::new();
        let mut index_of = vec![None; fields.len()];
        for (name, value) in named(reader.document, objects) {
            let known = find(fields, &name);
            let index = known.map_or(members.len(), |field| {
                *index_of[field].get_or_insert(members.len())
            });
            if index < members.len() {
                members[index].values.push(value);
                continue;
            }
            let member = known.map(|field| fields[field]);
            members.push(Member {
                name: member.map_or(name, Cow::Borrowed),
                values: smallvec![value],
                key: member.map(|member| Key { owner, member }),
            });
        }

        let hints = reader.hints.of(owner);
        for hinted in hints.iter().filter(|it| it.hint == Hint::Omit) {
            let field = hinted.field.expect("a struct gives its members");
            if let Some(index) = index_of[field]
                && reader.are_null(&members[index].values)
            {
                members[index].values.clear();
                index_of[field] = None;
            }
        }
        members.retain(|member| !member.values.is_empty());
        for hinted in hints.iter().filter(|it| it.hint == Hint::Zero) {
            if hinted.field.is_none_or(|field| index_of[field].is_none()) {
                members.push(Member::zero(hinted.member));
            }
        }
        Self::new(reader, Some(structure), members)
    }

    /// Collects the members of a map as spelled, the last of several.
    ///
    /// It may be a struct that serde reads as a map. Members that were missing before get the name
    /// that the struct expects.
    pub(super) fn of_map(reader: &'m Reader<'m>, owner: Owner, objects: &[Value]) -> Self {
        let mut members: Vec<Member<'_>> = named(reader.document, objects)
            .map(|(name, value)| Member {
                name,
                values: smallvec![value],
                key: None,
            })
            .collect();
        for member in reader.hints.of(owner).iter().map(|it| it.member) {
            match members.iter_mut().rfind(|it| is_folded(&it.name, member)) {
                Some(found) => found.name = Cow::Borrowed(member),
                None => members.push(Member::zero(member)),
            }
        }
        keep_last(&mut members);
        Self::new(reader, None, members)
    }

    fn new(
        reader: &'m Reader<'m>,
        structure: Option<&'static str>,
        members: Vec<Member<'m>>,
    ) -> Self {
        Self {
            reader,
            structure,
            left: members.into_iter(),
            current: None,
        }
    }
}

impl Member<'_> {
    /// Creates a missing member.
    fn zero(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            values: Values::new(),
            key: None,
        }
    }
}

/// Returns the members of objects, in order, with decoded keys.
fn named<'d>(
    document: &'d Document<'d>,
    objects: &[Value],
) -> impl Iterator<Item = (Cow<'d, str>, Value)> {
    let members = objects.iter().flat_map(|&object| document.children(object));
    members.map(|(key, value)| {
        let key = key.expect("a member has a key");
        let name = key.borrowed().map(Cow::Borrowed);
        (name.unwrap_or_else(|| Cow::Owned(decoded(key))), value)
    })
}

/// Returns the index of the name that a key matches: the equal one, or else the first that is equal
/// except for case.
fn find(names: &[&str], key: &str) -> Option<usize> {
    let exact = names.iter().position(|name| *name == key);
    exact.or_else(|| names.iter().position(|name| is_folded(key, name)))
}

/// Returns whether Go matches a key with this name.
fn is_folded(key: &str, name: &str) -> bool {
    if key.is_ascii() && name.is_ascii() {
        return key.eq_ignore_ascii_case(name);
    }
    folded(key).eq(folded(name))
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    let folded = |letter| match letter {
        // The long s and the kelvin sign; `to_lowercase` maps them differently from Go.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other,
    };
    text.chars().map(folded).flat_map(char::to_lowercase)
}

/// Keeps only the last of several members with one name.
fn keep_last(members: &mut Vec<Member<'_>>) {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&one, &other| members[one].name.cmp(&members[other].name));
    let same = |pair: &[usize]| members[pair[0]].name == members[pair[1]].name;
    let earlier = order.windows(2).filter(|pair| same(pair));
    let mut earlier: Vec<usize> = earlier.map(|pair| pair[0]).collect();
    earlier.sort_unstable();
    let mut index = 0;
    members.retain(|_| {
        index += 1;
        earlier.binary_search(&(index - 1)).is_err()
    });
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.left.next();
        let Some(member) = &self.current else {
            return Ok(None);
        };
        seed.deserialize(MemberName(&member.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let member = self.current.take().expect("its key was taken");
        let outer = self.reader.field;
        let field = self.structure.map(|structure| Field {
            outer,
            structure,
            name: &member.name,
        });
        seed.deserialize(Reader {
            field: field.as_ref().or(outer),
            member: member.key,
            ..self.reader.within(member.values)
        })
    }
}

/// The elements of an array. A tuple has a fixed number, and missing ones are zeros.
pub(super) struct Elements<'e> {
    reader: &'e Reader<'e>,
    children: Option<Children<'e>>,
    left: Option<usize>,
}

impl<'e> Elements<'e> {
    pub(super) fn of(reader: &'e Reader<'e>, array: Option<Value>, len: Option<usize>) -> Self {
        Self {
            reader,
            children: array.map(|array| reader.document.children(array)),
            left: len,
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let next = self.children.as_mut().and_then(Iterator::next);
        let values: Values = match (next, &mut self.left) {
            (_, Some(0)) | (None, None) => return Ok(None),
            (Some((_, value)), None) => smallvec![value],
            (next, Some(left)) => {
                *left -= 1;
                next.into_iter().map(|(_, value)| value).collect()
            }
        };
        seed.deserialize(self.reader.within(values)).map(Some)
    }
}

/// A variant of an enum with its data.
pub(super) struct Variant<'v> {
    reader: &'v Reader<'v>,
    name: Cow<'v, str>,
    value: Value,
}

impl<'v> Variant<'v> {
    /// Returns the only member of an object; `None` if it does not have exactly one.
    pub(super) fn of(reader: &'v Reader<'v>, object: Value) -> Option<Self> {
        let mut members = named(reader.document, &[object]).collect::<Vec<_>>();
        let (name, value) = members.pop()?;
        members.is_empty().then_some(Self {
            reader,
            name,
            value,
        })
    }

    fn data(self) -> Reader<'v> {
        self.reader.within(smallvec![self.value])
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.as_ref().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let data = self.data();
        if data.are_null(&data.values) {
            return Ok(());
        }
        Err(data.kind_mismatch("struct {}"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.data())
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.data().deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.data().deserialize_struct("", fields, visitor)
    }
}

/// A key of a map: a string, or as in Go an integer in a string.
struct MemberName<'n>(&'n str);

/// Defines methods for integer keys, each with the name of its type in Go.
macro_rules! integers {
    ($($method:ident, $visit:ident, $integer:ty, $name:literal;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse::<$integer>() {
                Ok(integer) => visitor.$visit(integer),
                Err(_) => Err(Error::mismatch(&format!("number {}", self.0), None, $name)),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for MemberName<'_> {
    type Error = Error;

    integers! {
        deserialize_i8, visit_i8, i8, "int8";
        deserialize_i16, visit_i16, i16, "int16";
        deserialize_i32, visit_i32, i32, "int32";
        deserialize_i64, visit_i64, i64, "int64";
        deserialize_u8, visit_u8, u8, "uint8";
        deserialize_u16, visit_u16, u16, "uint16";
        deserialize_u32, visit_u32, u32, "uint32";
        deserialize_u64, visit_u64, u64, "uint64";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
