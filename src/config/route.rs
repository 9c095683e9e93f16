//! Routes: a path, the dialect that is spoken there, and all settings of its sessions.
//!
//! Defaults that depend on other keys are resolved by methods, so that no reader of a config has a
//! default of its own. A dialect's `RouteSpec` lists the keys that its routes have beside those
//! that all routes have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::backend::{HookKind, Hooks};
use super::command::CommandSetting;
use super::credentials::{Jwt, TokenSource};
use super::error::Errors;
use super::key::{Keys as _, Shape, Spec, Table, Value, keys};
use super::keywords::{quoted, spelled, unknown};
use super::read::{Entry, Reader};
use super::rule::ChannelSetting;
use super::secret::{PushAuth, Secret, Tokens};
use super::texts::{self, ORIGINS_MAX};
use crate::dialect::{self, Dialect};
use crate::vocabulary::limits::{Heartbeat, Limits, RouteLimits};

keys! {
    /// A route: a path and everything that is set for its sessions: `[[routes]]`.
    pub struct Route {
        /// The path of the WebSocket. It starts with `/` and is compared exactly with the path of a
        /// request, without its query, after both were percent-decoded once; `//ws` is not `/ws`.
        /// It may have parameters: `/rooms/{room}` takes any text up to the next slash, and
        /// `{*rest}` at the end takes the rest. A path without parameters has priority over one
        /// with parameters. No path may occur twice.
        pub path: String = String::new(), required, example("\"/ws\"");

        /// The dialect of the sessions. It decides which other keys the route may have.
        pub dialect: &'static dyn Dialect = first_dialect(), required;

        /// The name of the route: 1 to 64 letters, digits and `_.-`. Without this key, the first
        /// segment of its path, or the dialect if that segment is not a valid name. Two routes may
        /// share a name.
        pub name: Option<String> = None, example("\"chat\""), check(texts::name);

        /// The namespace of the users and channels: 1 to 256 bytes. Routes with the same namespace
        /// share users and channels, whatever their dialects. Without this key, the route has a
        /// namespace of its own.
        pub namespace: Option<String> = None,
            example("\"chat\""), check(|it| texts::length(it, 256));

        /// The pages from which browsers may connect: `any`, `same` (those of the host and port
        /// that the request goes to), or a list of at most 64 origins in lower case. A request
        /// without the header `Origin` is always accepted. Without this key, `same` for `easyws`
        /// and `projectforge`, and `any` for the other dialects.
        pub origin: Option<Origin> = None,
            example("[\"https://a.example\"]"), count(1, ORIGINS_MAX), check(texts::origin);

        /// The subprotocols (RFC 6455, 1.9) that the gateway accepts, at most 64: the first of them
        /// that a client offers is selected. A browser that offers subprotocols fails to connect if
        /// none is selected.
        pub subprotocols: Vec<String> = Vec::new(),
            by_dialect, example("[\"v1.chat\"]"), count(0, 64), check(texts::subprotocol), distinct;

        /// The path of a page to try the route. Without this key there is none.
        pub playground_path: Option<String> = None, by_dialect, example("\"/playground/ws\"");

        /// The path to which messages are pushed with POST. Without this key there is none.
        pub push_path: Option<String> = None, by_dialect, example("\"/push\"");

        /// The path at which the sessions of a user are closed with POST. Without this key there is
        /// none.
        pub drop_path: Option<String> = None, by_dialect, example("\"/drop\"");

        /// The secret of `push_path` and `drop_path`, sent as `Authorization: Bearer SECRET`.
        /// Without it and without `push_header`, only requests of this machine are served; see
        /// `api.open`.
        pub push_secret: Option<Secret> = None,
            by_dialect, example("\"...\""), check(texts::bearer);

        /// A header that requests to `push_path` and `drop_path` must have, with its whole value.
        pub push_header: Option<PushHeader> = None,
            by_dialect, example("{ name = \"X-Api-Key\", value = \"...\" }"),
            excludes(&["push_secret"]);

        /// The user of each token; several tokens may name one user. A client with any other token
        /// is rejected; in dialects whose messages have a token, a registration with any other is
        /// ignored. Without this key, `jwt` and hooks, every token is accepted; in those dialects
        /// it is itself the name of the user.
        pub tokens: Option<Tokens> = None,
            by_dialect, example("{ \"aaa\" = \"jack\", \"bbb\" = \"jack\" }");

        /// The verification of tokens as JSON Web Tokens (RFC 7519), with exactly one of `secret`,
        /// `key_file` and `jwks_file`. The key decides the algorithm: HS256 for a secret, RS256 for
        /// an RSA key, ES256 for one on P-256. A token without `exp` is rejected. The client's
        /// user is the one that the token names (`user_claim`).
        pub jwt: Option<Jwt> = None,
            by_dialect, example("{ key_file = \"jwt.pem\", issuer = \"https://a.example\" }"),
            excludes(&["tokens"]);

        /// The places from which the token is taken, 1 to 8: the first place that has a token is
        /// used. `bearer` is `Authorization: Bearer`. Without this key, `bearer`, then
        /// `query:token`.
        pub token_from: Option<Vec<TokenSource>> = None,
            by_dialect, example("[\"bearer\", \"query:token\"]"), count(1, 8);

        /// Accepts clients without a token; their sessions have no user. A wrong token is still
        /// rejected.
        pub anonymous: bool = false, by_dialect;

        /// Trusts the header `x-user-id`. Without this key it is trusted in requests of this
        /// machine (see `api.open`) and with `--insecure`. Use `true` only if a proxy in front sets
        /// the header itself.
        pub trust_user_header: Option<bool> = None, by_dialect, example("true");

        /// Rejects a second connection of a user with 409. Otherwise the first connection is closed
        /// with 4001.
        pub kick_out_new_user_conn: bool = false, by_dialect;

        /// The form of messages: `opaque` (any well-formed message of Protocol Buffers, passed on
        /// as it is), `builtin` (a message of `type`, `payload` and `id`) or `descriptor` (a
        /// message of your own).
        pub schema: Schema = Schema::Opaque, by_dialect;

        /// The compiled `FileDescriptorSet` of the schema `descriptor`. It is read when the gateway
        /// starts.
        pub descriptor_set: Option<PathBuf> = None, by_dialect, example("\"ws.binpb\"");

        /// The full name of the message in the schema `descriptor`.
        pub message: Option<String> = None,
            by_dialect, example("\"ws.Message\""), check(texts::message_name);

        /// The string field of the schema `descriptor` that selects the handler. Without this key,
        /// all messages have the same handler.
        pub command_field: Option<String> = None,
            by_dialect, example("\"type\""), check(texts::field_name);

        /// The type of the frame of a push: `binary` or `text`. A response has the type of its
        /// request.
        pub push_frame: PushFrame = PushFrame::Binary, by_dialect;

        /// The name of a sender for the other members of a channel: `session`, its id, or `user`,
        /// the name of its user.
        pub from: Sender = Sender::Session, by_dialect;

        /// Reads messages as the original did before version 1.7.23: keys in any case, the last of
        /// duplicate keys counts, an unpaired surrogate and invalid UTF-8 become U+FFFD, text after
        /// the object is ignored. Otherwise each of these closes the session with 1007.
        pub lenient: bool = false, by_dialect;

        /// The path of a WebSocket that shows all traffic of the route's namespace. Without this
        /// key there is none.
        pub tap_path: Option<String> = None, by_dialect, example("\"/tap\"");

        /// The secret of `tap_path`, sent as `Authorization: Bearer SECRET`. Without it, only
        /// requests of this machine are served; see `api.open`.
        pub tap_secret: Option<Secret> = None, by_dialect, example("\"...\""), check(texts::bearer);

        /// The hooks of the route: the backend, and the events that are sent to it.
        pub hooks: Option<Hooks> = None,
            by_dialect, example("{ backend = \"app\", on = [\"open\", \"close\"] }");

        /// The channels that a session joins when it opens, whatever their rules. `{user}` stands
        /// for the name of its user; a channel with `{user}` is skipped if the session has no user.
        pub join_on_open: Vec<String> = Vec::new(),
            by_dialect, example("[\"global\", \"user:{user}\"]");

        /// The commands that the gateway itself handles, by name, at most 256: each an action, or a
        /// table of an action and its options. For example:
        ///
        /// - `home = { action = "join", channel = "user:{user}" }`
        /// - `chat = { action = "publish", channel = "room", event = "chat", to = "others" }`
        /// - `look = { action = "reply", data = { doors = ["north"] }, allow = "identified" }`
        pub commands: BTreeMap<String, CommandSetting> = BTreeMap::new(),
            by_dialect, example("{ join = \"join\" }"), count(0, 256);

        /// The channels with rules; a namespace may have 1024. A channel that matches no rule is
        /// open to all clients, except in `easyws`, where clients may join only channels that match
        /// a rule.
        pub channels: Vec<ChannelSetting> = Vec::new(),
            by_dialect, example("[{ name = \"room-*\" }]");

        ..
        /// The limits of its sessions.
        pub limits: RouteLimits;

        @
        /// The embedding program authenticates clients with a function that no config can see. It
        /// has no key in a file. An `edk` route needs it where none of `trust_user_header`,
        /// `tokens`, `jwt` and a hook on `open` names a client's user.
        pub authenticated_by_code: bool = false;

        @
        /// The embedding program authorizes pushes and drops with a function that no config can see
        /// ([`RouteSetup::authorize_push`](crate::handler::RouteSetup::authorize_push)). It has no
        /// key in a file. Only for `wserver`.
        pub push_authorized_by_code: bool = false;
    }
}

