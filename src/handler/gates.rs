//! Who may join a channel, and who may publish to it, as it was declared on one shard.

use super::admission::Joining;
use super::chain::Registered;
use super::task::LocalFuture;
use crate::runtime::panic::discard;
use crate::shard::settings::ChannelRule;
use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::content::Failure;
use std::collections::BTreeMap;

/// Judges a client that wants to join or publish.
pub(crate) type ValidateFn = dyn Fn(Joining) -> LocalFuture<Result<(), Failure>>;

/// Who may.
#[derive(Clone)]
pub(crate) enum Gate {
    /// Anyone.
    Open,
    /// No client by itself.
    Closed,
    /// Whom the validator lets.
    Ask(Registered<ValidateFn>),
}

/// What a client wants of a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    Join,
    Publish,
}

/// What was declared of the channels of a namespace, on one of its routes. A name goes before a
/// pattern, and of the patterns the first that fits.
#[derive(Default)]
pub(crate) struct Gates {
    named: BTreeMap<Box<str>, Gate>,
    patterns: Vec<(ChannelPattern, Gate)>,
}

impl Gate {
    /// What the shard is told of it.
    pub(crate) fn rule(&self) -> ChannelRule {
        match self {
            Self::Open => ChannelRule::Open,
            Self::Closed => ChannelRule::Closed,
            Self::Ask(_) => ChannelRule::Ask,
        }
    }
}

impl Gates {
    /// Declares a channel, or all that fit a pattern; `false` if it has been declared before.
    pub(crate) fn declare(&mut self, pattern: ChannelPattern, gate: Gate) -> bool {
        if let Some(name) = pattern.name() {
            return self.named.insert(name.into(), gate).is_none();
        }
        let is_new = self.patterns.iter().all(|(known, _)| *known != pattern);
        self.patterns.push((pattern, gate));
        is_new
    }

    pub(crate) fn named(&self, channel: &str) -> Option<&Gate> {
        self.named.get(channel)
    }

    pub(crate) fn fitting(&self, channel: &str) -> Option<&Gate> {
        let mut patterns = self.patterns.iter();
        let found = patterns.find(|(pattern, _)| pattern.fit(channel).is_some());
        found.map(|(_, gate)| gate)
    }

    /// What was declared, the names first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &Gate)> {
        self.named.iter().map(|(name, gate)| (&**name, gate))
    }

    /// What was declared by patterns, in order.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (&ChannelPattern, &Gate)> {
        self.patterns.iter().map(|(pattern, gate)| (pattern, gate))
    }

    /// Drops every validator by itself.
    pub(crate) fn discard(self) {
        let patterns = self.patterns.into_iter().map(|(_, gate)| gate);
        self.named.into_values().chain(patterns).for_each(discard);
    }
}
