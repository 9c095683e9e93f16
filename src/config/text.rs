//! The complete default config as a TOML file with a comment on every key, made from the rows.
//!
//! The default routes are read from this text. A test reads all of it back as the default
//! [`Config`].

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Config;
use super::key::{Key, Keys as _, Shape};
use super::keywords::quoted;
use super::route::Route;
use super::rule::ChannelSetting;
use crate::dialect::{self, DefaultRoute, Dialect};

/// Returns the text that `campanile config` prints. Reading it gives [`Config::default`].
#[must_use]
pub fn default_text() -> String {
    let mut text = String::from(HEAD);
    for key in Config::keys() {
        let Some(keys) = key.shape.table() else {
            put_key(&mut text, &key, "");
            continue;
        };
        put_doc(&mut text, &key);
        if key.name == "routes" {
            put_default_routes(&mut text);
            continue;
        }
        let before = if key.shape.is_list() {
            writeln!(text, "# [[{}]]", key.name).expect(INTO_A_STRING);
            "# "
        } else {
            writeln!(text, "[{}]", key.name).expect(INTO_A_STRING);
            ""
        };
        for key in keys {
            put_key(&mut text, key, before);
        }
    }
    text
}

/// Appends the routes of the default config, one for each dialect that has one.
///
/// A key is documented at the first route that can have it. Operators try a push first, so dialects
/// with pushes over HTTP come before the others.
pub(super) fn put_default_routes(text: &mut String) {
    let mut dialects: Vec<&'static dyn Dialect> = dialect::of_routes().collect();
    dialects.sort_by_key(|it| !it.route_spec().has("push_path"));
    let mut documented = BTreeSet::new();
    for dialect in dialects {
        if let Some(route) = dialect.route_spec().default_route {
            put_default_route(text, dialect, &route, &mut documented);
        }
    }
}

fn put_default_route(
    text: &mut String,
    dialect: &'static dyn Dialect,
    default: &DefaultRoute,
    documented: &mut BTreeSet<&'static str>,
) {
    if !documented.is_empty() {
        text.push('\n');
    }
    text.push_str("[[routes]]\n");
    let name = dialect.name();
    let values = default.values(name);
    let blank = Route::new("", dialect);
    let keys = Route::keys();
    let (tables, plain): (Vec<&Key>, Vec<&Key>) = keys
        .iter()
        .filter(|key| key.is_for(name))
        .partition(|key| default.puts_table(key.name));
    for key in plain {
        let value = values.iter().find(|(name, _)| *name == key.name);
        let is_first = documented.insert(key.name);
        if is_first {
            put_comment(text, key);
        }
        // A limit of which the dialect has a default of its own.
        let differs = blank.is_set(key.name) && key.default.is_some();
        match value {
            Some((_, value)) => {
                let last = text.lines().next_back().unwrap_or_default();
                let is_behind_comment = !is_first && last.starts_with('#');
                let space = if is_behind_comment { "\n" } else { "" };
                writeln!(text, "{space}{} = {value}", key.name).expect(INTO_A_STRING);
            }
            None if is_first || differs => {
                let value = blank
                    .toml_of(key)
                    .unwrap_or_else(|| key.spec.example.to_owned());
                let space = if is_first { "" } else { "\n" };
                writeln!(text, "{space}# {} = {value}", key.name).expect(INTO_A_STRING);
            }
            None => {}
        }
    }
    for key in tables {
        if documented.insert(key.name) {
            put_comment(text, key);
        } else {
            text.push('\n');
        }
        match (key.name, default.channels) {
            ("channels", Some(channel)) => put_channel(text, channel),
            _ => text.push_str(CHAT),
        }
    }
}

impl DefaultRoute {
    /// The keys that the route sets, each with its value in TOML.
    fn values(&self, dialect: &str) -> Vec<(&'static str, String)> {
        let path = quoted(&format!("/{}", self.name));
        let page = quoted(&format!("/playground/{}", self.name));
        let mut values = vec![("path", path), ("dialect", quoted(dialect))];
        if self.has_playground {
            values.push(("playground_path", page));
        }
        let own = self.keys.iter();
        values.extend(own.map(|(key, value)| (*key, (*value).to_owned())));
        values
    }

    /// Whether the key is printed as a table of its own, behind all other keys.
    fn puts_table(&self, key: &str) -> bool {
        match key {
            "commands" => self.has_chat,
            "channels" => self.channels.is_some(),
            _ => false,
        }
    }
}

