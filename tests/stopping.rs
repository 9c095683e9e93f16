//! Tests of the stop of the executable, and of signals.
//!
//! Tests that observe a running stop have so long times in the config that only a second signal or
//! the disconnect of all clients ends it. No test sleeps or measures time.

use campanile_tests::client::{
    Client, closing, expect_no_message, is_open, open, open_as, open_on, read_text,
};
use campanile_tests::http::{LOCAL, Response, get, post, upgrade};
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::{Ended, Executable, Process};
use campanile_tests::{PATIENCE, executable};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn during_the_delay_health_is_503_and_all_else_is_served() {
    let process = GATEWAY.start(Some("drain_delay_ms = 600_000"));
    let address = process.address;
    let mut kept: Vec<Peer> = (0..8).map(|_| Peer::connect(address)).collect();
    for peer in &mut kept {
        assert_eq!(health(peer).status, 200);
    }
    let mut before = open_as(address, "jack", "e");

    process.signal(Signal::TERM);
    for peer in &mut kept {
        let answer = until_stopping(|| health(peer));
        assert_eq!(answer.body, r#"{"status":"stopping"}"#);
        assert_eq!(health(peer).status, 503, "also on the same connection");
    }
    for _ in 0..8 {
        until_stopping(|| health(&mut Peer::connect(address)));
    }
    let mut after = open_as(address, "jack", "e");
    let mut fresh = Peer::connect(address);
    for peer in kept.iter_mut().chain([&mut fresh]) {
        assert_eq!(peer.push("jack", "e", "hello"), sent_to(2));
        assert_eq!(read_text(&mut before), "hello");
        assert_eq!(read_text(&mut after), "hello");
    }
    expect_no_message(&mut before);
    expect_no_message(&mut after);

    let ended = end_at_once(process, Signal::TERM);
    assert_eq!(ended.status.code(), Some(128 + 15), "{}", ended.log);
}

#[test]
fn after_the_delay_the_gateway_stops_by_itself() {
    let process = GATEWAY.start(Some("drain_delay_ms = 200"));
    let mut client = open(process.address, "/ws");
    let mut peer = Peer::connect(process.address);
    assert_eq!(health(&mut peer).status, 200);
    process.signal(Signal::TERM);
    until_stopping(|| health(&mut peer));
    assert_eq!(closing(&mut client), shutting_down());
    drop((client, peer));
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn calls_during_a_stop_are_errors_without_effect() {
    let process = GATEWAY.start(Some(LONG_GRACE));
    let address = process.address;
    let mut client = open_as(address, "jack", "e");
    let id = sessions(&mut Peer::connect(address)).pop().expect("one");
    let calls = calls_about(&id);
    let mut kept: Vec<Peer> = (0..calls.len() + 6)
        .map(|_| Peer::connect(address))
        .collect();
    for peer in &mut kept {
        assert_eq!(health(peer).status, 200);
    }
    let mut late = Peer::connect(address);
    let push = post("/push", "", &push_body("jack", "e", "late"));
    let (head, rest) = push.split_at(push.len() - 10);
    late.send(head);
    expect_no_message(&mut client);

    process.signal(Signal::TERM);
    assert_eq!(closing(&mut client), shutting_down());
    // The clients keep their connections open, so the gateway waits.
    let mut peers = kept.into_iter();
    let mut next = || peers.next().expect("there are enough");
    for (call, body) in &calls {
        let key = format!("Idempotency-Key: {call}\r\n");
        let answer = next().post(&format!("/api/v1/{call}"), &key, body);
        assert_eq!(answer.status, 503, "{call}: {}", answer.body);
        assert_eq!(answer.body, NOTHING_DONE, "{call}");
    }
    let refused = |answer: Response| (answer.status, answer.body);
    let body = push_body("jack", "e", "m");
    let nothing = || (503, NOTHING_DELIVERED.to_owned());
    assert_eq!(refused(next().post("/push", "", &body)), nothing());
    let drop_jack = r#"{"userId":"jack"}"#;
    assert_eq!(refused(next().post("/drop", "", drop_jack)), nothing());
    late.send(rest);
    assert_eq!(refused(late.response()), nothing());
    let stopping = (503, r#"{"status":"stopping"}"#.to_owned());
    assert_eq!(refused(health(&mut next())), stopping);
    let mut peer = next();
    peer.send(upgrade("GET /ws HTTP/1.1", &[LOCAL]));
    assert_eq!(refused(peer.response()), (503, "stopping\n".to_owned()));
    assert_eq!(rest_of(peer), "", "each answer is the last one");
    // Queries are served.
    assert_eq!(sessions(&mut next()), Vec::<String>::new());
    let idle = next();
    TcpStream::connect(address).expect_err("the gateway has stopped");

    drop((client, late));
    assert_eq!(
        rest_of(idle),
        "",
        "idle connections end with the last session"
    );
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("deliveries=0"), "{}", ended.log);
}

/// All requests of one segment get responses that announce the close; then the connection ends.
#[test]
fn all_pipelined_requests_get_responses_before_the_close() {
    let process = GATEWAY.start(Some(LONG_GRACE));
    let mut client = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    assert_eq!(health(&mut peer).status, 200);
    expect_no_message(&mut client);
    process.signal(Signal::TERM);
    assert_eq!(closing(&mut client), shutting_down());

    let push = post("/push", "", &push_body("jack", "e", "m"));
    let list = get("/api/v1/users", "");
    peer.send([&*push, &list, &push, &list].concat());
    let statuses: Vec<u16> = (0..4).map(|_| peer.response().status).collect();
    assert_eq!(statuses, [503, 200, 503, 200]);
    drop(client);
    assert_eq!(rest_of(peer), "");
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

/// Clients push until they get an error. Every session receives all accepted messages before the
/// close frame.
#[test]
fn accepted_messages_are_delivered_before_the_close() {
    const CLIENTS: usize = 8;
    let process = GATEWAY.start(Some(LONG_GRACE));
    let address = process.address;
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| open_as(address, "jack", "e"))
        .collect();
    let (started, starts) = channel();
    let pushers: Vec<_> = (0..6)
        .map(|pusher| {
            let started = started.clone();
            in_background(move || {
                let mut peer = Peer::connect(address);
                let mut accepted = Vec::new();
                for number in 0.. {
                    let message = format!("{pusher} {number}");
                    let answer = peer.post("/push", "", &push_body("jack", "e", &message));
                    if answer.status != 200 {
                        assert_eq!(answer.status, 503);
                        assert_eq!(answer.body, NOTHING_DELIVERED);
                        break;
                    }
                    assert_eq!(answer.body, sent_to(CLIENTS), "to all or to none");
                    accepted.push(message);
                    if number == 20 {
                        started.send(()).expect("the receiver waits");
                    }
                }
                accepted
            })
        })
        .collect();
    // Read at once, so that no session is a slow consumer.
    let readers: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            in_background(move || {
                let mut received = Vec::new();
                loop {
                    let message = client.read().expect("a close comes in the end");
                    if message.is_close() {
                        return (client, received);
                    }
                    received.push(message.into_text().expect("a text").to_string());
                }
            })
        })
        .collect();
    for _ in &pushers {
        starts.recv_timeout(PATIENCE).expect("pushes are answered");
    }
    process.signal(Signal::TERM);
    let accepted = pushers.into_iter().map(|it| it.join().expect("it ends"));
    let accepted: BTreeSet<String> = accepted.flatten().collect();
    for reader in readers {
        let (client, received) = reader.join().expect("it ends");
        assert_eq!(received.len(), accepted.len(), "each once");
        assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), accepted);
        drop(client);
    }
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn sessions_are_closed_one_after_the_other() {
    // All would take 18 s, which the test does not wait for.
    let config = format!("drain_ms = 600_000\n{LONG_GRACE}");
    let process = GATEWAY.start(Some(&config));
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| open(process.address, "/ws"))
        .collect();
    process.signal(Signal::TERM);
    let mut closed = 0;
    while closed < AT_ONCE {
        clients.retain_mut(|client| is_open(client));
        closed = SESSIONS - clients.len();
    }
    clients.retain_mut(|client| is_open(client));
    let left = clients.len();
    assert!(
        left > 0,
        "after so many were closed, others still are served"
    );
    while clients.len() == left {
        clients.retain_mut(|client| is_open(client));
    }
    let ended = end_at_once(process, Signal::INT);
    assert_eq!(ended.status.code(), Some(128 + 2), "{}", ended.log);
}

