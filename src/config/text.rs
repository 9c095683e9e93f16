//! The complete default config as a TOML file with a comment on every key.
//!
//! Numbers, their ranges and their comments come from the tables of `limits.rs`, and what only a
//! language's routes have from the language. The rest is spelled here and held by a test that reads
//! it back as the default [`Config`](super::Config), whose routes are read from this text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::route::{ROUTE_KEYS, Route};
use super::words::quoted;
use crate::dialect::{self, Dialect};
use crate::vocabulary::limits::{
    ApiLimits, BackendLimits, DRAIN_DELAY_MS, DRAIN_MS, Heartbeat, Http, Limits, Logging, Ring,
    RouteLimits, SHUTDOWN_GRACE_MS, Setting,
};

/// What `campanile config` prints. Reading it gives [`Config::default`](super::Config::default).
#[must_use]
pub fn default_text() -> String {
    let (limits, heartbeat) = (Limits::default(), Heartbeat::default());
    let (http, ring) = (Http::default(), Ring::default());

    let mut text = String::from(HEAD);
    put_setting(&mut text, "", &SHUTDOWN_GRACE_MS, Some(5_000));
    put_setting(&mut text, "", &DRAIN_DELAY_MS, Some(0));
    put_setting(&mut text, "", &DRAIN_MS, Some(10_000));
    text.push_str(HEALTH_AND_API);
    let api = ApiLimits::default();
    put_settings(&mut text, "", ApiLimits::SETTINGS, |key| api.number(key));
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
    text.push_str("\n# What the log may hold, and when it is summed up.\n[logging]\n");
    let logging = Logging::default();
    put_settings(&mut text, "", Logging::SETTINGS, |key| logging.number(key));
    text.push_str(BACKENDS);
    let backend = BackendLimits::default();
    put_settings(&mut text, "# ", BackendLimits::SETTINGS, |key| {
        backend.number(key)
    });
    put_default_routes(&mut text);
    text
}

/// Appends the routes of the default config, one for each language that has one.
///
/// What several languages have is explained at the first of them. An operator tries a push first,
/// so languages with pushes over HTTP come before the others.
pub(super) fn put_default_routes(text: &mut String) {
    let mut languages: Vec<&dyn Dialect> = dialect::of_routes().collect();
    languages.sort_by_key(|it| !it.route_spec().has("push_path"));
    let mut is_told = BTreeSet::new();
    for dialect in languages {
        let Some(route) = dialect.route_spec().default_route else {
            continue;
        };
        let is_first = is_told.insert("routes");
        let head = if is_first { FIRST_ROUTE } else { ROUTE };
        let head = head.replace("<languages>", &summaries());
        let head = head.replace("<name>", route.name);
        text.push_str(&head.replace("<dialect>", dialect.name()));
        if route.has_playground && !is_first {
            writeln!(text, "playground_path = \"/playground/{}\"", route.name)
                .expect(INTO_A_STRING);
        }
        text.push_str(route.keys);
        let limits = Route::new("", dialect).limits;
        for setting in RouteLimits::SETTINGS {
            let mut keys = ROUTE_KEYS.iter();
            let is_of_route = keys.any(|it| it.key == setting.key && it.is_for(dialect));
            if is_of_route && is_told.insert(setting.key) {
                put_setting(text, "# ", setting, limits.number(setting.key));
            }
        }
        text.push_str(route.tables);
        if route.has_chat {
            let is_first = is_told.insert("commands");
            text.push_str(if is_first { COMMANDS } else { "\n" });
            text.push_str(CHAT);
        }
        if let Some(channels) = route.channels {
            text.push_str(&CHANNELS.replace("<channels>", channels));
        }
    }
}

/// A line for each language that a route can have.
fn summaries() -> String {
    let line = |it: &dyn Dialect| {
        let name = quoted(it.name());
        format!("#   {name:<16}{}\n", it.route_spec().summary)
    };
    dialect::of_routes().map(line).collect()
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
        writeln!(text, "#{}", line.replace('`', "")).expect(INTO_A_STRING);
    }
    let value = number.map_or_else(|| "\"auto\"".to_owned(), grouped);
    writeln!(text, "# Allowed are {}.", setting.allowed).expect(INTO_A_STRING);
    writeln!(text, "{before}{} = {value}", setting.key).expect(INTO_A_STRING);
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

