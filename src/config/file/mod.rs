//! From the text of a TOML file to a [`Config`], with the line of every key.
//!
//! The document is walked by hand rather than derived, because an operator is owed more than
//! "invalid type": each complaint names the key in full, its line and what is allowed there, and a
//! key that nobody knows is an error, not a comment. Ranges are checked here, where the line is at
//! hand; what concerns more than one key is left to `validate/`.

mod backends;
mod channels;
mod commands;
mod hooks;
mod json;
mod jwt;
mod reader;
mod route;

use std::num::NonZeroU8;
use std::str::FromStr;

use toml::de::DeTable;

use self::backends::BACKEND_KEYS;
use self::channels::{CHANNEL_KEYS, RULE_KEYS};
use self::commands::COMMAND_KEYS;
use self::hooks::HOOKS_KEYS;
use self::jwt::JWT_KEYS;
use self::reader::{Entry, Reader};
use super::error::{ConfigError, Places};
use super::route::ROUTE_KEYS;
use super::{
    Api, ApiLimits, BackendLimits, Config, DEFAULT_ROUTES, Heartbeat, Http, Limits, Listen,
    Logging, Ring, Secret, Shards,
};
use crate::vocabulary::limits::{
    DRAIN_DELAY_MS, DRAIN_MS, RouteLimits, SHUTDOWN_GRACE_MS, Setting,
};

/// Reads `text`, which came from the file `name`. Every key it sets has its line in the places.
pub(super) fn read(name: &str, text: &str) -> Result<(Config, Places), ConfigError> {
    let mut reader = Reader {
        places: Places::of(name, text),
    };
    let document =
        DeTable::parse(text).map_err(|error| syntax_complaint(&reader.places, &error, text))?;
    let config = reader.config(document.get_ref())?;
    Ok((config, reader.places))
}

/// What may stand at the top of the file.
const TOP_KEYS: &[&str] = &[
    "listen",
    "shards",
    "pin",
    "insecure",
    "log",
    "shutdown_grace_ms",
    "drain_delay_ms",
    "drain_ms",
    "health_path",
    "api",
    "limits",
    "heartbeat",
    "http",
    "ring",
    "logging",
    "backends",
    "routes",
];

/// What may stand in `[api]` beside its numbers.
const API_KEYS: &[&str] = &["enabled", "open", "keys", "allowed_origins"];

/// What may stand in a `push_header`.
const HEADER_KEYS: &[&str] = &["name", "value"];

impl Reader {
    fn config(&mut self, document: &DeTable<'_>) -> Result<Config, ConfigError> {
        let mut config = Config::without_routes();
        let mut routes = None;

        for entry in self.entries("", document) {
            match entry.key {
                "listen" => config.listen = self.parsed(&entry, Listen::from_str)?,
                "shards" => config.shards = self.shards(&entry)?,
                "pin" => config.pin = self.boolean(&entry)?,
                "insecure" => config.insecure = self.boolean(&entry)?,
                "log" => config.log = self.parsed(&entry, FromStr::from_str)?,
                "shutdown_grace_ms" => {
                    config.shutdown_grace_ms = self.plain_number(&entry, &SHUTDOWN_GRACE_MS)?;
                }
                "drain_delay_ms" => {
                    config.drain_delay_ms = self.plain_number(&entry, &DRAIN_DELAY_MS)?;
                }
                "drain_ms" => config.drain_ms = self.plain_number(&entry, &DRAIN_MS)?,
                "health_path" => {
                    let path = self.string(&entry)?;
                    config.health_path = (!path.is_empty()).then(|| path.to_owned());
                }
                "api" => config.api = self.api(&entry)?,
                "limits" => self.settings(&entry, Limits::SETTINGS, |key, number| {
                    config.limits.set(key, number);
                })?,
                "heartbeat" => self.settings(&entry, Heartbeat::SETTINGS, |key, number| {
                    config.heartbeat.set(key, number);
                })?,
                "http" => self.settings(&entry, Http::SETTINGS, |key, number| {
                    config.http.set(key, number);
                })?,
                "ring" => self.settings(&entry, Ring::SETTINGS, |key, number| {
                    config.ring.set(key, number);
                })?,
                "logging" => self.settings(&entry, Logging::SETTINGS, |key, number| {
                    config.logging.set(key, number);
                })?,
                "backends" => config.backends = self.backends(&entry)?,
                // Routes inherit from the limits, which may come later in the file.
                "routes" => routes = Some(entry),
                _ => return Err(self.unknown(&entry, TOP_KEYS)),
            }
        }

        if let Some(entry) = routes {
            config.routes = self.routes(&entry, &config)?;
        } else {
            config.routes.clone_from(&DEFAULT_ROUTES);
            for route in &mut config.routes {
                route.limits =
                    RouteLimits::inherited(route.dialect, &config.limits, &config.heartbeat);
            }
        }
        Ok(config)
    }

