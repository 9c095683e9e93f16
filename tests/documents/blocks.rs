//! The fenced blocks of documents: where they are, and what their fences say about them.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// File and line of its fence, for whoever has to look.
    pub(crate) place: String,
    /// The document, from the root of the repository.
    pub(crate) document: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// What a fence says, and so what is done with its block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `toml`: a whole config, which passes `campanile check`.
    Config,
    /// `toml fragment`: the same, once it is completed by what [`super::FRAGMENTS`] has for it.
    Fragment,
    /// `toml of Cargo.toml`: the dependencies of the program behind it.
    Dependencies,
    /// `json`: JSON values, one behind the other.
    Json,
    /// `rust`: a whole program, which is run.
    Rust,
    /// `no_run`, in what the library says of itself: compiled by `cargo test --doc`.
    Doctest,
    /// `sh`: commands, which succeed.
    Commands { goes_on: bool },
    /// `console`: commands behind `$ `, continued behind `> `, each with what it prints.
    Console { goes_on: bool },
    /// `sh not run: WHY`: commands for people only; [`super::NOT_RUN`] has all of them.
    NotRun { why: String },
    /// `text`: a drawing.
    Drawing,
    /// `nginx`, `caddyfile`, `haproxy`: for another program, and tested with that.
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

/// All blocks of all documents that users read: what is in Markdown at the root and in `docs/`, and
/// what the examples and the library say of themselves.
///
/// # Panics
///
/// If a fence says what no test knows.
pub(crate) fn all() -> Vec<Block> {
    let mut all = Vec::new();
    for path in paths() {
        let text = fs::read_to_string(&path).expect("a readable file");
        let name = path.strip_prefix(root()).expect("below the root");
        let found = blocks_of(&name.display().to_string(), &text);
        all.extend(found.unwrap_or_else(|complaint| panic!("{complaint}")));
    }
    all
}

/// Where the documents are.
fn paths() -> Vec<PathBuf> {
    let mut paths = vec![root().join("src/lib.rs")];
    for (folder, extension) in [("", "md"), ("docs", "md"), ("examples", "rs")] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of the repository");
        let files = entries.map(|entry| entry.expect("a readable folder").path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|it| it == extension)));
    }
    paths.sort();
    paths
}

/// The blocks of one document; of Rust, those of its module comment.
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
                    .ok_or_else(|| format!("{place}: no test knows what a ```{info} block is"))?;
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

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