const INTO_A_STRING: &str = "writing to a String";

const HEAD: &str = r#"# The config of Campanile, complete: every key with its default.
# A key that is left out has this default, and a key that is not known is an error.
# The flags --listen, --shards, --log and --insecure, and CAMPANILE_LISTEN, CAMPANILE_SHARDS and
# CAMPANILE_LOG in the environment, go before this file.

# Address and port for clients and pushers. "localhost:8080" is 127.0.0.1 and, where there is one,
# also [::1]; ":8080" is all of this machine's, [::] or, where there is no IPv6, 0.0.0.0.
# Where it is not loopback, the gateway refuses to start unless every route that can be pushed to
# has a push_secret or a push_header, every tap has a tap_secret, a server API that is enabled has
# keys (or api.open is false), and every "edk" route has tokens, a jwt or hooks on "open", or says
# whether to trust_user_header.
listen = "127.0.0.1:8080"

# Shards, each a thread with its own sessions: "auto" is one for each core that the process may run
# on, but not more than the CPU quota of its cgroup is worth, rounded up. Allowed are "auto" and 1
# to 255.
shards = "auto"

# Keep each shard's thread on one core. Where a CPU quota has made the shards fewer than the cores,
# the kernel chooses the cores.
pin = true

# Start even if everyone who reaches the port may push, tap, use the server API, or say who they
# are, and let them: where no key or secret is asked for, requests are trusted wherever they come
# from.
insecure = false

# How much is logged to standard error: "error", "warn", "info", "debug" or "trace", as text;
# "json", which is as much as "info", each line a JSON object; or both, such as "debug,json". With
# "debug" every end of a session and every rejection is a line.
log = "info"
"#;

const HEALTH_AND_API: &str = r#"
# Where GET says how the gateway is, for whatever watches over it: a path, or "" for nowhere.
health_path = "/health"

# The server API, under /api/v1/: a backend in any language publishes, pushes, joins, disconnects
# and lists there, with JSON over HTTP.
[api]

# Whether it is served. Without this key it is where it has keys, where only this machine can
# connect, and with --insecure. Where it is, no other path may be under /api/.
# enabled = true

# What a request must show, as "Authorization: Bearer <key>" or "X-Api-Key: <key>": one of these.
# At most 64, so that keys can be changed one after the other. Without this key, nothing, but only
# requests of this machine are served, as "open" says.
# keys = ["..."]

# Whether requests that show no key or secret are served at all: by the server API, at push_path,
# drop_path and tap_path, and with a header x-user-id that is believed. They are if nothing about
# them says that they were made elsewhere: both ends are on this machine, it is HTTP/1.1, Host is
# localhost or a loopback address, there is no header of a proxy (Forwarded, X-Forwarded-*,
# X-Real-IP, Via, CF-*), and Origin, if any, is of this machine too. A proxy on this machine that
# leaves no such trace cannot be seen: behind one, say false.
open = true

# The origins of pages that browsers let use the server API (CORS), at most 64, each such as
# "https://a.example" or "http://a.example:8080". A page shows a key, as everybody does.
allowed_origins = []
"#;

const BACKENDS: &str = r#"
# A program of your own that routes ask by their hooks, with JSON over HTTP. At most 64 of them.
# [[backends]]

# What routes call it: 1 to 64 letters, digits and "_.-".
# name = "app"

# Where hooks are posted to, by http or https.
# url = "http://127.0.0.1:9000/campanile"

# Sent as "Authorization: Bearer <secret>", so that it knows who asks. Without this key, nothing.
# secret = "..."

# A PEM file of certificates that are trusted beside the system's, for https.
# ca_file = "ca.pem"
"#;

const FIRST_ROUTE: &str = r#"
# What is served where. A file with [[routes]] replaces the six below. Paths start with "/" and are
# compared exactly with a request's path, after both were percent-decoded once; a query is ignored.
# "//ws" is not "/ws". No path may occur twice.
[[routes]]

# Where clients connect. It may hold parameters: "/rooms/{room}" takes any text up to the next "/",
# and {*rest} at the end takes all that is left. A path without parameters goes before one with.
path = "/<name>"

# The language of the sessions, which decides what other keys a route may have:
<languages># What is shown up to the tokens table is for every dialect, unless it says otherwise.
dialect = "<dialect>"

# What the route is called: 1 to 64 letters, digits and "_.-". Without this key, the first segment
# of its path, or its dialect if that is no name.
# name = "<name>"

