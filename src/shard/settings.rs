//! Settings of a shard: the part of the config that it uses, in its own units.

use super::classes::ChannelClasses;
use super::home::HomeKey;
use crate::dialect::{Dialect, Framing, Options};
use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::channel_rules::ChannelRules;
use crate::vocabulary::content::Denial;
use crate::vocabulary::public_id::IdCipher;
use crate::vocabulary::time::Ticks;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The limits and routes of a shard. All shards of a process share them.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// The routes, one per WebSocket path.
    pub routes: Vec<RouteSettings>,
    /// The encodings of all routes' sessions, by [`EncodingId`].
    pub encodings: Vec<Encoding>,
    /// The namespaces. Routes refer to them by index.
    pub namespaces: Vec<NamespaceSettings>,
    /// The classes of channels.
    pub classes: Arc<ChannelClasses>,
    /// The cipher of public ids.
    pub ids: IdCipher,
    /// The key of the hash that assigns names to their home shards.
    pub home_key: HomeKey,
    /// Unix time of tick zero, in milliseconds.
    pub started_unix_ms: u64,
    /// Time limit from accept, or from a request's first byte, to the end of its head.
    pub handshake_timeout: Ticks,
    /// Time limit for a request's body.
    pub body_timeout: Ticks,
    /// Time limit for an HTTP peer to read at least some bytes of its responses.
    pub send_timeout: Ticks,
    /// Time limit between two requests of one connection.
    pub keep_alive_timeout: Ticks,
    /// Time limit from a message's first byte to its last; `None` for no limit.
    pub message_timeout: Option<Ticks>,
    /// Time limit for progress of a closing connection, renewed by each progress.
    pub close_grace: Ticks,
    /// Limit of all partial messages and request bodies together, in bytes.
    pub partial_bytes_max: usize,
    /// Limit of all batches together, in bytes.
    pub publication_bytes_max: usize,
    /// Size limit of a batch, in bytes. A larger frame gets its own batch.
    pub batch_bytes_max: usize,
    /// Pending bytes up to which scattered frames are copied together for one send.
    pub gather_bytes_max: u32,
    /// Length limit of a user's, an event's or a channel's name, in bytes.
    pub name_bytes_max: usize,
    /// Length limit of a token in a message, in bytes, also of one that is a user's name.
    pub token_bytes_max: usize,
    /// Memory limit for the names of one session, in bytes.
    pub names_bytes_per_session_max: usize,
    /// Memory limit for the names of all sessions of the shard, in bytes.
    pub names_bytes_max: usize,
    /// Maximum number of users of one session.
    pub users_per_session_max: u32,
    /// Maximum number of channels of one session.
    pub channels_per_session_max: u32,
    /// Maximum number of sessions that wait for one exclusive user.
    pub claims_waiting_max: u32,
}

/// The settings of one route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The route's dialect.
    pub dialect: &'static dyn Dialect,
    /// The formats of the route's sessions, by the index that the upgrade chooses.
    pub formats: Box<[RouteFormat]>,
    /// Index of the namespace. Users and channels of different namespaces are separate.
    pub namespace: u16,
    /// The rule that maps a token in a message to a user.
    pub tokens: TokenRule,
    /// Whether a user may have only one session. Its home shard decides which.
    pub exclusive: bool,
    /// Whether a new session yields to the exclusive user's present one, instead of replacing it.
    pub newcomer_yields: bool,
    /// The channels that each session joins when it opens, regardless of their rules.
    pub joins_on_open: Box<[ChannelPattern]>,
    /// Whether the host handles calls. If not, their outcome is
    /// [`Outcome::NotHandled`](crate::vocabulary::content::Outcome::NotHandled).
    pub handles_calls: bool,
    /// Whether ended sessions are put out by [`super::Shard::poll_ended`].
    pub observes_ends: bool,
    /// Whether presence and senders show a session's user name instead of its public id.
    pub named_by_user: bool,
    /// Whether sessions are taps: they receive a copy of the namespace's traffic and take no part
    /// in it.
    pub is_tap: bool,
    /// Maximum number of calls in flight of one session, at least 1.
    pub calls_in_flight_max: u16,
    /// Length limit of a received message, in bytes, inclusive.
    pub message_bytes_max: usize,
    /// Maximum bytes pending for one session.
    pub outbox_bytes_max: u32,
    /// Time without input after which a session is pinged; `None` for never.
    pub ping_interval: Option<Ticks>,
    /// Time without input after which a session is closed; `None` for never.
    pub idle_timeout: Option<Ticks>,
    /// The same in milliseconds, as the config has it; 0 for never.
    pub idle_timeout_ms: u32,
    /// Time after which a session without a user is closed; `None` for never.
    pub registration_timeout: Option<Ticks>,
}

/// A format of a route's sessions.
#[derive(Clone, Debug)]
pub struct RouteFormat {
    /// The dialect's options, with this format.
    pub options: Options,
    /// The encoding of messages to the sessions. [`ShardSettings::intern_encodings`] sets it.
    pub encoding: EncodingId,
}

/// All that the bytes of a publication depend on, besides the publication.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// The dialect.
    pub dialect: &'static dyn Dialect,
    /// The framing of the dialect's format.
    pub framing: Framing,
    /// The dialect's options, of the first route with this encoding. Other routes' may differ where
    /// the bytes do not depend on them.
    pub options: Options,
}

