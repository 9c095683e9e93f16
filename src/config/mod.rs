//! What a gateway runs with: one immutable, validated [`Config`].
//!
//! A config comes from the defaults, over which a TOML file is laid, over which flags and the
//! environment are laid ([`Overrides`]). What has been accepted here is checked nowhere else. A
//! complaint names the file, the line, the key and what is allowed. Nothing here opens a socket.

mod api;
mod backend;
mod command;
mod credentials;
mod error;
mod file;
mod listen;
mod log;
mod memory;
mod route;
mod rule;
mod secret;
mod text;
mod validate;
mod warnings;
mod words;

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
pub use self::error::ConfigError;
use self::error::Places;
pub use self::listen::Listen;
pub use self::log::{Log, LogForm, LogLevel};
pub use self::memory::{Machine, MemoryBound, MemoryTerm};
pub use self::route::{Origin, PushFrame, Route, Schema, Sender};
pub use self::rule::{ChannelSetting, Create, Rule};
pub use self::secret::{PushAuth, Secret, Tokens};
pub use self::text::default_text;
pub(crate) use self::words::quoted;

pub use crate::vocabulary::limits::{
    ApiLimits, BackendLimits, Heartbeat, Http, Limits, Logging, Ring, RouteLimits,
};

/// Everything that an operator can set.
///
/// A config made by hand, in an embedder's code, is to be passed through [`Config::validate`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where clients and pushers connect.
    pub listen: Listen,
    /// How many shards there are; `None` is one for each core that the process may run on, or that
    /// the CPU quota of its cgroup is worth.
    pub shards: Option<NonZeroU8>,
    /// Whether each shard's thread stays on one core.
    pub pin: bool,
    /// Whether everyone who reaches the gateway may push, tap, use the server API and say who they
    /// are, where no key or secret is asked for.
    pub insecure: bool,
    /// How much is logged, and in which form.
    pub log: Log,
    /// How long sessions have to end when the gateway stops, in milliseconds, from the moment when
    /// it accepts no more connections.
    pub shutdown_grace_ms: u32,
    /// How long the gateway goes on serving before that, in milliseconds, while `/health` says that
    /// it is stopping.
    pub drain_delay_ms: u32,
    /// The time in which 10,000 sessions are closed at a stop, in milliseconds.
    pub drain_ms: u32,
    /// The server API.
    pub api: Api,
    /// Where the gateway says how it is; `None` is nowhere.
    pub health_path: Option<String>,
    /// The programs that hooks ask.
    pub backends: Vec<Backend>,
    /// What is served where. No path occurs twice, whatever its parameters are called.
    pub routes: Vec<Route>,
    /// What sessions may hold and how much is done at once.
    pub limits: Limits,
    /// When a silent session is asked and given up.
    pub heartbeat: Heartbeat,
    /// What HTTP connections and requests may hold.
    pub http: Http,
    /// The sizes of a shard's `io_uring`.
    pub ring: Ring,
    /// What the log may hold, and when it is summed up.
    pub logging: Logging,
}

/// What flags and the environment say. `None` leaves what the file or the default says.
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

/// How a number of shards is spelled: `auto`, which is `None`, or 1 to 255.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shards(pub Option<NonZeroU8>);

impl Default for Config {
    /// What is served without a config file, on 127.0.0.1:8080: `/ws` with `/push` and `/drop` for
    /// `wserver`, and for each of the other languages a path that is called like it, with commands
    /// and channels for strangers to chat.
    fn default() -> Self {
        Self {
            routes: DEFAULT_ROUTES.clone(),
            ..Self::without_routes()
        }
    }
}

/// The routes of the default config, read once.
static DEFAULT_ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let mut text = String::new();
    text::put_default_routes(&mut text);
    let read = file::read("the default config", &text);
    read.expect("tests start with the default config").0.routes
});

impl Config {
    /// The default config, but that it serves nothing.
    fn without_routes() -> Self {
        Self {
            listen: Listen::default(),
            shards: None,
            pin: true,
            insecure: false,
            log: Log::default(),
            shutdown_grace_ms: 5_000,
            drain_delay_ms: 0,
            drain_ms: 10_000,
            api: Api::default(),
            health_path: Some("/health".to_owned()),
            backends: Vec::new(),
            routes: Vec::new(),
            limits: Limits::default(),
            heartbeat: Heartbeat::default(),
            http: Http::default(),
            ring: Ring::default(),
            logging: Logging::default(),
        }
    }

