//! One route: a path, the language that is spoken there, and everything that is set for it.
//!
//! What a route leaves open is resolved by its methods, so that no reader of a config has a default
//! of its own. [`ROUTE_KEYS`] has every key there is, and a language says which of them it has a
//! use for; the file is read by them, and a route made in code is checked by them. Nothing here
//! knows one language from another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::words::{spelled, unknown};
use super::{
    ChannelSetting, CommandSetting, HookKind, Hooks, Jwt, PushAuth, Secret, TokenSource, Tokens,
};
use crate::dialect::{self, Dialect};
use crate::vocabulary::limits::{Heartbeat, Limits, RouteLimits};

/// One WebSocket path, the language that is spoken there, and the HTTP paths that belong to it.
///
/// A key that a language has no use for is refused by
/// [`Config::validate`](super::Config::validate).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Where clients connect, such as `/ws`. Compared with a request's path exactly, without query,
    /// after both were percent-decoded once.
    ///
    /// It may hold parameters: `/rooms/{room}` takes any text up to the next slash, and `{*rest}`
    /// at the end takes all that is left. A slash that is percent-encoded is part of that text. The
    /// syntax is that of the crate matchit.
    pub path: String,
    /// The language of its sessions, such as `&`[`Wsrv`](crate::dialect::wsrv::Wsrv).
    pub dialect: &'static dyn Dialect,
    /// What the route is called, in 1 to 64 of the characters `A-Za-z0-9_.-`; see [`Route::name`].
    /// Two routes may share a name.
    pub name: Option<String>,
    /// Where its users and channels belong, in 1 to 256 bytes. Routes that name the same namespace
    /// share users and channels, whatever their languages; `None` is a namespace of its own.
    ///
    /// Routes that share a namespace need not agree in anything else. The one connection that a
    /// user has among `edk` routes is one in the namespace.
    pub namespace: Option<String>,
    /// From which pages browsers may connect; see [`Route::origin`].
    pub origin: Option<Origin>,
    /// The subprotocols (RFC 6455 1.9) that are agreed on: the first that a client offers, at most
    /// 64. A browser that offers some fails where none is agreed on. Not for `edk`, which has its
    /// token there; what `easyws` agrees on by itself goes before these.
    pub subprotocols: Vec<String>,
    /// Where a page to try the route is served; `None` is nowhere, as always on an echo route.
    pub playground_path: Option<String>,
    /// Which token names which user. On a `wserver` route the token is in the registration, and one
    /// that is not in the table is ignored; on an `easyws` route it is the value of the cookie
    /// `auth`, on an `edk` route what is in `Sec-WebSocket-Protocol`, and one that is not in the
    /// table is refused; for `wsrv` and `projectforge` it is where `token_from` says. `None`: on a
    /// `wserver` route every token is the name of its user, on the others every token is let in.
    /// Not for `echo`.
    pub tokens: Option<Tokens>,
    /// How a JSON Web Token is checked that is the client's token; its user is the client's. Not
    /// together with `tokens`, and not for `echo`.
    pub jwt: Option<Jwt>,
    /// Where the token is taken from: the first of these places that has one. `None`: behind
    /// `Authorization: Bearer`, then `token` in the query. Only for `wsrv` and `projectforge`; the
    /// other languages have a place of their own.
    pub token_from: Option<Vec<TokenSource>>,
    /// Whether a client without a token is let in as nobody, where `tokens`, `jwt` or a hook would
    /// find out who it is. Only for `wsrv` and `projectforge`.
    pub anonymous: bool,
    /// What is asked of a backend. Not for `echo`.
    pub hooks: Option<Hooks>,
    /// What the gateway itself does with commands, by their names. Not for `wserver` and `echo`.
    pub commands: BTreeMap<String, CommandSetting>,
    /// The channels of the route's namespace that have rules; the first that fits counts, but a
    /// name goes before a pattern.
    pub channels: Vec<ChannelSetting>,
    /// The channels that a session is put on when it opens, whatever their rules. `{user}` is the
    /// name of its user; where it has none, that channel is left out.
    pub join_on_open: Vec<String>,
    /// Whether the embedding program finds out by itself who connects, with a function that no
    /// config can see. It has no key in a file. An `edk` route needs it where none of
    /// `trust_user_header`, `tokens`, `jwt` and a hook on `open` says who a client is.
    pub authenticated_by_code: bool,
    /// Whether the embedding program decides by itself who may push and drop, with a function that
    /// no config can see
    /// ([`RouteSetup::authorize_push`](crate::handler::RouteSetup::authorize_push)). It has no key
    /// in a file. Without the function, nobody may who shows no secret. Only for `wserver`.
    pub push_authorized_by_code: bool,
    /// Where messages are pushed; `None` is nowhere. Only for `wserver`.
    pub push_path: Option<String>,
    /// Where users' sessions are dropped; `None` is nowhere. Only for `wserver`.
    pub drop_path: Option<String>,
    /// What a request to `push_path` or `drop_path` must show. Only for `wserver`.
    pub push_auth: PushAuth,
    /// Whether the header `x-user-id` is believed, whatever the request looks like; see
    /// [`Config::trusts_user_header`](super::Config::trusts_user_header). Only for `edk`.
    pub trust_user_header: Option<bool>,
    /// Who goes when a user connects who is connected already. `false`: the newcomer replaces the
    /// old connection, which is closed with 4001. `true`: the newcomer is refused with 409. Only
    /// for `edk`.
    pub kick_out_new_user_conn: bool,
    /// What messages are. Only for `edk`.
    pub schema: Schema,
    /// The type of frame that a push goes in. Only for `wsrv`.
    pub push_frame: PushFrame,
    /// What the others on a channel know a sender by. Only for `projectforge`.
    pub from: Sender,
    /// Whether messages are read as the original read them before its version 1.7.23: keys in any
    /// case, the last of several wins, invalid text becomes U+FFFD, and what follows the object is
    /// ignored. `false`: any of these ends the session, as in the original of today. Only for
    /// `projectforge`.
    pub lenient: bool,
    /// The WebSocket path where all traffic of the route's namespace can be watched; `None` is
    /// nowhere. Only for `projectforge`.
    pub tap_path: Option<String>,
    /// What a request to `tap_path` must show, as `Authorization: Bearer <secret>`; `None` is
    /// nothing. Only for `projectforge`.
    pub tap_secret: Option<Secret>,
    /// The bounds of its sessions.
    pub limits: RouteLimits,
}

