//! Rules declared for channels, by name or by pattern, and their precedence.

use super::channel_pattern::ChannelPattern;
use std::collections::BTreeMap;

/// The rules of declared channels. A rule for the exact name precedes those of patterns; of
/// matching patterns, the first declared applies.
#[derive(Clone, Debug)]
pub struct ChannelRules<R> {
    named: BTreeMap<Box<str>, (ChannelPattern, R)>,
    patterns: Vec<(ChannelPattern, R)>,
}

/// What happens when the outbox of a channel's member has no room for a publication to the channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SlowMembers {
    /// The member is closed with 1008.
    #[default]
    Disconnect,
    /// The member misses the publication and stays. What it missed is counted.
    DropNewest,
}

impl<R> ChannelRules<R> {
    /// Declares the rule of a channel, or of all channels that match a pattern.
    ///
    /// # Errors
    ///
    /// Returns the rule if the same name or pattern has been declared; the earlier rule stays.
    pub fn declare(&mut self, pattern: ChannelPattern, rule: R) -> Result<(), R> {
        let is_new = match pattern.name() {
            Some(name) => !self.named.contains_key(name),
            None => self.patterns.iter().all(|(known, _)| *known != pattern),
        };
        if !is_new {
            return Err(rule);
        }
        match pattern.name() {
            Some(name) => drop(self.named.insert(name.into(), (pattern.clone(), rule))),
            None => self.patterns.push((pattern, rule)),
        }
        Ok(())
    }

    /// Returns the rule of a channel; `None` if no declaration matches.
    #[must_use]
    pub fn find(&self, channel: &str) -> Option<&R> {
        let matching = || {
            let mut patterns = self.patterns.iter();
            patterns.find(|(pattern, _)| pattern.match_name(channel).is_some())
        };
        let found = self.named.get(channel).or_else(matching);
        found.map(|(_, rule)| rule)
    }

    /// Replaces each rule by a value for it.
    #[must_use]
    pub fn map<S>(self, mut value: impl FnMut(R) -> S) -> ChannelRules<S> {
        let mut map = |(pattern, rule)| (pattern, value(rule));
        let named = self.named.into_iter();
        ChannelRules {
            named: named.map(|(name, it)| (name, map(it))).collect(),
            patterns: self.patterns.into_iter().map(&mut map).collect(),
        }
    }

    /// Returns all declarations, names first.
    pub fn iter(&self) -> impl Iterator<Item = &(ChannelPattern, R)> {
        self.named.values().chain(&self.patterns)
    }

    /// Returns all declarations, names first.
    pub fn into_declared(self) -> impl Iterator<Item = (ChannelPattern, R)> {
        self.named.into_values().chain(self.patterns)
    }
}

impl<R> Default for ChannelRules<R> {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            patterns: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_a_pattern_and_of_these_the_first() {
        let mut rules = ChannelRules::default();
        for (rule, pattern) in ["room-*", "room-1*", "room-1", "*-x"]
            .into_iter()
            .enumerate()
        {
            let pattern = ChannelPattern::parse(pattern).expect("a pattern");
            assert_eq!(rules.declare(pattern.clone(), rule), Ok(()));
            assert_eq!(rules.declare(pattern, 9), Err(9), "declared once");
        }
        for (channel, rule) in [
            ("room-1", Some(2)),
            ("room-12", Some(0)),
            ("room-x", Some(0)),
            ("a-x", Some(3)),
            ("a", None),
        ] {
            assert_eq!(rules.find(channel).copied(), rule, "{channel}");
        }
        assert_eq!(
            rules.iter().map(|&(_, rule)| rule).collect::<Vec<_>>(),
            [2, 0, 1, 3]
        );
    }
}
