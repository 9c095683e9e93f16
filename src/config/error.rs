//! What an operator is told about a config that cannot be used, and where in the file it is.
//!
//! A [`ConfigError`] is one line that can be acted on: file, line, key, what is wrong and what is
//! allowed. It never shows a secret or a token. [`Places`] remembers which line set which key, so
//! that a complaint found after reading can name its line as well.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

/// Why a config was refused. Its `Display` is the whole message, one line long:
///
/// ```text
/// campanile.toml:12: limits.outbox_bytes_max: 12 is too small, allowed are 4096 to 1073741824
/// ```
///
/// Keys are spelled with dots, routes counted from zero: `routes[0].path`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The file as the operator named it; `None` when the config came from no file.
    pub file: Option<String>,
    /// The line within the file, counted from one; `None` when no line of it is to blame.
    pub line: Option<usize>,
    /// The key to change; `None` when the file cannot be read or understood at all.
    pub key: Option<String>,
    /// What is wrong and what is allowed.
    pub problem: String,
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

impl Error for ConfigError {}

/// Which line of which file set which key. Empty for a config that came from no file.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: Option<String>,
    /// Where each line starts, as an index into the text.
    line_starts: Vec<usize>,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// No key is known yet.
    pub(super) fn of(file: &str, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        Self {
            file: Some(file.to_owned()),
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            lines: BTreeMap::new(),
        }
    }

    /// Remembers that `key` is set at `offset` bytes into the text.
    pub(super) fn note(&mut self, key: &str, offset: usize) {
        let line = self.line(offset);
        self.lines.insert(key.to_owned(), line);
    }

    /// Forgets `key`, because something other than the file has set it.
    pub(super) fn forget(&mut self, key: &str) {
        self.lines.remove(key);
    }

    /// A complaint about `key`.
    pub(super) fn complain(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.complain_of_either(&[key], problem)
    }

    /// A complaint about keys that do not go together: it is laid to the first that the file sets,
    /// or else to the first.
    pub(super) fn complain_of_either(
        &self,
        keys: &[&str],
        problem: impl Into<String>,
    ) -> ConfigError {
        let in_file = keys.iter().find(|key| self.lines.contains_key(**key));
        let key = in_file.unwrap_or(&keys[0]);
        ConfigError {
            file: self.file.clone(),
            line: self.lines.get(*key).copied(),
            key: Some((*key).to_owned()),
            problem: problem.into(),
        }
    }

    /// A complaint about `key`, which the file may not have: then it is laid to the innermost table
    /// around it that the file has.
    pub(super) fn complain_within(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let mut keys = vec![key];
        let mut rest = key;
        while let Some(end) = rest.rfind(['.', '[']) {
            rest = &rest[..end];
            keys.push(rest);
        }
        self.complain_of_either(&keys, problem)
    }

    /// A complaint about the text at `offset`, or about all of it.
    pub(super) fn complain_at(&self, offset: Option<usize>, problem: String) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: offset.map(|offset| self.line(offset)),
            key: None,
            problem,
        }
    }

    /// The line, counted from one, in which the byte at `offset` is.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_a_newline_ends_its_own() {
        let places = Places::of("f", "a\n\nb\n");
        let lines: Vec<usize> = (0..=5).map(|offset| places.line(offset)).collect();
        assert_eq!(lines, [1, 1, 2, 3, 3, 4]);
        assert_eq!(Places::of("f", "").line(0), 1);
    }

    #[test]
    fn a_complaint_names_what_is_known() {
        let mut places = Places::of("f.toml", "a = 1\nb = 2\n");
        places.note("b", 6);
        assert_eq!(places.complain("b", "no").to_string(), "f.toml:2: b: no");
        assert_eq!(places.complain("c", "no").to_string(), "f.toml: c: no");
        assert_eq!(
            places.complain_of_either(&["c", "b"], "no").to_string(),
            "f.toml:2: b: no"
        );
        assert_eq!(
            places.complain_at(Some(0), "no".to_owned()).to_string(),
            "f.toml:1: no"
        );
        places.forget("b");
        assert_eq!(
            places.complain_of_either(&["c", "b"], "no").to_string(),
            "f.toml: c: no"
        );
        assert_eq!(Places::default().complain("c", "no").to_string(), "c: no");
    }

    #[test]
    fn what_a_file_lacks_is_laid_to_the_innermost_table_it_has() {
        let mut places = Places::of("f.toml", "a = 1\nb = 2\n");
        places.note("a[0]", 0);
        places.note("a[0].b", 6);
        let line = |key: &str| places.complain_within(key, "no").to_string();
        assert_eq!(line("a[0].b"), "f.toml:2: a[0].b: no");
        assert_eq!(line("a[0].b.c[3].d"), "f.toml:2: a[0].b: no");
        assert_eq!(line("a[0].c"), "f.toml:1: a[0]: no");
        assert_eq!(line("a[1].b"), "f.toml: a[1].b: no");
    }
}
