//! Tests of hooks with a paused process, without descriptors, and during a stop.
//!
//! The test reads and responds on the backend's connections itself. Every wait has a timeout. A
//! pause is a read from a socket that must have nothing to read.

use crate::GATEWAY;
use campanile_tests::backend::Backend;
use campanile_tests::client::{Client, open, read_text};
use campanile_tests::peer::Peer;
use campanile_tests::process::{Process, pause, resume};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tungstenite::Message;

#[test]
fn a_response_that_arrives_during_a_pause_is_in_time() {
    for shards in [1, 2] {
        let backend = Backend::start();
        let config = config(&backend, &["message"], "timeout_ms = 200\nretries_max = 0");
        let process = start(&config, shards);
        let mut session = open(process.address, "/x");
        ask(&mut session, "1");
        let mut connection = backend.connection();
        assert_eq!(hook(&mut connection)["request_id"], "1");
        pause(&process.child);
        connection.respond(r#"{"reply":{"data":"in time"}}"#);
        connection.expect_quiet(LONG);
        resume(&process.child);
        assert_eq!(reply(&mut session)["data"], "in time");
        assert_eq!(backend_report(&process)["failed"], 0);
    }
}

#[test]
fn a_response_after_a_pause_has_the_full_timeout() {
    for shards in [1, 2] {
        let backend = Backend::start();
        let config = config(&backend, &["message"], "timeout_ms = 1000\nretries_max = 0");
        let process = start(&config, shards);
        let mut session = open(process.address, "/x");
        ask(&mut session, "1");
        let mut connection = backend.connection();
        hook(&mut connection);
        pause(&process.child);
        connection.expect_quiet(2 * LONG);
        resume(&process.child);
        // The gateway has run since the pause, so expired deadlines have fired.
        assert_eq!(backend_report(&process)["in_flight"], 1);
        connection.respond(r#"{"reply":{"data":"in time"}}"#);
        assert_eq!(reply(&mut session)["data"], "in time");
    }
}

#[test]
fn without_descriptors_a_hook_fails_at_once_with_the_reason() {
    let backend = Backend::start();
    let config = config(
        &backend,
        &["message"],
        "timeout_ms = 60000\nretries_max = 16\nretry_delay_ms = 60000",
    );
    let process = start(&config, 1);
    let mut session = open(process.address, "/x");
    let mut peer = Peer::connect(process.address);
    health(&mut peer);
    let pid = Pid::from_child(&process.child);
    // All descriptors below the limit are open.
    let limit = |current| Rlimit {
        current: Some(current),
        ..getrlimit(Resource::Nofile) // The gateway has inherited the hard limit.
    };
    prlimit(Some(pid), Resource::Nofile, limit(lowest_free(pid))).expect("our child");
    ask(&mut session, "1");
    assert_eq!(reply(&mut session)["msg"], "backend unavailable");
    let report = health(&mut peer);
    assert_eq!(
        (&report["state"], &report["tried_again"]),
        (&"down".into(), &0.into())
    );
    let error = report["last_error"].as_str().expect("there was one");
    assert!(error.starts_with("no file descriptor is left"), "{error}");

    prlimit(Some(pid), Resource::Nofile, limit(1_024)).expect("our child");
    ask(&mut session, "2");
    let mut connection = backend.connection();
    assert_eq!(hook(&mut connection)["request_id"], "2");
    connection.respond("{}");
    assert_eq!(reply(&mut session)["seqno"], "2");
    assert_eq!(health(&mut peer)["state"], "up");
    drop((session, peer));
    let log = process.stop().log;
    assert!(
        log.contains("no file descriptor is left to connect with"),
        "{log}"
    );
}

#[test]
fn close_hooks_not_sent_before_the_stop_are_logged() {
    let backend = Backend::start();
    let limits = "requests_in_flight_max = 1\nrequests_waiting_max = 2";
    let config = format!(
        "shutdown_grace_ms = 500\n{}",
        config(&backend, &["close"], limits)
    );
    let process = start(&config, 1);
    let sessions: Vec<Client> = (0..5).map(|_| open(process.address, "/x")).collect();
    drop(sessions);
    let mut connection = backend.connection();
    hook(&mut connection); // It never gets a response.
    let mut peer = Peer::connect(process.address);
    let are_refused = (0..TRIES_MAX).any(|_| health(&mut peer)["hooks"]["close"]["refused"] == 2);
    assert!(are_refused, "{}", health(&mut peer));
    drop(peer);
    let log = process.stop().log;
    let line = |text: &str| {
        let found = log.lines().find(|line| line.contains(text));
        found
            .unwrap_or_else(|| panic!("no {text:?} in {log}"))
            .to_owned()
    };
    line("the queue of hooks is full");
    let lost =
        line("hooks were refused, have failed, or were not answered before the gateway stopped");
    for count in ["refused=2", "unanswered=3"] {
        assert!(lost.contains(count), "{lost}");
    }
}

/// Longer than all timeouts above, with a margin for busy machines.
const LONG: Duration = Duration::from_millis(1_200);

const TRIES_MAX: usize = 10_000;

fn start(config: &str, shards: usize) -> Process {
    GATEWAY.start_on(shards, Some(config))
}

/// Returns a config whose route `/x` has these hooks.
fn config(backend: &Backend, hooks: &[&str], limits: &str) -> String {
    let (address, hooks) = (backend.address, json!(hooks));
    format!(
        "[api]\nenabled = true\n[[backends]]\nname = 'b'\nurl = 'http://{address}/'\n{limits}\n\
         [[routes]]\npath = '/x'\ndialect = 'wsrv'\npush_frame = 'text'\n\
         hooks = {{ backend = 'b', on = {hooks} }}\n"
    )
}

/// Returns the body of the next hook request.
fn hook(connection: &mut Peer) -> Value {
    connection.request().expect("it is not closed").json()
}

/// Returns the state of the backend in `/health`.
fn health(peer: &mut Peer) -> Value {
    let body = peer.get("/health").body;
    let mut report: Value = serde_json::from_str(&body).expect("JSON");
    report["backends"][0].take()
}

fn backend_report(process: &Process) -> Value {
    health(&mut Peer::connect(process.address))
}

fn ask(session: &mut Client, seqno: &str) {
    let text = json!({"cmd": "chat", "seqno": seqno, "data": {}}).to_string();
    session
        .send(Message::text(text))
        .expect("the gateway reads");
}

fn reply(session: &mut Client) -> Value {
    serde_json::from_str(&read_text(session)).expect("JSON")
}

/// Returns the lowest free descriptor number of a process.
fn lowest_free(pid: Pid) -> u64 {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    (0..1_000_000)
        .find(|fd| !Path::new(&folder).join(fd.to_string()).is_symlink())
        .expect("not all numbers are taken")
}
