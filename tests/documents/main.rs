//! Every block of every document that users read: configs are checked, commands run and what they
//! show compared, JSON read, programs compiled and run.
//!
//! What a block is stands in its fence ([`blocks::Kind`]); one of which no test knows anything
//! fails here. The gateway, the examples, Node.js with the package `ws`, and Python are all that
//! the commands need.

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

/// What completes each fragment: document, its first line, what stands before it, and behind it.
const FRAGMENTS: &[(&str, &str, &str, &str)] = &[(
    "README.md",
    "join_on_open = [\"global\", \"user:{user}\"]",
    "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n",
    "",
)];

/// Every block that is not run: document, first line and the reason in its fence.
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

/// For what is slow to start, beside all other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// The executable under test.
const GATEWAY: Executable = executable!();

/// The blocks of a kind.
fn of_kind(wanted: impl Fn(&Kind) -> bool) -> Vec<Block> {
    let mut all = blocks::all();
    all.retain(|block| wanted(&block.kind));
    all
}

/// Panics with all complaints, if there are any.
#[track_caller]
fn none_of(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What `campanile check` says against a config.
fn complaint(block: &Block, config: &str) -> Option<String> {
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
fn every_config_is_one_to_start_with() {
    let configs = of_kind(|kind| *kind == Kind::Config);
    assert!(configs.len() >= 2, "{configs:?}");
    let complaints = configs
        .iter()
        .filter_map(|block| complaint(block, &block.text));
    none_of(&complaints.collect::<Vec<_>>());
}

#[test]
fn every_fragment_is_part_of_one() {
    let mut left: BTreeSet<_> = FRAGMENTS.iter().collect();
    let mut complaints = Vec::new();
    for block in of_kind(|kind| *kind == Kind::Fragment) {
        let first = block.text.lines().next().unwrap_or_default();
        let known = FRAGMENTS
            .iter()
            .find(|it| (it.0, it.1) == (block.document.as_str(), first));
        let Some(known @ (_, _, before, behind)) = known else {
            complaints.push(format!(
                "{}: FRAGMENTS has nothing to complete it",
                block.place
            ));
            continue;
        };
        left.remove(known);
        complaints.extend(complaint(
            &block,
            &format!("{before}{}{behind}", block.text),
        ));
    }
    complaints.extend(left.iter().map(|(document, first, ..)| {
        format!("{document} has no fragment that begins with {first:?}")
    }));
    none_of(&complaints);
}

#[test]
fn every_json_block_is_json() {
    let all = of_kind(|kind| *kind == Kind::Json);
    assert!(all.len() >= 3, "{all:?}");
    let complaints = all.iter().filter_map(|block| {
        let values = serde_json::Deserializer::from_str(&block.text).into_iter();
        let values: Result<Vec<serde_json::Value>, _> = values.collect();
        values
            .err()
            .map(|error| format!("{}: {error}", block.place))
    });
    none_of(&complaints.collect::<Vec<_>>());
}

#[test]
fn every_command_does_and_shows_what_is_written() {
    let mut documents: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for block in blocks::all() {
        documents
            .entry(block.document.clone())
            .or_default()
            .push(block);
    }
    let complaints: Vec<String> = thread::scope(|scope| {
        let mut readers = Vec::new();
        for (document, blocks) in &documents {
            readers.push(scope.spawn(|| shell::run(document, blocks, PATIENCE)));
        }
        let ends = readers.into_iter().map(ScopedJoinHandle::join);
        let ends = ends.map(|end| end.expect("no reader panics"));
        ends.filter_map(Result::err).collect()
    });
    none_of(&complaints);
}

#[test]
fn what_is_not_run_is_known_with_its_reason() {
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