impl Route {
    /// Returns the default in TOML of a key of its dialect.
    fn toml_of(&self, key: &Key) -> Option<String> {
        use crate::vocabulary::limits::{RouteLimits, Settings as _};
        let mut limits = RouteLimits::SETTINGS.iter();
        match limits.find(|setting| setting.key == key.name) {
            Some(limit) => Some(super::key::number_in_toml(self.limits.number(limit.key))),
            None => key.default.clone(),
        }
    }
}

fn put_channel(text: &mut String, name: &str) {
    text.push_str("[[routes.channels]]\n");
    for key in ChannelSetting::keys() {
        if key.name == "name" {
            put_comment(text, &key);
            writeln!(text, "name = {}", quoted(name)).expect(INTO_A_STRING);
        } else {
            put_key(text, &key, "# ");
        }
    }
}

/// Appends the comment and the line of a key; `before` may comment the line out.
fn put_key(text: &mut String, key: &Key, before: &str) {
    put_comment(text, key);
    let line = match &key.default {
        Some(default) => format!("{before}{} = {default}\n", key.name),
        None => format!("# {} = {}\n", key.name, key.spec.example),
    };
    text.push_str(&line);
}

/// Appends an empty line and the documentation of a key.
fn put_doc(text: &mut String, key: &Key) {
    text.push('\n');
    for line in key.doc {
        put_comment_line(text, line);
    }
}

fn put_comment_line(text: &mut String, line: &str) {
    text.push_str(format!("#{}", with_quotes(line)).trim_end());
    text.push('\n');
}

/// Appends the documentation of a key, of the keys of an inline table, and all rules of its row.
fn put_comment(text: &mut String, key: &Key) {
    put_doc(text, key);
    let mut put = |line: &str| put_comment_line(text, line);
    if key.name == "dialect" {
        for dialect in dialect::of_routes() {
            let name = quoted(dialect.name());
            put(&format!("   {name:<16}{}", dialect.route_spec().summary));
        }
    }
    for inner in key.shape.inline_table().unwrap_or_default() {
        put(&format!("   {}", inner.name));
        let lines = inner.doc.iter().filter(|line| !line.is_empty());
        lines.for_each(|line| put(&format!("    {line}")));
    }
    if let Shape::Number(allowed) = &key.shape {
        put(&format!(" Allowed are {allowed}."));
    }
    if let Some(restriction) = key.restriction() {
        put(&format!(" {restriction}"));
    }
    for other in key.spec.excludes {
        put(&format!(" Cannot be combined with {other}."));
    }
}

/// Writes in quotes what Markdown has as code, but for names of keys and what has quotes in it.
fn with_quotes(line: &str) -> String {
    let mut text = String::new();
    for (index, part) in line.split('`').enumerate() {
        let is_plain = index % 2 == 0 || part.contains(['_', '.', '"']);
        if is_plain {
            text.push_str(part);
        } else {
            text.push_str(&quoted(part));
        }
    }
    text
}

const INTO_A_STRING: &str = "writing to a String does not fail";

const HEAD: &str = r#"# The complete config of Campanile: each key with its default or an example.
# A key that is left out has this default, and an unknown key is an error.
# The flags --listen, --shards, --log and --insecure, and CAMPANILE_LISTEN, CAMPANILE_SHARDS and
# CAMPANILE_LOG in the environment, go before this file.
# A secret is a string, { file = "path" } or { env = "NAME" }, which are read at the start.
"#;

const CHAT: &str = r#"[routes.commands]
echo = "echo"
join = "join"
leave = "leave"
publish = "publish"
hello = { action = "reply", data = "world" }
"#;

#[cfg(test)]
mod tests {
    use super::super::error::Errors;
    use super::super::key::check_table;
    use super::super::{Overrides, read};
    use super::*;
    use crate::dialect::of_routes;