    fn settings(
        &mut self,
        whole: &Entry<'_>,
        settings: &[Setting],
        mut set: impl FnMut(&str, Option<u64>),
    ) -> Result<(), ConfigError> {
        let wrong = format!("must be a table, [{}]", whole.key);
        for entry in self.table(whole, &wrong)? {
            self.setting(&entry, &[], settings, &mut set)?;
        }
        Ok(())
    }

    /// One number of a table that has other keys too.
    fn setting(
        &self,
        entry: &Entry<'_>,
        others: &[&str],
        settings: &[Setting],
        mut set: impl FnMut(&str, Option<u64>),
    ) -> Result<(), ConfigError> {
        let setting = settings.iter().find(|setting| setting.key == entry.key);
        let Some(setting) = setting else {
            let mut keys = others.to_vec();
            keys.extend(settings.iter().map(|setting| setting.key));
            return Err(self.unknown(entry, &keys));
        };
        set(setting.key, self.number(entry, setting)?);
        Ok(())
    }

    fn api(&mut self, whole: &Entry<'_>) -> Result<Api, ConfigError> {
        let mut api = Api::default();
        for entry in self.table(whole, "must be a table, [api]")? {
            match entry.key {
                "enabled" => api.enabled = Some(self.boolean(&entry)?),
                "open" => api.open = self.boolean(&entry)?,
                "allowed_origins" => {
                    let wrong = "must be a list such as [\"https://a.example\"]";
                    let origins = self.strings(&entry, wrong)?;
                    api.allowed_origins = origins.into_iter().map(ToOwned::to_owned).collect();
                }
                "keys" => {
                    let keys = self.strings(&entry, "must be a list such as [\"...\"]")?;
                    api.keys = keys.into_iter().map(Secret::new).collect();
                }
                _ => self.setting(&entry, API_KEYS, ApiLimits::SETTINGS, |key, number| {
                    api.limits.set(key, number);
                })?,
            }
        }
        Ok(api)
    }

    /// A number of shards: a word or a bare number.
    fn shards(&self, entry: &Entry<'_>) -> Result<Option<NonZeroU8>, ConfigError> {
        let number = entry.value.as_integer().map(ToString::to_string);
        let word = entry.value.as_str().map(ToOwned::to_owned);
        let Some(text) = number.or(word) else {
            return Err(self.wrong_type(entry, "must be \"auto\" or 1 to 255"));
        };
        match Shards::from_str(&text) {
            Ok(Shards(count)) => Ok(count),
            Err(problem) => Err(self.places.complain(&entry.path, problem)),
        }
    }
}

/// What the TOML parser says, with the key if one can be seen. A key that may be a token is not
/// named.
fn syntax_complaint(places: &Places, error: &toml::de::Error, text: &str) -> ConfigError {
    let message = error.message().trim().replace('\n', ", ");
    let message = message.trim_end_matches(", expected nothing");
    let span = error.span();
    let offset = span.as_ref().map(|span| span.start);

    let found = span.and_then(|span| text.get(span)).unwrap_or_default();
    if message == "duplicate key" && is_known_key(found) {
        return places.complain_at(offset, format!("duplicate key \"{found}\""));
    }

    let before = offset
        .and_then(|offset| text.get(..offset))
        .unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let (key, value) = (key.trim(), value.trim_start());
    let cure = missing_quotes(key, value);
    let key = if is_known_key(key) {
        format!("{key}: ")
    } else {
        String::new()
    };
    places.complain_at(offset, format!("{key}not valid TOML: {message}{cure}"))
}

/// What to do about an address without quotes. No other value is shown: it may be a secret.
fn missing_quotes(key: &str, value: &str) -> String {
    let address = value.split('#').next().unwrap_or_default().trim_end();
    if key == "listen" && address.parse::<Listen>().is_ok() {
        format!("; an address is in quotes: listen = \"{address}\"")
    } else {
        String::new()
    }
}

fn is_known_key(key: &str) -> bool {
    let settings = [
        Limits::SETTINGS,
        Heartbeat::SETTINGS,
        Http::SETTINGS,
        Ring::SETTINGS,
        Logging::SETTINGS,
        ApiLimits::SETTINGS,
        BackendLimits::SETTINGS,
        RouteLimits::SETTINGS,
    ];
    let tables = [
        TOP_KEYS,
        API_KEYS,
        BACKEND_KEYS,
        HEADER_KEYS,
        JWT_KEYS,
        HOOKS_KEYS,
        CHANNEL_KEYS,
        RULE_KEYS,
        COMMAND_KEYS,
    ];
    tables.concat().contains(&key)
        || ROUTE_KEYS.iter().any(|route_key| route_key.key == key)
        || settings
            .iter()
            .any(|table| table.iter().any(|setting| setting.key == key))
}