# Where its users and channels belong: 1 to 256 bytes. Routes that name the same namespace share
# users and channels. Without this key, a namespace of its own.
# namespace = "<name>"

# From which pages browsers may connect: "any", "same" (those of the host and port that they connect
# to) or a list such as ["https://a.example", "http://a.example:8080"]. Without this key, "same"
# where the dialect is "easyws" or "projectforge", and "any" elsewhere.
# origin = "any"

# The subprotocols that are agreed on, but not on an "edk" route, which has its token there: the
# first that a client offers. A browser that offers some fails where none is agreed on. At most 64.
# subprotocols = ["v1.chat"]

# Where a page to try the route is served, but not of an "echo" route. Without this key, nowhere.
playground_path = "/playground/<name>"

# The channels that a session is put on when it opens, whatever their rules, but not on an "echo"
# route. {user} is the name of its user; where it has none, that channel is left out.
# join_on_open = ["global", "user:{user}"]

# What a backend is asked or told, but not by an "echo" route:
#   "open"          whether a client may connect, as whom and with what
#   "message"       what to do about a message that no command handles, but not for "wserver"
#   "close"         that a session has ended
#   "authenticate"  which user a token names, for "wserver" without tokens and jwt
# The list may be empty if a rule or a command says "hook". on_failure is for a message that the
# backend did not answer: "fail" has it fail, in the words of the language, and "close" closes the
# session with 1013.
# hooks = { backend = "app", on = ["open", "close"], on_failure = "fail" }

# Take clients' tokens for JSON Web Tokens, but not on an "echo" route, and not beside the key
# tokens. They are checked with one of: a secret of at least 32 bytes (HS256), a key_file with one
# public key in PEM, a jwks_file with a set of them (RS256, ES256). Files are read again when they
# change. A token must have exp, the time at which it ends. issuer and audience are what it must
# say, if anything; without an audience, a token that is for one is refused, unless any_audience is
# true. user_claim names the user, "sub" without it; leeway_s is 0 to 300 seconds by which clocks
# may differ, 0 without it.
# jwt = { key_file = "jwt.pem", issuer = "https://a.example", user_claim = "sub", leeway_s = 0 }
"#;

const ROUTE: &str = r#"
[[routes]]
path = "/<name>"
dialect = "<dialect>"
"#;

const COMMANDS: &str = r#"
# What the gateway itself does with commands, but not of "wserver" and "echo", which have none. At
# most 256 of them, each with what is done, or with a table of that and more:
#   echo     answers with the data of the command
#   join     puts the sender on a channel, if the channel's rule allows it
#   leave    takes the sender off a channel
#   publish  publishes the data to a channel that the sender is on, if the channel's rule allows it
#   reply    answers with data, which is a text or anything else as JSON, or with bytes, in base64
#   hook     asks the backend of the route's hooks, as "message" among them would
# For example:
#   home = { action = "join", channel = "user:{user}" }
#   chat = { action = "publish", channel = "room", event = "chat", to = "others" }
#   look = { action = "reply", data = { doors = ["north", "east"] }, allow = "identified" }
# Where no channel is given, the message names it: "projectforge" has a place for it, elsewhere the
# data are "room" or {"channel": "room"} to join and leave, {"channel": "room", "data": "hi"} to
# publish, or as text: room, and: room hi. Where no event is given, it is the command. A publication
# goes to "all" on the channel or to "others", all but the sender. Who may give the command is a
# rule, such as channels have, below at "easyws"; without one, anyone.
"#;

const CHAT: &str = r#"[routes.commands]
echo = "echo"
join = "join"
leave = "leave"
publish = "publish"
hello = { action = "reply", data = "world" }
"#;

const CHANNELS: &str = r#"
# A channel, or all that fit a pattern, and who may do what there; not on an "echo" route. It holds
# in the route's namespace, which may have 1024 of them. Of two patterns that fit, the first counts,
# but a name goes before a pattern. A channel that fits none is open to anyone, but clients of
# "easyws" can be only on those that fit one.
[[routes.channels]]

# A name, or a pattern: one * for any text, or one {user} for the name of a user.
name = "<channels>"

# When it begins to exist: in "advance", or with the "first-join", and then it is forgotten when the
# last leaves. Without this key, a name does in advance; a pattern has no other than "first-join".
# create = "first-join"

