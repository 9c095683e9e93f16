//! Errors of a config: every one that was found, each with its file, line and key.
//!
//! No error shows a secret or a token. [`KeyLines`] remembers the line of each key, so that an
//! error found after reading names its line as well.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::vocabulary::limits::Allowed;

/// One error of a config. Its `Display` is the whole message, one line long:
///
/// ```text
/// campanile.toml:12: limits.outbox_bytes_max: 12 is too small, allowed are 4096 to 1073741824
/// ```
///
/// Keys are spelled with dots, routes counted from zero: `routes[0].path`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The file as the operator named it; `None` if the config came from no file.
    pub file: Option<String>,
    /// The line within the file, counted from one; `None` if the key is not in the file.
    pub line: Option<usize>,
    /// The key to change; `None` if the file cannot be read or parsed.
    pub key: Option<String>,
    /// The problem, with the allowed values.
    pub problem: String,
}

/// All errors of a config, at least one and at most 100, in the order of the file. Its `Display`
/// has a line for each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the errors in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Returns the error of a file that cannot be read.
    pub(super) fn unreadable(file: String, error: &std::io::Error) -> Self {
        Self(vec![ConfigError {
            file: Some(file),
            line: None,
            key: None,
            problem: format!("cannot be read: {error}"),
        }])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}
impl Error for ConfigErrors {}

/// The line of each key of a file. Empty for a config that came from no file.
#[derive(Clone, Debug, Default)]
pub struct KeyLines {
    file: Option<String>,
    /// The offset of the start of each line.
    line_starts: Vec<usize>,
    lines: BTreeMap<String, usize>,
}

impl KeyLines {
    /// Creates the lines of a file of which no key is known yet.
    pub(super) fn new(file: &str, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        Self {
            file: Some(file.to_owned()),
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            lines: BTreeMap::new(),
        }
    }

    /// Remembers that `key` is set at `offset` bytes into the text.
    pub(super) fn insert(&mut self, key: &str, offset: usize) {
        let line = self.line(offset);
        self.lines.insert(key.to_owned(), line);
    }

    /// Forgets `key`, because a flag or the environment has overridden it.
    pub(super) fn remove(&mut self, key: &str) {
        self.lines.remove(key);
    }

    /// Returns the error of `key`. If the file does not set the key, the line is that of the
    /// innermost table around it that the file has.
    pub(crate) fn error_at(&self, key: &str, problem: String) -> ConfigError {
        let mut table = key;
        while !self.lines.contains_key(table) {
            let Some(end) = table.rfind(['.', '[']) else {
                break;
            };
            table = &table[..end];
        }
        ConfigError {
            file: self.file.clone(),
            line: self.lines.get(table).copied(),
            key: Some(key.to_owned()),
            problem,
        }
    }

    /// Returns the line, counted from one, of the byte at `offset`.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }
}

/// The errors that were found so far, and the lines to find more with.
///
/// An error in a key hides later ones in the same key, in a table around it and in what is within
/// it: most of them would only follow from it.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(super) lines: KeyLines,
    found: Vec<ConfigError>,
    is_of_syntax: bool,
}

impl Errors {
    /// Records an error of `key`.
    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.error_of(&[key], problem);
    }

    /// Records an error of keys that do not fit each other, as one of the first that the file
    /// sets, or else of the first.
    pub(super) fn error_of(&mut self, keys: &[&str], problem: impl Into<String>) {
        if keys.iter().any(|key| self.is_wrong(key)) {
            return;
        }
        let in_file = keys.iter().find(|key| self.lines.lines.contains_key(**key));
        let key = in_file.unwrap_or(&keys[0]);
        self.found.push(self.lines.error_at(key, problem.into()));
    }

    /// Records an error of `key`, unless one of the keys is wrong that it may follow from.
    pub(super) fn error_unless(&mut self, wrong: &[String], key: &str, problem: impl Into<String>) {
        if !wrong.iter().any(|other| self.is_wrong(other)) {
            self.error(key, problem);
        }
    }

    /// Records an error of keys that do not fit each other, about a table as a whole: hidden if any
    /// key within it is wrong.
    pub(super) fn error_beside_of(&mut self, keys: &[&str], table: &str, problem: String) {
        if !self.is_wrong(table) {
            self.error_of(keys, problem);
        }
    }

    /// Records what `result` says of `key`, if it is an error.
    pub(super) fn check(&mut self, key: &str, result: Result<(), String>) {
        if let Err(problem) = result {
            self.error(key, problem);
        }
    }

    pub(super) fn check_number(&mut self, key: &str, number: Option<u64>, allowed: Allowed) {
        if let Some(number) = number {
            self.check(key, allowed.check(number.into()));
        }
    }

    /// Records an error of the text at `offset`, which may be of no known key, beside all others.
    pub(super) fn error_at_offset(&mut self, offset: Option<usize>, problem: String) {
        self.found.push(ConfigError {
            file: self.lines.file.clone(),
            line: offset.map(|offset| self.lines.line(offset)),
            key: None,
            problem,
        });
    }

    /// Records an error of `key` at `offset`, beside all others.
    pub(super) fn error_of_entry(&mut self, key: &str, offset: usize, problem: String) {
        self.found.push(ConfigError {
            file: self.lines.file.clone(),
            line: Some(self.lines.line(offset)),
            key: Some(key.to_owned()),
            problem,
        });
    }

    /// Records an error of a whole table, beside those of its keys.
    pub(super) fn error_beside(&mut self, table: &str, problem: String) {
        self.found.push(self.lines.error_at(table, problem));
    }

    /// Whether an error was found in the key, in a table around it or in what is within it.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let is_within = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let mut keys = self.found.iter().filter_map(|error| error.key.as_deref());
        keys.any(|wrong| is_within(key, wrong) || is_within(wrong, key))
    }

    /// Notes that the file could not be parsed, so that its config is not worth checking.
    pub(super) fn stop_at_syntax(&mut self) {
        self.is_of_syntax = true;
    }

    pub(super) fn is_of_syntax(&self) -> bool {
        self.is_of_syntax
    }

    /// Returns the lines if no error was found.
    pub(super) fn into_result(self) -> Result<KeyLines, ConfigErrors> {
        if self.found.is_empty() {
            return Ok(self.lines);
        }
        let mut found = self.found;
        found.sort_by_key(|error| error.line.unwrap_or(usize::MAX));
        found.truncate(ERRORS_MAX);
        Err(ConfigErrors(found))
    }
}

