//! What a shard runs with: the part of the config that the pure core needs, in its own units.

use crate::dialect::Dialect;
use crate::time::Ticks;
use std::collections::BTreeMap;

/// The bounds and routes of one shard. The same on every shard of a process.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// One for each WebSocket path, found by its index.
    pub routes: Vec<RouteSettings>,
    /// From accept to the end of the request's head, and from then to the next.
    pub handshake_timeout: Ticks,
    /// For a request's body.
    pub body_timeout: Ticks,
    /// Between two requests of one connection.
    pub keep_alive_timeout: Ticks,
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
    /// A user's or an event's name, in bytes.
    pub name_bytes_max: usize,
    /// Users that one session may speak for.
    pub users_per_session_max: u32,
}

/// What holds for the sessions of one route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The language spoken there.
    pub dialect: &'static dyn Dialect,
    /// What the wording of a publication depends on: routes of one encoding share their frames.
    pub encoding: EncodingId,
    /// Users of different namespaces do not know each other.
    pub namespace: u16,
    /// How a token becomes a user.
    pub tokens: TokenRule,
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

/// How a token becomes a user.
#[derive(Clone, Debug)]
pub enum TokenRule {
    /// It is the user's name.
    Itself,
    /// It is looked up; a token that is not there is refused.
    Table(BTreeMap<Box<str>, Box<str>>),
    /// Somebody outside the shard knows; the session waits for the answer.
    Ask,
}

/// Everything that the bytes of a publication depend on, interned: two sessions of one encoding are
/// sent the same frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncodingId(pub u16);