#[test]
fn a_gradual_stop_ends() {
    closes_every_session("drain_ms = 10_000");
}

#[test]
fn a_stop_without_sessions_ends_at_once() {
    let process = GATEWAY.start(Some(LONG_GRACE));
    let mut idle = Peer::connect(process.address);
    assert_eq!(health(&mut idle).status, 200);
    let silent = Peer::connect(process.address);
    process.signal(Signal::TERM);
    assert_eq!(rest_of(idle) + &rest_of(silent), "");
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let with_nobody = GATEWAY.start(Some(LONG_GRACE)).stop();
    assert_eq!(with_nobody.status.code(), Some(0), "{}", with_nobody.log);
}

#[test]
fn a_hundred_sessions_are_closed_at_once() {
    let config = format!("drain_ms = 600_000\n{LONG_GRACE}");
    let process = GATEWAY.start(Some(&config));
    let mut clients: Vec<Client> = (0..AT_ONCE).map(|_| open(process.address, "/ws")).collect();
    process.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(closing(client), shutting_down());
    }
    drop(clients);
    assert_eq!(process.wait().status.code(), Some(0));
}

/// All sessions are closed within the grace, even if `drain_ms` is longer.
#[test]
fn the_last_session_is_closed_before_the_grace_ends() {
    closes_every_session("drain_ms = 600_000\nshutdown_grace_ms = 1_000");
}