/// From which pages browsers may connect. A request without the header `Origin` is from none, and
/// is let in always.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// From any.
    Any,
    /// From those whose host and port are the ones that the request goes to.
    Same,
    /// From these, 1 to 64, each `scheme://host` or `scheme://host:port` in lower case, compared
    /// without regard to ASCII case.
    List(Vec<String>),
}

/// What the messages of an `edk` route are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Schema {
    /// Any message that is well formed as Protocol Buffers; its bytes are handed on as they are.
    Opaque,
    /// The `ws.Message` that is built in: `type`, `payload` and `id`.
    Builtin,
    /// A message of the operator's own.
    Descriptor {
        /// A compiled `FileDescriptorSet`, relative to the working directory. It is read when the
        /// gateway starts, not when the config is checked.
        file: PathBuf,
        /// The full name of the message, such as `ws.Message`.
        message: String,
        /// The string field that selects the handler; `None`: all messages have the same.
        command_field: Option<String>,
    },
}

/// The type of frame that a push goes in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushFrame {
    /// As the original does unless it is told otherwise.
    Binary,
    /// As the original's documentation tells it.
    Text,
}

/// What the others on a channel know a sender by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// The id of the session, as in an application of the original without users.
    Session,
    /// The name of the user, as in one with users.
    User,
}

spelled!(PushFrame: Binary = "binary" Text = "text");
spelled!(Sender: Session = "session" User = "user");

impl Route {
    /// A route with its path and language, everything else being left out, with the default bounds.
    pub fn new(path: impl Into<String>, dialect: &'static dyn Dialect) -> Self {
        Self {
            path: path.into(),
            dialect,
            name: None,
            namespace: None,
            origin: None,
            subprotocols: Vec::new(),
            playground_path: None,
            tokens: None,
            jwt: None,
            token_from: None,
            anonymous: false,
            hooks: None,
            commands: BTreeMap::new(),
            channels: Vec::new(),
            join_on_open: Vec::new(),
            authenticated_by_code: false,
            push_authorized_by_code: false,
            push_path: None,
            drop_path: None,
            push_auth: PushAuth::None,
            trust_user_header: None,
            kick_out_new_user_conn: false,
            schema: Schema::Opaque,
            push_frame: PushFrame::Binary,
            from: Sender::Session,
            lenient: false,
            tap_path: None,
            tap_secret: None,
            limits: RouteLimits::inherited(dialect, &Limits::default(), &Heartbeat::default()),
        }
    }

    /// What the route is called. Without a name of its own it is the first segment of its path,
    /// `example` for `/example/socket`; where that cannot be a name, it is the dialect's.
    ///
    /// A `projectforge` session that asks for no channel is put on one that is called by this, a
    /// hyphen and 8 random characters.
    pub fn name(&self) -> &str {
        let first_segment = || self.path.split('/').nth(1).filter(|it| is_name(it));
        match &self.name {
            Some(name) => name,
            None => first_segment().unwrap_or_else(|| self.dialect.name()),
        }
    }

