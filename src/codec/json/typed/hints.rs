//! Hints from earlier passes about the members of types.
//!
//! A hint is about a type, not about a place in the text. So each member of each type has at most
//! two hints, and applying them to an object costs no more than its own members.

use std::any::type_name;
use std::ptr;

/// A type with members.
#[derive(Clone, Copy, Debug, Eq)]
pub(super) enum Owner {
    /// A struct whose name and members serde gives.
    Struct {
        name: &'static str,
        fields: &'static [&'static str],
    },
    /// A map, or a struct that serde reads as one: the type name of its visitor.
    Map { visitor: &'static str },
}

impl Owner {
    pub(super) fn map_of<V>() -> Self {
        let visitor = type_name::<V>();
        Self::Map { visitor }
    }

    fn index_of(&self, member: &str) -> Option<usize> {
        match self {
            Self::Struct { fields, .. } => fields.iter().position(|field| *field == member),
            Self::Map { .. } => None,
        }
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (
                Self::Struct { name, fields },
                Self::Struct {
                    name: other_name,
                    fields: others,
                },
            ) => {
                // Usually a type's members are one static list, so that the pointers are equal.
                name == other_name && (ptr::eq(fields, others) || fields == others)
            }
            (Self::Map { visitor }, Self::Map { visitor: other }) => visitor == other,
            (Self::Struct { .. }, Self::Map { .. }) | (Self::Map { .. }, Self::Struct { .. }) => {
                false
            }
        }
    }
}

/// A member of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) owner: Owner,
    pub(super) member: &'static str,
}

/// What to do about a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hint {
    /// Leave it out if it is `null`.
    Omit,
    /// Give it the zero of its type if it is missing.
    Zero,
}

/// A member with a hint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hinted {
    pub(super) member: &'static str,
    /// Its index among the members that serde gives for its type; `None` if it is none of them.
    pub(super) field: Option<usize>,
    pub(super) hint: Hint,
}

/// All hints, by type.
#[derive(Debug, Default)]
pub(super) struct Hints(Vec<(Owner, Vec<Hinted>)>);

impl Hints {
    /// Returns the hints for the members of a type.
    pub(super) fn of(&self, owner: Owner) -> &[Hinted] {
        let hints = self.0.iter().find(|(it, _)| *it == owner);
        hints.map_or(&[], |(_, hinted)| hinted)
    }

    /// Adds a hint; `false` if it was there before.
    pub(super) fn add(&mut self, key: Key, hint: Hint) -> bool {
        let Key { owner, member } = key;
        let is_same = |it: &Hinted| it.member == member && it.hint == hint;
        if self.of(owner).iter().any(is_same) {
            return false;
        }
        let index = self.0.iter().position(|(it, _)| *it == owner);
        let index = index.unwrap_or_else(|| {
            self.0.push((owner, Vec::new()));
            self.0.len() - 1
        });
        self.0[index].1.push(Hinted {
            member,
            field: owner.index_of(member),
            hint,
        });
        true
    }
}