keys! {
    /// A header that a request must have.
    pub struct PushHeader {
        /// The name of the header, compared without regard to case.
        pub name: String = String::new(),
            required, example("\"X-Api-Key\""), check(texts::header_name);

        /// The whole value of the header, without white space around it.
        pub value: Secret = Secret::new(""),
            required, example("\"...\""), check(texts::header_value);
    }
}

impl Table for PushHeader {}

impl Table for Route {
    fn decider(&self) -> Option<(&'static str, &'static str)> {
        Some(("dialect", self.dialect.name()))
    }

    fn inherit(&mut self, reader: &Reader) {
        let (limits, heartbeat) = &reader.inherited;
        self.limits = RouteLimits::inherited(self.dialect, limits, heartbeat);
    }
}

/// The pages from which browsers may connect. A request without the header `Origin` comes from
/// none and is always accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// All pages.
    Any,
    /// Pages whose host and port are those that the request goes to.
    Same,
    /// Pages of these origins, 1 to 64, each `scheme://host` or `scheme://host:port` in lower case,
    /// compared without regard to ASCII case.
    List(Vec<String>),
}

/// The form of the messages of an `edk` route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Schema {
    /// Any well-formed message of Protocol Buffers; its bytes are passed on as they are.
    Opaque,
    /// The built-in `ws.Message`: `type`, `payload` and `id`.
    Builtin,
    /// A message of the operator's own, of [`Route::descriptor_set`].
    Descriptor,
}

