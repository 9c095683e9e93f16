//! Tests of every deadline in real time, after an idle period that is longer than the deadline.
//!
//! A shard without events sleeps until the next deadline, so its clock is old when an event comes.
//! The event must be handled with the current time: a deadline that begins then must not fire at
//! once. Each test configures a short deadline, stays idle for longer, and then acts as a client;
//! with one shard and with two.

use super::read_close;
use crate::GATEWAY;
use campanile_tests::backend::respond;
use campanile_tests::client::{Client, expect_no_message, open, open_as, open_with, read_text};
use campanile_tests::http::{self};
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::{Ended, Process, pause, resume};
use rustix::process::Signal;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tungstenite::Message;

/// The deadline of each test, in milliseconds.
const DEADLINE_MS: u32 = 600;
/// The idle period, longer than the deadline and than the periodic work of an idle shard.
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn a_first_connection_has_its_handshake_timeout() {
    each(
        |ms| format!("[heartbeat]\nhandshake_timeout_ms = {ms}\n"),
        |_, address| {
            stay_idle();
            let mut peer = Peer::connect(address);
            wait_for_network();
            peer.send(b"GET /health HTTP/1.1\r\nHost: x");
            peer.send(b"\r\n\r\n");
            assert_eq!(peer.response().status, 200);
            stay_idle();
            expect_no_message(&mut open(address, "/echo"));
        },
    );
}

#[test]
fn a_request_on_a_kept_connection_has_its_body_timeout() {
    each(
        |ms| format!("[http]\nbody_timeout_ms = {ms}\n[heartbeat]\nhandshake_timeout_ms = {ms}\n"),
        |_, address| {
            let mut peer = Peer::connect(address);
            assert_eq!(peer.push("jack", "e", "m"), sent_to(0));
            stay_idle();
            let request = http::post("/push", "", &push_body("jack", "e", "m"));
            let (head, body) = request.split_at(request.len() - 20);
            peer.send(head);
            wait_for_network();
            peer.send(body);
            assert_eq!(peer.response().body, sent_to(0));
        },
    );
}

#[test]
fn a_keep_alive_connection_has_its_timeout() {
    each(
        |ms| format!("[http]\nkeep_alive_timeout_ms = {ms}\n"),
        |_, address| {
            stay_idle();
            let mut peer = Peer::connect(address);
            assert_eq!(peer.push("jack", "e", "m"), sent_to(0));
            assert_eq!(peer.push("jack", "e", "m"), sent_to(0));
        },
    );
}

#[test]
fn a_session_that_has_just_opened_is_not_idle() {
    each(
        |ms| format!("{WSRV}idle_timeout_ms = {ms}\n"),
        |_, address| {
            stay_idle();
            let mut client = open(address, "/wsrv");
            // Heartbeats in time keep the session open.
            for seqno in 0..6 {
                pass(Duration::from_millis(u64::from(DEADLINE_MS) / 3));
                assert_eq!(call(&mut client, seqno), seqno);
            }
        },
    );
}

#[test]
fn a_session_that_has_just_opened_is_not_pinged() {
    each(
        |ms| format!("{ECHO}ping_interval_ms = {ms}\n"),
        |_, address| {
            stay_idle();
            let mut client = open(address, "/echo");
            client.send(Message::text("first")).expect("it is read");
            let first = client.read().expect("something comes");
            assert_eq!(first, Message::text("first"), "no ping before");
            let next = client.read().expect("a ping comes at the deadline");
            assert!(matches!(next, Message::Ping(_)), "{next:?}");
        },
    );
}

#[test]
fn a_session_has_its_registration_timeout() {
    each(
        |ms| format!("{WSERVER}registration_timeout_ms = {ms}\n"),
        |_, address| {
            stay_idle();
            let mut client = open_as(address, "jack", "e");
            assert_eq!(Peer::connect(address).push("jack", "e", "m"), sent_to(1));
            assert_eq!(read_text(&mut client), "m");
        },
    );
}

#[test]
fn pushes_to_sleeping_shards_do_not_time_out() {
    each(
        |ms| format!("[http]\npush_timeout_ms = {ms}\n{WSERVER}"),
        |_, address| {
            let mut clients: Vec<Client> = (0..6).map(|_| open_as(address, "jack", "e")).collect();
            for message in ["one", "two"] {
                stay_idle();
                let total = Peer::connect(address).push("jack", "e", message);
                assert_eq!(total, sent_to(clients.len()));
            }
            for client in &mut clients {
                assert_eq!(read_text(client), "one");
                assert_eq!(read_text(client), "two");
            }
        },
    );
}

#[test]
fn the_claim_of_an_exclusive_user_has_its_timeout() {
    let edk = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    each(
        |ms| format!("[heartbeat]\nhandshake_timeout_ms = {ms}\n{edk}"),
        |_, address| {
            let mut before: Option<Client> = None;
            for _ in 0..3 {
                stay_idle();
                let mut next = open_edk(address, "jack");
                expect_no_message(&mut next);
                if let Some(mut before) = before.replace(next) {
                    assert_eq!(read_close(&mut before).0, 4001);
                }
            }
        },
    );
}

#[test]
fn the_upgrade_hook_has_its_timeout() {
    let url = backend();
    each(
        |ms| {
            format!(
                "[heartbeat]\nhandshake_timeout_ms = {ms}\n\
                 [[backends]]\nname = 'app'\nurl = '{url}'\ntimeout_ms = {ms}\n\
                 {WSRV}hooks = {{ backend = 'app', on = ['open'] }}\n"
            )
        },
        |_, address| {
            for _ in 0..2 {
                stay_idle();
                expect_no_message(&mut open(address, "/wsrv"));
            }
        },
    );
}