/// More than anyone reads before the next try.
const ERRORS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: KeyLines) -> Errors {
        Errors {
            lines,
            ..Errors::default()
        }
    }

    fn lines() -> KeyLines {
        let mut lines = KeyLines::new("f.toml", "a = 1\nb = 2\n");
        lines.insert("a[0]", 0);
        lines.insert("b", 6);
        lines.insert("a[0].b", 6);
        lines
    }

    #[test]
    fn lines_are_counted_from_one_and_a_newline_ends_its_own() {
        let lines = KeyLines::new("f", "a\n\nb\n");
        let found: Vec<usize> = (0..=5).map(|offset| lines.line(offset)).collect();
        assert_eq!(found, [1, 1, 2, 3, 3, 4]);
        assert_eq!(KeyLines::new("f", "").line(0), 1);
    }

    #[test]
    fn an_error_names_the_first_of_its_keys_that_the_file_sets() {
        let text = |keys: &[&str]| {
            let mut errors = with(lines());
            errors.error_of(keys, "no");
            errors.into_result().expect_err("an error").to_string()
        };
        assert_eq!(text(&["b"]), "f.toml:2: b: no");
        assert_eq!(text(&["c"]), "f.toml: c: no");
        assert_eq!(text(&["c", "b"]), "f.toml:2: b: no");
        let mut errors = with(lines());
        errors.lines.remove("b");
        errors.error_of(&["c", "b"], "no");
        errors.error_at_offset(Some(0), "bad".to_owned());
        let found = errors.into_result().expect_err("errors").to_string();
        assert_eq!(found, "f.toml:1: bad\nf.toml: c: no");
        let mut errors = Errors::default();
        errors.error("c", "no");
        assert_eq!(
            errors.into_result().expect_err("an error").to_string(),
            "c: no"
        );
    }

    #[test]
    fn an_error_of_an_absent_key_has_the_line_of_the_innermost_table_that_is_there() {
        let line = |key: &str| lines().error_at(key, "no".to_owned()).to_string();
        assert_eq!(line("a[0].b"), "f.toml:2: a[0].b: no");
        assert_eq!(line("a[0].b.c[3].d"), "f.toml:2: a[0].b.c[3].d: no");
        assert_eq!(line("a[0].c"), "f.toml:1: a[0].c: no");
        assert_eq!(line("a[1].b"), "f.toml: a[1].b: no");
    }

    #[test]
    fn an_error_hides_those_that_may_follow_from_it() {
        let mut errors = Errors::default();
        errors.error("a.b", "first");
        for hidden in ["a.b", "a", "a.b[0]", "a.b.c"] {
            errors.error(hidden, "hidden");
        }
        for other in ["a.bc", "b", "a.c"] {
            errors.error_of(&[other], "other");
        }
        errors.error_of(&["d", "a.b"], "hidden");
        let found = errors.into_result().expect_err("errors").to_string();
        assert_eq!(found, "a.b: first\na.bc: other\nb: other\na.c: other");
    }

    #[test]
    fn a_hundred_errors_are_enough() {
        let mut errors = Errors::default();
        (0..150).for_each(|key| errors.error(&format!("a{key}"), "no"));
        assert_eq!(
            errors.into_result().expect_err("errors").iter().count(),
            100
        );
    }
}
