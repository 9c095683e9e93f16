//! Hooks of the real executable in a bad hour: a process that was paused, one without descriptors,
//! one that has to stop.
//!
//! The backend is a listener of the test, whose requests are read and answered by hand. Every wait
//! has a time-out. A quiet spell is a read from a socket that must have nothing to read.

use crate::client::{Client, open, read_text};
use crate::pause::{pause, resume};
use crate::process::{PATIENCE, Process, config_file};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tungstenite::Message;

#[test]
fn a_response_that_came_while_the_process_was_paused_is_in_time() {
    for shards in ["1", "2"] {
        let backend = Backend::start();
        let config = backend.config(&["message"], "timeout_ms = 200\nretries_max = 0");
        let process = start(&config, shards);
        let mut session = open(process.address, "/x");
        ask(&mut session, "1");
        let mut connection = backend.connection();
        assert_eq!(connection.read()["request_id"], "1");
        pause(&process.child);
        connection.answer(r#"{"reply":{"data":"in time"}}"#);
        connection.expect_quiet(LONG);
        resume(&process.child);
        assert_eq!(reply(&mut session)["data"], "in time");
        assert_eq!(backend_report(&process)["failed"], 0);
    }
}

#[test]
fn a_response_that_comes_after_a_pause_has_its_time_again() {
    for shards in ["1", "2"] {
        let backend = Backend::start();
        let config = backend.config(&["message"], "timeout_ms = 1000\nretries_max = 0");
        let process = start(&config, shards);
        let mut session = open(process.address, "/x");
        ask(&mut session, "1");
        let mut connection = backend.connection();
        connection.read();
        pause(&process.child);
        connection.expect_quiet(2 * LONG);
        resume(&process.child);
        // The gateway has run since: what expired has expired.
        assert_eq!(backend_report(&process)["in_flight"], 1);
        connection.answer(r#"{"reply":{"data":"in time"}}"#);
        assert_eq!(reply(&mut session)["data"], "in time");
    }
}

#[test]
fn without_descriptors_a_hook_fails_at_once_and_says_why() {
    let backend = Backend::start();
    let config = backend.config(
        &["message"],
        "timeout_ms = 60000\nretries_max = 16\nretry_delay_ms = 60000",
    );
    let process = start(&config, "1");
    let mut session = open(process.address, "/x");
    let mut health = Health::connect(process.address);
    health.backend();
    let pid = Pid::from_child(&process.child);
    // Each number below the limit is taken by an open descriptor.
    let limit = |current| Rlimit {
        current: Some(current),
        ..getrlimit(Resource::Nofile) // it has inherited the hard limit
    };
    prlimit(Some(pid), Resource::Nofile, limit(lowest_free(pid))).expect("our child");
    ask(&mut session, "1");
    assert_eq!(reply(&mut session)["msg"], "backend unavailable");
    let report = health.backend();
    assert_eq!(
        (&report["state"], &report["tried_again"]),
        (&"down".into(), &0.into())
    );
    let error = report["last_error"].as_str().expect("there was one");
    assert!(error.starts_with("no file descriptor is left"), "{error}");

    prlimit(Some(pid), Resource::Nofile, limit(1_024)).expect("our child");
    ask(&mut session, "2");
    let mut connection = backend.connection();
    assert_eq!(connection.read()["request_id"], "2");
    connection.answer("{}");
    assert_eq!(reply(&mut session)["seqno"], "2");
    assert_eq!(health.backend()["state"], "up");
    drop((session, health));
    let log = process.stop().log;
    assert!(
        log.contains("no file descriptor is left to connect with"),
        "{log}"
    );
}

#[test]
fn ends_that_could_not_be_told_before_the_stop_are_said() {
    let backend = Backend::start();
    let limits = "requests_in_flight_max = 1\nrequests_waiting_max = 2";
    let config = format!(
        "shutdown_grace_ms = 500\n{}",
        backend.config(&["close"], limits)
    );
    let process = start(&config, "1");
    let sessions: Vec<Client> = (0..5).map(|_| open(process.address, "/x")).collect();
    drop(sessions);
    let mut connection = backend.connection();
    connection.read(); // and never answered
    let mut health = Health::connect(process.address);
    let are_refused = (0..TRIES_MAX).any(|_| health.backend()["hooks"]["close"]["refused"] == 2);
    assert!(are_refused, "{}", health.backend());
    drop(health);
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

/// Longer than any time-out above by more than a busy machine is late.
const LONG: Duration = Duration::from_millis(1_200);

const TRIES_MAX: usize = 10_000;

fn start(config: &str, shards: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command.args(["--listen", "127.0.0.1:0", "--shards", shards]);
    command.arg("--config").arg(config_file(config));
    Process::start(command)
}

/// A listener that hooks are posted to.
struct Backend {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        let (sender, accepted) = channel();
        let accepting = thread::Builder::new().name("backend".to_owned());
        let accept = move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if sender.send(socket).is_err() {
                    break;
                }
            }
        };
        accepting.spawn(accept).expect("a thread");
        Self { address, accepted }
    }

    /// A config whose route `/x` has these hooks.
    fn config(&self, hooks: &[&str], limits: &str) -> String {
        let (address, hooks) = (self.address, json!(hooks));
        format!(
            "[api]\nenabled = true\n[[backends]]\nname = 'b'\nurl = 'http://{address}/'\n{limits}\n\
             [[routes]]\npath = '/x'\ndialect = 'wsrv'\npush_frame = 'text'\n\
             hooks = {{ backend = 'b', on = {hooks} }}\n"
        )
    }

    /// The next connection of the gateway's.
    fn connection(&self) -> Connection {
        let socket = self.accepted.recv_timeout(PATIENCE);
        let socket = socket.expect("the gateway connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Connection(BufReader::new(socket))
    }
}

/// A connection that hooks come over.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// The body of the next hook.
    fn read(&mut self) -> Value {
        read_json(&mut self.0)
    }

    fn answer(&mut self, body: &str) {
        let len = body.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}");
        let sent = self.0.get_mut().write_all(text.as_bytes());
        sent.expect("the kernel takes it");
    }

    /// Nothing comes for so long.
    fn expect_quiet(&mut self, time: Duration) {
        let socket = self.0.get_mut();
        socket.set_read_timeout(Some(time)).expect("not zero");
        let nothing = socket.read(&mut [0]).expect_err("it is quiet");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    }
}

/// Reads an HTTP message whose body is JSON.
fn read_json(reader: &mut BufReader<TcpStream>) -> Value {
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head comes");
        assert!(!line.is_empty(), "it is not closed");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            len = value.parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).expect("a body comes");
    serde_json::from_slice(&body).expect("JSON")
}

/// A connection that `/health` is asked over.
struct Health(BufReader<TcpStream>);

impl Health {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self(BufReader::new(socket))
    }

    /// What it says of the backend.
    fn backend(&mut self) -> Value {
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.0.get_mut().write_all(request).expect("it is read");
        read_json(&mut self.0)["backends"][0].take()
    }
}

fn backend_report(process: &Process) -> Value {
    Health::connect(process.address).backend()
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

/// The lowest number that no open descriptor of the process has.
fn lowest_free(pid: Pid) -> u64 {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    (0..1_000_000)
        .find(|fd| !Path::new(&folder).join(fd.to_string()).is_symlink())
        .expect("not all numbers are taken")
}