#[cfg(test)]
mod tests {
    use super::super::Overrides;
    use super::*;

    /// Reads a file `f.toml` that is refused with `expected`.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let result = Config::from_toml("f.toml", text, &Overrides::default());
        let error = result.expect_err("refused").to_string();
        assert_eq!(error, expected, "for {text:?}");
    }

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_those_that_are_allowed() {
        const TOP: &str = "listen, shards, pin, insecure, log, shutdown_grace_ms, \
            drain_delay_ms, drain_ms, health_path, api, limits, heartbeat, http, ring, logging, \
            backends, routes";
        const ROUTE: &str = "path, dialect, name, namespace, origin, subprotocols, \
            playground_path, tokens, \
            jwt, hooks, channels, join_on_open, push_path, drop_path, push_secret, push_header, \
            message_bytes_max, outbox_bytes_max, ping_interval_ms, idle_timeout_ms, \
            registration_timeout_ms";
        check(
            "# one\n\nlimts = 1",
            &format!("f.toml:3: unknown key \"limts\"; allowed here: {TOP}"),
        );
        check(
            "pin = true\r\n[limts]\r\na = 1",
            &format!("f.toml:2: unknown key \"limts\"; allowed here: {TOP}"),
        );
        check(
            "[ring]\n\nsize = 1",
            "f.toml:3: unknown key \"ring.size\"; allowed here: submission_entries, \
             completion_entries, buffer_count, buffer_bytes, entries_min",
        );
        check(
            &format!("{WS}pth = 1"),
            &format!("f.toml:4: unknown key \"routes[0].pth\"; allowed here: {ROUTE}"),
        );
        check(
            &format!("{WS}push_header = {{ name = 'a', valu = 'b' }}"),
            "f.toml:4: unknown key \"routes[0].push_header.valu\"; allowed here: name, value",
        );
    }

    #[test]
    fn of_two_mistakes_the_first_in_the_file_is_reported() {
        let text = "pin = 1\n[limits]\nlooks_per_turn_max = 0\n[heartbeat]\nclose_grace_ms = 0";
        check(
            text,
            "f.toml:1: pin: must be true or false; found an integer",
        );
        let text = "[limits]\nusers_per_session_max = 0\nlooks_per_turn_max = 0";
        let expected =
            "f.toml:2: limits.users_per_session_max: 0 is too small, allowed are 1 to 65536";
        check(text, expected);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused() {
        let cases = [
            ("listen = 1", "listen: must be a string; found an integer"),
            ("pin = 'yes'", "pin: must be true or false; found a string"),
            (
                "insecure = 1",
                "insecure: must be true or false; found an integer",
            ),
            ("log = []", "log: must be a string; found an array"),
            (
                "shards = 1.5",
                "shards: must be \"auto\" or 1 to 255; found a float",
            ),
            (
                "limits = true",
                "limits: must be a table, [limits]; found a boolean",
            ),
            (
                "http = 1979-05-27",
                "http: must be a table, [http]; found a date or time",
            ),
            (
                "routes = 1",
                "routes: must be [[routes]] tables; found an integer",
            ),
            (
                "[routes]",
                "routes: must be [[routes]] tables; found a table",
            ),
            (
                "routes = [1]",
                "routes[0]: must be [[routes]] tables; found an integer",
            ),
            (
                "ring.buffer_bytes = '1'",
                "ring.buffer_bytes: must be a number, allowed are 1024 to 1048576; found a string",
            ),
            (
                "limits.sessions_max = 'lots'",
                "limits.sessions_max: must be a number, allowed are \"auto\" and 1 to 16000000; \
                 found a string",
            ),
            (
                "limits.looks_per_turn_max = 'auto'",
                "limits.looks_per_turn_max: must be a number, allowed are 1 to 64; found a string",
            ),
        ];
        for (text, expected) in cases {
            check(text, &format!("f.toml:1: {expected}"));
        }
    }

    #[test]
    fn a_number_outside_its_range_is_refused() {
        let cases = [
            (
                "shutdown_grace_ms = 600_001",
                "shutdown_grace_ms: 600001 is too large, allowed are 0 to 600000",
            ),
            (
                "limits.outbox_bytes_max = 12",
                "limits.outbox_bytes_max: 12 is too small, allowed are 4096 to 1073741824",
            ),
            (
                "limits.sessions_max = 0",
                "limits.sessions_max: 0 is too small, allowed are \"auto\" and 1 to 16000000",
            ),
            (
                "limits.looks_per_turn_max = -1",
                "limits.looks_per_turn_max: -1 is too small, allowed are 1 to 64",
            ),
            (
                "limits.looks_per_turn_max = 999999999999999999999999999999999999999999",
                "limits.looks_per_turn_max: 999999999999999999999999999999999999999999 is too \
                 large, allowed are 1 to 64",
            ),
            (
                "limits.looks_per_turn_max = -999999999999999999999999999999999999999999",
                "limits.looks_per_turn_max: -999999999999999999999999999999999999999999 is too \
                 small, allowed are 1 to 64",
            ),
            (
                "heartbeat.ping_interval_ms = 0",
                "heartbeat.ping_interval_ms: 0 is too small, allowed are 64 to 86400000",
            ),
            (
                "ring.buffer_count = 100",
                "ring.buffer_count: 100 is not a power of two, allowed are the powers of two from \
                 4 to 32768",
            ),
            (
                "shards = 0",
                "shards: \"0\" is not a number of shards, allowed are \"auto\" and 1 to 255",
            ),
            (
                "shards = 'many'",
                "shards: \"many\" is not a number of shards, allowed are \"auto\" and 1 to 255",
            ),
        ];
        for (text, expected) in cases {
            check(text, &format!("f.toml:1: {expected}"));
        }
        check(
            &format!("{WS}registration_timeout_ms = 5"),
            "f.toml:4: routes[0].registration_timeout_ms: 5 is too small, allowed are 0 (off) and \
             64 to 86400000",
        );
    }

    #[test]
    fn a_word_that_is_none_of_the_allowed_is_refused() {
        check(
            "\nlisten = 'localhost'",
            "f.toml:2: listen: \"localhost\" is not an address and port, such as \
             \"127.0.0.1:8080\", \"[::1]:8080\", \"localhost:8080\" or, for every address of this \
             machine, \":8080\"",
        );
        check(
            "log = \"lo\\nud\"",
            "f.toml:1: log: \"lo\\nud\" is unknown, allowed are \"error\", \"warn\", \"info\", \
             \"debug\", \"trace\", \"json\", and both, such as \"debug,json\"",
        );
        check(
            "[[routes]]\npath = '/a'\ndialect = 'ecko'",
            "f.toml:3: routes[0].dialect: \"ecko\" is unknown, allowed are \"edk\", \"wsrv\", \
             \"easyws\", \"projectforge\", \"wserver\", \"echo\"",
        );
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line_and_key() {
        check(
            "pin = true\nlisten = 127.0.0.1",
            "f.toml:2: listen: not valid TOML: invalid float",
        );
        check(
            "\n[limits\n",
            "f.toml:2: not valid TOML: unclosed table, expected `]`",
        );
        check(
            "a b",
            "f.toml:1: not valid TOML: key with no value, expected `=`",
        );
        for address in ["127.0.0.1:80", "localhost:80", ":80", "[::1]:80"] {
            let text = format!("listen = {address} # here");
            let result = Config::from_toml("f.toml", &text, &Overrides::default());
            let error = result.expect_err("not TOML").to_string();
            let is_named = error.starts_with("f.toml:1: listen: not valid TOML: ");
            let cure = format!("; an address is in quotes: listen = \"{address}\"");
            assert!(is_named && error.ends_with(&cure), "{error}");
        }
        for (table, key) in [("[api]", "keys"), ("[[backends]]", "secret")] {
            let text = format!("{table}\n{key} = hush");
            let result = Config::from_toml("f.toml", &text, &Overrides::default());
            let error = result.expect_err("not TOML").to_string();
            assert!(
                error.starts_with(&format!("f.toml:2: {key}: not valid TOML: ")),
                "{error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_key_given_twice_is_refused_at_the_second() {
        let twice = "listen = '127.0.0.1:1'\nlisten = '127.0.0.1:1'";
        check(twice, "f.toml:2: duplicate key \"listen\"");
        check(
            "[limits]\n[http]\n[limits]",
            "f.toml:3: duplicate key \"limits\"",
        );
    }

    #[test]
    fn a_key_that_is_quoted_in_a_file_is_quoted_in_a_complaint() {
        check(
            "\"a\\nb\" = 1\n",
            "f.toml:1: unknown key \"\"a\\nb\"\"; allowed here: listen, shards, pin, insecure, \
             log, shutdown_grace_ms, drain_delay_ms, drain_ms, health_path, api, limits, \
             heartbeat, http, ring, logging, backends, routes",
        );
    }

    #[test]
    fn every_key_that_is_called_allowed_is_read() {
        for key in TOP_KEYS {
            // No key takes a date, so each is refused, and none as unknown.
            let text = format!("{key} = 1979-05-27");
            let result = Config::from_toml("f.toml", &text, &Overrides::default());
            let error = result.expect_err("no key takes a date");
            assert_eq!(error.key.as_deref(), Some(*key));
        }
    }
}
