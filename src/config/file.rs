//! From the text of a TOML file to a [`Config`], with the line of every key.
//!
//! The document is walked by hand rather than derived, because an operator is owed more than
//! "invalid type": each complaint names the key in full, its line and what is allowed there, and a
//! key that nobody knows is an error, not a comment. Ranges are checked here, where the line is at
//! hand; what concerns more than one key is left to `validate.rs`.

use std::num::NonZeroU8;
use std::ops::Range;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Places};
use super::{
    Config, DialectName, Heartbeat, Http, Limits, PushAuth, Ring, Route, Secret, Shards, Tokens,
    parse_listen, quoted_list,
};
use crate::limits::{RouteLimits, SHUTDOWN_GRACE_MS, Setting};

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
    "limits",
    "heartbeat",
    "http",
    "ring",
    "routes",
];

/// What may stand in a route, besides the settings of [`RouteLimits`].
const ROUTE_KEYS: &[&str] = &[
    "path",
    "dialect",
    "push_path",
    "drop_path",
    "push_secret",
    "push_header",
    "tokens",
];

/// Those of a route's keys that an echo route has no use for.
const WSERVER_KEYS: &[&str] = &[
    "push_path",
    "drop_path",
    "push_secret",
    "push_header",
    "tokens",
    "registration_timeout_ms",
];

const HEADER_KEYS: &[&str] = &["name", "value"];

struct Reader {
    places: Places,
}

/// One key of a table and what it is set to.
struct Entry<'t> {
    key: &'t str,
    /// The key with the names of the tables around it.
    path: String,
    value: &'t DeValue<'t>,
    span: Range<usize>,
}

impl Reader {
    fn config(&mut self, document: &DeTable<'_>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut routes = None;

        for entry in self.entries("", document) {
            match entry.key {
                "listen" => config.listen = self.parsed(&entry, parse_listen)?,
                "shards" => config.shards = self.shards(&entry)?,
                "pin" => config.pin = self.boolean(&entry)?,
                "insecure" => config.insecure = self.boolean(&entry)?,
                "log" => config.log = self.parsed(&entry, FromStr::from_str)?,
                "shutdown_grace_ms" => {
                    let number = self.number(&entry, &SHUTDOWN_GRACE_MS)?;
                    config.shutdown_grace_ms = number
                        .and_then(|number| u32::try_from(number).ok())
                        .expect("its range fits and has no \"auto\"");
                }
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
                // Routes inherit from the limits, which may come later in the file.
                "routes" => routes = Some(entry),
                _ => return Err(self.unknown(&entry, TOP_KEYS)),
            }
        }

        match routes {
            Some(entry) => config.routes = self.routes(&entry, &config)?,
            None => {
                for route in &mut config.routes {
                    route.limits =
                        RouteLimits::inherited(route.dialect, &config.limits, &config.heartbeat);
                }
            }
        }
        Ok(config)
    }

