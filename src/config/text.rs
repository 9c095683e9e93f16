//! The complete default config as a TOML file with a comment on every key.
//!
//! Numbers, their ranges and their comments come from the tables of `limits.rs`; the rest is
//! spelled here and held by a test that reads it back as the default [`Config`](super::Config).

use std::fmt::Write as _;

use crate::limits::{Heartbeat, Http, Limits, Ring, RouteLimits, SHUTDOWN_GRACE_MS, Setting};

/// What `campanile config` prints. Reading it gives [`Config::default`](super::Config::default).
#[must_use]
pub fn default_text() -> String {
    let (limits, heartbeat) = (Limits::default(), Heartbeat::default());
    let (http, ring) = (Http::default(), Ring::default());
    let route = RouteLimits::default();

    let mut text = String::from(HEAD);
    put_setting(&mut text, "", &SHUTDOWN_GRACE_MS, Some(5_000));
    text.push_str("\n# What sessions may hold and how much is done at once.\n[limits]\n");
    put_settings(&mut text, "", Limits::SETTINGS, |key| limits.number(key));
    text.push_str("\n# When a silent session is asked and when it is given up.\n[heartbeat]\n");
    put_settings(&mut text, "", Heartbeat::SETTINGS, |key| {
        heartbeat.number(key)
    });
    text.push_str("\n# What HTTP connections and requests may hold.\n[http]\n");
    put_settings(&mut text, "", Http::SETTINGS, |key| http.number(key));
    text.push_str(
        "\n# The sizes of a shard's io_uring. What does not fit into the limit of locked\n",
    );
    text.push_str("# memory is halved, with a warning, until it does.\n[ring]\n");
    put_settings(&mut text, "", Ring::SETTINGS, |key| ring.number(key));
    text.push_str(ROUTES);
    put_settings(&mut text, "# ", RouteLimits::SETTINGS, |key| {
        route.number(key)
    });
    text.push_str(TOKENS_AND_ECHO);
    text
}

fn put_settings(
    text: &mut String,
    before: &str,
    settings: &[Setting],
    number: impl Fn(&str) -> Option<u64>,
) {
    for setting in settings {
        put_setting(text, before, setting, number(setting.key));
    }
}

/// The comment and the line of one setting; `before` may comment the line out.
fn put_setting(text: &mut String, before: &str, setting: &Setting, number: Option<u64>) {
    text.push('\n');
    for line in setting.doc {
        writeln!(text, "#{}", line.replace('`', "")).expect("writing to a String");
    }
    let value = number.map_or_else(|| "\"auto\"".to_owned(), grouped);
    writeln!(text, "# Allowed are {}.", setting.allowed).expect("writing to a String");
    writeln!(text, "{before}{} = {value}", setting.key).expect("writing to a String");
}

/// A number as TOML lets one write it: `16_777_216`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

const HEAD: &str = r#"# The config of Campanile, complete: every key with its default.
# A key that is left out has this default, and a key that is not known is an error.
# The flags --listen, --shards, --log and --insecure, and CAMPANILE_LISTEN, CAMPANILE_SHARDS and
# CAMPANILE_LOG in the environment, go before this file.

# Address and port for clients and pushers.
# Where it is not loopback, every route that can be pushed to needs a push_secret or a push_header,
# or the gateway refuses to start.
listen = "127.0.0.1:8080"

# Shards, each a thread with its own sessions: "auto" is one for each core that the process may run
# on. Allowed are "auto" and 1 to 255.
shards = "auto"

# Keep each shard's thread on one core.
pin = true

# Start even if everyone who reaches the port may push.
insecure = false

# How much is logged: "error", "warn", "info", "debug", "trace", or "json", which is as much as
# "info", each line a JSON object.
log = "info"
"#;

const ROUTES: &str = r#"
# What is served where. A file with [[routes]] replaces the two below. Paths start with "/" and are
# compared exactly with a request's path; a query is ignored. No path may occur twice.
[[routes]]

# Where clients connect.
path = "/ws"

# The language of the sessions: "wserver" (register with a token and an event, receive the messages
# pushed to that user and event) or "echo" (every message comes back as it is).
dialect = "wserver"

# Where messages are pushed with POST. Without this key, nowhere.
push_path = "/push"

# Where the sessions of a user are dropped with POST. Without this key, nowhere.
drop_path = "/drop"

# What a pusher must show: nothing, or one of these two. The secret is sent as
# "Authorization: Bearer <secret>"; the header is compared as it is.
# push_secret = "..."
# push_header = { name = "X-Api-Key", value = "..." }
"#;

const TOKENS_AND_ECHO: &str = r#"
# Which token names which user; several tokens may name one. Without this table every token is
# itself the name of its user; with it, a registration with any other token is ignored.
# [routes.tokens]
# "aaa" = "jack"
# "bbb" = "jack"