/// Stops a gateway with this config, and asserts that every session gets a close frame and none is
/// aborted.
#[track_caller]
fn closes_every_session(config: &str) {
    let process = GATEWAY.start(Some(config));
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| open(process.address, "/ws"))
        .collect();
    process.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(closing(client), shutting_down());
    }
    drop(clients);
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let all = format!(r#"ends={{"shutdown": {SESSIONS}}}"#);
    assert!(ended.log.contains(&all), "{}", ended.log);
}

#[test]
fn a_second_signal_ends_a_stop_that_waits_for_a_client() {
    for second in [Signal::TERM, Signal::INT] {
        let process = GATEWAY.start(Some(LONG_GRACE));
        let mut deaf = open(process.address, "/ws");
        process.signal(Signal::INT);
        assert_eq!(closing(&mut deaf), shutting_down());
        let ended = end_at_once(process, second);
        let expected = Some(128 + second.as_raw());
        assert_eq!(ended.status.code(), expected, "{}", ended.log);
        assert!(ended.log.contains("a second signal"), "{}", ended.log);
    }
}

#[test]
fn sighup_always_reloads_key_files() {
    let keys = GATEWAY.config_file("").with_extension("jwks");
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let write = |secret: &[u8; 32]| {
        let mut file = File::create(&keys).expect("cargo made the folder");
        let secret = base64(secret);
        write!(
            file,
            r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{secret}"}}]}}"#
        )
        .expect("there is room");
        file.set_modified(past).expect("it is our file");
    };
    write(&[b'a'; 32]);
    let config = format!(
        "drain_delay_ms = 600_000\n[[routes]]\npath = '/e'\ndialect = 'wsrv'\n\
         jwt = {{ jwks_file = '{}' }}",
        keys.display()
    );
    let process = GATEWAY.start(Some(&config));
    let address = process.address;
    assert!(is_admitted(address, &[b'a'; 32]));
    assert!(!is_admitted(address, &[b'b'; 32]));

    // The file has the same age and length, so only a forced reload notices the change.
    write(&[b'b'; 32]);
    assert!(!is_admitted(address, &[b'b'; 32]));
    process.signal(Signal::HUP);
    until(|| is_admitted(address, &[b'b'; 32]).then_some(()));
    assert!(!is_admitted(address, &[b'a'; 32]));

    // Sessions are served during the delay of a stop, and keys are read.
    process.signal(Signal::TERM);
    until_stopping(|| health(&mut Peer::connect(address)));
    write(&[b'c'; 32]);
    process.signal(Signal::HUP);
    until(|| is_admitted(address, &[b'c'; 32]).then_some(()));
    let ended = end_at_once(process, Signal::TERM);
    assert_eq!(ended.status.code(), Some(128 + 15), "{}", ended.log);
    let line = "SIGHUP: key files were read again changed=1 unchanged=0 failed=0";
    assert_eq!(ended.log.matches(line).count(), 2, "{}", ended.log);
}

#[test]
fn sighup_during_start_and_stop_is_harmless() {
    let fifo = GATEWAY.config_file("").with_extension("fifo");
    drop(fs::remove_file(&fifo)); // From an earlier run.
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("there is mkfifo").success());
    let pid_file = fifo.with_extension("pid");
    let mut command = Command::new("sh");
    let script = "echo $$ > \"$1\"; exec \"$0\" --listen 127.0.0.1:0 --config \"$2\"";
    command.args(["-c", script, GATEWAY.path]);
    command.args([&pid_file, &fifo]);
    let starting = in_background(move || Process::start(command));

    // The signal handlers are installed before the config is read.
    let mut config = File::options().write(true).open(&fifo).expect("it is read");
    let pid = fs::read_to_string(&pid_file).expect("written before");
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::HUP).expect("it is our child");
    config.write_all(LONG_GRACE.as_bytes()).expect("it is read");
    drop(config);
    let process = starting.join().expect("it serves");

    let status = fs::read_to_string(format!("/proc/{}/status", process.child.id()));
    let status = status.expect("it runs");
    assert!(ignores(&status, 13), "SIGPIPE is not ignored: {status}");
    let mut client = open(process.address, "/ws");
    process.signal(Signal::TERM);
    assert_eq!(closing(&mut client), shutting_down());
    process.signal(Signal::HUP);
    drop(client);
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let line = "SIGHUP: key files were read again changed=0 unchanged=0 failed=0";
    assert!(ended.log.contains(line), "{}", ended.log);
}

