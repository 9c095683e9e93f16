//! What a gateway runs with: one immutable, validated [`Config`].
//!
//! A config comes from the defaults, over which a TOML file is laid, over which flags and the
//! environment are laid ([`Overrides`]). What has been accepted here is checked nowhere else. A
//! complaint names the file, the line, the key and what is allowed. Nothing here opens a socket.

mod error;
mod file;
mod text;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::str::FromStr;

pub use self::error::ConfigError;
use self::error::Places;
pub use self::text::default_text;

use crate::limits::{ECHO_OUTBOX_BYTES_MAX, OUTBOX_BYTES_CEILING, RouteLimits};
pub use crate::limits::{Heartbeat, Http, Limits, Ring};

/// Everything that an operator can set.
///
/// A config made by hand, in an embedder's code, is to be passed through [`Config::validate`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where clients and pushers connect. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// How many shards there are; `None` is one for each core that the process may run on.
    pub shards: Option<NonZeroU8>,
    /// Whether each shard's thread stays on one core.
    pub pin: bool,
    /// Whether pushing may be open to everyone on an address that is not loopback.
    pub insecure: bool,
    /// How much is logged, and in which form.
    pub log: Log,
    /// How long sessions have to end when the gateway stops, in milliseconds.
    pub shutdown_grace_ms: u32,
    /// What is served where. No path occurs twice.
    pub routes: Vec<Route>,
    /// What sessions may hold and how much is done at once.
    pub limits: Limits,
    /// When a silent session is asked and given up.
    pub heartbeat: Heartbeat,
    /// What HTTP connections and requests may hold.
    pub http: Http,
    /// The sizes of a shard's `io_uring`.
    pub ring: Ring,
}

/// One WebSocket path, the language that is spoken there, and the HTTP paths that belong to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Where clients connect, such as `/ws`. Compared with a request's path exactly, without query.
    pub path: String,
    /// The language of its sessions.
    pub dialect: DialectName,
    /// Where messages are pushed; `None` is nowhere, as always on an echo route.
    pub push_path: Option<String>,
    /// Where users' sessions are dropped; `None` is nowhere, as always on an echo route.
    pub drop_path: Option<String>,
    /// Which token names which user; `None`: every token is the name of its user.
    pub tokens: Option<Tokens>,
    /// What a request to `push_path` or `drop_path` must show.
    pub push_auth: PushAuth,
    /// The bounds of its sessions.
    pub limits: RouteLimits,
}

/// The languages there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DialectName {
    /// Register with a JSON object, receive raw text: the language of alfred-zhong/wserver.
    Wserver,
    /// Every message comes back as it is.
    Echo,
}

/// A static table from token to user; several tokens may name one user.
///
/// Its `Debug` shows how many there are and none of them.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Tokens(BTreeMap<String, String>);

/// What a pusher must show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushAuth {
    /// Nothing: whoever reaches the port may push.
    None,
    /// The header `Authorization: Bearer <secret>`.
    Bearer {
        /// What follows the word `Bearer` and one space.
        secret: Secret,
    },
    /// A header with this name and value.
    Header {
        /// In lower case; header names are compared without regard to case.
        name: String,
        /// The whole value, without white space around it.
        value: Secret,
    },
}

/// Text that never appears in a log. Its `Debug` shows nothing of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

/// How much is logged, and in which form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    /// What made the gateway fail.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what an operator may want to know.
    Info,
    /// And what a developer may want to know.
    Debug,
    /// And everything else.
    Trace,
    /// As much as [`Log::Info`], each line a JSON object.
    Json,
}

/// What flags and the environment say. `None` leaves what the file or the default says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// For [`Config::listen`].
    pub listen: Option<SocketAddr>,
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
    /// What is served without a config file: `/ws`, `/push`, `/drop` and `/echo` on
    /// 127.0.0.1:8080.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            shards: None,
            pin: true,
            insecure: false,
            log: Log::Info,
            shutdown_grace_ms: 5_000,
            routes: vec![
                Route {
                    push_path: Some("/push".to_owned()),
                    drop_path: Some("/drop".to_owned()),
                    ..Route::new("/ws", DialectName::Wserver)
                },
                Route::new("/echo", DialectName::Echo),
            ],
            limits: Limits::default(),
            heartbeat: Heartbeat::default(),
            http: Http::default(),
            ring: Ring::default(),
        }
    }
}

impl Config {
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
    /// well formed and no two alike, and pushing is guarded where others can reach it.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, without file and line.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::validate(self, &Places::default())
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        // An IPv4 address in the clothes of an IPv6 one is judged as what it is.
        self.listen.ip().to_canonical().is_loopback()
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

impl Route {
    /// A route without HTTP paths, tokens or push authorization, with the default bounds.
    pub fn new(path: impl Into<String>, dialect: DialectName) -> Self {
        Self {
            path: path.into(),
            dialect,
            push_path: None,
            drop_path: None,
            tokens: None,
            push_auth: PushAuth::None,
            limits: RouteLimits::inherited(dialect, &Limits::default(), &Heartbeat::default()),
        }
    }
}

impl RouteLimits {
    /// The bounds of a route of this dialect that sets none of its own.
    #[must_use]
    pub fn inherited(dialect: DialectName, limits: &Limits, heartbeat: &Heartbeat) -> Self {
        Self {
            message_bytes_max: limits.message_bytes_max,
            outbox_bytes_max: match dialect {
                DialectName::Wserver => limits.outbox_bytes_max,
                DialectName::Echo => echo_outbox_bytes_max(limits),
            },
            ping_interval_ms: heartbeat.ping_interval_ms,
            idle_timeout_ms: heartbeat.idle_timeout_ms,
            registration_timeout_ms: Self::default().registration_timeout_ms,
        }
    }
}

/// A session of an echo is owed what it says, so two of the longest messages are let in, as long
/// as that is within the range of the setting.
fn echo_outbox_bytes_max(limits: &Limits) -> u32 {
    let two_messages = limits.message_bytes_max.saturating_mul(2);
    two_messages
        .min(OUTBOX_BYTES_CEILING)
        .max(limits.outbox_bytes_max)
        .max(ECHO_OUTBOX_BYTES_MAX)
}

impl Tokens {
    /// The user that `token` names, or `None` if it names nobody.
    pub fn user(&self, token: &str) -> Option<&str> {
        self.0.get(token).map(String::as_str)
    }

