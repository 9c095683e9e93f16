//! Channel classes: what the config switches on for some channels of a namespace.
//!
//! A class is found by the channel's name when the channel begins to exist on a shard, and is kept
//! beside it ([`channels`](super::channels)). A namespace that switches nothing on has no rules
//! here, so that its channels cost no search.

use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::channel_rules::{ChannelRules, SlowMembers};

/// What is on for the channels of a class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ChannelClass {
    /// What happens to slow members.
    pub slow: SlowMembers,
}

/// The number of a class. Class 0 has nothing on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClassId(u16);

/// The classes of a shard's channels, and the rules that assign channels to them. Each shard has a
/// copy, as each has handlers of its own.
///
/// Invariant: a namespace has rules only if one of them is for a class other than 0.
#[derive(Clone, Debug)]
pub struct ChannelClasses {
    classes: Vec<ChannelClass>,
    by_namespace: Vec<Option<ChannelRules<ClassId>>>,
}

impl ChannelClasses {
    /// Creates class 0, for all channels.
    #[must_use]
    pub fn new() -> Self {
        Self {
            classes: vec![ChannelClass::default()],
            by_namespace: Vec::new(),
        }
    }

    /// Assigns the channels of a namespace to classes. Replaces the namespace's rules.
    ///
    /// # Panics
    ///
    /// With more than 2^16 different classes.
    pub fn assign(&mut self, namespace: u16, rules: ChannelRules<ChannelClass>) {
        let namespace = usize::from(namespace);
        if self.by_namespace.len() <= namespace {
            self.by_namespace.resize_with(namespace + 1, || None);
        }
        let is_on = |(_, class): &(ChannelPattern, ChannelClass)| *class != ChannelClass::default();
        let has_any = rules.iter().any(is_on);
        let rules = has_any.then(|| rules.map(|class| self.intern(class)));
        self.by_namespace[namespace] = rules;
    }

    /// Returns a class.
    #[must_use]
    pub fn get(&self, class: ClassId) -> ChannelClass {
        self.classes[usize::from(class.0)]
    }

    /// Returns the class of a channel.
    #[must_use]
    pub fn of(&self, namespace: u16, name: &[u8]) -> ClassId {
        let rules = self.by_namespace.get(usize::from(namespace));
        let Some(rules) = rules.and_then(Option::as_ref) else {
            return ClassId::default();
        };
        // The channel of taps has a name that is not UTF-8, and class 0.
        let name = str::from_utf8(name).ok();
        let class = name.and_then(|name| rules.find(name));
        class.copied().unwrap_or_default()
    }

    fn intern(&mut self, class: ChannelClass) -> ClassId {
        let known = self.classes.iter().position(|known| *known == class);
        let index = known.unwrap_or_else(|| {
            self.classes.push(class);
            self.classes.len() - 1
        });
        ClassId(u16::try_from(index).expect("few classes"))
    }
}

impl Default for ChannelClasses {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_class_of_its_rule_and_else_class_0() {
        let mut classes = ChannelClasses::new();
        classes.assign(
            1,
            rules(&[("news-*", DROPS), ("news-0", PLAIN), ("x-*", DROPS)]),
        );
        classes.assign(2, rules(&[("news-*", PLAIN)]));
        let of = |namespace, name: &[u8]| classes.get(classes.of(namespace, name));
        assert_eq!(of(1, b"news-1"), DROPS);
        assert_eq!(classes.of(1, b"news-1"), classes.of(1, b"x-1"));
        for (namespace, name) in [
            (1, &b"news-0"[..]),
            (1, b"other"),
            (1, b"x-\xff"),
            (0, b"news-1"),
            (2, b"news-1"),
            (9, b"news-1"),
        ] {
            assert_eq!(classes.of(namespace, name), ClassId(0));
            assert_eq!(of(namespace, name), PLAIN);
        }
        assert!(classes.by_namespace[1].is_some());
        assert!(classes.by_namespace[2].is_none(), "nothing is on");
    }

    const PLAIN: ChannelClass = ChannelClass {
        slow: SlowMembers::Disconnect,
    };
    const DROPS: ChannelClass = ChannelClass {
        slow: SlowMembers::DropNewest,
    };

    fn rules(all: &[(&str, ChannelClass)]) -> ChannelRules<ChannelClass> {
        let mut rules = ChannelRules::default();
        for &(pattern, class) in all {
            let pattern = ChannelPattern::parse(pattern).expect("a pattern");
            rules.declare(pattern, class).expect("declared once");
        }
        rules
    }
}
