//! Tests with third-party clients in Node.js: its built-in WebSocket, the npm package `ws`, and
//! `protobufjs` for `edk`.
//!
//! Each dialect has a script in `tests/js` that checks what it receives and prints `done` at its
//! end. The gateway runs in this process with the handlers that the scripts expect. Without Node.js
//! or the packages the tests fail; the message says what to install.

mod program;
mod schema;

use campanile::codec::protobuf;
use campanile_tests::node;
use std::time::Duration;

/// Runs a script against its own gateway.
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
fn the_scripts_use_the_built_in_schema() {
    assert_eq!(include_str!("../js/ws.proto"), protobuf::SCHEMA);
}

#[test]
fn every_script_has_a_test() {
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