/// The type of the frame of a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushFrame {
    /// Binary, as the original does by default.
    Binary,
    /// Text, as the original's documentation configures it.
    Text,
}

/// The name of a sender for the other members of a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// The id of the session, as in an application of the original without users.
    Session,
    /// The name of the user, as in one with users.
    User,
}

spelled!(pub Schema: Opaque = "opaque" Builtin = "builtin" Descriptor = "descriptor");
spelled!(pub PushFrame: Binary = "binary" Text = "text");
spelled!(pub Sender: Session = "session" User = "user");

impl Route {
    /// Creates a route with its path and dialect, every other key at its default.
    pub fn new(path: impl Into<String>, dialect: &'static dyn Dialect) -> Self {
        Self {
            path: path.into(),
            dialect,
            limits: RouteLimits::inherited(dialect, &Limits::default(), &Heartbeat::default()),
            ..Self::blank()
        }
    }

    /// Returns the name of the route. Without one of its own it is the first segment of its path,
    /// `example` for `/example/socket`, or the dialect's if that is no name.
    ///
    /// A `projectforge` session that names no channel joins one of this name, a hyphen and 8
    /// random characters.
    pub fn name(&self) -> &str {
        let segment = self.path.split('/').nth(1);
        match &self.name {
            Some(name) => name,
            None => segment
                .filter(|it| texts::is_name(it))
                .unwrap_or_else(|| self.dialect.name()),
        }
    }

