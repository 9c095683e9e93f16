//! The rule about the places of dialects, with a small lexer of Rust for comments, strings and
//! identifiers.

use crate::{Errors, Source};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Code of single dialects is in `src/dialect/`, and the embedder's part in a file of the dialect
/// in `src/handler/`. Other code except tests must not name a dialect in an identifier or a string.
pub(crate) fn dialects_have_their_places(file: &Source<'_>) -> Errors {
    let name = file.name;
    let is_place = !name.starts_with("src/") || name.starts_with("src/dialect/");
    if is_place || name.contains("/tests/") || name.ends_with("/tests.rs") {
        return Vec::new();
    }
    let own = name.strip_prefix("src/handler/");
    let own = own.map(|name| name.trim_end_matches(".rs"));
    let code = file.text.split("\n#[cfg(test)]\nmod ").next();
    let words = words(code.expect("split yields at least one part"));
    let named = words.iter().filter_map(|word| {
        let language = DIALECTS.iter().find(|language| word.names(language))?;
        let is_declared = own == Some("mod") && word.before.ends_with("mod ");
        let is_foreign = own != Some(language) && !is_declared;
        let line = word.before.matches('\n').count() + 1;
        is_foreign.then(|| (line, format!("names the language {language}")))
    });
    named.collect()
}

/// The dialects in the registry.
static DIALECTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect/mod.rs");
    let registry = fs::read_to_string(registry).expect("a readable registry");
    let entries = registry
        .lines()
        .filter_map(|line| line.strip_prefix("    &"));
    let names = entries.filter_map(|entry| entry.split_once("::"));
    let names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() > 1, "{names:?}");
    names
});

/// An identifier or a string.
struct Word<'s> {
    before: &'s str,
    text: &'s str,
    after: &'s str,
    is_string: bool,
}

impl Word<'_> {
    fn names(&self, language: &str) -> bool {
        // These names have other meanings, too: an action of the config, and taps of routes.
        let is_ordinary = ["echo", "tap"].contains(&language);
        let is_in_path = self.before.ends_with("dialect::") || self.after.starts_with("::");
        match (self.is_string, is_ordinary) {
            (true, _) => self.text == language && language != "echo",
            (false, true) => self.text == language && is_in_path,
            (false, false) => parts(self.text).split('_').any(|part| part == language),
        }
    }
}

/// Returns the identifiers and strings of a source, without comments.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (open, length, close) = lex(rest);
        let (start, end) = (at + open, at + open + length);
        if length > 0 {
            words.push(Word {
                before: &text[..start],
                text: &text[start..end],
                after: &text[end..],
                is_string: close > 0,
            });
        }
        at = end + close;
    }
    words
}

/// Returns the next token as lengths in bytes: to skip, of the word, of its end.
fn lex(rest: &str) -> (usize, usize, usize) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let to = |end: &str, from: usize| rest[from..].find(end).unwrap_or(rest.len() - from);
    if rest.starts_with("//") {
        (to("\n", 0), 0, 0)
    } else if rest.starts_with("'\\") {
        // The character after the backslash may be a quote.
        (3 + to("'", 3) + 1, 0, 0)
    } else if rest.starts_with('\'') && rest.as_bytes().get(2) == Some(&b'\'') {
        (3, 0, 0)
    } else if rest.starts_with("r#\"") {
        (3, to("\"#", 3), 2)
    } else if rest.starts_with("r\"") {
        (2, to("\"", 2), 1)
    } else if let Some(string) = rest.strip_prefix('"') {
        let mut is_escaped = false;
        let length = string.bytes().take_while(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            !is_end
        });
        (1, length.count(), 1)
    } else {
        let length = rest.bytes().take_while(is_part).count();
        (usize::from(length == 0), length, 0)
    }
}

/// Splits an identifier into its words, in lower case and separated by `_`.
fn parts(identifier: &str) -> String {
    let mut parts = String::new();
    for letter in identifier.chars() {
        if letter.is_ascii_uppercase() && parts.ends_with(|last: char| last.is_ascii_lowercase()) {
            parts.push('_');
        }
        parts.push(letter);
    }
    parts.to_ascii_lowercase()
}
