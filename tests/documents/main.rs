//! Runs every fenced block of every document: configs are checked, commands run and their output
//! compared, JSON parsed, programs compiled and run.
//!
//! The fence names the kind of its block ([`blocks::Kind`]); an unknown fence is an error. The
//! commands need the gateway, the examples, Node.js with the package `ws`, and Python.

mod blocks;
mod embedding;
mod hooks;
mod shell;
mod tests;

use blocks::{Block, Kind};
use campanile_tests::executable;
use campanile_tests::process::Executable;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// The text around each config fragment: document, first line of the fragment, text before it, text
/// after it.
const FRAGMENTS: &[(&str, &str, &str, &str)] = &[
    (
        "docs/operating.md",
        "push_secret = { file = \"/run/secrets/push\" }    # without the newline at its end",
        "[[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\n",
        "",
    ),
    (
        "docs/routes.md",
        "channels = [{ name = \"prices-*\", slow = \"drop_newest\" }]",
        "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n",
        "",
    ),
    (
        "docs/routes.md",
        "join_on_open = [\"global\", \"user:{user}\"]",
        "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n",
        "",
    ),
];

/// Every block that is not run: document, first line and the reason in its fence, in the order of
/// the documents.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "CONTRIBUTING.md",
        "cargo build --workspace",
        "it runs this test",
    ),
    (
        "README.md",
        "scripts/test.sh              # everything that CI checks; installs what it needs",
        "it runs this test",
    ),
    (
        "docs/performance.md",
        "cargo build --release --workspace",
        "it takes half an hour on two quiet cores",
    ),
    (
        "docs/performance.md",
        "cargo run --release -p loadtest -- push --clients 1000 --users 1000 --rate 1000 \
         --seconds 10",
        "it takes minutes and both cores",
    ),
];

/// Timeout for a command or server to start, while other tests run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The executable under test.
const GATEWAY: Executable = executable!();

/// Returns the blocks whose kind is `wanted`.
fn of_kind(wanted: impl Fn(&Kind) -> bool) -> Vec<Block> {
    let mut all = blocks::all();
    all.retain(|block| wanted(&block.kind));
    all
}

/// Panics with all errors, if there are any.
#[track_caller]
fn assert_no_errors(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

/// Returns the error of `campanile check` for a config, if it is invalid.
fn config_error(block: &Block, config: &str) -> Option<String> {
    let name = block
        .place
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let path: PathBuf = [GATEWAY.folder, &format!("{name}.toml")].iter().collect();
    std::fs::write(&path, config).expect("cargo made the folder");
    let checked = Command::new(GATEWAY.path)
        .args(["check", "--config"])
        .arg(&path)
        .env_clear()
        .output()
        .expect("the program can be executed");
    let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
    (!checked.status.success()).then(|| format!("{}: {errors}", block.place))
}

/// Returns whether all errors are of secrets whose file or variable is missing: only the reader's
/// machine has them.
fn is_of_secrets(errors: &str) -> bool {
    let is_missing =
        |line: &str| line.contains(".file: cannot read ") || line.ends_with(" is not set");
    errors.lines().all(is_missing)
}

#[test]
fn every_config_block_is_valid() {
    let configs = of_kind(|kind| *kind == Kind::Config);
    assert!(configs.len() >= 2, "{configs:?}");
    let errors = configs
        .iter()
        .filter_map(|block| config_error(block, &block.text));
    assert_no_errors(&errors.collect::<Vec<_>>());
}

#[test]
fn every_config_fragment_is_valid_in_its_context() {
    let mut left: BTreeSet<_> = FRAGMENTS.iter().collect();
    let mut errors = Vec::new();
    for block in of_kind(|kind| *kind == Kind::Fragment) {
        let first = block.text.lines().next().unwrap_or_default();
        let known = FRAGMENTS
            .iter()
            .find(|it| (it.0, it.1) == (block.document.as_str(), first));
        let Some(known @ (_, _, before, behind)) = known else {
            errors.push(format!("{}: FRAGMENTS has no entry for it", block.place));
            continue;
        };
        left.remove(known);
        let config = format!("{before}{}{behind}", block.text);
        errors.extend(config_error(&block, &config).filter(|it| !is_of_secrets(it)));
    }
    errors.extend(left.iter().map(|(document, first, ..)| {
        format!("{document} has no fragment that begins with {first:?}")
    }));
    assert_no_errors(&errors);
}

#[test]
fn every_json_block_is_json() {
    let all = of_kind(|kind| *kind == Kind::Json);
    assert!(all.len() >= 3, "{all:?}");
    let errors = all.iter().filter_map(|block| {
        let values = serde_json::Deserializer::from_str(&block.text).into_iter();
        let values: Result<Vec<serde_json::Value>, _> = values.collect();
        values
            .err()
            .map(|error| format!("{}: {error}", block.place))
    });
    assert_no_errors(&errors.collect::<Vec<_>>());
}

#[test]
fn every_command_prints_what_its_document_shows() {
    let mut documents: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for block in blocks::all() {
        documents
            .entry(block.document.clone())
            .or_default()
            .push(block);
    }
    let prepared: Vec<(shell::Reader, &[Block])> = documents
        .iter()
        .map(|(document, blocks)| (shell::Reader::new(document, blocks, PATIENCE), &blocks[..]))
        .collect();
    let errors: Vec<String> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (reader, blocks) in prepared {
            threads.push(scope.spawn(|| shell::run(reader, blocks)));
        }
        let ends = threads.into_iter().map(ScopedJoinHandle::join);
        let ends = ends.map(|end| end.expect("no thread panics"));
        ends.filter_map(Result::err).collect()
    });
    assert_no_errors(&errors);
}

#[test]
fn every_block_that_is_not_run_is_listed_with_its_reason() {
    let found: Vec<(String, String, String)> = blocks::all()
        .into_iter()
        .filter_map(|block| {
            let first = block.text.lines().next().unwrap_or_default().to_owned();
            if let Kind::NotRun { why } = block.kind {
                Some((block.document, first, why))
            } else {
                None
            }
        })
        .collect();
    let known = NOT_RUN.iter().map(|(document, first, why)| {
        (
            (*document).to_owned(),
            (*first).to_owned(),
            (*why).to_owned(),
        )
    });
    assert_eq!(found, known.collect::<Vec<_>>());
}
