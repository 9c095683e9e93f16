//! Tests of every block in the user documentation: configs are checked, commands run and their
//! output compared, JSON parsed, programs compiled and run.
//!
//! The fence of a block defines its kind ([`blocks::Kind`]); an unknown fence is an error. The
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

/// The completion of each fragment: document, first line, text before it, text after it.
const FRAGMENTS: &[(&str, &str, &str, &str)] = &[(
    "README.md",
    "join_on_open = [\"global\", \"user:{user}\"]",
    "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n",
    "",
)];

/// All blocks that are not run: document, first line and the reason in the fence.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "scripts/test.sh              # installs what it needs",
        "it runs this test",
    ),
    (
        "README.md",
        "cargo build --release --workspace",
        "it takes half an hour on two quiet cores",
    ),
    (
        "README.md",
        "cargo run --release -p loadtest -- push --clients 1000 --users 1000 --rate 1000 \
         --seconds 10",
        "it takes minutes and both cores",
    ),
];

/// The timeout of slow starts while other tests run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The executable under test.
const GATEWAY: Executable = executable!();

/// Returns the blocks of a kind.
fn of_kind(wanted: impl Fn(&Kind) -> bool) -> Vec<Block> {
    let mut all = blocks::all();
    all.retain(|block| wanted(&block.kind));
    all
}

/// Panics with all errors, if there are any.
#[track_caller]
fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

/// Returns the error of `campanile check` for a config; `None` if it passes.
fn check_error(block: &Block, config: &str) -> Option<String> {
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

#[test]
fn every_config_is_valid() {
    let configs = of_kind(|kind| *kind == Kind::Config);
    assert!(configs.len() >= 2, "{configs:?}");
    let errors = configs
        .iter()
        .filter_map(|block| check_error(block, &block.text));
    assert_none(&errors.collect::<Vec<_>>());
}

#[test]
fn every_fragment_is_part_of_a_valid_config() {
    let mut left: BTreeSet<_> = FRAGMENTS.iter().collect();
    let mut errors = Vec::new();
    for block in of_kind(|kind| *kind == Kind::Fragment) {
        let first = block.text.lines().next().unwrap_or_default();
        let known = FRAGMENTS
            .iter()
            .find(|it| (it.0, it.1) == (block.document.as_str(), first));
        let Some(known @ (_, _, before, behind)) = known else {
            errors.push(format!(
                "{}: FRAGMENTS has nothing to complete it",
                block.place
            ));
            continue;
        };
        left.remove(known);
        errors.extend(check_error(
            &block,
            &format!("{before}{}{behind}", block.text),
        ));
    }
    errors.extend(left.iter().map(|(document, first, ..)| {
        format!("{document} has no fragment that begins with {first:?}")
    }));
    assert_none(&errors);
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
    assert_none(&errors.collect::<Vec<_>>());
}

#[test]
fn every_command_succeeds_and_prints_what_is_documented() {
    let mut documents: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for block in blocks::all() {
        documents
            .entry(block.document.clone())
            .or_default()
            .push(block);
    }
    let errors: Vec<String> = thread::scope(|scope| {
        let mut readers = Vec::new();
        for (document, blocks) in &documents {
            readers.push(scope.spawn(|| shell::run(document, blocks, PATIENCE)));
        }
        let ends = readers.into_iter().map(ScopedJoinHandle::join);
        let ends = ends.map(|end| end.expect("no reader panics"));
        ends.filter_map(Result::err).collect()
    });
    assert_none(&errors);
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