    fn routes(&mut self, entry: &Entry<'_>, config: &Config) -> Result<Vec<Route>, ConfigError> {
        let wrong = "must be [[routes]] tables";
        let Some(array) = entry.value.as_array() else {
            return Err(self.wrong_type(entry, wrong));
        };

        let mut routes = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let entry = Entry {
                key: "routes",
                path: format!("routes[{index}]"),
                value: element.get_ref(),
                span: element.span(),
            };
            self.places.note(&entry.path, entry.span.start);
            let Some(table) = entry.value.as_table() else {
                return Err(self.wrong_type(&entry, wrong));
            };
            routes.push(self.route(&entry, table, config)?);
        }
        Ok(routes)
    }

    fn route(
        &mut self,
        whole: &Entry<'_>,
        table: &DeTable<'_>,
        config: &Config,
    ) -> Result<Route, ConfigError> {
        let entries = self.entries(&whole.path, table);

        // The dialect decides which other keys there are, so it is looked for first.
        let Some(entry) = entries.iter().find(|entry| entry.key == "dialect") else {
            let allowed = quoted_list(DialectName::SPELLINGS);
            return Err(self.missing(whole, "dialect", &format!("allowed are {allowed}")));
        };
        let dialect = self.parsed(entry, DialectName::from_str)?;
        let allowed = route_keys(dialect);
        let mut route = Route::new("", dialect);
        route.limits = RouteLimits::inherited(dialect, &config.limits, &config.heartbeat);

        for entry in &entries {
            if !allowed.contains(&entry.key) {
                return Err(self.not_of_route(entry, dialect, &allowed));
            }
            match entry.key {
                "path" => self.string(entry)?.clone_into(&mut route.path),
                "dialect" => {}
                "push_path" => route.push_path = Some(self.string(entry)?.to_owned()),
                "drop_path" => route.drop_path = Some(self.string(entry)?.to_owned()),
                "push_secret" | "push_header" if route.push_auth != PushAuth::None => {
                    let problem = "a route has a push_secret or a push_header, not both";
                    return Err(self.places.complain(&entry.path, problem));
                }
                "push_secret" => {
                    let secret = Secret::new(self.string(entry)?);
                    route.push_auth = PushAuth::Bearer { secret };
                }
                "push_header" => route.push_auth = self.push_header(entry)?,
                "tokens" => route.tokens = Some(self.tokens(entry)?),
                key => {
                    let setting = RouteLimits::SETTINGS
                        .iter()
                        .find(|setting| setting.key == key)
                        .expect("every other allowed key is a setting");
                    let number = self.number(entry, setting)?;
                    route.limits.set(key, number);
                }
            }
        }

        if route.path.is_empty() && !entries.iter().any(|entry| entry.key == "path") {
            return Err(self.missing(whole, "path", "such as \"/ws\""));
        }
        Ok(route)
    }

    fn push_header(&mut self, whole: &Entry<'_>) -> Result<PushAuth, ConfigError> {
        let (mut name, mut value) = (None, None);
        let wrong = "must be a table such as { name = \"X-Api-Key\", value = \"...\" }";
        for entry in self.table(whole, wrong)? {
            match entry.key {
                "name" => name = Some(self.string(&entry)?.to_ascii_lowercase()),
                "value" => value = Some(Secret::new(self.string(&entry)?)),
                _ => return Err(self.unknown(&entry, HEADER_KEYS)),
            }
        }
        match (name, value) {
            (Some(name), Some(value)) => Ok(PushAuth::Header { name, value }),
            _ => Err(self
                .places
                .complain(&whole.path, "must have both a name and a value")),
        }
    }

    /// Complaints about a token name its line and not the token.
    fn tokens(&mut self, whole: &Entry<'_>) -> Result<Tokens, ConfigError> {
        let wrong = "must be a table of lines such as \"token\" = \"user\"";
        let mut tokens = Vec::new();
        for mut entry in self.table(whole, wrong)? {
            entry.path.clone_from(&whole.path);
            let Some(user) = entry.value.as_str() else {
                self.places.note(&whole.path, entry.span.start);
                let wrong = "a token names its user, a string, and a token with a dot is quoted";
                return Err(self.wrong_type(&entry, wrong));
            };
            tokens.push((entry.key.to_owned(), user.to_owned()));
        }
        Ok(tokens.into_iter().collect())
    }

    fn settings(
        &mut self,
        whole: &Entry<'_>,
        settings: &[Setting],
        mut set: impl FnMut(&str, Option<u64>),
    ) -> Result<(), ConfigError> {
        let wrong = format!("must be a table, [{}]", whole.key);
        for entry in self.table(whole, &wrong)? {
            let setting = settings.iter().find(|setting| setting.key == entry.key);
            let Some(setting) = setting else {
                let keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
                return Err(self.unknown(&entry, &keys));
            };
            set(setting.key, self.number(&entry, setting)?);
        }
        Ok(())
    }

    /// The entries of a table in the order of the file, each with its line noted.
    fn entries<'t>(&mut self, path: &str, table: &'t DeTable<'_>) -> Vec<Entry<'t>> {
        let mut entries: Vec<Entry<'t>> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                path: if path.is_empty() {
                    key.get_ref().to_string()
                } else {
                    format!("{path}.{}", key.get_ref())
                },
                value: value.get_ref(),
                span: key.span(),
            })
            .collect();
        entries.sort_by_key(|entry| entry.span.start);
        for entry in &entries {
            self.places.note(&entry.path, entry.span.start);
        }
        entries
    }

    fn table<'t>(&mut self, entry: &Entry<'t>, wrong: &str) -> Result<Vec<Entry<'t>>, ConfigError> {
        let Some(table) = entry.value.as_table() else {
            return Err(self.wrong_type(entry, wrong));
        };
        Ok(self.entries(&entry.path, table))
    }

    fn string<'t>(&self, entry: &Entry<'t>) -> Result<&'t str, ConfigError> {
        let text = entry.value.as_str();
        text.ok_or_else(|| self.wrong_type(entry, "must be a string"))
    }

    fn boolean(&self, entry: &Entry<'_>) -> Result<bool, ConfigError> {
        let value = entry.value.as_bool();
        value.ok_or_else(|| self.wrong_type(entry, "must be true or false"))
    }

    /// A string that `parse` turns into something else.
    fn parsed<T>(
        &self,
        entry: &Entry<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(self.string(entry)?).map_err(|problem| self.places.complain(&entry.path, problem))
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

    /// A number within the range of `setting`, or `None` for the word `"auto"` where it is allowed.
    fn number(&self, entry: &Entry<'_>, setting: &Setting) -> Result<Option<u64>, ConfigError> {
        let allowed = setting.allowed;
        if allowed.takes_auto() && entry.value.as_str() == Some("auto") {
            return Ok(None);
        }
        let Some(number) = entry.value.as_integer() else {
            let wrong = format!("must be a number, allowed are {allowed}");
            return Err(self.wrong_type(entry, &wrong));
        };
        let checked = match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => allowed.check(number).map(|()| number),
            // More digits than any range has.
            Err(_) if number.as_str().starts_with('-') => {
                Err(format!("{number} is too small, allowed are {allowed}"))
            }
            Err(_) => Err(format!("{number} is too large, allowed are {allowed}")),
        };
        let number = checked.map_err(|problem| self.places.complain(&entry.path, problem))?;
        Ok(Some(
            u64::try_from(number).expect("every range is one of u64"),
        ))
    }

    fn wrong_type(&self, entry: &Entry<'_>, wrong: &str) -> ConfigError {
        let found = match entry.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.places
            .complain(&entry.path, format!("{wrong}; found {found}"))
    }

    fn missing(&self, whole: &Entry<'_>, key: &str, hint: &str) -> ConfigError {
        let problem = format!("a route needs the key \"{key}\", {hint}");
        self.places.complain(&whole.path, problem)
    }

    fn unknown(&self, entry: &Entry<'_>, allowed: &[&str]) -> ConfigError {
        let problem = format!(
            "unknown key \"{}\"; allowed here: {}",
            entry.path,
            allowed.join(", ")
        );
        self.places.complain_at(Some(entry.span.start), problem)
    }

    fn not_of_route(
        &self,
        entry: &Entry<'_>,
        dialect: DialectName,
        allowed: &[&str],
    ) -> ConfigError {
        if !WSERVER_KEYS.contains(&entry.key) {
            return self.unknown(entry, allowed);
        }
        let problem = format!(
            "a route of dialect \"{}\" has no such key; allowed here: {}",
            dialect.spelling(),
            allowed.join(", ")
        );
        self.places.complain(&entry.path, problem)
    }
}

