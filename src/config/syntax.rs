//! Errors of a file that is not TOML, in words for its operator.
//!
//! No line is quoted, since it may have a secret in it: a key is named only if the config has it.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::error::Errors;
use super::key::{Key, Keys as _};
use super::{Config, Listen};

/// Parses a document, or records the errors of its syntax, at most one for each line.
pub(super) fn parse<'t>(text: &'t str, errors: &mut Errors) -> Option<Spanned<DeTable<'t>>> {
    let (document, found) = DeTable::parse_recoverable(text);
    if found.is_empty() {
        return Some(document);
    }
    let mut last_line = None;
    for error in found.iter().take(ERRORS_MAX) {
        let Some(span) = error.span() else {
            errors.push(
                None,
                None,
                format!("not valid TOML: {}", error.message().trim()),
            );
            continue;
        };
        let start = line_start(text, span.start);
        let line = line_at(text, span.start);
        let is_first = last_line.is_none();
        if last_line != Some(start) && is_cause(error, line, is_first) {
            let (start, problem) = problem(error, text, span);
            errors.push(None, Some(start), problem);
        }
        last_line = Some(start);
    }
    None
}

/// Whether an error is one by itself. A line that is valid alone is only wrong because of a value
/// that began before it and did not end.
fn is_cause(error: &toml::de::Error, line: &str, is_first: bool) -> bool {
    is_first || error.message().contains("duplicate key") || DeTable::parse(line).is_err()
}

/// Formats what the parser says, with the key of the line if the config has it, and returns it with
/// the offset of the line that is to be mended.
fn problem(error: &toml::de::Error, text: &str, span: Range<usize>) -> (usize, String) {
    let message = error.message().trim().replace('\n', ", ");
    let message = message.trim_end_matches(", expected nothing");
    let found = text.get(span.clone()).unwrap_or_default();
    if message == "duplicate key" {
        let known = if is_known_key(&Config::keys(), found) {
            format!("duplicate key \"{found}\"")
        } else {
            format!("not valid TOML: {message}")
        };
        return (span.start, known);
    }
    let line = line_at(text, span.start);
    if DeTable::parse(line).is_ok()
        && let Some((start, begun)) = unfinished_before(text, span.start)
    {
        let key = named(begun);
        return (start, format!("{key}not valid TOML: the value has no end"));
    }
    let (_, value) = line.split_once('=').unwrap_or((line, ""));
    let value = value.trim_start();
    let cure = if let Some(address) = address_without_quotes(line) {
        format!("; an address is in quotes: listen = \"{address}\"")
    } else if value.starts_with(|it: char| it.is_ascii_alphabetic()) {
        return (
            span.start,
            format!("{}not valid TOML: a text must be in quotes", named(line)),
        );
    } else {
        String::new()
    };
    (
        span.start,
        format!("{}not valid TOML: {message}{cure}", named(line)),
    )
}

/// Returns the last line before `offset` that is not valid alone, with its offset.
fn unfinished_before(text: &str, offset: usize) -> Option<(usize, &str)> {
    let end = line_start(text, offset);
    let lines = text[..end].lines().rev();
    let broken = lines.map(|line| (offset_of(text, line), line));
    let mut broken = broken.take(LINES_MAX);
    broken.find(|(_, line)| DeTable::parse(line).is_err())
}

fn offset_of(text: &str, line: &str) -> usize {
    line.as_ptr().addr() - text.as_ptr().addr()
}

fn line_start(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_at(text: &str, offset: usize) -> &str {
    let rest = &text[line_start(text, offset)..];
    rest.lines().next().unwrap_or_default()
}

/// Returns the key of a line for the start of a message, if the config has it.
fn named(line: &str) -> String {
    let (key, _) = line.split_once('=').unwrap_or((line, ""));
    let key = key.trim();
    if is_known_key(&Config::keys(), key) {
        format!("{key}: ")
    } else {
        String::new()
    }
}

/// Returns the address of a line `listen = ADDRESS`. No other value is shown: it may be a secret.
fn address_without_quotes(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    let address = value.split('#').next().unwrap_or_default().trim();
    (key.trim() == "listen" && address.parse::<Listen>().is_ok()).then_some(address)
}

/// Whether a table of the config has the key.
fn is_known_key(keys: &[Key], name: &str) -> bool {
    let is_within = |key: &Key| {
        let inner = key.shape.table();
        key.name == name || inner.is_some_and(|inner| is_known_key(inner, name))
    };
    keys.iter().any(is_within)
}

/// More than anyone reads before the next try.
const ERRORS_MAX: usize = 100;

/// The longest value, in lines, whose beginning is looked for.
const LINES_MAX: usize = 1_000;