#[test]
fn a_client_has_its_timeout_for_the_close_handshake() {
    each(
        |ms| format!("[heartbeat]\nclose_grace_ms = {ms}\n"),
        |_, address| {
            let mut client = open_as(address, "jack", "e");
            stay_idle();
            let drop_jack = r#"{"userId":"jack"}"#;
            let dropped = Peer::connect(address).post("/drop", "", drop_jack);
            assert_eq!(dropped.body, "dropped 1 connections");
            assert_eq!(read_close(&mut client).0, 1000);
        },
    );
}

#[test]
fn an_idempotency_key_is_valid_for_its_time() {
    each(
        |ms| format!("[api]\nidempotency_ttl_ms = {}\n", 60 * ms),
        |_, address| {
            stay_idle();
            let mut client = open_as(address, "jack", "e");
            let mut peer = Peer::connect(address);
            let body = r#"{"user":"jack","event":"e","data":"m"}"#;
            for _ in 0..2 {
                let answer = peer.post("/api/v1/push", "Idempotency-Key: k\r\n", body);
                assert_eq!(
                    (answer.status, answer.body.trim_end()),
                    (200, r#"{"delivered":1}"#)
                );
            }
            assert_eq!(read_text(&mut client), "m");
            expect_no_message(&mut client);
        },
    );
}

#[test]
fn a_stop_after_an_idle_period_closes_with_1001() {
    each_process(
        |ms| format!("shutdown_grace_ms = {ms}\n[heartbeat]\nclose_grace_ms = {ms}\n"),
        |process| {
            let mut client = open(process.address, "/echo");
            stay_idle();
            process.signal(Signal::TERM);
            assert_eq!(read_close(&mut client).0, 1001);
            process.wait()
        },
    );
}

/// If the process is paused during a stop, clients have the full time for the close handshake.
#[test]
fn a_pause_is_not_part_of_the_shutdown_grace() {
    each_process(
        |ms| format!("shutdown_grace_ms = {ms}\n[heartbeat]\nclose_grace_ms = {ms}\n"),
        |process| {
            let mut client = open(process.address, "/echo");
            process.signal(Signal::TERM);
            let close = client.read().expect("a close frame comes");
            assert!(close.is_close(), "{close:?}");
            pause(&process.child);
            stay_idle();
            stay_idle();
            resume(&process.child);
            wait_for_network();
            // A closed connection would respond with a reset.
            let mut socket = client.get_ref();
            socket.write_all(b"late").expect("nothing has come yet");
            wait_for_network();
            assert!(socket.take_error().expect("a socket").is_none());
            let end = client.read().expect_err("nothing comes behind it");
            assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
            process.wait()
        },
    );
}

/// After a pause of the process that is longer than the idle timeout all sessions stay open.
#[test]
fn a_pause_of_the_process_ends_no_session() {
    each(
        |ms| {
            format!(
                "{WSRV}idle_timeout_ms = {ms}\n\
                 {ECHO}idle_timeout_ms = {ms}\nping_interval_ms = {}\n",
                ms / 2
            )
        },
        |process, address| {
            let mut silent: Vec<Client> = (0..50).map(|_| open(address, "/echo")).collect();
            let mut callers: Vec<Client> = (0..50).map(|_| open(address, "/wsrv")).collect();
            pause(&process.child);
            stay_idle();
            stay_idle();
            resume(&process.child);
            // Each session has the full timeout again, and answers the ping.
            for client in &mut silent {
                let asked = client.read().expect("a ping, not a close");
                assert!(matches!(asked, Message::Ping(_)), "{asked:?}");
                client.flush().expect("it is read");
            }
            for client in &mut callers {
                assert_eq!(call(client, 7), 7);
            }
        },
    );
}

/// Runs a test with one shard and with two, with a config for its deadline, and stops the gateway.
#[track_caller]
fn each(config: impl Fn(u32) -> String, test: impl Fn(&Process, SocketAddr)) {
    each_process(config, |process| {
        test(&process, process.address);
        process.stop()
    });
}

/// Like [`each`], for a test that stops the gateway itself.
#[track_caller]
fn each_process(config: impl Fn(u32) -> String, test: impl Fn(Process) -> Ended) {
    for shards in [1, 2] {
        let config = config(DEADLINE_MS);
        let ended = test(GATEWAY.start_on(shards, Some(&config)));
        assert!(ended.status.success(), "{}", ended.log);
    }
}

fn stay_idle() {
    pass(QUIET);
}

/// Waits for a network delay, well within any deadline.
fn wait_for_network() {
    pass(Duration::from_millis(50));
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is that time passes"
)]
fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Sends the command `echo` with a number and returns the number in the reply.
fn call(client: &mut Client, number: u32) -> u32 {
    let request = format!(r#"{{"cmd":"echo","seqno":"{number}","data":{number}}}"#);
    client.send(Message::text(request)).expect("it is read");
    loop {
        let message = client.read().expect("an answer comes");
        if let Message::Text(text) = message {
            let (_, data) = text.split_once(r#""data":"#).expect("an answer");
            return data.trim_end_matches('}').parse().expect("a number");
        }
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
}

fn open_edk(address: SocketAddr, user: &str) -> Client {
    let headers = [("x-user-id", user), ("sec-websocket-protocol", "token")];
    open_with(address, "/edk", &headers)
}

/// Starts a backend that admits all clients and returns its URL.
fn backend() -> String {
    let address = respond(|_| r#"{"admit":true}"#.to_owned());
    format!("http://{address}/")
}

const ECHO: &str = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n";
const WSERVER: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\n";
const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\ncommands = { echo = 'echo' }\n\
    push_frame = 'text'\n";