    /// Whether something says what a client's token is worth: a table, a key, a backend, or the
    /// program that embeds the gateway.
    pub fn authenticates(&self) -> bool {
        let asks = |hooks: &Hooks| hooks.asks(HookKind::Open) || hooks.asks(HookKind::Authenticate);
        self.tokens.is_some()
            || self.jwt.is_some()
            || self.hooks.as_ref().is_some_and(asks)
            || self.authenticated_by_code
    }

    /// From which pages browsers may connect. Unless the route says so itself, it is as in the
    /// original: the same origin for `easyws` and `projectforge`, any for the others.
    pub fn origin(&self) -> &Origin {
        match &self.origin {
            Some(origin) => origin,
            None if self.dialect.route_spec().same_origin => &Origin::Same,
            None => &Origin::Any,
        }
    }

    /// Whether routes of this language have a key that not all routes have.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.dialect.route_spec().has(key)
    }
}

/// Whether a route can be called so.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part)
}

/// The longest name of a route, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

impl RouteLimits {
    /// The bounds of a route of this dialect that sets none of its own.
    #[must_use]
    pub fn inherited(dialect: &dyn Dialect, limits: &Limits, heartbeat: &Heartbeat) -> Self {
        let mut inherited = Self {
            message_bytes_max: limits.message_bytes_max,
            outbox_bytes_max: limits.outbox_bytes_max,
            ping_interval_ms: heartbeat.ping_interval_ms,
            idle_timeout_ms: heartbeat.idle_timeout_ms,
            ..Self::default()
        };
        dialect.default_limits(&mut inherited, limits);
        inherited
    }
}

/// The language of that name, if a route can have it.
pub(super) fn language(name: &str) -> Result<&'static dyn Dialect, String> {
    let found = dialect::of_routes().find(|it| it.name() == name);
    found.ok_or_else(|| unknown(name, &language_names()))
}

/// The names of all languages that a route can have.
pub(super) fn language_names() -> Vec<&'static str> {
    dialect::of_routes().map(Dialect::name).collect()
}

/// A key of `[[routes]]`.
pub(super) struct RouteKey {
    pub(super) key: &'static str,
    /// Whether routes have it whatever their language; otherwise the language says so.
    is_for_all: bool,
    /// Whether a route has set it, whatever its language.
    is_set: fn(&Route) -> bool,
}

impl RouteKey {
    const fn for_all(key: &'static str) -> Self {
        Self {
            key,
            is_for_all: true,
            is_set: |_| false,
        }
    }

    const fn for_some(key: &'static str, is_set: fn(&Route) -> bool) -> Self {
        Self {
            key,
            is_for_all: false,
            is_set,
        }
    }

    /// Whether routes of this language have it.
    pub(super) fn is_for(&self, dialect: &dyn Dialect) -> bool {
        self.is_for_all || dialect.route_spec().has(self.key)
    }

    /// Whether a route, made in code, has set it although its language has no use for it.
    pub(super) fn is_misplaced(&self, route: &Route) -> bool {
        !self.is_for(route.dialect) && (self.is_set)(route)
    }
}

