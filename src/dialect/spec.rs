//! What a language says of itself to those who configure, describe and push to its routes.
//!
//! Plain data and what is made of them: no message of a client is read or written by it. Nothing
//! here knows one language from another.

use super::Dialect;

/// What the routes of a language have, and what holds for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteSpec {
    /// The language in one line, for the config.
    pub summary: &'static str,
    /// The keys of `[[routes]]` that its routes have, beside those that all routes have; with a
    /// space between two.
    pub keys: &'static str,
    /// Where a client's token is.
    pub token: TokenPlace,
    /// Whether browsers may connect from pages of the same origin only, unless the route says
    /// otherwise.
    pub same_origin: bool,
    /// Whether every session has a user, and every user one session at a time.
    pub exclusive_users: bool,
    /// The language at the `tap_path` of its routes, if they have that key. No route can have it as
    /// its own.
    pub tap: Option<&'static dyn Dialect>,
    /// What the page to try a route begins with.
    pub playground: Playground,
    /// Its route in the default config; `None` if that has none.
    pub default_route: Option<DefaultRoute>,
}

impl RouteSpec {
    /// Whether routes have this key of those that not all routes have.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.split(' ').any(|each| each == key)
    }
}

/// Where a client's token is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenPlace {
    /// Nowhere.
    #[default]
    None,
    /// In `Sec-WebSocket-Protocol`; [`Dialect::admit`] finds it.
    Subprotocol,
    /// In a cookie; [`Dialect::admit`] finds it.
    Cookie,
    /// Where the route's `token_from` says.
    Sources,
    /// In messages, as [`Intent::Identify`](super::Intent::Identify).
    Message,
}

/// What the page to try a route begins with. What is left empty is not used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Playground {
    /// The message that is ready to be sent.
    pub message: &'static str,
    /// The subprotocol that is offered.
    pub subprotocol: &'static str,
    /// The cookie that can be set.
    pub cookie: &'static str,
    /// What follows the path, with its question mark.
    pub query: &'static str,
    /// The interval at which an empty message is sent, in milliseconds; 0 is never.
    pub heartbeat_ms: u32,
}

impl Playground {
    /// A page with a message that is ready to be sent.
    #[must_use]
    pub fn saying(message: &'static str) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }
}

/// A route of the default config, in the order in which it is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DefaultRoute {
    /// Its path without the slash.
    pub name: &'static str,
    /// Whether a page to try it is served, at `/playground/` and its name.
    pub has_playground: bool,
    /// The keys that it sets, each with its value in TOML.
    pub keys: &'static [(&'static str, &'static str)],
    /// Whether it has the commands of a chat: `echo`, `join`, `leave`, `publish` and `hello`.
    pub has_chat: bool,
    /// A name or pattern of channels that are declared.
    pub channels: Option<&'static str>,
}

/// What [`Dialect::first_steps`] is told of a route: only what anyone may use, and no secret.
#[derive(Clone, Copy, Debug)]
pub struct RouteFacts<'r> {
    /// What a client may show as its token: the name of a user, or `<token>`.
    pub token: &'r str,
    /// Whether a client has no user without a token that only the operator knows.
    pub needs_token: bool,
    /// How that token is shown where `token_from` says; `None` if it need not be.
    pub token_shown: Option<&'r str>,
    /// A command that joins the channel that a message names.
    pub join: Option<&'r str>,
    /// A command that publishes to the channel that a message names.
    pub publish: Option<&'r str>,
    /// A channel that anyone may join and publish to.
    pub room: Option<&'r str>,
    /// A command to try where there is no chat.
    pub command: &'r str,
    /// To whom a message without a command goes: `all` or `all others`; `None` if to nobody.
    pub goes_to: Option<&'r str>,
    /// [`RouteLimits::idle_timeout_ms`](crate::vocabulary::limits::RouteLimits::idle_timeout_ms).
    pub idle_timeout_ms: u32,
}

impl<'r> RouteFacts<'r> {
    /// The commands to join and to publish by, and a channel for it; `None` if one is missing.
    #[must_use]
    pub fn chat(&self) -> Option<[&'r str; 3]> {
        Some([self.join?, self.publish?, self.room?])
    }
}

/// What the body of a push asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PushRequest<'b> {
    /// Who is to receive it.
    pub user: &'b str,
    /// Under which event.
    pub event: &'b str,
    /// The text itself.
    pub message: &'b str,
}

/// What the body of a drop asks for.
#[derive(Debug, Eq, PartialEq)]
pub struct DropRequest {
    /// Whose sessions are to end; not empty.
    pub user: String,
    /// Only those registered for this event; `None` is all of them.
    pub event: Option<String>,
}

/// A session that has opened or closed, as a tap is told of it.
#[derive(Clone, Copy, Debug)]
pub struct SessionReport<'s> {
    /// Whether it has opened; otherwise it has closed.
    pub is_open: bool,
    /// Its public id.
    pub id: &'s str,
    /// Its user's name, if it has one.
    pub user: Option<&'s str>,
    /// What its profile calls it; empty if it has none.
    pub name: &'s str,
    /// What else its profile says, names and values.
    pub fields: &'s [(&'s str, &'s str)],
    /// When it opened, as RFC 3339 has it.
    pub started: &'s str,
    /// Messages that went to it, and that came from it.
    pub messages: [u64; 2],
    /// Their payloads, in bytes.
    pub bytes: [u64; 2],
}