[[routes]]
path = "/echo"
dialect = "echo"
"#;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{Config, Overrides, PushAuth, Route};
    use super::*;

    fn read(text: &str) -> Config {
        match Config::from_toml("default.toml", text, &Overrides::default()) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_printed_config_is_the_default_config() {
        assert_eq!(read(&default_text()), Config::default());
        assert_eq!(read(""), Config::default());
    }

    #[test]
    fn what_is_commented_out_can_be_put_in() {
        // Both ways to authorize a push are shown, and one at a time is allowed.
        for unwanted in ["# push_secret", "# push_header"] {
            let mut text = String::new();
            for line in default_text().lines() {
                let code = line.strip_prefix("# ").unwrap_or_default();
                let is_code = code.starts_with('[')
                    || code
                        .split_once(" = ")
                        .is_some_and(|(key, _)| !key.contains(' '));
                let line = if is_code && !line.starts_with(unwanted) {
                    code
                } else {
                    line
                };
                text.push_str(line);
                text.push('\n');
            }

            let config = read(&text);
            let route = &config.routes[0];
            assert_ne!(route.push_auth, PushAuth::None);
            assert_eq!(
                route.tokens.as_ref().and_then(|tokens| tokens.user("bbb")),
                Some("jack")
            );
            let without = Route {
                tokens: None,
                push_auth: PushAuth::None,
                ..route.clone()
            };
            assert_eq!(without, Config::default().routes[0]);
        }
    }

    /// The names of a struct's fields, by way of its `Debug` rather than of its settings.
    fn fields(table: impl Debug) -> Vec<String> {
        let debug = format!("{table:?}");
        let (_, inner) = debug.split_once('{').expect("a struct with fields");
        let inner = inner.trim_end_matches('}');
        inner
            .split(',')
            .map(|field| {
                let (name, _) = field.split_once(':').expect("a name before its value");
                name.trim().to_owned()
            })
            .collect()
    }

    #[test]
    fn every_setting_is_printed_with_its_default_and_a_comment() {
        /// A table's keys, each with its default.
        type Keys = &'static [(&'static str, &'static str)];

        // As the issue and io.md have them.
        const EXPECTED: &[(&str, Keys)] = &[
            (
                "[limits]",
                &[
                    ("sessions_max", "\"auto\""),
                    ("message_bytes_max", "16_777_216"),
                    ("outbox_bytes_max", "1_048_576"),
                    ("partial_bytes_max", "268_435_456"),
                    ("publication_bytes_max", "268_435_456"),
                    ("batch_bytes_max", "65_536"),
                    ("name_bytes_max", "8_192"),
                    ("users_per_session_max", "1_024"),
                    ("mailbox_messages_max", "4_096"),
                    ("sends_per_enter_max", "1_024"),
                    ("sends_per_turn_max", "2_048"),
                    ("looks_per_turn_max", "4"),
                    ("gather_bytes_max", "16_384"),
                    ("pushes_in_flight_max", "4_096"),
                ],
            ),
            (
                "[heartbeat]",
                &[
                    ("ping_interval_ms", "30_000"),
                    ("idle_timeout_ms", "90_000"),
                    ("handshake_timeout_ms", "10_000"),
                    ("close_grace_ms", "5_000"),
                ],
            ),
            (
                "[http]",
                &[
                    ("http_connections_max", "1_024"),
                    ("http_in_bytes_max", "65_536"),
                    ("http_out_bytes_max", "65_536"),
                    ("body_bytes_max", "16_777_216"),
                    ("body_timeout_ms", "30_000"),
                    ("keep_alive_timeout_ms", "75_000"),
                    ("push_timeout_ms", "5_000"),
                ],
            ),
            (
                "[ring]",
                &[
                    ("submission_entries", "4_096"),
                    ("completion_entries", "16_384"),
                    ("buffer_count", "256"),
                    ("buffer_bytes", "16_384"),
                    ("entries_min", "256"),
                ],
            ),
        ];
        let config = Config::default();
        let tables = [
            fields(config.limits),
            fields(config.heartbeat),
            fields(config.http),
            fields(config.ring),
        ];

        let text = default_text();
        for ((head, expected), fields) in EXPECTED.iter().zip(&tables) {
            let (_, table) = text
                .split_once(&format!("\n{head}\n"))
                .expect("has its table");
            let table = table.split_once("\n[").map_or(table, |(before, _)| before);
            let keys: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
            assert_eq!(*fields, keys, "{head}");

            let lines: Vec<&str> = table.lines().collect();
            for (key, value) in *expected {
                let wanted = format!("{key} = {value}");
                let at = lines
                    .iter()
                    .position(|line| *line == wanted)
                    .unwrap_or_else(|| panic!("{wanted} is not in {head}"));
                assert!(at >= 2, "{key} has a comment");
                assert!(lines[at - 1].starts_with("# Allowed are "), "{key}");
                assert!(lines[at - 2].starts_with("# "), "{key}");
            }
        }
    }

    #[test]
    fn the_printed_config_is_plain() {
        for line in default_text().lines() {
            assert!(line.is_ascii() && line.len() <= 100, "{line}");
            assert!(!line.ends_with(' ') && !line.contains('`'), "{line}");
        }
    }

    #[test]
    fn digits_are_grouped_by_threes() {
        let numbers = [0, 999, 1_000, 65_536, 1_048_576];
        assert_eq!(
            numbers.map(grouped),
            ["0", "999", "1_000", "65_536", "1_048_576"]
        );
    }
}