    /// Every token with its user.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(token, user)| (token.as_str(), user.as_str()))
    }
}

impl FromIterator<(String, String)> for Tokens {
    /// Takes pairs of token and user; of two pairs with one token the later counts.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} not shown)", self.0.len())
    }
}

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is this secret. The time it takes depends on the length of `given` alone,
    /// so that a secret cannot be found byte by byte.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = u8::from(secret.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            difference |= byte ^ secret.get(index).copied().unwrap_or(0);
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Declares how the variants of an enum are spelled in the file and on the command line.
macro_rules! spelled {
    ($type:ident: $($variant:ident = $word:literal)+) => {
        impl $type {
            /// Every spelling, in the order of the variants.
            pub const SPELLINGS: &[&str] = &[$($word),+];

            /// How it is spelled.
            pub const fn spelling(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $( $word => Ok(Self::$variant), )+
                    _ => {
                        let allowed = quoted_list(Self::SPELLINGS);
                        Err(format!("{} is unknown, allowed are {allowed}", quoted(word)))
                    }
                }
            }
        }
    };
}

spelled!(Log:
    Error = "error"
    Warn = "warn"
    Info = "info"
    Debug = "debug"
    Trace = "trace"
    Json = "json"
);
spelled!(DialectName: Wserver = "wserver" Echo = "echo");

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

/// The address in `text`, which is a number with a port and not a name.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let text = quoted(text);
        format!("{text} is not an address and port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
    })
}

/// In quotes and with everything but printable ASCII escaped, so that a complaint stays one line.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &Overrides) -> Result<Config, String> {
        Config::from_toml("campanile.toml", text, overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_config_is_valid_and_what_was_promised() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.shards, None);
        let [ws, echo] = &config.routes[..] else {
            panic!("two routes, not {:?}", config.routes);
        };
        assert_eq!(
            (ws.path.as_str(), ws.dialect),
            ("/ws", DialectName::Wserver)
        );
        assert_eq!(ws.push_path.as_deref(), Some("/push"));
        assert_eq!(ws.drop_path.as_deref(), Some("/drop"));
        assert_eq!((&ws.tokens, &ws.push_auth), (&None, &PushAuth::None));
        assert_eq!(ws.limits, RouteLimits::default());
        assert_eq!(*echo, Route::new("/echo", DialectName::Echo));
        assert_eq!(echo.limits.outbox_bytes_max, 32 << 20);
        assert_eq!(echo.limits.message_bytes_max, 16 << 20);
    }

    #[test]
    fn overrides_go_before_the_file_and_the_file_before_the_defaults() {
        let text = "listen = '127.0.0.1:1'\nshards = 3\nlog = 'warn'\npin = false";
        let from_file = read(text, &Overrides::default()).expect("valid");
        assert_eq!(from_file.listen.port(), 1);
        assert_eq!(from_file.shards, NonZeroU8::new(3));
        assert_eq!(from_file.log, Log::Warn);
        assert!(!from_file.pin && !from_file.insecure);

        let overrides = Overrides {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2))),
            shards: Some(Shards(None)),
            log: Some(Log::Json),
            insecure: true,
        };
        let overridden = read(text, &overrides).expect("valid");
        let expected = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 2)),
            shards: None,
            insecure: true,
            log: Log::Json,
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
            registration_timeout_ms: 0,
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
        assert_eq!(routes[1].limits.message_bytes_max, 20_000_000);
        assert_eq!(routes[1].limits.outbox_bytes_max, 40_000_000);
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
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("s3cret");
        assert!(secret.matches(b"s3cret"));
        for other in ["", "s3cre", "s3cret0", "s3cret\0", "S3cret", "t3cret"] {
            assert!(!secret.matches(other.as_bytes()), "{other:?}");
        }
        assert!(!Secret::new("").matches(b"\0"));
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
            push_header = { name = 'X-Key', value = 'hush' }";
        let config = read(text, &Overrides::default()).expect("valid");
        let header = PushAuth::Header {
            name: "x-key".to_owned(),
            value: Secret::new("hush"),
        };
        assert_eq!(config.routes[1].push_auth, header);
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn words_are_read_as_they_are_spelled() {
        for word in Log::SPELLINGS {
            assert_eq!(Log::from_str(word).map(Log::spelling), Ok(*word));
        }
        for word in DialectName::SPELLINGS {
            let dialect = DialectName::from_str(word);
            assert_eq!(dialect.map(DialectName::spelling), Ok(*word));
        }
        assert_eq!(Shards::from_str("auto"), Ok(Shards(None)));
        assert_eq!(Shards::from_str("255"), Ok(Shards(NonZeroU8::new(255))));
        assert!(Shards::from_str("256").is_err());
        assert!(Shards::from_str("0").is_err());
    }
}
