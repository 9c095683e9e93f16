//! The config of a gateway: one immutable, validated [`Config`].
//!
//! A TOML file is read over the defaults, and flags and the environment ([`Overrides`]) go before
//! both. Each key is one row of a table ([`key`]), from which reading, checking and all its
//! documentation are made; rules between keys are in `check/`. All errors of a file are found at
//! once, each with its line. Nothing here opens a socket.

mod api;
mod backend;
mod check;
mod command;
mod credentials;
mod error;
mod json;
mod key;
mod keywords;
mod listen;
mod log;
mod memory;
mod read;
mod reference;
mod route;
mod rule;
mod schema;
mod secret;
mod syntax;
mod text;
mod texts;
mod warnings;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU8;
use std::path::Path;
use std::str::FromStr;
use std::sync::LazyLock;

pub use self::api::Api;
pub use self::backend::{Backend, HookKind, Hooks, OnFailure};
pub use self::command::{Action, CommandSetting, PublishTo, ReplyData};
pub use self::credentials::{Jwt, JwtKeys, TokenSource};
use self::error::Errors;
pub use self::error::{ConfigError, ConfigErrors, KeyLines};
use self::key::{Keys, Shape, Spec, Table, Value, keys};
pub(crate) use self::keywords::quoted;
pub use self::listen::Listen;
pub use self::log::{Log, LogForm, LogLevel};
pub(crate) use self::memory::HOOK_KINDS;
pub use self::memory::{Machine, MemoryBound, MemoryTerm};
use self::read::{Entry, Reader};
pub use self::reference::reference;
pub use self::route::{Origin, PushFrame, PushHeader, Route, Schema, Sender};
pub use self::rule::{ChannelSetting, Create, Rule, SlowMembers};
pub use self::schema::json_schema;
pub use self::secret::{PushAuth, Secret, Tokens};
pub use self::text::default_text;

use crate::vocabulary::limits::Allowed;
pub use crate::vocabulary::limits::{
    ApiLimits, BackendLimits, Heartbeat, Http, Limits, Logging, Ring, RouteLimits,
};

/// The parts of a stop, in milliseconds: up to ten minutes.
const STOP_MS: Allowed = Allowed::between(0, 600_000);

keys! {
    /// Everything that an operator can set.
    ///
    /// A config made in code must be passed through [`Config::validate`].
    pub struct Config {
        /// The address and port for clients and publishers. `localhost:8080` is 127.0.0.1 and,
        /// where there is one, `[::1]`; `:8080` is every address of this machine, `[::]`, or
        /// 0.0.0.0 without IPv6. On an address that is not loopback the gateway does not start
        /// unless everything is protected: routes with pushes by `push_secret` or `push_header`,
        /// taps by `tap_secret`, the server API by keys (or `api.open = false`), and routes that
        /// need a user by `tokens`, `jwt`, hooks on `open`, or an explicit `trust_user_header`.
        pub listen: Listen = Listen::default();

        /// The number of shards, each a thread with its own sessions: `auto` or 1 to 255. `auto` is
        /// one for each core that the process may run on, at most the CPU quota of its cgroup,
        /// rounded up.
        pub shards: Option<NonZeroU8> = None, none_is("auto");

        /// Pins each shard's thread to a core. Shards under a CPU quota are not pinned.
        pub pin: bool = true;

        /// Starts even if pushes, taps, the server API or user names are unprotected on an address
        /// that is not loopback, and serves requests without a key or secret from everywhere.
        pub insecure: bool = false;

        /// The log's level, `error`, `warn`, `info`, `debug` or `trace`, and its form: text, or
        /// with `json` a JSON object for each line. `debug,json` sets both; `json` alone is
        /// `info,json`. With `debug`, each end of a session and each rejection is logged. The log
        /// goes to standard error.
        pub log: Log = Log::default();

        /// The time that sessions and requests have to end when the gateway stops, in milliseconds,
        /// from the moment when it accepts no more connections. Then they are aborted.
        pub shutdown_grace_ms: u32 = 5_000, range(STOP_MS);

        /// The time in milliseconds for which a stopping gateway continues to serve. Health
        /// requests get 503 in that time, so that a load balancer sends clients elsewhere.
        /// `shutdown_grace_ms` begins after it.
        pub drain_delay_ms: u32 = 0, range(STOP_MS);

        /// The time in which 10,000 sessions are closed when the gateway stops, in milliseconds, so
        /// that their clients do not all connect elsewhere at once. The first 100 are closed at
        /// once; the time for the others is proportional to their number. The last is closed early
        /// enough that it still has `close_grace_ms`, or half of `shutdown_grace_ms` if that is
        /// less.
        pub drain_ms: u32 = 10_000, range(STOP_MS);

        /// The path at which GET returns the health of the gateway; `""` for none.
        pub health_path: Option<String> = Some("/health".to_owned()), none_is("");

        /// The server API, under `/api/v1/`: a backend in any language publishes, pushes, joins,
        /// disconnects and lists there, with JSON over HTTP.
        pub api: Api = Api::default();

        /// The limits of sessions, messages, names and shards.
        pub limits: Limits = Limits::default();

        /// The intervals of pings and the time-outs of silent sessions. A shard's clock has ticks
        /// of 64 ms, so all times have this resolution.
        pub heartbeat: Heartbeat = Heartbeat::default();

        /// The limits of HTTP connections and requests.
        pub http: Http = Http::default();

        /// The sizes of a shard's `io_uring`. They count against the limit of locked memory of an
        /// ordinary user; queues that do not fit are halved, with a warning, until they do.
        pub ring: Ring = Ring::default();

        /// The limits of the log, and the interval of its summary.
        pub logging: Logging = Logging::default();

        /// The backends, programs of your own that receive the hooks of routes as JSON over HTTP;
        /// at most 64.
        pub backends: Vec<Backend> = Vec::new(), count(0, 64);

        /// The routes, 1 to 64. A file with `[[routes]]` replaces all default routes.
        pub routes: Vec<Route> = Vec::new(), count(1, 64);
    }
}

