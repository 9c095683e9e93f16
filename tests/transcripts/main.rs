//! Tests of transcripts of the protocols, `tests/transcripts/<dialect>/<rule>.txt`.
//!
//! A transcript documents the protocol and is a regression and acceptance test. Each runs on the
//! simulated host with one and three shards, with whole writes and octet by octet, and on a real
//! gateway with four shards: the executable or, for transcripts with handlers, a gateway embedded
//! here with those of `fixture.rs`. A transcript has one step per line. `NAME` is a client, and
//! `TEXT` may contain `\n \r \t \\ \xHH` and `\xHH{COUNT}`:
//!
//! ```text
//! # COMMENT                    and empty lines
//! @ handlers                   the gateway has the handlers of `fixture.rs`; before the first step
//! = LINE                       a line of the config, before the first step
//! NAME > open PATH             upgrade request, the RFC's key; header lines may follow, indented
//! NAME < open [SUBPROTOCOL]    the 101, octet for octet as in docs/dialects/websocket.md,
//! "Upgrade", no other extension NAME > METHOD PATH [TEXT]    HTTP request, TEXT its body; header
//! lines may follow, indented NAME < STATUS [TEXT]         the response, TEXT its whole body, *
//! any; if header lines follow,
//!                              indented, they are all its headers, in order; the value * is any
//! NAME > text|binary|ping|pong [TEXT]    a frame; NAME < .. likewise, a single frame
//! NAME > close [CODE [TEXT]]   a close frame with a reason; NAME < .. likewise
//! NAME > frame HH [TEXT]       a masked frame with this first octet
//! NAME > raw TEXT              raw octets; NAME < .. likewise
//! NAME > end                   the client shuts down its write side
//! NAME < end                   the stream of the gateway ends
//! NAME .                       silence: the client has received nothing (see below)
//! NAME ~ COUNT                 COUNT milliseconds pass, without any input
//! NAME COUNTx ..               repeats a step COUNT times
//! ```
//!
//! A received `TEXT` may contain wildcards for values that the gateway chooses: `\h{COUNT}` for
//! COUNT characters of `0-9 a-f`, `\a{COUNT}` for `a-z A-Z 0-9 $ @`, `\*{COUNT}` for these and `-`.
//! `\<WORD{COUNT}>` is like `\*` and stores the value as `WORD`; `\<WORD>` is the stored value in
//! later sent or received texts and in paths.
//!
//! A client connects at its first sent step. Silence needs no wait: a session sends a ping, and the
//! next frame must be its pong; an HTTP client requests an unknown page, and the next response must
//! be the 404. The gateway has then handled all earlier input, so silence also orders the steps of
//! two clients; a waiting handler has been called. Time passes only in the simulation, so
//! transcripts with `~` run only there.

mod fixture;
mod run;
mod script;
mod simulated;
mod target;
mod text;

use campanile::config::{Config, Overrides, Shards};
use campanile_tests::process::Executable;
use campanile_tests::{PATIENCE, executable};
use script::Script;
use simulated::{Chunks, SimulatedTarget};
use std::fs;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use target::RealTarget;

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn one_simulated_shard_passes_every_transcript() {
    run_all(scripts(), |script| simulate(script, 1, Chunks::Whole));
}

#[test]
fn one_simulated_shard_passes_every_transcript_octet_by_octet() {
    run_all(scripts(), |script| simulate(script, 1, Chunks::Octets));
}

#[test]
fn three_simulated_shards_pass_every_transcript() {
    run_all(scripts(), |script| simulate(script, 3, Chunks::Whole));
    run_all(scripts(), |script| simulate(script, 3, Chunks::Octets));
}

