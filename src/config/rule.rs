//! Rules of access: who may join or publish to a channel, or give a command.
//!
//! A rule is data; `src/builtin/rules.rs` applies it to a client.

use super::error::Errors;
use super::key::{Keys as _, Shape, Spec, Table, Value, keys};
use super::keywords::{quoted, spelled};
use super::read::{Entry, Reader};
use super::secret::Secret;
use super::texts::{self, CLAIM_NAME_BYTES_MAX, CLAIM_VALUE_BYTES_MAX};
pub use crate::vocabulary::channel_rules::SlowMembers;

/// The clients that may join, publish or give a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Rule {
    /// All clients.
    #[default]
    Anyone,
    /// No client. The embedder's code, the server API and hooks are not restricted.
    Nobody,
    /// Clients that have a user.
    Identified,
    /// The user whom the channel's pattern names by `{user}`.
    Owner,
    /// Clients that connected with one of these tokens, 1 to 1,024.
    Tokens(Vec<Secret>),
    /// Clients whose JWT has this claim with this value: an equal string, a number or boolean of
    /// that spelling, or an array with such an element.
    Claim {
        /// The name of the claim.
        name: String,
        /// The required value.
        value: String,
    },
    /// Clients that the backend of the route's hooks allows.
    Hook,
}

keys! {
    /// A channel, or all channels that match a pattern, with the rules of access:
    /// `[[routes.channels]]`. It holds in the namespace of the route, for clients of every dialect.
    pub struct ChannelSetting {
        /// A name, or a pattern: one `*` stands for any text, or one `{user}` for the name of a
        /// user. Of several patterns that match, the first is used, in the order of the file, also
        /// over several routes that share a namespace; a name has priority over a pattern.
        pub name: String = String::new(), required, example("\"room-*\"");

        /// When the channel exists: `advance`, from the start of the gateway, or `first-join`, from
        /// the first join until the last member leaves. Without this key, a name has `advance` and
        /// a pattern `first-join`; a pattern cannot have `advance`.
        pub create: Option<Create> = None, example("\"first-join\"");

        /// Who may join.
        ///
        /// - `anyone`: all clients.
        /// - `nobody`: no client; the server API and hooks are not restricted.
        /// - `identified`: clients that have a user.
        /// - `owner`: the user that stands for `{user}` in the name.
        /// - `hook`: clients that the backend of the route's hooks allows.
        /// - `{ tokens = ["..."] }`: clients that connected with one of these tokens.
        /// - `{ claim = "role", value = "admin" }`: clients whose JWT has this claim.
        pub join: Rule = Rule::Anyone;

        /// Who may publish by a command: a rule as for `join`. A publisher must also be a member.
        pub publish: Rule = Rule::Anyone;

        /// What happens when a publication to the channel does not fit in the outbox of a member
        /// (`outbox_bytes_max`).
        ///
        /// - `disconnect`: the member is closed with 1008.
        /// - `drop_newest`: the member misses the publication and stays. The server API shows how
        ///   many each member and each channel missed.
        pub slow: SlowMembers = SlowMembers::Disconnect;
    }
}

keys! {
    /// A rule that is a table: tokens, or a claim with its value.
    struct RuleTable {
        /// Tokens, 1 to 1024.
        pub tokens: Option<Vec<Secret>> = None, example("[\"...\"]");

        /// The name of a claim of the JWT.
        pub claim: Option<String> = None, example("\"role\"");

        /// The required value of the claim: an equal string, a number or boolean of that spelling,
        /// or an array with such an element.
        pub value: Option<String> = None, example("\"admin\"");
    }
}

impl Table for ChannelSetting {}
impl Table for RuleTable {}

/// When a channel begins to exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Create {
    /// With the gateway; it is listed also while it has no member. Not for patterns.
    Advance,
    /// With its first member; it ends when the last leaves.
    FirstJoin,
}

spelled!(pub Create: Advance = "advance" FirstJoin = "first-join");
spelled!(pub SlowMembers: Disconnect = "disconnect" DropNewest = "drop_newest");

impl ChannelSetting {
    /// Creates a channel, or channels, that all clients may join and publish to.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::blank()
        }
    }

    /// Returns when the channel begins to exist, also where the config does not say so.
    #[must_use]
    pub fn creation(&self) -> Create {
        let is_pattern = crate::vocabulary::channel_pattern::is_pattern(&self.name);
        let default = if is_pattern {
            Create::FirstJoin
        } else {
            Create::Advance
        };
        self.create.unwrap_or(default)
    }
}

/// The rules that are a word.
const WORDS: [(&str, Rule); 5] = [
    ("anyone", Rule::Anyone),
    ("nobody", Rule::Nobody),
    ("identified", Rule::Identified),
    ("owner", Rule::Owner),
    ("hook", Rule::Hook),
];

impl Value for Rule {
    fn shape(_: &Spec) -> Shape {
        let words = WORDS.iter().map(|(word, _)| *word).collect();
        Shape::OneOf(vec![Shape::Words(words), Shape::Table(RuleTable::keys())])
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        const ALLOWED: &str = "\"anyone\", \"nobody\", \"identified\", \"owner\", \"hook\", \
            { tokens = [\"...\"] } and { claim = \"...\", value = \"...\" }";
        if let Some(text) = entry.value.as_str() {
            let rule = WORDS.into_iter().find(|(word, _)| *word == text);
            // The word is not shown: it may be a token.
            let unknown = || format!("is an unknown word, allowed are {ALLOWED}");
            return reader.ok(entry, rule.map(|(_, rule)| rule).ok_or_else(unknown));
        }
        let entries = reader.table(entry, &format!("must be one of {ALLOWED}"))?;
        let table: RuleTable = reader.read_table(&entry.path, &entries);
        if reader.errors.is_wrong(&entry.path) {
            return None;
        }
        let rule = match (table.tokens, table.claim, table.value) {
            (Some(tokens), None, None) => Ok(Self::Tokens(tokens)),
            (None, Some(name), Some(value)) => Ok(Self::Claim { name, value }),
            _ => Err("must have tokens, or a claim and its value".to_owned()),
        };
        reader.ok(entry, rule)
    }

    fn check(&self, at: &str, _: &Spec, errors: &mut Errors) {
        match self {
            Self::Tokens(tokens) => {
                tokens.check(&format!("{at}.tokens"), &Spec::NONE.count(1, 1_024), errors);
            }
            Self::Claim { name, value } => {
                let lengths = [
                    ("claim", name, CLAIM_NAME_BYTES_MAX),
                    ("value", value, CLAIM_VALUE_BYTES_MAX),
                ];
                for (key, text, bytes_max) in lengths {
                    errors.check(&format!("{at}.{key}"), texts::length(text, bytes_max));
                }
            }
            Self::Anyone | Self::Nobody | Self::Identified | Self::Owner | Self::Hook => {}
        }
    }

    fn toml(&self) -> Option<String> {
        let word = WORDS.iter().find(|(_, rule)| rule == self);
        word.map(|(word, _)| quoted(word))
    }
}
