//! What was declared of channels, by name or by pattern: the one place that knows which counts.

use super::channel_pattern::ChannelPattern;
use std::collections::BTreeMap;

/// A rule for each channel that was declared. A name goes before a pattern, and of the patterns the
/// first that fits.
#[derive(Clone, Debug)]
pub struct ChannelRules<R> {
    named: BTreeMap<Box<str>, (ChannelPattern, R)>,
    patterns: Vec<(ChannelPattern, R)>,
}

impl<R> ChannelRules<R> {
    /// Declares a channel, or all that fit a pattern.
    ///
    /// # Errors
    ///
    /// The rule, if the channel or pattern has been declared before: that one stays.
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

    /// The rule of a channel; `None` if it was not declared.
    #[must_use]
    pub fn find(&self, channel: &str) -> Option<&R> {
        let fitting = || {
            let mut patterns = self.patterns.iter();
            patterns.find(|(pattern, _)| pattern.fit(channel).is_some())
        };
        let found = self.named.get(channel).or_else(fitting);
        found.map(|(_, rule)| rule)
    }

    /// Everything that was declared, the names first.
    pub fn iter(&self) -> impl Iterator<Item = &(ChannelPattern, R)> {
        self.named.values().chain(&self.patterns)
    }

    /// [`ChannelRules::iter`], taken apart.
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