/// The keys of a route that speaks `dialect`.
fn route_keys(dialect: DialectName) -> Vec<&'static str> {
    let settings = RouteLimits::SETTINGS.iter().map(|setting| setting.key);
    let all = ROUTE_KEYS.iter().copied().chain(settings);
    match dialect {
        DialectName::Wserver => all.collect(),
        DialectName::Echo => all.filter(|key| !WSERVER_KEYS.contains(key)).collect(),
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
    let key = line.split('=').next().unwrap_or_default().trim();
    let key = if is_known_key(key) {
        format!("{key}: ")
    } else {
        String::new()
    };
    places.complain_at(offset, format!("{key}not valid TOML: {message}"))
}

fn is_known_key(key: &str) -> bool {
    let settings = [
        Limits::SETTINGS,
        Heartbeat::SETTINGS,
        Http::SETTINGS,
        Ring::SETTINGS,
        RouteLimits::SETTINGS,
    ];
    TOP_KEYS.contains(&key)
        || ROUTE_KEYS.contains(&key)
        || HEADER_KEYS.contains(&key)
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
    const ECHO: &str = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n";

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_those_that_are_allowed() {
        const TOP: &str = "listen, shards, pin, insecure, log, shutdown_grace_ms, limits, \
            heartbeat, http, ring, routes";
        const ROUTE: &str = "path, dialect, push_path, drop_path, push_secret, push_header, \
            tokens, message_bytes_max, outbox_bytes_max, ping_interval_ms, idle_timeout_ms, \
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
            "\nlisten = 'localhost:80'",
            "f.toml:2: listen: \"localhost:80\" is not an address and port, such as \
             \"127.0.0.1:8080\" or \"[::1]:8080\"",
        );
        check(
            "log = \"lo\\nud\"",
            "f.toml:1: log: \"lo\\nud\" is unknown, allowed are \"error\", \"warn\", \"info\", \
             \"debug\", \"trace\", \"json\"",
        );
        check(
            "[[routes]]\npath = '/a'\ndialect = 'ecko'",
            "f.toml:3: routes[0].dialect: \"ecko\" is unknown, allowed are \"wserver\", \"echo\"",
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
    fn a_route_says_where_it_is_and_what_it_speaks() {
        check(
            "\n[[routes]]\npath = '/a'",
            "f.toml:2: routes[0]: a route needs the key \"dialect\", allowed are \"wserver\", \
             \"echo\"",
        );
        check(
            &format!("{ECHO}[[routes]]\ndialect = 'echo'"),
            "f.toml:4: routes[1]: a route needs the key \"path\", such as \"/ws\"",
        );
    }

    #[test]
    fn an_echo_route_has_none_of_the_keys_that_only_wserver_uses() {
        let lines = [
            "push_path = '/p'",
            "drop_path = '/p'",
            "push_secret = 'x'",
            "push_header = { name = 'a', value = 'b' }",
            "tokens = {}",
            "registration_timeout_ms = 0",
        ];
        for line in lines {
            let (key, _) = line.split_once(' ').expect("a key and a value");
            let expected = format!(
                "f.toml:4: routes[0].{key}: a route of dialect \"echo\" has no such key; allowed \
                 here: path, dialect, message_bytes_max, outbox_bytes_max, ping_interval_ms, \
                 idle_timeout_ms"
            );
            check(&format!("{ECHO}{line}"), &expected);
            // Where the key stands before the dialect, it is known all the same.
            let before = format!("[[routes]]\npath = '/e'\n\n{line}\ndialect = 'echo'");
            check(&before, &expected);
        }
        assert_eq!(lines.len(), WSERVER_KEYS.len());
    }

    #[test]
    fn a_push_is_guarded_in_one_way_and_completely() {
        check(
            &format!("{WS}push_secret = 'a'\npush_header = {{ name = 'a', value = 'b' }}"),
            "f.toml:5: routes[0].push_header: a route has a push_secret or a push_header, not both",
        );
        check(
            &format!("{WS}push_header = {{ name = 'a' }}"),
            "f.toml:4: routes[0].push_header: must have both a name and a value",
        );
        check(
            &format!("{WS}push_header = 'a'"),
            "f.toml:4: routes[0].push_header: must be a table such as { name = \"X-Api-Key\", \
             value = \"...\" }; found a string",
        );
    }

    #[test]
    fn complaints_about_tokens_and_secrets_do_not_show_them() {
        check(
            &format!("{WS}[routes.tokens]\nhush.hush = 'jack'"),
            "f.toml:5: routes[0].tokens: a token names its user, a string, and a token with a dot \
             is quoted; found a table",
        );
        check(
            &format!("{WS}[routes.tokens]\nhush = 'a'\nhush = 'b'"),
            "f.toml:6: not valid TOML: duplicate key",
        );
        check(
            &format!("{WS}tokens = 'hush'"),
            "f.toml:4: routes[0].tokens: must be a table of lines such as \"token\" = \"user\"; \
             found a string",
        );
        check(
            &format!("{WS}push_secret = ['hush']"),
            "f.toml:4: routes[0].push_secret: must be a string; found an array",
        );
        let unquoted = format!("{WS}push_secret = hush\n");
        let result = Config::from_toml("f.toml", &unquoted, &Overrides::default());
        let error = result.expect_err("not TOML").to_string();
        assert!(
            error.starts_with("f.toml:4: push_secret: not valid TOML: "),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
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