/// Sends a signal to a stopping process and waits for its exit.
#[track_caller]
fn end_at_once(process: Process, second: Signal) -> Ended {
    process.signal(second);
    process.wait()
}

/// Repeats a request until it returns `Some`.
#[track_caller]
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let found = (0..ATTEMPTS_MAX).find_map(|_| ask());
    found.expect("it comes in the end")
}

/// Requests /health until the status is 503. A shard may lag behind the others.
#[track_caller]
fn until_stopping(mut ask: impl FnMut() -> Response) -> Response {
    until(|| Some(ask()).filter(|answer| answer.status == 503))
}

#[track_caller]
fn health(peer: &mut Peer) -> Response {
    peer.get("/health")
}

/// Returns one call of each kind of the server API, for a session of the user `jack`.
fn calls_about(id: &str) -> Vec<(&'static str, String)> {
    vec![
        ("publish", r#"{"channel":"c","data":"x"}"#.to_owned()),
        ("push", r#"{"user":"jack","data":"x"}"#.to_owned()),
        ("push", format!(r#"{{"session":"{id}","data":"x"}}"#)),
        ("broadcast", r#"{"data":"x"}"#.to_owned()),
        ("join", format!(r#"{{"session":"{id}","channel":"c"}}"#)),
        ("leave", format!(r#"{{"session":"{id}","channel":"c"}}"#)),
        ("disconnect", format!(r#"{{"session":"{id}"}}"#)),
        ("disconnect", r#"{"user":"jack","route":"/ws"}"#.to_owned()),
        (
            "batch",
            r#"{"calls":[{"call":"broadcast","data":"x"}]}"#.to_owned(),
        ),
    ]
}

/// Reads a connection until it ends.
#[track_caller]
fn rest_of(mut peer: Peer) -> String {
    String::from_utf8(peer.rest()).expect("it is text")
}

/// Returns the ids of all sessions.
#[track_caller]
fn sessions(peer: &mut Peer) -> Vec<String> {
    let answer = peer.get("/api/v1/sessions");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let page: serde_json::Value = serde_json::from_str(&answer.body).expect("it is JSON");
    let sessions = page["items"].as_array().expect("a list").iter();
    sessions
        .map(|session| session["id"].as_str().expect("an id").to_owned())
        .collect()
}

fn shutting_down() -> (u16, String) {
    (1001, "server is shutting down".to_owned())
}

fn in_background<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let thread = thread::Builder::new().name("in the background".to_owned());
    thread.spawn(body).expect("a thread")
}

/// Returns `true` if a client with a token signed with this secret is admitted.
fn is_admitted(address: SocketAddr, secret: &[u8]) -> bool {
    let claims = serde_json::json!({ "sub": "jack", "exp": 32_503_680_000_u64 });
    let key = EncodingKey::from_secret(secret).expect("not empty");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    let path = format!("/e?token={}", token.expect("it can be signed"));
    let socket = TcpStream::connect(address).expect("the gateway listens");
    open_on(socket, &path).is_ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns `true` if a process ignores a signal, by its `/proc/PID/status`.
fn ignores(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.expect("it is there").trim(), 16);
    mask.expect("a mask") >> (signal - 1) & 1 == 1
}

const NOTHING_DONE: &str =
    r#"{"error":{"code":"stopping","message":"the gateway is stopping, nothing was done"}}"#;
const NOTHING_DELIVERED: &str = "stopping, nothing was delivered or dropped";
/// A config with which only the disconnect of all clients or a second signal ends a stop.
const LONG_GRACE: &str = "shutdown_grace_ms = 600_000\n[heartbeat]\nclose_grace_ms = 600_000";
const SESSIONS: usize = 300;
/// Number of sessions that are closed at once.
const AT_ONCE: usize = 100;
/// The limit of attempts, some seconds on any machine.
const ATTEMPTS_MAX: usize = 20_000;