impl Table for Config {}
impl Table for Limits {}
impl Table for Heartbeat {}
impl Table for Http {}
impl Table for Ring {}
impl Table for Logging {}

/// The settings of flags and the environment. `None` leaves that of the file or the default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// For [`Config::listen`].
    pub listen: Option<Listen>,
    /// For [`Config::shards`].
    pub shards: Option<Shards>,
    /// For [`Config::log`].
    pub log: Option<Log>,
    /// Sets [`Config::insecure`] when true.
    pub insecure: bool,
}

/// A number of shards as it is spelled: `auto`, which is `None`, or 1 to 255.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shards(pub Option<NonZeroU8>);

impl Default for Config {
    /// Returns the config without a file: on 127.0.0.1:8080, `/ws` with `/push` and `/drop` for
    /// `wserver`, and for each other dialect a path of its name, with commands and channels to
    /// chat.
    fn default() -> Self {
        Self {
            routes: DEFAULT_ROUTES.clone(),
            ..Self::blank()
        }
    }
}

/// The routes of the default config, read once from the text that is printed.
static DEFAULT_ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let mut text = String::new();
    text::put_default_routes(&mut text);
    let (config, errors) = read("the default config", &text);
    let valid = errors.into_result();
    valid.expect("tests start with the default config");
    config.routes
});

