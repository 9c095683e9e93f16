//! Conversations with the gateway, read from `tests/transcripts/<dialect>/<what_it_shows>.txt`.
//!
//! Each is at once documentation of the protocol, a regression test and an acceptance test: it is
//! held against the simulated host, fed from memory, with one shard and with three, whole and octet
//! by octet, and against the real executable with four shards. The grammar, one step a line, in
//! which `NAME` is any client and a `TEXT` may hold `\n \r \t \\ \xHH` and `\xHH{COUNT}`:
//!
//! ```text
//! # COMMENT                    and empty lines
//! = LINE                       a line of the config, before the first step
//! NAME > open PATH             upgrade request, the RFC's key; header lines may follow, indented
//! NAME < open                  the 101, octet for octet as in wire.md 1.1, nothing agreed on
//! NAME > METHOD PATH [TEXT]    HTTP request, TEXT its body; header lines may follow, indented
//! NAME < STATUS [TEXT]         its answer, TEXT all of its body, * any; if header lines follow,
//!                              indented, they are all there are, in order; the value * is any
//! NAME > text|binary|ping|pong [TEXT]    a frame; NAME < .. likewise, and it is a single one
//! NAME > close [CODE [TEXT]]   a close frame with a reason; NAME < .. likewise
//! NAME > frame HH [TEXT]       a masked frame with this first octet
//! NAME > raw TEXT              these octets as they are
//! NAME > end                   nothing more is sent
//! NAME < end                   nothing more comes
//! NAME .                       silence: nothing has come (see below)
//! ```
//!
//! A client connects when it first says something. Silence is shown without waiting: a session
//! sends a ping, and its pong is the next thing that comes; a pusher asks for a page that is not
//! there, and 404 is the next thing that comes. What the gateway was told before has then been
//! acted on, so that a silence also keeps the steps of two clients in order.

#[path = "support/process.rs"]
mod process;
#[path = "transcripts/run.rs"]
mod run;
#[path = "transcripts/script.rs"]
mod script;
#[path = "transcripts/simulated.rs"]
mod simulated;
#[path = "transcripts/world.rs"]
mod world;

use process::Process;
use script::Script;
use simulated::{Chunks, SimulatedWorld};
use std::fs;
use std::path::Path;
use world::RealWorld;

#[test]
fn one_simulated_shard_keeps_every_transcript() {
    for script in scripts() {
        simulate(&script, 1, Chunks::Whole);
    }
}

#[test]
fn one_simulated_shard_keeps_every_transcript_octet_by_octet() {
    for script in scripts() {
        simulate(&script, 1, Chunks::Octets);
    }
}

#[test]
fn three_simulated_shards_keep_every_transcript() {
    for script in scripts() {
        simulate(&script, 3, Chunks::Whole);
        simulate(&script, 3, Chunks::Octets);
    }
}

#[test]
fn the_executable_keeps_every_transcript() {
    let shared = Process::start(process::gateway(None));
    for script in scripts() {
        if script.config.is_empty() {
            let mut world = RealWorld::new(shared.address);
            run::run(&script, &mut world).unwrap_or_else(|complaint| panic!("real: {complaint}"));
        } else {
            let own = Process::start(process::gateway(Some(&script.config)));
            let mut world = RealWorld::new(own.address);
            run::run(&script, &mut world).unwrap_or_else(|complaint| panic!("real: {complaint}"));
            // Its clients go first, so that nobody is waited for.
            drop(world);
            assert!(own.stop().status.success(), "{}", script.name);
        }
    }
    let ended = shared.stop();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn what_differs_from_a_transcript_is_found() {
    let truth = "a > open /ws\na < open\n\
                 a > text {\"token\":\"t\",\"event\":\"e\"}\na .\n\
                 p > POST /push {\"userId\":\"t\",\"event\":\"e\",\"message\":\"m\"}\n\
                 p < 200 message sent to 1 clients\na < text m\n\
                 a > close 1000\na < close 1000\na < end\np .\n";
    let run = |text: &str| {
        let script = Script::parse("made up", text);
        run::run(&script, &mut SimulatedWorld::new(&script, 1, Chunks::Whole))
    };
    assert_eq!(run(truth), Ok(()));
    for (from, to) in [
        ("a < text m", "a < text n"),
        ("a < text m", "a < binary m"),
        ("a < text m", "a ."),
        ("a < text m\n", ""),
        ("1 clients", "0 clients"),
        ("p < 200 ", "p < 201 "),
        ("a < close 1000\n", "a < close 1000 bye\n"),
        ("a < close 1000\n", "a < close\n"),
        ("a < end\n", "a < text m\n"),
        ("a < close 1000\n", "a < end\n"),
        ("clients\n", "clients\n  Content-Length: 25\n"),
        ("p .\n", "p < end\n"),
        ("a < open\n", ""),
    ] {
        let lie = truth.replacen(from, to, 1);
        assert_ne!(lie, truth);
        run(&lie).expect_err(&lie);
    }
}

#[track_caller]
fn simulate(script: &Script, shards: usize, chunks: Chunks) {
    let mut world = SimulatedWorld::new(script, shards, chunks);
    if let Err(complaint) = run::run(script, &mut world) {
        panic!("{shards} simulated shards, {chunks:?}: {complaint}");
    }
    world.finish();
}

/// Every transcript there is, in the order of their names.
fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut scripts = Vec::new();
    for dialect in ["echo", "wserver"] {
        let folder = fs::read_dir(root.join(dialect)).expect("transcripts of every dialect");
        for entry in folder {
            let path = entry.expect("a readable folder").path();
            let name = path.strip_prefix(&root).expect("below it").display();
            let text = fs::read_to_string(&path).expect("transcripts are text");
            scripts.push(Script::parse(&name.to_string(), &text));
        }
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}
