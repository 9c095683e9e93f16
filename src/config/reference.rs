//! The reference page of the config as Markdown, made from the rows: `docs/configuration.md`.

use std::fmt::Write as _;

use super::Config;
use super::key::{Key, Keys as _, Shape};
use crate::dialect;

/// Returns the text that `campanile config --markdown` prints: a section for each table, with its
/// keys, their types, ranges, defaults and documentation.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    put_table(&mut page, "", &Config::keys());
    page
}

/// Appends the keys of a table, then a section for each table within it.
fn put_table(page: &mut String, table: &str, keys: &[Key]) {
    page.push('\n');
    for key in keys.iter().filter(|key| !is_section(table, key)) {
        put_key(page, key);
    }
    for key in keys {
        let name = if table.is_empty() {
            key.name.to_owned()
        } else {
            format!("{table}.{}", key.name)
        };
        if let Some(inner) = key.shape.table() {
            let brackets = if key.shape.is_list() {
                format!("[[{name}]]")
            } else {
                let each = if matches!(key.shape, Shape::Map(_)) {
                    ".NAME"
                } else {
                    ""
                };
                format!("[{name}{each}]")
            };
            writeln!(page, "\n## `{brackets}`").expect(INTO_A_STRING);
            if table.is_empty() {
                page.push('\n');
                put_lines(page, "", key.doc);
            }
            put_table(page, &name, inner);
        }
    }
}

/// Whether a key has nothing to say beside its section.
fn is_section(table: &str, key: &Key) -> bool {
    table.is_empty() && key.shape.table().is_some()
}

fn put_key(page: &mut String, key: &Key) {
    let mut facts = vec![kind(&key.shape)];
    match &key.default {
        _ if key.spec.is_required => facts.push("required".to_owned()),
        Some(default) => facts.push(format!("default `{default}`")),
        None if key.spec.example.is_empty() => {}
        None => facts.push(format!("such as `{}`", key.spec.example)),
    }
    writeln!(page, "- **`{}`**: {}.", key.name, facts.join("; ")).expect(INTO_A_STRING);
    put_lines(page, "  ", key.doc);
    if key.name == "dialect" {
        page.push('\n');
        for dialect in dialect::of_routes() {
            let summary = dialect.route_spec().summary;
            writeln!(page, "  - `{}`: {summary}", dialect.name()).expect(INTO_A_STRING);
        }
    }
    if let Some(restriction) = key.restriction() {
        writeln!(page, "  {}", restriction.replace('"', "`")).expect(INTO_A_STRING);
    }
    for other in key.spec.excludes {
        writeln!(page, "  Cannot be combined with `{other}`.").expect(INTO_A_STRING);
    }
}

fn put_lines(page: &mut String, indent: &str, lines: &[&str]) {
    for line in lines {
        let line = format!("{indent}{}", line.strip_prefix(' ').unwrap_or(line));
        page.push_str(line.trim_end());
        page.push('\n');
    }
}

/// Names the values that a shape allows.
fn kind(shape: &Shape) -> String {
    let in_code = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    match shape {
        Shape::Boolean => "`true` or `false`".to_owned(),
        Shape::Number(allowed) => format!("number, {}", allowed.to_string().replace('"', "`")),
        Shape::Text => "text".to_owned(),
        Shape::File => "file".to_owned(),
        Shape::Secret => "secret".to_owned(),
        Shape::Words(words) => in_code(words),
        Shape::Forms(forms) => in_code(forms),
        Shape::List(element) if element.is_table() => "tables".to_owned(),
        Shape::List(element) => format!("list of {}", kind(element)),
        Shape::Table(_) => "table".to_owned(),
        Shape::Map(value) => format!("table of names, each with {}", kind(value)),
        Shape::OneOf(shapes) => {
            let kinds: Vec<String> = shapes.iter().map(kind).collect();
            kinds.join(", or ")
        }
        Shape::Json => "any value".to_owned(),
    }
}

const INTO_A_STRING: &str = "writing to a String does not fail";

const HEAD: &str = "\
# Configuration

A config is a TOML file, given by `--config` or `CAMPANILE_CONFIG`. A key that is left out has its
default, and an unknown key is an error. The flags `--listen`, `--shards`, `--log` and
`--insecure`, and the environment variables `CAMPANILE_LISTEN`, `CAMPANILE_SHARDS` and
`CAMPANILE_LOG`, override the file. `campanile check --config FILE` lists all errors of a file, each
with its line; `campanile config` prints the complete default config; `campanile config --schema`
prints a JSON Schema for editors.

A secret is a text, `{ file = \"path\" }` (without the newline at the end of the file) or
`{ env = \"NAME\" }`. Files are relative to the working directory; secrets are read when the
gateway starts and are never shown.

This page is printed by `campanile config --markdown`.
";

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change of a row: `cargo run -- config --markdown > docs/configuration.md`.
    #[test]
    fn the_page_in_the_docs_is_that_of_the_rows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        assert!(
            page == reference(),
            "{path} is not what `campanile config --markdown` prints"
        );
    }
}
