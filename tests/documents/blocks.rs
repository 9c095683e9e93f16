//! The fenced blocks of all documents, with their places and kinds.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// File and line of its fence, for error messages.
    pub(crate) place: String,
    /// Path of the document from the root of the repository.
    pub(crate) document: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The kind of a block, which its fence names, and what the tests do with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `toml`: a whole config, which must pass `campanile check`.
    Config,
    /// `toml fragment`: part of a config; [`super::FRAGMENTS`] has the rest.
    Fragment,
    /// `toml of Cargo.toml`: the dependencies of the program that follows.
    Dependencies,
    /// `json`: one or more JSON values.
    Json,
    /// `rust`: a whole program, which is run.
    Rust,
    /// `no_run`, in the head of the library: compiled by `cargo test --doc`.
    Doctest,
    /// `sh`: commands that must succeed.
    Commands { goes_on: bool },
    /// `console`: commands after `$ `, continued after `> `, each with its output.
    Console { goes_on: bool },
    /// `sh not run: WHY`: commands for people only; [`super::NOT_RUN`] lists them.
    NotRun { why: String },
    /// `text`: a drawing.
    Drawing,
    /// `nginx`, `caddyfile`, `haproxy`: config of another program; `tests/http/proxy.rs` runs it.
    Foreign,
}

impl Kind {
    fn of_fence(info: &str) -> Option<Self> {
        Some(match info {
            "toml" => Self::Config,
            "toml fragment" => Self::Fragment,
            "toml of Cargo.toml" => Self::Dependencies,
            "json" => Self::Json,
            "rust" => Self::Rust,
            "no_run" => Self::Doctest,
            "sh" => Self::Commands { goes_on: false },
            "sh goes on" => Self::Commands { goes_on: true },
            "console" => Self::Console { goes_on: false },
            "console goes on" => Self::Console { goes_on: true },
            "text" => Self::Drawing,
            "nginx" | "caddyfile" | "haproxy" => Self::Foreign,
            _ => {
                let why = info.strip_prefix("sh not run: ")?.to_owned();
                Self::NotRun { why }
            }
        })
    }
}

/// Returns all blocks of all documents: the Markdown files at the root and anywhere below `docs/`,
/// and the heads of the examples and of the library.
///
/// # Panics
///
/// If a fence names no known kind.
pub(crate) fn all() -> Vec<Block> {
    let mut all = Vec::new();
    for path in paths() {
        let text = fs::read_to_string(&path).expect("a readable file");
        let name = path.strip_prefix(root()).expect("below the root");
        let found = blocks_of(&name.display().to_string(), &text);
        all.extend(found.unwrap_or_else(|error| panic!("{error}")));
    }
    all
}

/// Returns the paths of all documents, sorted.
fn paths() -> Vec<PathBuf> {
    let mut paths = vec![root().join("src/lib.rs")];
    paths.extend(files(root(), "md"));
    paths.extend(files(&root().join("examples"), "rs"));
    let mut pending = vec![root().join("docs")];
    while let Some(folder) = pending.pop() {
        paths.extend(files(&folder, "md"));
        pending.extend(entries(&folder).filter(|path| path.is_dir()));
    }
    paths.sort();
    paths
}

/// Returns the files in a folder with this extension.
fn files(folder: &Path, extension: &str) -> impl Iterator<Item = PathBuf> {
    entries(folder).filter(move |path| path.extension().is_some_and(|it| it == extension))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the repository");
    entries.map(|entry| entry.expect("a readable folder").path())
}

/// Returns the blocks of one document; of a Rust file, those of its module comment.
///
/// # Errors
///
/// A fence names no known kind, or is never closed.
pub(crate) fn blocks_of(document: &str, text: &str) -> Result<Vec<Block>, String> {
    let is_rust = Path::new(document).extension().is_some_and(|it| it == "rs");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let line = match line.strip_prefix("//!") {
            Some(comment) if is_rust => comment.strip_prefix(' ').unwrap_or(comment),
            _ if is_rust => break,
            _ => line,
        };
        let place = format!("{document}:{}", index + 1);
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let kind = Kind::of_fence(info)
                    .ok_or_else(|| format!("{place}: unknown kind of block ```{info}"))?;
                open = Some(Block {
                    place,
                    document: document.to_owned(),
                    kind,
                    text: String::new(),
                });
            }
            (_, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    match open {
        None => Ok(blocks),
        Some(block) => Err(format!("{}: the fence is never closed", block.place)),
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
