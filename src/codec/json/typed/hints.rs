//! What earlier passes over a text have found out about the members of the types in it.
//!
//! It is about a type and not about a place in the text. So there are at most two hints for each
//! member of each type, and what one object is given for them costs no more than its own members.

use std::any::type_name;
use std::ptr;

/// A type that has members.
#[derive(Clone, Copy, Debug, Eq)]
pub(super) enum Owner {
    /// A struct that tells its name and its members.
    Struct {
        name: &'static str,
        fields: &'static [&'static str],
    },
    /// A map, or a struct that looks like one: what its visitor is called.
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
                // As a rule there is one list of a type's members, which is not to be compared.
                name == other_name && (ptr::eq(fields, others) || fields == others)
            }
            (Self::Map { visitor }, Self::Map { visitor: other }) => visitor == other,
            (Self::Struct { .. }, Self::Map { .. }) | (Self::Map { .. }, Self::Struct { .. }) => {
                false
            }
        }
    }
}

/// A member, whatever value of its type it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) owner: Owner,
    pub(super) member: &'static str,
}

/// What is to be done about a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hint {
    /// Where it is `null`, it is left out.
    Omit,
    /// Where it is missing, it has its zero.
    Zero,
}

/// A member that there is a hint about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hinted {
    pub(super) member: &'static str,
    /// Its place among the members that its type tells; `None` if it is not one of them.
    pub(super) field: Option<usize>,
    pub(super) hint: Hint,
}

/// All hints, by type.
#[derive(Debug, Default)]
pub(super) struct Hints(Vec<(Owner, Vec<Hinted>)>);

impl Hints {
    /// Those about the members of one type.
    pub(super) fn of(&self, owner: Owner) -> &[Hinted] {
        let hints = self.0.iter().find(|(it, _)| *it == owner);
        hints.map_or(&[], |(_, hinted)| hinted)
    }

    /// Adds one. `false` if it was there before, and so is of no use.
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
