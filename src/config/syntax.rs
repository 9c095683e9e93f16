//! Errors of a file that is not TOML, in words for its operator.
//!
//! No line is quoted, since it may have a secret in it: a key is named only if the config has it.

use toml::Spanned;
use toml::de::DeTable;

use super::error::Errors;
use super::key::{Key, Keys as _, Shape};
use super::{Config, Listen};

/// Parses a document, or records every error of its syntax, one for each line.
pub(super) fn parse<'t>(text: &'t str, errors: &mut Errors) -> Option<Spanned<DeTable<'t>>> {
    let (document, found) = DeTable::parse_recoverable(text);
    if found.is_empty() {
        return Some(document);
    }
    let mut last_line = None;
    for error in &found {
        let start = error.span().map(|span| span.start);
        let line = start.map(|start| line_start(text, start));
        if last_line != Some(line) {
            errors.error_at_offset(start, problem(error, text));
        }
        last_line = Some(line);
    }
    errors.stop_at_syntax();
    None
}

/// Words what the parser says, with the key of the line if the config has it.
fn problem(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let message = message.trim_end_matches(", expected nothing");
    let span = error.span();
    let start = span.as_ref().map_or(0, |span| span.start);

    let found = span.and_then(|span| text.get(span)).unwrap_or_default();
    if message == "duplicate key" && is_known_key(found) {
        return format!("duplicate key \"{found}\"");
    }

    let line = text[line_start(text, start)..]
        .lines()
        .next()
        .unwrap_or_default();
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let (key, value) = (key.trim(), value.trim_start());
    let cure = missing_quotes(key, value);
    let key = if is_known_key(key) {
        format!("{key}: ")
    } else {
        String::new()
    };
    format!("{key}not valid TOML: {message}{cure}")
}

fn line_start(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Tells how to mend an address without quotes. No other value is shown: it may be a secret.
fn missing_quotes(key: &str, value: &str) -> String {
    let address = value.split('#').next().unwrap_or_default().trim_end();
    if key == "listen" && address.parse::<Listen>().is_ok() {
        format!("; an address is in quotes: listen = \"{address}\"")
    } else {
        String::new()
    }
}

/// Whether any table of the config has the key.
fn is_known_key(name: &str) -> bool {
    fn has(keys: &[Key], name: &str) -> bool {
        let is_within = |key: &Key| key.name == name || shape_has(&key.shape, name);
        keys.iter().any(is_within)
    }
    fn shape_has(shape: &Shape, name: &str) -> bool {
        match shape {
            Shape::Table(keys) => has(keys, name),
            Shape::List(shape) | Shape::Map(shape) => shape_has(shape, name),
            Shape::OneOf(shapes) => shapes.iter().any(|shape| shape_has(shape, name)),
            Shape::Boolean
            | Shape::Number(_)
            | Shape::Text
            | Shape::File
            | Shape::Secret
            | Shape::Words(_)
            | Shape::Forms(_)
            | Shape::Json => false,
        }
    }
    has(&Config::keys(), name)
}