    #[test]
    fn the_printed_config_is_the_default_config() {
        for text in [&*default_text(), ""] {
            let config = Config::from_toml("default.toml", text, &Overrides::default());
            assert_eq!(config, Ok(Config::default()));
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
    fn every_key_is_printed_behind_a_comment_with_its_range() {
        let text = default_text();
        let lines: Vec<&str> = text.lines().collect();
        let check = |key: &Key| {
            let name = key.name;
            let line = format!("{name} = ");
            let heads = ["", "routes."].map(|table| format!("[{table}{name}]"));
            let is_of_key = |code: &str| {
                let head = code.trim_start_matches('[');
                let is_head = heads.iter().any(|it| head.starts_with(&it[1..]));
                code.starts_with(&line) || (code.starts_with('[') && is_head)
            };
            let at = lines
                .iter()
                .position(|it| is_of_key(it.strip_prefix("# ").unwrap_or(it)));
            let at = at.unwrap_or_else(|| panic!("{name} is not printed"));
            let before = lines[..at].iter().rev();
            let comment: Vec<_> = before.take_while(|it| it.starts_with('#')).collect();
            let ranges = comment
                .iter()
                .filter(|it| it.starts_with("# Allowed are "))
                .count();
            assert!(!comment.is_empty(), "{name}");
            assert_eq!(
                ranges,
                usize::from(matches!(key.shape, Shape::Number(_))),
                "{name}"
            );
        };
        for key in Config::keys() {
            check(&key);
            for inner in key.shape.table().unwrap_or_default() {
                check(inner);
                for innermost in inner.shape.inline_table().unwrap_or_default() {
                    assert!(lines.contains(&&*format!("#   {}", innermost.name)));
                }
            }
        }
    }

    /// Keys that cannot be put in as printed: they exclude others, or others must go with them.
    const ALONE: &[&str] = &[
        "push_header",
        "jwt",
        "descriptor_set",
        "message",
        "command_field",
        "token_from",
    ];

    #[test]
    fn the_printed_config_with_its_commented_lines_put_in_is_valid_but_for_exclusions() {
        let is_code = |line: &str| {
            let key = line.split_once(" = ").map(|(key, _)| key);
            line.starts_with('[') || key.is_some_and(|key| !key.contains(' '))
        };
        let text = default_text();
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(code) if is_code(code) => code,
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let errors = Config::from_toml("f.toml", &text, &Overrides::default());
        let errors = errors.expect_err("exclusions");
        for error in errors.iter() {
            let key = error.key.as_deref().unwrap_or_default();
            assert!(ALONE.iter().any(|alone| key.ends_with(alone)), "{error}");
        }
    }

    /// Reads a text, and checks each key by its row alone.
    fn check_rows(text: &str) {
        let (config, mut errors): (Config, Errors) = read("f.toml", text);
        check_table(&config, "", &mut errors);
        if let Err(errors) = errors.into_result() {
            panic!("{errors}, in\n{text}");
        }
    }

    #[test]
    fn every_commented_example_is_valid() {
        let value = |key: &Key| match &key.default {
            Some(default) => format!("{} = {default}\n", key.name),
            None => format!("{} = {}\n", key.name, key.spec.example),
        };
        for key in Config::keys() {
            let Some(keys) = key.shape.table() else {
                check_rows(&value(&key));
                continue;
            };
            if key.name == "routes" {
                continue;
            }
            let is_list = matches!(key.shape, Shape::List(_));
            let head = if is_list {
                format!("[[{}]]\n", key.name)
            } else {
                format!("[{}]\n", key.name)
            };
            check_rows(&(head + &keys.iter().map(value).collect::<String>()));
        }
        for dialect in of_routes() {
            let name = dialect.name();
            let others = Route::keys().into_iter();
            let others = others.filter(|key| key.is_for(name));
            for key in others.filter(|key| !["path", "dialect"].contains(&key.name)) {
                let head = format!("[[routes]]\npath = \"/a\"\ndialect = \"{name}\"\n");
                check_rows(&(head + &value(&key)));
                for inner in key.shape.inline_table().unwrap_or_default() {
                    assert!(inner.default.is_some() || !inner.spec.example.is_empty());
                }
            }
        }
    }

    #[test]
    fn examples_of_commands_can_be_taken_as_they_stand() {
        let text = default_text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("# - "));
        let examples: Vec<&str> = lines.filter(|line| line.contains(" = { action")).collect();
        assert_eq!(examples.len(), 3);
        let examples = examples.join("\n");
        let route = "[[routes]]\npath = '/a'\ndialect = 'wsrv'\n[routes.commands]\n";
        check_rows(&format!("{route}{examples}"));
    }

    #[test]
    fn every_keyword_of_an_action_a_rule_and_a_hook_is_explained() {
        let text = default_text();
        let actions = "echo join leave publish reply hook";
        let rules = "anyone nobody identified owner hook";
        let hooks = "open message close authenticate";
        for word in [actions, rules, hooks].join(" ").split(' ') {
            assert!(text.contains(&format!(" - \"{word}\": ")), "{word}");
        }
    }
}
