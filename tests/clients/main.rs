//! Clients that are not ours, from Node.js: its built-in WebSocket, the npm package `ws`, and
//! `protobufjs` for the messages of `edk`.
//!
//! Each language is spoken by a script in `tests/js`, which checks what it sees and says `done` at
//! its end. The gateway is of this process and embeds what the scripts expect of it. Without
//! Node.js or the packages the tests fail and say what to install.

mod program;
mod schema;

use campanile::codec::protobuf;
use campanile_tests::node;
use std::time::Duration;

/// Runs a script against a gateway of its own.
#[track_caller]
fn check(script: &str) {
    let gateway = program::start();
    node::run(script, &[&format!("ws://{}", gateway.local_addr())]);
    let counters = gateway.stop(Duration::from_secs(5));
    assert!(counters.sessions_opened > 0, "the script came here");
}

#[test]
fn edk() {
    check("edk.mjs");
}

#[test]
fn wsrv() {
    check("wsrv.mjs");
}

#[test]
fn easyws() {
    check("easyws.mjs");
}

#[test]
fn projectforge() {
    check("projectforge.mjs");
}

#[test]
fn wserver() {
    check("wserver.mjs");
}

#[test]
fn echo() {
    check("echo.mjs");
}

#[test]
fn playground() {
    check("playground.mjs");
}

#[test]
fn the_scripts_read_the_schema_that_is_built_in() {
    assert_eq!(include_str!("../js/ws.proto"), protobuf::SCHEMA);
}

#[test]
fn every_script_is_run_here() {
    let entries = std::fs::read_dir(node::folder()).expect("the scripts are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".mjs")?.to_owned()))
        .collect();
    names.sort();
    let known = [
        "client",
        "easyws",
        "echo",
        "edk",
        "playground",
        "projectforge",
        "schema",
        "wserver",
        "wsrv",
    ];
    assert_eq!(names, known);
}