    /// The config in `file`, or the default one, with `overrides` laid over it.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or with what has come of it and the overrides.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let Some(path) = file else {
            return Self::default().overridden(overrides, Places::default());
        };
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&name, &text, overrides),
            Err(error) => Err(ConfigError {
                file: Some(name),
                line: None,
                key: None,
                problem: format!("cannot be read: {error}"),
            }),
        }
    }

    /// The config in `text`, with `overrides` laid over it; complaints call the text `name`.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, or with what has come of it and the overrides.
    pub fn from_toml(name: &str, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let (config, places) = file::read(name, text)?;
        config.overridden(overrides, places)
    }

    /// Checks what whoever is given a config may rely on: every number is in its range, paths are
    /// well formed and no two alike, a route has only what its language has a use for, what it
    /// names is there, and where others can reach it, pushing, tapping and the server API are
    /// guarded and clients do not say who they are.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, without file and line.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::validate(self, &Places::default())
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        self.listen.is_loopback()
    }

    /// Whether requests that show no key or secret may push, drop, tap, use the server API and name
    /// their user, if nothing about them says that they were made elsewhere: only where only this
    /// machine can connect and [`Api::open`] is set. [`Config::insecure`] goes before it.
    pub fn trusts_this_machine(&self) -> bool {
        self.api.open && self.is_loopback()
    }

    /// For each route, in order, the number of its namespace. The numbers begin at 0, leave none
    /// out, and are equal where routes share their users and channels.
    ///
    /// # Panics
    ///
    /// If there are more routes than a valid config has.
    pub fn namespaces(&self) -> Vec<u16> {
        let mut named: BTreeMap<&str, u16> = BTreeMap::new();
        let mut count: u16 = 0;
        let mut next = || {
            let number = count;
            count = count.checked_add(1).expect("a valid config has few routes");
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

    /// Whether the server API is served. Unless the config says so itself, it is where a key is
    /// asked for, where only this machine can connect, and where the operator has said that
    /// everything may be open ([`Config::insecure`]).
    pub fn serves_api(&self) -> bool {
        let default = || !self.api.keys.is_empty() || self.insecure || self.is_loopback();
        self.api.enabled.unwrap_or_else(default)
    }

    /// The backend of that name.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// Whether anything is served without a key or secret: to this machine
    /// ([`Config::trusts_this_machine`]) or to everybody ([`Config::insecure`]).
    pub fn serves_keyless(&self) -> bool {
        self.insecure || self.trusts_this_machine()
    }

    /// Whether a client of this route may be whom the header `x-user-id` names. Unless an `edk`
    /// route says so itself, it is if the request is one of this machine
    /// ([`Config::trusts_this_machine`]), and where the operator has said that everything may be
    /// open ([`Config::insecure`]).
    pub fn trusts_user_header(&self, route: &Route) -> bool {
        let default = || self.serves_keyless();
        route.has("trust_user_header") && route.trust_user_header.unwrap_or_else(default)
    }

    /// The routes of a route's namespace, itself among them.
    pub(crate) fn routes_beside<'c>(&'c self, route: &'c Route) -> impl Iterator<Item = &'c Route> {
        self.routes.iter().filter(|other| {
            let shares = other.namespace.is_some() && other.namespace == route.namespace;
            shares || other.path == route.path
        })
    }

    /// Whether a rule may ask which token a client of this route has shown: one of its commands, or
    /// one of a channel of its namespace.
    pub(crate) fn judges_tokens(&self, route: &Route) -> bool {
        let looks = |rule: &Rule| matches!(rule, Rule::Tokens(_) | Rule::Hook);
        let mut commands = route.commands.values();
        let mut channels = self.routes_beside(route).flat_map(|other| &other.channels);
        commands.any(|it| looks(&it.allow))
            || channels.any(|it| looks(&it.join) || looks(&it.publish))
    }

    fn overridden(
        mut self,
        overrides: &Overrides,
        mut places: Places,
    ) -> Result<Self, ConfigError> {
        if let Some(listen) = overrides.listen {
            self.listen = listen;
            places.forget("listen");
        }
        if let Some(Shards(shards)) = overrides.shards {
            self.shards = shards;
        }
        if let Some(log) = overrides.log {
            self.log = log;
        }
        self.insecure |= overrides.insecure;
        validate::validate(&self, &places)?;
        Ok(self)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::echo::Echo;
    use crate::dialect::wserver::Wserver;

    fn read(text: &str, overrides: &Overrides) -> Result<Config, String> {
        Config::from_toml("campanile.toml", text, overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_config_is_valid_and_what_was_promised() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.shards, None);
        let paths: Vec<&str> = config.routes.iter().map(|it| it.path.as_str()).collect();
        let expected = ["/ws", "/edk", "/wsrv", "/easyws", "/projectforge", "/echo"];
        assert_eq!(paths, expected);
        let [ws, others @ .., echo] = &config.routes[..] else {
            panic!("two routes, not {:?}", config.routes);
        };
        for route in others {
            assert_eq!(route.name(), route.dialect.name());
            let plain = Route {
                playground_path: None,
                commands: BTreeMap::new(),
                channels: Vec::new(),
                join_on_open: Vec::new(),
                ..route.clone()
            };
            assert_eq!(plain, Route::new(route.path.clone(), route.dialect));
        }
        assert_eq!(ws.dialect.name(), "wserver");
        assert_eq!(ws.push_path.as_deref(), Some("/push"));
        assert_eq!(ws.drop_path.as_deref(), Some("/drop"));
        assert_eq!((&ws.tokens, &ws.push_auth), (&None, &PushAuth::None));
        assert_eq!(ws.limits, RouteLimits::default());
        assert_eq!(*echo, Route::new("/echo", &Echo));
        assert_eq!(echo.limits.outbox_bytes_max, 32 << 20);
        assert_eq!(echo.limits.message_bytes_max, 16 << 20);
    }

    #[test]
    fn strangers_can_chat_by_default_in_every_language_that_has_words_for_it() {
        let routes = Config::default().routes;
        let [ws, edk, wsrv, easyws, projectforge, echo] = &routes[..] else {
            panic!("six routes, not {routes:?}");
        };
        for route in [wsrv, easyws, projectforge] {
            let commands = route.commands.iter();
            let actions = commands.map(|(name, it)| (name.as_str(), it.action.as_str()));
            let expected = [
                ("echo", "echo"),
                ("hello", "reply"),
                ("join", "join"),
                ("leave", "leave"),
                ("publish", "publish"),
            ];
            assert!(actions.eq(expected), "{:?}", route.dialect);
            let data = ReplyData::Text("world".to_owned());
            assert_eq!(route.commands["hello"].action, Action::Reply { data });
        }
        assert_eq!(easyws.channels, [ChannelSetting::new("room*")]);
        assert_eq!(edk.join_on_open, ["lobby"]);
        let to_the_lobby = Action::Publish {
            channel: Some("lobby".to_owned()),
            event: None,
            to: PublishTo::All,
        };
        assert_eq!(edk.commands[""], CommandSetting::new(to_the_lobby));
        for route in [ws, echo] {
            assert!(route.commands.is_empty() && route.join_on_open.is_empty());
        }
        for route in [ws, edk, wsrv, projectforge, echo] {
            assert!(route.channels.is_empty());
        }
    }

    #[test]
    fn overrides_go_before_the_file_and_the_file_before_the_defaults() {
        const JSON: Log = Log {
            level: LogLevel::Info,
            form: LogForm::Json,
        };
        let text = "listen = '127.0.0.1:1'\nshards = 3\nlog = 'warn'\npin = false";
        let from_file = read(text, &Overrides::default()).expect("valid");
        assert_eq!(from_file.listen.to_string(), "127.0.0.1:1");
        assert_eq!(from_file.shards, NonZeroU8::new(3));
        assert_eq!(from_file.log.level, LogLevel::Warn);
        assert!(!from_file.pin && !from_file.insecure);

        let overrides = Overrides {
            listen: Some(([127, 0, 0, 1], 2).into()),
            shards: Some(Shards(None)),
            log: Some(JSON),
            insecure: true,
        };
        let overridden = read(text, &overrides).expect("valid");
        let expected = Config {
            listen: ([127, 0, 0, 1], 2).into(),
            shards: None,
            insecure: true,
            log: JSON,
            ..from_file
        };
        assert_eq!(overridden, expected);
    }

    #[test]
    fn an_insecure_file_needs_no_flag_and_no_flag_makes_it_secure() {
        let text = "insecure = true\nlisten = '0.0.0.0:80'";
        let config = read(text, &Overrides::default()).expect("valid");
        assert!(config.insecure);
    }

    #[test]
    fn routes_inherit_limits_wherever_these_stand_in_the_file() {
        let text = "
            [[routes]]
            path = '/a'
            dialect = 'wserver'
            idle_timeout_ms = 7_000
            [[routes]]
            path = '/b'
            dialect = 'echo'
            [limits]
            message_bytes_max = 0x10
            outbox_bytes_max = 4096
            [heartbeat]
            ping_interval_ms = 1_000
            idle_timeout_ms = 3_000";
        let config = read(text, &Overrides::default()).expect("valid");
        let inherited = RouteLimits {
            message_bytes_max: 16,
            outbox_bytes_max: 4_096,
            ping_interval_ms: 1_000,
            idle_timeout_ms: 7_000,
            ..RouteLimits::default()
        };
        assert_eq!(config.routes[0].limits, inherited);
        let echo = RouteLimits {
            outbox_bytes_max: 32 << 20,
            idle_timeout_ms: 3_000,
            ..inherited
        };
        assert_eq!(config.routes[1].limits, echo);
    }

    #[test]
    fn the_default_routes_inherit_limits_too() {
        let config = read(
            "limits.message_bytes_max = 20_000_000",
            &Overrides::default(),
        );
        let routes = config.expect("valid").routes;
        assert_eq!(routes[0].limits.message_bytes_max, 20_000_000);
        assert_eq!(routes[5].limits.message_bytes_max, 20_000_000);
        assert_eq!(routes[5].limits.outbox_bytes_max, 40_000_000);
    }

    #[test]
    fn an_unreadable_file_is_named_with_the_cause() {
        let missing = Path::new("/nowhere/campanile.toml");
        let error = Config::load(Some(missing), &Overrides::default()).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "/nowhere/campanile.toml: cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn several_tokens_may_name_one_user() {
        let text = "
            [[routes]]
            path = '/ws'
            dialect = 'wserver'
            [routes.tokens]
            aaa = 'jack'
            'b.b' = 'jack'
            c = 'jill'";
        let config = read(text, &Overrides::default()).expect("valid");
        let tokens = config.routes[0].tokens.as_ref().expect("has tokens");
        assert_eq!(tokens.user("aaa"), Some("jack"));
        assert_eq!(tokens.user("b.b"), Some("jack"));
        assert_eq!(tokens.user("c"), Some("jill"));
        assert_eq!(tokens.user("jack"), None);
    }

    #[test]
    fn secrets_and_tokens_are_not_shown() {
        let text = "
            [[routes]]
            path = '/a'
            push_path = '/b'
            dialect = 'wserver'
            push_secret = 'hush'
            tokens = { hush1 = 'jack' }
            [[routes]]
            path = '/c'
            push_path = '/d'
            dialect = 'wserver'
            push_header = { name = 'X-Key', value = 'hush' }
            [[routes]]
            path = '/e'
            dialect = 'projectforge'
            tap_path = '/tap'
            tap_secret = 'hush'
            jwt = { secret = 'hush hush hush hush hush hush hush' }
            commands = { a = { action = 'echo', allow = { tokens = ['hush'] } } }
            [[backends]]
            name = 'app'
            url = 'http://127.0.0.1/'
            secret = 'hush'
            [api]
            keys = ['hush']";
        let config = read(text, &Overrides::default()).expect("valid");
        let header = PushAuth::Header {
            name: "x-key".to_owned(),
            value: Secret::new("hush"),
        };
        assert_eq!(config.routes[1].push_auth, header);
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn routes_share_a_namespace_exactly_when_they_name_the_same() {
        let route = |namespace: Option<&str>| Route {
            namespace: namespace.map(str::to_owned),
            ..Route::new("/a", &Wserver)
        };
        let names = [None, Some("a"), None, Some("b"), Some("a"), None];
        let config = Config {
            routes: names.map(route).into(),
            ..Config::default()
        };
        assert_eq!(config.namespaces(), [0, 1, 2, 3, 1, 4]);
        assert_eq!(Config::default().namespaces(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_user_header_is_believed_where_only_this_machine_connects() {
        let mut config = Config::default();
        let trusts = |config: &Config| -> Vec<bool> {
            let routes = config.routes.iter();
            routes.map(|it| config.trusts_user_header(it)).collect()
        };
        let edk_only = [false, true, false, false, false, false];
        assert_eq!(trusts(&config), edk_only);
        config.listen = Listen::Everywhere(8080);
        assert_eq!(trusts(&config), [false; 6]);
        config.insecure = true;
        assert_eq!(trusts(&config), edk_only);
        config.routes[1].trust_user_header = Some(false);
        assert_eq!(trusts(&config), [false; 6]);
        config.routes[1].trust_user_header = Some(true);
        config.insecure = false;
        assert_eq!(trusts(&config), edk_only);
    }

    #[test]
    fn words_are_read_as_they_are_spelled() {
        for &word in LogLevel::SPELLINGS {
            assert_eq!(LogLevel::from_str(word).map(LogLevel::as_str), Ok(word));
        }
        assert_eq!(Shards::from_str("auto"), Ok(Shards(None)));
        assert_eq!(Shards::from_str("255"), Ok(Shards(NonZeroU8::new(255))));
        assert!(Shards::from_str("256").is_err());
        assert!(Shards::from_str("0").is_err());
    }
}
