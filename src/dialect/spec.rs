//! Static properties of a dialect's routes, for the config, the hints and the push paths.
//!
//! Plain data, and types for reports and request bodies. Client messages are decoded and encoded
//! elsewhere. Nothing here depends on a particular dialect.

use super::Dialect;

/// The static properties of a dialect's routes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteSpec {
    /// Description of the dialect in one line, for the config.
    pub summary: &'static str,
    /// The optional keys of `[[routes]]` that routes of this dialect have, separated by one space.
    pub keys: &'static str,
    /// Place of a client's token.
    pub token: TokenPlace,
    /// By default, browsers may connect only from pages of the same origin.
    pub same_origin: bool,
    /// Every session has a user, and a user has at most one session.
    pub exclusive_users: bool,
    /// Dialect of the sessions on `tap_path`; `None` if routes do not have that key. The config
    /// cannot name this dialect.
    pub tap: Option<&'static dyn Dialect>,
    /// Initial values of the test page.
    pub playground: Playground,
    /// Route of this dialect in the default config; `None` if there is none.
    pub default_route: Option<DefaultRoute>,
}

impl RouteSpec {
    /// Returns whether routes of this dialect have the optional key `key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.split(' ').any(|each| each == key)
    }
}

/// The place of a client's token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenPlace {
    /// None: there are no tokens.
    #[default]
    None,
    /// `Sec-WebSocket-Protocol`, read by [`Dialect::admit`].
    Subprotocol,
    /// A cookie, read by [`Dialect::admit`].
    Cookie,
    /// The places in the route's `token_from`.
    Sources,
    /// Messages, as [`Intent::Identify`](super::Intent::Identify).
    Message,
}

/// The initial values of a route's test page. Empty values are not used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Playground {
    /// Message in the input field.
    pub message: &'static str,
    /// Offered subprotocol.
    pub subprotocol: &'static str,
    /// Name of the cookie that can be set.
    pub cookie: &'static str,
    /// Query, with its question mark.
    pub query: &'static str,
    /// Interval in milliseconds at which an empty message is sent; 0 for never.
    pub heartbeat_ms: u32,
}

impl Playground {
    /// Returns the values of a page with a message in its input field.
    #[must_use]
    pub fn with_message(message: &'static str) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }
}

/// A route of the default config. The fields are in the order of printing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DefaultRoute {
    /// Path without the leading slash.
    pub name: &'static str,
    /// A test page is served at `/playground/` plus the name.
    pub has_playground: bool,
    /// The keys that the route sets, each with its value in TOML.
    pub keys: &'static [(&'static str, &'static str)],
    /// Whether the route has the commands of a chat: `echo`, `join`, `leave`, `publish`, `hello`.
    pub has_chat: bool,
    /// Name or pattern of declared channels.
    pub channels: Option<&'static str>,
}

/// The facts about a route for [`Dialect::first_steps`], without secrets or restricted channels.
#[derive(Clone, Copy, Debug)]
pub struct RouteFacts<'r> {
    /// A token that a client may use: the name of a user, or `<token>`.
    pub token: &'r str,
    /// Whether a client has a user only with a token that the operator keeps secret.
    pub needs_token: bool,
    /// How a client sends its token, such as `Authorization: Bearer <token>`; `None` if no token is
    /// needed.
    pub token_shown: Option<&'r str>,
    /// A command that joins the channel that a message names.
    pub join: Option<&'r str>,
    /// A command that publishes to the channel that a message names.
    pub publish: Option<&'r str>,
    /// A channel that anyone may join and publish to.
    pub room: Option<&'r str>,
    /// A command to try where there is no chat.
    pub command: &'r str,
    /// Recipients of a message without a command: `all` or `all others`; `None` if it goes to no
    /// session.
    pub goes_to: Option<&'r str>,
    /// [`RouteLimits::idle_timeout_ms`](crate::vocabulary::limits::RouteLimits::idle_timeout_ms).
    pub idle_timeout_ms: u32,
}

impl<'r> RouteFacts<'r> {
    /// Returns the commands to join and to publish, and a channel; `None` if one is missing.
    #[must_use]
    pub fn chat(&self) -> Option<[&'r str; 3]> {
        Some([self.join?, self.publish?, self.room?])
    }
}

/// The body of a push request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PushRequest<'b> {
    /// User that receives the publication.
    pub user: &'b str,
    /// Event of the publication.
    pub event: &'b str,
    /// Text of the publication.
    pub message: &'b str,
}

/// The body of a drop request.
#[derive(Debug, Eq, PartialEq)]
pub struct DropRequest {
    /// User whose sessions are closed; not empty.
    pub user: String,
    /// Only sessions registered for this event; `None` for all sessions.
    pub event: Option<String>,
}

/// A session that has opened or closed, as reported to taps.
#[derive(Clone, Copy, Debug)]
pub struct SessionReport<'s> {
    /// Whether the session has opened; otherwise it has closed.
    pub is_open: bool,
    /// Public id.
    pub id: &'s str,
    /// User; `None` if there is none.
    pub user: Option<&'s str>,
    /// Name in its profile; empty if there is none.
    pub name: &'s str,
    /// Other fields of its profile, names and values.
    pub fields: &'s [(&'s str, &'s str)],
    /// Time at which it opened, in RFC 3339.
    pub started: &'s str,
    /// Messages sent and received.
    pub messages: [u64; 2],
    /// Payload bytes sent and received.
    pub bytes: [u64; 2],
}
