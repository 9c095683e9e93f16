//! The parser of fenced blocks in documents.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// File and line of the fence, for error messages.
    pub(crate) place: String,
    /// The path of the document from the root of the repository.
    pub(crate) document: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The kind of a block, from its fence. It selects the test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `toml`: a whole config that passes `campanile check`.
    Config,
    /// `toml fragment`: a config that [`super::FRAGMENTS`] completes.
    Fragment,
    /// `toml of Cargo.toml`: the dependencies of the program after it.
    Dependencies,
    /// `json`: JSON values, one after the other.
    Json,
    /// `rust`: a whole program, which is run.
    Rust,
    /// `no_run`, in the library's documentation: compiled by `cargo test --doc`.
    Doctest,
    /// `sh`: commands that must succeed.
    Commands { runs_on: bool },
    /// `console`: commands after `$ `, continued after `> `, each with its output.
    Console { runs_on: bool },
    /// `sh not run: WHY`: commands that are not run, all of which are in [`super::NOT_RUN`].
    NotRun { why: String },
    /// `text`: a diagram.
    Drawing,
    /// `nginx`, `caddyfile`, `haproxy`: a config of another program, tested with that program.
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
            "sh" => Self::Commands { runs_on: false },
            "sh goes on" => Self::Commands { runs_on: true },
            "console" => Self::Console { runs_on: false },
            "console goes on" => Self::Console { runs_on: true },
            "text" => Self::Drawing,
            "nginx" | "caddyfile" | "haproxy" => Self::Foreign,
            _ => {
                let why = info.strip_prefix("sh not run: ")?.to_owned();
                Self::NotRun { why }
            }
        })
    }
}

/// Returns all blocks of the user documentation: Markdown files at the root and in `docs/`, and the
/// module comments of the examples and the library.
///
/// # Panics
///
/// A fence is unknown.
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

/// Returns the paths of the documents.
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

/// Returns the blocks of one document. In Rust files only the module comment is parsed.
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

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