/// The id of an encoding: the index in [`ShardSettings::encodings`]. Sessions of one encoding share
/// frames, whatever their routes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncodingId(pub u16);

/// The channel rules of one namespace, for all its routes.
#[derive(Clone, Debug, Default)]
pub struct NamespaceSettings {
    /// Rules for joining.
    pub joins: ChannelRules<ChannelRule>,
    /// Rules for publishing. On a channel without a rule, every member may publish.
    pub publishers: ChannelRules<ChannelRule>,
}

/// The rule for joining a channel or for publishing to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelRule {
    /// Any client.
    Open,
    /// No client; only the process.
    Closed,
    /// The host decides; the session waits for the response.
    AskHost,
}

/// The result of applying the rules to a client's join or publication.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessDecision {
    /// The client may do it.
    Allowed,
    /// The client may not do it.
    Denied(Denial),
    /// The host decides.
    AskHost,
}

impl RouteFormat {
    /// Creates a format whose encoding is not set.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let encoding = EncodingId(0);
        Self { options, encoding }
    }
}

impl Encoding {
    /// Returns a route's own options for its sessions of this encoding.
    #[inline]
    pub(super) fn options_on<'r>(&self, route: &'r RouteSettings) -> &'r Options {
        &route.formats[usize::from(self.options.format)].options
    }
}

impl ShardSettings {
    /// Finds the distinct encodings of all routes' formats, and gives each format the id of its
    /// encoding. Called after the last change of a dialect or its options.
    ///
    /// # Panics
    ///
    /// If there are more than 65,536 encodings.
    pub fn intern_encodings(&mut self) {
        self.encodings.clear();
        for route in &mut self.routes {
            for RouteFormat { options, encoding } in &mut route.formats {
                let mut known = self.encodings.iter();
                let known = known.position(|other| {
                    other.dialect == route.dialect && other.options.encodes_like(options)
                });
                let index = known.unwrap_or_else(|| {
                    self.encodings.push(Encoding {
                        dialect: route.dialect,
                        framing: route.dialect.framing(options.format),
                        options: options.clone(),
                    });
                    self.encodings.len() - 1
                });
                *encoding = EncodingId(u16::try_from(index).expect("few encodings"));
            }
        }
    }

    /// Returns an encoding.
    #[inline]
    pub(super) fn encoding(&self, id: EncodingId) -> &Encoding {
        &self.encodings[usize::from(id.0)]
    }

    /// Applies the channel rules to a join by a client of `route`.
    #[must_use]
    pub fn may_join(&self, route: &RouteSettings, channel: &str) -> AccessDecision {
        if channel.len() > self.name_bytes_max {
            return AccessDecision::Denied(Denial::NoSuchChannel);
        }
        let rules = &self.namespaces[usize::from(route.namespace)].joins;
        match rules.find(channel) {
            None if route.dialect.spec().declared_channels => {
                AccessDecision::Denied(Denial::NoSuchChannel)
            }
            None => AccessDecision::Allowed,
            Some(rule) => rule.decision(),
        }
    }

    /// Applies the channel rules to a publication by a client that is on the channel.
    #[must_use]
    pub fn may_publish(&self, namespace: u16, channel: &str) -> AccessDecision {
        let rules = &self.namespaces[usize::from(namespace)].publishers;
        let rule = rules.find(channel);
        rule.map_or(AccessDecision::Allowed, |rule| rule.decision())
    }

    /// Checks whether the dialects of a namespace can encode an event.
    ///
    /// # Errors
    ///
    /// The reason of the first that cannot.
    pub fn check_event(&self, namespace: u16, event: &str) -> Result<(), &'static str> {
        let routes = self.routes.iter();
        let mut routes = routes.filter(|route| route.namespace == namespace);
        routes.try_for_each(|route| route.dialect.check_event(event))
    }
}

impl ChannelRule {
    fn decision(self) -> AccessDecision {
        match self {
            Self::Open => AccessDecision::Allowed,
            Self::Closed => AccessDecision::Denied(Denial::NotAuthorized),
            Self::AskHost => AccessDecision::AskHost,
        }
    }
}

/// The rule that maps a token to a user. Its `Debug` output contains no token.
#[derive(Clone, derive_more::Debug)]
pub enum TokenRule {
    /// The token is the user's name, unverified.
    UserName,
    /// The table maps tokens to users. Other tokens are invalid.
    #[debug("Table({} not shown)", _0.len())]
    Table(Arc<BTreeMap<Box<str>, Box<str>>>),
    /// The host verifies the token; the session waits for the response.
    AskHost,
}

/// The result of looking up a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenLookup<'t> {
    /// This user, unverified: the token is the name.
    Unverified(&'t str),
    /// This user, from the table.
    User(&'t str),
    /// The token is invalid.
    Invalid,
    /// The host verifies the token.
    AskHost,
}

impl TokenRule {
    /// Looks up a token.
    #[must_use]
    pub fn look_up<'t>(&'t self, token: &'t str) -> TokenLookup<'t> {
        match self {
            Self::UserName => TokenLookup::Unverified(token),
            Self::Table(users) => users
                .get(token)
                .map_or(TokenLookup::Invalid, |user| TokenLookup::User(user)),
            Self::AskHost => TokenLookup::AskHost,
        }
    }
}