impl Config {
    /// Returns the config in `file`, or the default one, with `overrides` laid over it.
    ///
    /// # Errors
    ///
    /// Every error of the file, and of the config that it and the overrides make.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        Self::load_with_lines(file, overrides).map(|(config, _)| config)
    }

    /// Returns the config in `file` as [`Config::load`] does, with the lines of its keys, to name
    /// them in errors that are found later.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn load_with_lines(
        file: Option<&Path>,
        overrides: &Overrides,
    ) -> Result<(Self, KeyLines), ConfigErrors> {
        let Some(path) = file else {
            return Self::default().overridden(overrides, Errors::default());
        };
        let name = path.display().to_string();
        let bytes = fs::read(path);
        let bytes = bytes.map_err(|error| {
            let problem = format!("cannot be read: {error}");
            ConfigErrors::of_file(name.clone(), None, problem)
        })?;
        match str::from_utf8(&bytes) {
            Ok(text) => Self::parse(&name, text, overrides),
            Err(error) => {
                let valid = &bytes[..error.valid_up_to()];
                let line = valid.split(|&byte| byte == b'\n').count();
                Err(ConfigErrors::of_file(
                    name,
                    Some(line),
                    "is not UTF-8".to_owned(),
                ))
            }
        }
    }

    /// Returns the config in `text`, with `overrides` laid over it; errors call the text `name`.
    ///
    /// Secrets of the form `{ file = ".." }` and `{ env = ".." }` are read now.
    ///
    /// # Errors
    ///
    /// Every error of the text, and of the config that it and the overrides make.
    pub fn from_toml(name: &str, text: &str, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        Self::parse(name, text, overrides).map(|(config, _)| config)
    }

    fn parse(
        name: &str,
        text: &str,
        overrides: &Overrides,
    ) -> Result<(Self, KeyLines), ConfigErrors> {
        let (config, errors) = read(name, text);
        config.overridden(overrides, errors)
    }

    /// Checks everything that readers of a config rely on: each key by its row, and that keys fit
    /// each other: no two paths are alike, a route has only keys of its dialect, every name refers
    /// to something, and where others can connect, pushes, taps and the server API are protected.
    ///
    /// # Errors
    ///
    /// Every broken rule, without file and line.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = Errors::default();
        check::check(self, &mut errors);
        errors.into_result().map(|_| ())
    }

    /// Whether only this machine can connect: `listen` is a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.listen.is_loopback()
    }

    /// Whether requests without a key or secret that come from this machine may push, drop, tap,
    /// use the server API and name their user: if only this machine can connect and [`Api::open`]
    /// is set. [`Config::insecure`] allows more.
    pub fn trusts_this_machine(&self) -> bool {
        self.api.open && self.is_loopback()
    }

    /// Returns the number of the namespace of each route, in the order of the routes. The numbers
    /// are consecutive from 0, and equal for routes that share users and channels.
    pub fn namespaces(&self) -> Vec<u16> {
        let mut named: BTreeMap<&str, u16> = BTreeMap::new();
        let mut count: u16 = 0;
        let mut next = || {
            let number = count;
            count = count.saturating_add(1);
            number
        };
        let routes = self.routes.iter();
        routes
            .map(|route| match &route.namespace {
                Some(name) => *named.entry(name).or_insert_with(&mut next),
                None => next(),
            })
            .collect()
    }

    /// Whether the server API is served. Without the key `api.enabled` it is if it has keys, if
    /// only this machine can connect, and with [`Config::insecure`].
    pub fn serves_api(&self) -> bool {
        let default = || !self.api.keys.is_empty() || self.insecure || self.is_loopback();
        self.api.enabled.unwrap_or_else(default)
    }

    /// Returns the backend of this name; `None` if there is none.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// Whether any request is served without a key or secret: those of this machine
    /// ([`Config::trusts_this_machine`]) or all ([`Config::insecure`]).
    pub fn serves_keyless(&self) -> bool {
        self.insecure || self.trusts_this_machine()
    }

    /// Whether the header `x-user-id` names the user of a route's clients. Without the key
    /// `trust_user_header` it does in requests of this machine ([`Config::trusts_this_machine`]),
    /// and with [`Config::insecure`] in all.
    pub fn trusts_user_header(&self, route: &Route) -> bool {
        let default = || self.serves_keyless();
        route.has("trust_user_header") && route.trust_user_header.unwrap_or_else(default)
    }

    /// Returns the routes of a route's namespace, the route itself among them.
    pub(crate) fn routes_beside<'c>(&'c self, route: &'c Route) -> impl Iterator<Item = &'c Route> {
        self.routes.iter().filter(|other| {
            let shares = other.namespace.is_some() && other.namespace == route.namespace;
            shares || other.path == route.path
        })
    }

    /// Whether a rule may need the token of a client of this route: a rule of one of its commands,
    /// or of a channel of its namespace.
    pub(crate) fn rules_check_tokens(&self, route: &Route) -> bool {
        let looks = |rule: &Rule| matches!(rule, Rule::Tokens(_) | Rule::Hook);
        let mut commands = route.commands.values();
        let mut channels = self.routes_beside(route).flat_map(|other| &other.channels);
        commands.any(|it| looks(&it.allow))
            || channels.any(|it| looks(&it.join) || looks(&it.publish))
    }

    fn overridden(
        mut self,
        overrides: &Overrides,
        mut errors: Errors,
    ) -> Result<(Self, KeyLines), ConfigErrors> {
        if let Some(listen) = overrides.listen {
            self.listen = listen;
            errors.lines.set_overridden("listen");
        }
        if let Some(Shards(shards)) = overrides.shards {
            self.shards = shards;
        }
        if let Some(log) = overrides.log {
            self.log = log;
        }
        self.insecure |= overrides.insecure;
        if !errors.are_of_syntax() {
            check::check(&self, &mut errors);
        }
        errors.into_result().map(|lines| (self, lines))
    }
}

/// Reads a file. What is wrong with it is among the errors, and at its default in the config.
fn read(name: &str, text: &str) -> (Config, Errors) {
    let mut reader = Reader::default();
    reader.errors.lines = KeyLines::new(name, text);
    let mut config = Config::blank();
    if let Some(document) = syntax::parse(text, &mut reader.errors) {
        let mut entries = reader.entries("", document.get_ref());
        // Routes inherit from tables that may come later in the file.
        let routes = entries.iter().position(|entry| entry.key == "routes");
        let routes = routes.map(|index| entries.remove(index));
        config = reader.read_table("", &entries);
        reader.inherited = (config.limits, config.heartbeat);
        match routes {
            Some(routes) => config.read_key(&mut reader, &routes),
            None => config.routes = default_routes(&config),
        }
    }
    (config, reader.errors)
}

/// The default routes, with the limits that they inherit.
fn default_routes(config: &Config) -> Vec<Route> {
    let mut routes = DEFAULT_ROUTES.clone();
    for route in &mut routes {
        route.limits = RouteLimits::inherited(route.dialect, &config.limits, &config.heartbeat);
    }
    routes
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let count = text.parse().map_err(|_| {
            let text = quoted(text);
            format!("{text} is not a number of shards, allowed are \"auto\" and 1 to 255")
        })?;
        Ok(Self(Some(count)))
    }
}

impl Value for NonZeroU8 {
    fn shape(_: &Spec) -> Shape {
        Shape::Number(Allowed::between(1, 255).or_auto())
    }

    /// Reads a number, which may be quoted as in the environment.
    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        let number = entry.value.as_integer().map(ToString::to_string);
        let Some(text) = number.or_else(|| entry.value.as_str().map(ToOwned::to_owned)) else {
            reader.wrong_type(entry, "must be \"auto\" or 1 to 255");
            return None;
        };
        reader
            .ok(entry, Shards::from_str(&text))
            .and_then(|Shards(count)| count)
    }
}

#[cfg(test)]
mod tests;