    /// Whether something authenticates a client's token: a table, a key, a backend, or the
    /// embedding program.
    pub fn authenticates(&self) -> bool {
        let asks = |hooks: &Hooks| hooks.asks(HookKind::Open) || hooks.asks(HookKind::Authenticate);
        self.tokens.is_some()
            || self.jwt.is_some()
            || self.hooks.as_ref().is_some_and(asks)
            || self.authenticated_by_code
    }

    /// Returns the pages from which browsers may connect. Without the key it is as in the original.
    pub fn origin(&self) -> &Origin {
        match &self.origin {
            Some(origin) => origin,
            None if self.dialect.route_spec().same_origin => &Origin::Same,
            None => &Origin::Any,
        }
    }

    /// Returns the credentials that a request to `push_path` or `drop_path` must show.
    pub fn push_auth(&self) -> PushAuth {
        match (&self.push_secret, &self.push_header) {
            (Some(secret), _) => PushAuth::Bearer {
                secret: secret.clone(),
            },
            (None, Some(header)) => PushAuth::Header {
                name: header.name.to_ascii_lowercase(),
                value: header.value.clone(),
            },
            (None, None) => PushAuth::None,
        }
    }

    /// Whether routes of its dialect have a key that not all routes have.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.dialect.route_spec().has(key)
    }
}

impl RouteLimits {
    /// Returns the limits of a route of this dialect that sets none of its own.
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

fn dialect_named(name: &str) -> Option<&'static dyn Dialect> {
    dialect::of_routes().find(|it| it.name() == name)
}

/// Returns the names of all dialects that a route can have.
pub(super) fn dialect_names() -> Vec<&'static str> {
    dialect::of_routes().map(Dialect::name).collect()
}

fn first_dialect() -> &'static dyn Dialect {
    dialect::of_routes().next().expect("there are dialects")
}

impl Value for &'static dyn Dialect {
    fn shape(_: &Spec) -> Shape {
        Shape::Words(dialect_names())
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        reader.parsed(entry, |name| {
            dialect_named(name).ok_or_else(|| unknown(name, &dialect_names()))
        })
    }

    /// For routes made in code: a tap's dialect is none of a route.
    fn check(&self, at: &str, _: &Spec, errors: &mut Errors) {
        if dialect_named(self.name()).is_none() {
            errors.error(at, unknown(self.name(), &dialect_names()));
        }
    }
}

impl Value for Origin {
    fn shape(_: &Spec) -> Shape {
        let words = Shape::Words(vec!["any", "same"]);
        Shape::OneOf(vec![words, Shape::List(Box::new(Shape::Text))])
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        const ALLOWED: &str = "\"any\", \"same\" and lists such as [\"https://a.example\"]";
        match entry.value.as_str() {
            Some("any") => Some(Self::Any),
            Some("same") => Some(Self::Same),
            Some(word) => {
                let word = quoted(word);
                reader.error(entry, format!("{word} is unknown, allowed are {ALLOWED}"));
                None
            }
            None if !entry.value.is_array() => {
                reader.wrong_type(entry, &format!("must be one of {ALLOWED}"));
                None
            }
            None => Value::read(reader, entry, spec).map(Self::List),
        }
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        if let Self::List(list) = self {
            list.check(at, spec, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;
    use crate::dialect::wsrv::Wsrv;
    use crate::vocabulary::limits::Settings as _;

    #[test]
    fn the_default_name_of_a_route_is_the_first_segment_of_its_path() {
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
    fn the_limits_of_a_route_are_its_last_keys() {
        let keys = Route::keys();
        let last = &keys[keys.len() - RouteLimits::SETTINGS.len()..];
        let settings = RouteLimits::SETTINGS.iter().map(|setting| setting.key);
        assert!(settings.eq(last.iter().map(|key| key.name)));
    }

    #[test]
    fn every_key_that_a_dialect_lists_exists() {
        for dialect in dialect::of_routes() {
            for key in dialect.route_spec().keys.split(' ') {
                let keys = Route::keys();
                let known = keys.iter().find(|known| known.name == key);
                assert!(
                    known.is_some_and(|it| it.spec.is_by_dialect),
                    "{dialect:?}: {key}"
                );
            }
        }
    }

    #[test]
    fn keywords_are_read() {
        assert_eq!(PushFrame::from_str("text"), Ok(PushFrame::Text));
        assert_eq!(Sender::from_str("user"), Ok(Sender::User));
    }
}