#[test]
fn the_executable_passes_every_transcript() {
    let shared = GATEWAY.start(Some(script::PLAIN));
    run_all(real_scripts(false), |script| {
        if script.config == script::PLAIN {
            return run::run(script, &mut RealTarget::new(shared.address));
        }
        let own = GATEWAY.start(Some(&script.config));
        // The clients disconnect first, so that the stop does not wait.
        run::run(script, &mut RealTarget::new(own.address))?;
        assert!(own.stop().status.success(), "{}", script.name);
        Ok(())
    });
    let ended = shared.stop();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn an_embedded_gateway_passes_every_transcript_with_handlers() {
    let overrides = Overrides {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        shards: Some(Shards(NonZeroU8::new(4))),
        ..Overrides::default()
    };
    run_all(real_scripts(true), |script| {
        let config = Config::from_toml(&script.name, &script.config, &overrides);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let gateway = fixture::builder_for(script, config).start();
        let gateway = gateway.unwrap_or_else(|error| panic!("{}: {error}", script.name));
        let held = run::run(script, &mut RealTarget::new(gateway.local_addr()));
        drop(gateway.stop(PATIENCE));
        held
    });
}

#[test]
fn differences_from_a_transcript_are_errors() {
    let truth = "a > open /ws\na < open\n\
                 a > text {\"token\":\"t\",\"event\":\"e\"}\na .\n\
                 p > POST /push {\"userId\":\"t\",\"event\":\"e\",\"message\":\"m\"}\n\
                 p < 200 message sent to 1 clients\na < text m\n\
                 a > close 1000\na < close 1000\na < end\np .\n";
    expect_differences(
        truth,
        &[
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
            ("a < open\n", "a < open chat\n"),
        ],
    );
}

#[test]
fn values_outside_a_wildcard_are_errors() {
    let truth = "@ handlers\n\
                 a > open /easyws\n  Cookie: auth=x\n  Sec-WebSocket-Protocol: cmd.fossores.de\n\
                 a < open cmd.fossores.de\n\
                 a < text welcome: Hello \\<id{8}>-\\h{4}-4\\*{3}-\\*{17}\n\
                 a > text echo: \\<id>\na < text echo: \\<id>\n\
                 a > text token: \\<id>\na < text token: <\\a{1}>\n\
                 a 2x > text echo: x\na 2x < text echo: x\n\
                 a > end\na < end\n\
                 w > open /wsrv\nw < open\nw ~ 31000\nw < close 1001 idle timeout\n";
    expect_differences(
        truth,
        &[
            ("open cmd.fossores.de", "open"),
            ("open cmd.fossores.de", "open cmd.fossores.d"),
            ("@ handlers\n", ""),
            ("\\<id{8}>", "\\<id{7}>"),
            ("\\<id{8}>", "\\<other{8}>"),
            ("\\h{4}", "\\h{3}x"),
            ("Hello \\<id{8}>", "\\<id{14}>"),
            ("\\*{17}", "\\*{16}"),
            ("\\*{17}", "\\*{18}"),
            ("\\*{17}", "\\a{17}"),
            ("\\h{4}-4", "\\a{6}"),
            ("welcome: Hello", "\\h{8} Hello"),
            ("a < text echo: \\<id>", "a < text echo: \\<id{7}>"),
            ("a < text echo: \\<id>", "a < text echo: \\<id>x"),
            ("<\\a{1}>", "<\\h{1}>"),
            ("2x <", "1x <"),
            ("2x <", "3x <"),
            ("2x >", "1x >"),
            ("~ 31000", "~ 29000"),
        ],
    );
}

/// Asserts that a transcript passes, and that it fails after each replacement.
#[track_caller]
fn expect_differences(truth: &str, lies: &[(&str, &str)]) {
    let run = |text: &str| {
        let script = Script::parse("made up", text);
        run::run(
            &script,
            &mut SimulatedTarget::new(&script, 1, Chunks::Whole),
        )
    };
    assert_eq!(run(truth), Ok(()));
    for (from, to) in lies {
        let lie = truth.replacen(from, to, 1);
        assert_ne!(lie, truth);
        run(&lie).expect_err(&lie);
    }
}

/// Runs transcripts and panics with all differences.
#[track_caller]
fn run_all(
    scripts: impl IntoIterator<Item = Script>,
    mut against: impl FnMut(&Script) -> Result<(), String>,
) {
    let scripts = scripts.into_iter();
    let complaints: Vec<String> = scripts
        .filter_map(|script| against(&script).err())
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n\n"));
}

fn simulate(script: &Script, shards: usize, chunks: Chunks) -> Result<(), String> {
    let mut target = SimulatedTarget::new(script, shards, chunks);
    run::run(script, &mut target)
        .map_err(|complaint| format!("{shards} simulated shards, {chunks:?}: {complaint}"))?;
    target.finish();
    Ok(())
}

/// Returns the transcripts for a real gateway, with or without handlers.
fn real_scripts(with_handlers: bool) -> impl Iterator<Item = Script> {
    let all = scripts().into_iter();
    all.filter(move |it| it.wants_handlers == with_handlers && !it.takes_time())
}

/// Returns all transcripts, sorted by name.
fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut scripts = Vec::new();
    let folders = files_in(&root).filter(|path| path.is_dir());
    for path in folders.flat_map(|folder| files_in(&folder)) {
        if path.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        let name = path.strip_prefix(&root).expect("below it").display();
        let text = fs::read_to_string(&path).expect("transcripts are text");
        scripts.push(Script::parse(&name.to_string(), &text));
    }
    assert!(!scripts.is_empty(), "there are transcripts");
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).expect("transcripts of every dialect");
    entries.map(|entry| entry.expect("a readable folder").path())
}
