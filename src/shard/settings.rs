//! What a shard runs with: the part of the config that the pure core needs, in its own units.

use super::claims::HomeKey;
use crate::dialect::{Dialect, Options};
use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::channel_rules::ChannelRules;
use crate::vocabulary::content::Denial;
use crate::vocabulary::public_id::IdCipher;
use crate::vocabulary::time::Ticks;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The bounds and routes of one shard. The same on every shard of a process.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// One for each WebSocket path, found by its index.
    pub routes: Vec<RouteSettings>,
    /// One for each namespace, found by its index.
    pub namespaces: Vec<NamespaceSettings>,
    /// Makes public ids and reads them; the same on every shard.
    pub ids: IdCipher,
    /// The key of the hash that gives every name its home; the same on every shard.
    pub home_key: HomeKey,
    /// When tick zero was, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// From accept to the end of the request's head, and from then to the next.
    pub handshake_timeout: Ticks,
    /// For a request's body.
    pub body_timeout: Ticks,
    /// For the peer to take some of its answers.
    pub send_timeout: Ticks,
    /// Between two requests of one connection.
    pub keep_alive_timeout: Ticks,
    /// From the first byte of a message to its last; `None` is for ever.
    pub message_timeout: Option<Ticks>,
    /// For the peer's end, once ours has been said.
    pub close_grace: Ticks,
    /// All unfinished messages and bodies together, in bytes.
    pub partial_bytes_max: usize,
    /// All batches together, in bytes.
    pub publication_bytes_max: usize,
    /// One batch, in bytes, unless a single frame is larger.
    pub batch_bytes_max: usize,
    /// Up to this many scattered bytes are copied together for one send.
    pub gather_bytes_max: u32,
    /// A user's, an event's or a channel's name, in bytes.
    pub name_bytes_max: usize,
    /// A token, in bytes, also one that is itself a user's name.
    pub token_bytes_max: usize,
    /// What one session may have the shard remember, in bytes.
    pub names_bytes_per_session_max: usize,
    /// What all of them may, in bytes.
    pub names_bytes_max: usize,
    /// Users that one session may speak for.
    pub users_per_session_max: u32,
    /// Channels that one session may be on.
    pub channels_per_session_max: u32,
    /// Sessions that may wait to be one user's.
    pub claims_waiting_max: u32,
}

/// What holds for the sessions of one route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The language spoken there.
    pub dialect: &'static dyn Dialect,
    /// What is set for it.
    pub options: Options,
    /// What the wording of a publication depends on: routes of one encoding share their frames.
    pub encoding: EncodingId,
    /// Users of different namespaces do not know each other.
    pub namespace: u16,
    /// How a token in a message becomes a user.
    pub tokens: TokenRule,
    /// Whether a user may have one session only; then its name has a home.
    pub exclusive: bool,
    /// Whether it is the newcomer that yields to an exclusive user's session.
    pub newcomer_yields: bool,
    /// The channels that a session is put on when it opens, whatever their rules.
    pub joins_on_open: Box<[ChannelPattern]>,
    /// Whether somebody outside the shard handles calls; else they are answered as not handled.
    pub handles_calls: bool,
    /// Whether somebody outside the shard wants to know when a session has ended.
    pub observes_ends: bool,
    /// Whether sessions are named by their users where their language says who speaks.
    pub named_by_user: bool,
    /// Whether sessions are shown all traffic of the namespace, instead of taking part in it.
    pub watches: bool,
    /// Calls of one session that may be handled at once, at least one.
    pub calls_in_flight_max: u16,
    /// One message, in bytes, that many included.
    pub message_bytes_max: usize,
    /// What one session may be owed, in bytes.
    pub outbox_bytes_max: u32,
    /// A silent session is pinged after this; `None` is never.
    pub ping_interval: Option<Ticks>,
    /// A silent session is closed after this; `None` is never.
    pub idle_timeout: Option<Ticks>,
    /// A session that speaks for nobody is closed after this; `None` is never.
    pub registration_timeout: Option<Ticks>,
}

/// What holds for the channels of one namespace, whoever joins and in whatever language.
pub type NamespaceSettings = ChannelRules<ChannelRule>;

/// Who may join a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelRule {
    /// Anyone.
    Open,
    /// No client by itself.
    Closed,
    /// Somebody outside the shard knows; the session waits for the answer.
    Ask,
}

/// Whether a client may be on a channel by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MayJoin {
    /// It may.
    Yes,
    /// It may not.
    No(Denial),
    /// Somebody outside the shard knows.
    Ask,
}

impl ShardSettings {
    /// Whether a client of this route may be on a channel by itself.
    #[must_use]
    pub fn may_join(&self, route: &RouteSettings, channel: &str) -> MayJoin {
        if channel.len() > self.name_bytes_max {
            return MayJoin::No(Denial::NoSuchChannel);
        }
        match self.namespaces[usize::from(route.namespace)].find(channel) {
            None if route.dialect.habits().declared_channels => MayJoin::No(Denial::NoSuchChannel),
            None | Some(ChannelRule::Open) => MayJoin::Yes,
            Some(ChannelRule::Closed) => MayJoin::No(Denial::NotAuthorized),
            Some(ChannelRule::Ask) => MayJoin::Ask,
        }
    }
}

/// How a token becomes a user. Its `Debug` shows no token.
#[derive(Clone, derive_more::Debug)]
pub enum TokenRule {
    /// It is the user's name.
    Itself,
    /// It is looked up; a token that is not there is refused.
    #[debug("Table({} not shown)", _0.len())]
    Table(Arc<BTreeMap<Box<str>, Box<str>>>),
    /// Somebody outside the shard knows; the session waits for the answer.
    Ask,
}

/// Whom a token names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Named<'t> {
    /// This user, by the client's own word.
    Itself(&'t str),
    /// This user.
    User(&'t str),
    /// Nobody.
    Nobody,
    /// Somebody outside the shard knows.
    Ask,
}

impl TokenRule {
    /// Whom a token names, as far as the rule says.
    #[must_use]
    pub fn user_of<'t>(&'t self, token: &'t str) -> Named<'t> {
        match self {
            Self::Itself => Named::Itself(token),
            Self::Table(users) => users
                .get(token)
                .map_or(Named::Nobody, |user| Named::User(user)),
            Self::Ask => Named::Ask,
        }
    }
}

/// Everything that the bytes of a publication depend on, interned: two sessions of one encoding are
/// sent the same frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncodingId(pub u16);
