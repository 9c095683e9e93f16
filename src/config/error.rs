//! Errors of a config: every one that was found, each with its file, line and key.
//!
//! No error shows a secret or a token. [`KeyLines`] remembers the line of each key, so that an
//! error found after reading names its line as well.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

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
    pub(super) fn of_file(file: String, line: Option<usize>, problem: String) -> Self {
        Self(vec![ConfigError {
            file: Some(file),
            line,
            key: None,
            problem,
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
    overridden: BTreeSet<&'static str>,
}

impl KeyLines {
    /// Creates the lines of a file of which no key is known yet.
    pub(super) fn new(file: &str, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        Self {
            file: Some(file.to_owned()),
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            ..Self::default()
        }
    }

    /// Remembers that `key` is set at `offset` bytes into the text.
    pub(super) fn insert(&mut self, key: &str, offset: usize) {
        let line = self.line(offset);
        self.lines.insert(key.to_owned(), line);
    }

    /// Notes that a flag or the environment has overridden `key`, so that the file is not to blame.
    pub(super) fn set_overridden(&mut self, key: &'static str) {
        self.lines.remove(key);
        self.overridden.insert(key);
    }

    /// Returns the error of `key`. If the file does not set the key, the line is that of the
    /// innermost table around it that the file has.
    pub(crate) fn error_at(&self, key: &str, problem: String) -> ConfigError {
        let line = around(key).find_map(|table| self.lines.get(table));
        let is_overridden = self.overridden.contains(key);
        ConfigError {
            file: self.file.clone().filter(|_| !is_overridden),
            line: line.copied().filter(|_| !is_overridden),
            key: Some(key.to_owned()),
            problem,
        }
    }

    /// Returns the line, counted from one, of the byte at `offset`.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }
}

/// Returns a key, then the tables around it, the innermost first.
fn around(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |it| it.rfind(['.', '[']).map(|end| &it[..end]))
}

/// The errors that were found so far, and the lines to find more with.
///
/// An error of a key hides those that are found later in the same key, in a table around it and in
/// what is within it: most of them would only follow from it. Errors of reading are not hidden.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(super) lines: KeyLines,
    found: Vec<ConfigError>,
    /// The keys of the errors.
    wrong: BTreeSet<String>,
}

impl Errors {
    /// Records an error of `key`, unless it is hidden.
    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.error_of(&[key], problem);
    }

    /// Records an error of keys that do not fit each other, unless one of them is wrong already.
    /// The error is under the first that the file sets, or else under the first.
    pub(super) fn error_of(&mut self, keys: &[&str], problem: impl Into<String>) {
        if !keys.iter().any(|key| self.is_wrong(key)) {
            self.push_under_one(keys, problem.into());
        }
    }

    /// Records an error of `key`, unless it is hidden or one of the keys in `causes` is wrong.
    pub(super) fn error_unless(
        &mut self,
        causes: &[String],
        key: &str,
        problem: impl Into<String>,
    ) {
        if !causes.iter().any(|cause| self.is_wrong(cause)) {
            self.error(key, problem);
        }
    }

    /// Records an error under the first of `keys` that the file sets, or else under the first, even
    /// if it is hidden.
    pub(super) fn push_under_one(&mut self, keys: &[&str], problem: String) {
        let in_file = keys.iter().find(|key| self.lines.lines.contains_key(**key));
        let key = in_file.unwrap_or(&keys[0]);
        self.wrong.insert((*key).to_owned());
        self.found.push(self.lines.error_at(key, problem));
    }

    /// Records an error at an offset in the file, even if it is hidden: of a key, or of the syntax.
    pub(super) fn push(&mut self, key: Option<&str>, offset: Option<usize>, problem: String) {
        self.wrong.extend(key.map(ToOwned::to_owned));
        self.found.push(ConfigError {
            file: self.lines.file.clone(),
            line: offset.map(|offset| self.lines.line(offset)),
            key: key.map(ToOwned::to_owned),
            problem,
        });
    }

    /// Records the error of `result`, unless it is hidden.
    pub(super) fn check(&mut self, key: &str, result: Result<(), String>) {
        if let Err(problem) = result {
            self.error(key, problem);
        }
    }

    /// Whether an error was found in the key, in a table around it or in what is within it.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let is_within = |separator| {
            let start = format!("{key}{separator}");
            let mut after = self.wrong.range(start.clone()..);
            after.next().is_some_and(|it| it.starts_with(&start))
        };
        around(key).any(|it| self.wrong.contains(it)) || is_within('.') || is_within('[')
    }

    /// Whether the file could not be parsed, so that its config is not worth checking.
    pub(super) fn are_of_syntax(&self) -> bool {
        self.found.iter().any(|error| error.key.is_none())
    }

    /// Returns the lines of the keys.
    ///
    /// # Errors
    ///
    /// All errors, if there are any.
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
        errors.lines.set_overridden("b");
        errors.error_of(&["c", "b"], "no");
        errors.push(None, Some(0), "bad".to_owned());
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