/// What may stand in a route, in the order in which it is told to an operator.
pub(super) const ROUTE_KEYS: &[RouteKey] = {
    let has_descriptor = |route: &Route| matches!(route.schema, Schema::Descriptor { .. });
    &[
        RouteKey::for_all("path"),
        RouteKey::for_all("dialect"),
        RouteKey::for_all("name"),
        RouteKey::for_all("namespace"),
        RouteKey::for_all("origin"),
        RouteKey::for_some("subprotocols", |it| !it.subprotocols.is_empty()),
        RouteKey::for_some("playground_path", |it| it.playground_path.is_some()),
        RouteKey::for_some("tokens", |it| it.tokens.is_some()),
        RouteKey::for_some("token_from", |it| it.token_from.is_some()),
        RouteKey::for_some("anonymous", |it| it.anonymous),
        RouteKey::for_some("jwt", |it| it.jwt.is_some()),
        RouteKey::for_some("hooks", |it| it.hooks.is_some()),
        RouteKey::for_some("commands", |it| !it.commands.is_empty()),
        RouteKey::for_some("channels", |it| !it.channels.is_empty()),
        RouteKey::for_some("join_on_open", |it| !it.join_on_open.is_empty()),
        RouteKey::for_some("push_path", |it| it.push_path.is_some()),
        RouteKey::for_some("drop_path", |it| it.drop_path.is_some()),
        RouteKey::for_some("push_secret", |it| {
            matches!(it.push_auth, PushAuth::Bearer { .. })
        }),
        RouteKey::for_some("push_header", |it| {
            matches!(it.push_auth, PushAuth::Header { .. })
        }),
        RouteKey::for_some("trust_user_header", |it| it.trust_user_header.is_some()),
        RouteKey::for_some("kick_out_new_user_conn", |it| it.kick_out_new_user_conn),
        RouteKey::for_some("schema", |it| it.schema != Schema::Opaque),
        RouteKey::for_some("descriptor_set", has_descriptor),
        RouteKey::for_some("message", has_descriptor),
        RouteKey::for_some("command_field", has_descriptor),
        RouteKey::for_some("push_frame", |it| it.push_frame != PushFrame::Binary),
        RouteKey::for_some("from", |it| it.from != Sender::Session),
        RouteKey::for_some("lenient", |it| it.lenient),
        RouteKey::for_some("tap_path", |it| it.tap_path.is_some()),
        RouteKey::for_some("tap_secret", |it| it.tap_secret.is_some()),
        RouteKey::for_all("message_bytes_max"),
        RouteKey::for_all("outbox_bytes_max"),
        RouteKey::for_all("ping_interval_ms"),
        RouteKey::for_all("idle_timeout_ms"),
        RouteKey::for_some("registration_timeout_ms", |it| {
            it.limits.registration_timeout_ms != RouteLimits::default().registration_timeout_ms
        }),
        RouteKey::for_some("requests_in_flight_max", |it| {
            it.limits.requests_in_flight_max != RouteLimits::default().requests_in_flight_max
        }),
    ]
};

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;
    use crate::dialect::wsrv::Wsrv;

    #[test]
    fn a_route_is_called_by_the_first_segment_of_its_path() {
        let long = format!("/{}", "a".repeat(65));
        let cases = [
            ("/example/socket", "example"),
            ("/ws", "ws"),
            ("/a.b_c-D9/", "a.b_c-D9"),
            ("/", "wsrv"),
            ("/{room}", "wsrv"),
            ("/a%20b", "wsrv"),
            (&long, "wsrv"),
            (&long[..65], &long[1..65]),
        ];
        for (path, expected) in cases {
            let mut route = Route::new(path, &Wsrv);
            assert_eq!(route.name(), expected, "{path}");
            route.name = Some("own".to_owned());
            assert_eq!(route.name(), "own");
        }
    }

    #[test]
    fn a_dialect_has_the_origin_rule_of_its_original() {
        for dialect in dialect::of_routes() {
            let mut route = Route::new("/ws", dialect);
            let is_strict = ["easyws", "projectforge"].contains(&dialect.name());
            let expected = if is_strict { Origin::Same } else { Origin::Any };
            assert_eq!(*route.origin(), expected, "{dialect:?}");
            let list = Origin::List(vec!["https://a.example".to_owned()]);
            route.origin = Some(list.clone());
            assert_eq!(*route.origin(), list);
        }
    }

    #[test]
    fn a_session_of_wsrv_has_the_idle_time_of_its_original() {
        let (limits, mut heartbeat) = (Limits::default(), Heartbeat::default());
        heartbeat.idle_timeout_ms = 7_000;
        for dialect in dialect::of_routes() {
            let inherited = RouteLimits::inherited(dialect, &limits, &heartbeat);
            let expected = match dialect.name() {
                "wsrv" => 30_000,
                _ => 7_000,
            };
            assert_eq!(inherited.idle_timeout_ms, expected, "{dialect:?}");
            assert_eq!(inherited.requests_in_flight_max, 64);
        }
    }

    #[test]
    fn every_bound_of_a_route_is_among_its_keys() {
        let last = &ROUTE_KEYS[ROUTE_KEYS.len() - RouteLimits::SETTINGS.len()..];
        let settings = RouteLimits::SETTINGS.iter().map(|setting| setting.key);
        assert!(settings.eq(last.iter().map(|key| key.key)));
    }

    #[test]
    fn what_a_language_has_is_a_key() {
        for dialect in dialect::of_routes() {
            for key in dialect.route_spec().keys.split(' ') {
                let known = ROUTE_KEYS.iter().find(|known| known.key == key);
                assert!(known.is_some_and(|it| !it.is_for_all), "{dialect:?}: {key}");
            }
        }
    }

    #[test]
    fn words_are_read_as_they_are_spelled() {
        assert_eq!(PushFrame::from_str("text"), Ok(PushFrame::Text));
        assert_eq!(Sender::from_str("user"), Ok(Sender::User));
    }
}
