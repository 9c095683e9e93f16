//! Who may do something: join or publish to a channel, give a command.
//!
//! A rule is data; what it means for one client is decided where clients are known
//! (`src/builtin/rules.rs`).

use super::secret::Secret;

/// Who may join, publish or give a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Rule {
    /// Anyone.
    #[default]
    Anyone,
    /// No client. The embedder's code, the server API and hooks are not asked.
    Nobody,
    /// Clients that have a user.
    Identified,
    /// The user whom the channel's pattern names by `{user}`, and nobody else.
    Owner,
    /// Clients that connected with one of these tokens, 1 to 1,024.
    Tokens(Vec<Secret>),
    /// Clients whose JWT has this claim with this value: a string that is equal, a number or
    /// boolean spelled so, or an array that has such an element.
    Claim {
        /// The claim's name.
        name: String,
        /// The value that is wanted.
        value: String,
    },
    /// Whom the backend of the route's hooks allows.
    Hook,
}

/// A channel, or all whose names fit a pattern, and who may do what there. It holds in the route's
/// namespace, whatever language clients speak.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelSetting {
    /// A name, or a pattern: `*` is any text, `{user}` the name of a user. See
    /// [`ChannelPattern`](crate::channel_pattern::ChannelPattern).
    pub name: String,
    /// When it begins to exist.
    pub create: Create,
    /// Who may join.
    pub join: Rule,
    /// Who may publish, by the built-in `publish`. Whoever does must be on the channel too.
    pub publish: Rule,
}

/// When a channel begins to exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Create {
    /// With the gateway; it is listed also while nobody is on it. Not for patterns.
    Advance,
    /// When the first joins; it is forgotten with its name when the last leaves.
    FirstJoin,
}

super::words::spelled!(Create: Advance = "advance" FirstJoin = "first-join");

impl ChannelSetting {
    /// A channel, or channels, that anyone may join and publish to. A name exists in advance, what
    /// fits a pattern from the first join on.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let is_pattern = crate::vocabulary::channel_pattern::is_pattern(&name);
        Self {
            name,
            create: if is_pattern {
                Create::FirstJoin
            } else {
                Create::Advance
            },
            join: Rule::Anyone,
            publish: Rule::Anyone,
        }
    }
}
