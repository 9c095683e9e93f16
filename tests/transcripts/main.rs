//! Conversations with the gateway, read from `tests/transcripts/<dialect>/<what_it_shows>.txt`.
//!
//! Each is at once documentation of the protocol, a regression test and an acceptance test: it is
//! held against the simulated host, fed from memory, with one shard and with three, whole and octet
//! by octet, and against the real thing with four shards: the executable or, for a transcript about
//! handlers, a gateway embedded here with those of `fixture.rs`. The grammar, one step a line, in
//! which `NAME` is any client and a `TEXT` may hold `\n \r \t \\ \xHH` and `\xHH{COUNT}`:
//!
//! ```text
//! # COMMENT                    and empty lines
//! @ handlers                   the gateway has the handlers of `fixture.rs`; before the first step
//! = LINE                       a line of the config, before the first step
//! NAME > open PATH             upgrade request, the RFC's key; header lines may follow, indented
//! NAME < open [SUBPROTOCOL]    the 101, octet for octet as in wire.md 1.1, nothing else agreed on
//! NAME > METHOD PATH [TEXT]    HTTP request, TEXT its body; header lines may follow, indented
//! NAME < STATUS [TEXT]         its answer, TEXT all of its body, * any; if header lines follow,
//!                              indented, they are all there are, in order; the value * is any
//! NAME > text|binary|ping|pong [TEXT]    a frame; NAME < .. likewise, and it is a single one
//! NAME > close [CODE [TEXT]]   a close frame with a reason; NAME < .. likewise
//! NAME > frame HH [TEXT]       a masked frame with this first octet
//! NAME > raw TEXT              these octets as they are; NAME < .. likewise
//! NAME > end                   nothing more is sent
//! NAME < end                   nothing more comes
//! NAME .                       silence: nothing has come (see below)
//! NAME ~ COUNT                 so many milliseconds pass, in which NAME (and everybody) is silent
//! NAME COUNTx ..               the same so many times
//! ```
//!
//! Where the gateway chooses, a `TEXT` that is heard may hold wildcards: `\h{COUNT}` for so many of
//! `0-9 a-f`, `\a{COUNT}` for so many of `a-z A-Z 0-9 $ @`, `\*{COUNT}` for these and `-`, and
//! `\<WORD{COUNT}>`, like `\*`, for what is called `WORD` from then on. `\<WORD>` is the same
//! again, in what any client hears or says, paths included.
//!
//! A client connects when it first says something. Silence is shown without waiting: a session
//! sends a ping, and its pong is the next thing that comes; a pusher asks for a page that is not
//! there, and 404 is the next thing that comes. What the gateway was told before has then been
//! acted on, so that a silence also keeps the steps of two clients in order; where a handler waits
//! for something, it has been called and may not have gone on. Time passes in the simulation alone,
//! so that a transcript in which it does is held against nothing else.

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
use simulated::{Chunks, SimulatedWorld};
use std::fs;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use target::RealWorld;

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn one_simulated_shard_keeps_every_transcript() {
    hold(scripts(), |script| simulate(script, 1, Chunks::Whole));
}

#[test]
fn one_simulated_shard_keeps_every_transcript_octet_by_octet() {
    hold(scripts(), |script| simulate(script, 1, Chunks::Octets));
}

#[test]
fn three_simulated_shards_keep_every_transcript() {
    hold(scripts(), |script| simulate(script, 3, Chunks::Whole));
    hold(scripts(), |script| simulate(script, 3, Chunks::Octets));
}

#[test]
fn the_executable_keeps_every_transcript() {
    let shared = GATEWAY.start(Some(script::PLAIN));
    hold(real_scripts(false), |script| {
        if script.config == script::PLAIN {
            return run::run(script, &mut RealWorld::new(shared.address));
        }
        let own = GATEWAY.start(Some(&script.config));
        // Its clients go before it stops, so that nobody is waited for.
        run::run(script, &mut RealWorld::new(own.address))?;
        assert!(own.stop().status.success(), "{}", script.name);
        Ok(())
    });
    let ended = shared.stop();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn an_embedded_gateway_keeps_every_transcript_about_handlers() {
    let overrides = Overrides {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        shards: Some(Shards(NonZeroU8::new(4))),
        ..Overrides::default()
    };
    hold(real_scripts(true), |script| {
        let config = Config::from_toml(&script.name, &script.config, &overrides);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let gateway = fixture::builder_for(script, config).start();
        let gateway = gateway.unwrap_or_else(|error| panic!("{}: {error}", script.name));
        let held = run::run(script, &mut RealWorld::new(gateway.local_addr()));
        drop(gateway.stop(PATIENCE));
        held
    });
}

#[test]
fn what_differs_from_a_transcript_is_found() {
    let truth = "a > open /ws\na < open\n\
                 a > text {\"token\":\"t\",\"event\":\"e\"}\na .\n\
                 p > POST /push {\"userId\":\"t\",\"event\":\"e\",\"message\":\"m\"}\n\
                 p < 200 message sent to 1 clients\na < text m\n\
                 a > close 1000\na < close 1000\na < end\np .\n";
    find_lies(
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
fn what_is_not_as_a_transcript_leaves_it_open_is_found() {
    let truth = "@ handlers\n\
                 a > open /easyws\n  Cookie: auth=x\n  Sec-WebSocket-Protocol: cmd.fossores.de\n\
                 a < open cmd.fossores.de\n\
                 a < text welcome: Hello \\<id{8}>-\\h{4}-4\\*{3}-\\*{17}\n\
                 a > text echo: \\<id>\na < text echo: \\<id>\n\
                 a > text token: \\<id>\na < text token: <\\a{1}>\n\
                 a 2x > text echo: x\na 2x < text echo: x\n\
                 a > end\na < end\n\
                 w > open /wsrv\nw < open\nw ~ 31000\nw < close 1001 idle timeout\n";
    find_lies(
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

/// Shows that a transcript is kept, and that it is not with one thing put in the place of another.
#[track_caller]
fn find_lies(truth: &str, lies: &[(&str, &str)]) {
    let run = |text: &str| {
        let script = Script::parse("made up", text);
        run::run(&script, &mut SimulatedWorld::new(&script, 1, Chunks::Whole))
    };
    assert_eq!(run(truth), Ok(()));
    for (from, to) in lies {
        let lie = truth.replacen(from, to, 1);
        assert_ne!(lie, truth);
        run(&lie).expect_err(&lie);
    }
}

/// Holds transcripts against something, and panics with everything that was different.
#[track_caller]
fn hold(
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
    let mut world = SimulatedWorld::new(script, shards, chunks);
    run::run(script, &mut world)
        .map_err(|complaint| format!("{shards} simulated shards, {chunks:?}: {complaint}"))?;
    world.finish();
    Ok(())
}

/// Those that can be held against a gateway that runs, with handlers or without.
fn real_scripts(with_handlers: bool) -> impl Iterator<Item = Script> {
    let all = scripts().into_iter();
    all.filter(move |it| it.wants_handlers == with_handlers && !it.takes_time())
}

/// Every transcript there is, in the order of their names.
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