# Who may join, and who may publish by a command:
#   "anyone"      anyone
#   "nobody"      no client; the server API and hooks are not asked
#   "identified"  clients that have a user
#   "owner"       the user whom {user} in the name stands for
#   "hook"        whom the backend of the route's hooks allows
#   { tokens = ["..."] }                  clients that connected with one of these tokens
#   { claim = "role", value = "admin" }   clients whose JWT says so
# join = "anyone"
# publish = "anyone"
"#;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{Backend, Config, HookKind, Overrides, PushAuth, Schema, Secret};
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

    /// The printed config with everything that is commented out put in, but for lines that start
    /// with one of `unwanted`.
    fn uncommented(unwanted: &[&str]) -> String {
        let mut text = String::new();
        for line in default_text().lines() {
            let code = line.strip_prefix("# ").unwrap_or_default();
            let is_code = code.starts_with('[')
                || code
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' '));
            let is_unwanted = unwanted.iter().any(|start| code.starts_with(start));
            text.push_str(if is_code && !is_unwanted { code } else { line });
            text.push('\n');
        }
        text
    }

    #[test]
    fn what_is_commented_out_can_be_put_in() {
        // Two ways to authorize a push are shown, to know users, and of what messages are; one at a
        // time is allowed.
        let opaque = [
            "push_secret",
            "schema = \"descriptor\"",
            "descriptor_set",
            "message = ",
            "command_field",
            "jwt",
        ];
        let descriptor = [
            "push_header",
            "schema = \"opaque\"",
            "[routes.tokens]",
            "\"aaa\"",
            "\"bbb\"",
        ];
        for (unwanted, is_opaque) in [(&opaque[..], true), (&descriptor[..], false)] {
            let config = read(&uncommented(unwanted));
            assert_eq!(config.api.enabled, Some(true));
            assert_eq!(config.api.keys, [Secret::new("...")]);
            let mut backend = Backend::new("app", "http://127.0.0.1:9000/campanile");
            backend.secret = Some(Secret::new("..."));
            backend.ca_file = Some("ca.pem".into());
            assert_eq!(config.backends, [backend]);
            let default = Config::default();
            for (route, default) in config.routes.iter().zip(&default.routes) {
                let dialect = route.dialect;
                // What is shown there is what holds without it.
                if route.name.is_some() {
                    assert_eq!(route.name(), default.name());
                    assert_eq!(route.origin(), default.origin());
                }
                let trusted = config.trusts_user_header(route);
                assert_eq!(trusted, dialect.name() == "edk");
                let rest = Route {
                    name: None,
                    namespace: None,
                    origin: None,
                    subprotocols: Vec::new(),
                    tokens: None,
                    jwt: None,
                    token_from: None,
                    hooks: None,
                    join_on_open: default.join_on_open.clone(),
                    push_auth: PushAuth::None,
                    trust_user_header: None,
                    schema: Schema::Opaque,
                    tap_path: None,
                    tap_secret: None,
                    ..route.clone()
                };
                assert_eq!(rest, *default);

                let jack = route.tokens.as_ref().and_then(|tokens| tokens.user("bbb"));
                let has_tokens = match dialect.name() {
                    "wserver" => is_opaque,
                    "edk" | "wsrv" | "easyws" => true,
                    _ => false,
                };
                assert_eq!(jack, has_tokens.then_some("jack"), "{dialect:?}");
            }
            let [wserver, edk, wsrv, _, projectforge, _] = &config.routes[..] else {
                panic!("six routes, not {:?}", config.routes);
            };
            assert_eq!(wserver.namespace.as_deref(), Some("ws"));
            let is_header = matches!(wserver.push_auth, PushAuth::Header { .. });
            assert_eq!(is_header, is_opaque);
            assert_eq!(wserver.jwt.is_some(), !is_opaque);
            assert_eq!(wserver.join_on_open, ["global", "user:{user}"]);
            let on = wserver.hooks.as_ref().map(|hooks| &hooks.on[..]);
            assert_eq!(on, Some(&[HookKind::Open, HookKind::Close][..]));
            assert_eq!(edk.schema == Schema::Opaque, is_opaque);
            assert_eq!(edk.trust_user_header, Some(true));
            assert!(wsrv.token_from.is_some());
            assert!(projectforge.tap_path.is_some() && projectforge.tap_secret.is_some());
        }
    }

    #[test]
    fn every_key_of_a_route_is_printed() {
        let text = default_text();
        for key in ROUTE_KEYS {
            let is_printed = text.lines().any(|line| {
                let code = line.strip_prefix("# ").unwrap_or(line);
                let is_table = code == format!("[routes.{}]", key.key);
                let is_list = code == format!("[[routes.{}]]", key.key);
                is_table || is_list || code.starts_with(&format!("{} = ", key.key))
            });
            assert!(is_printed, "{}", key.key);
        }
    }

    #[test]
    fn examples_can_be_taken_as_they_stand() {
        let text = default_text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
        let examples: Vec<&str> = lines.filter(|line| line.contains(" = { action")).collect();
        assert_eq!(examples.len(), 3);
        let examples = examples.join("\n");
        let route = "[[routes]]\npath = '/a'\ndialect = 'wsrv'\n[routes.commands]\n";
        let config = read(&format!("{route}{examples}"));
        assert_eq!(config.routes[0].commands.len(), 3);
    }

    #[test]
    fn every_action_rule_and_hook_is_explained() {
        let text = default_text();
        let words = ["echo", "join", "leave", "publish", "reply", "hook"];
        for word in words {
            assert!(text.contains(&format!("\n#   {word} ")), "{word}");
        }
        let rules = ["anyone", "nobody", "identified", "owner", "hook"];
        for word in rules.iter().chain(HookKind::SPELLINGS) {
            assert!(text.contains(&format!("\n#   \"{word}\" ")), "{word}");
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
                "[api]",
                &[
                    ("batch_calls_max", "1_000"),
                    ("except_sessions_max", "100"),
                    ("page_items_max", "1_000"),
                    ("page_bytes_max", "1_048_576"),
                    ("idempotency_keys_max", "100_000"),
                    ("idempotency_bytes_max", "134_217_728"),
                    ("idempotency_ttl_ms", "600_000"),
                    ("idempotency_answer_bytes_max", "65_536"),
                ],
            ),
            (
                "[limits]",
                &[
                    ("sessions_max", "\"auto\""),
                    ("message_bytes_max", "16_777_216"),
                    ("outbox_bytes_max", "1_048_576"),
                    ("socket_unsent_bytes_max", "131_072"),
                    ("socket_send_buffer_bytes_max", "0"),
                    ("held_bytes_per_session_max", "16_777_216"),
                    ("partial_bytes_max", "268_435_456"),
                    ("publication_bytes_max", "268_435_456"),
                    ("batch_bytes_max", "524_288"),
                    ("name_bytes_max", "1_024"),
                    ("token_bytes_max", "8_192"),
                    ("names_bytes_per_session_max", "1_048_576"),
                    ("names_bytes_max", "536_870_912"),
                    ("users_per_session_max", "1_024"),
                    ("channels_per_session_max", "65_536"),
                    ("commands_max", "4_096"),
                    ("claims_waiting_max", "16"),
                    ("busy_poll_us", "0"),
                    ("handler_stall_ms", "100"),
                    ("mailbox_messages_max", "4_096"),
                    ("mailbox_bytes_max", "67_108_864"),
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
                    ("message_timeout_ms", "600_000"),
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
                    ("http_unread_bytes_max", "67_108_864"),
                    ("body_bytes_max", "16_777_216"),
                    ("body_timeout_ms", "30_000"),
                    ("send_timeout_ms", "30_000"),
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
            (
                "# [[backends]]",
                &[
                    ("timeout_ms", "5_000"),
                    ("connect_timeout_ms", "1_000"),
                    ("requests_in_flight_max", "64"),
                    ("requests_waiting_max", "65_536"),
                    ("requests_waiting_bytes_max", "67_108_864"),
                    ("retries_max", "2"),
                    ("retry_delay_ms", "100"),
                    ("answer_bytes_max", "1_048_576"),
                    ("values_bytes_max", "16_384"),
                ],
            ),
        ];
        let config = Config::default();
        let tables = [
            fields(config.api.limits),
            fields(config.limits),
            fields(config.heartbeat),
            fields(config.http),
            fields(config.ring),
            fields(BackendLimits::default()),
        ];
        assert_eq!(tables.len(), EXPECTED.len());

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
                let before = if head.starts_with('#') { "# " } else { "" };
                let wanted = format!("{before}{key} = {value}");
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
