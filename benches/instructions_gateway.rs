//! Instructions of the whole gateway without the kernel: workloads for `callgrind`.
//!
//! As `instructions.rs`, but with hyper, which reads the clock and formats a date once a second. So
//! a workload begins at the start of a second and must end within it.

use counting::Workload;
use requests::{post, undate, upgrade_request};
use server::Server;
use std::time::{Duration, SystemTime};

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/counting.rs"]
mod counting;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/requests.rs"]
mod requests;
#[path = "support/server.rs"]
mod server;

fn main() -> Result<(), String> {
    counting::run(ALL)
}

/// In the order in which a message passes them.
const ALL: &[Workload] = &[
    Workload::new("upgrade", "connection", 100, 1, upgrade),
    Workload::new("message-wsrv", "message", 500, 1, echo),
    Workload::new("message-easyws", "message", 500, 1, echo),
    Workload::new("push", "request", 200, 1, push),
    Workload::new("api", "request", 200, 1, api),
];

/// Upgrades an accepted connection to a session, and aborts it.
fn upgrade(_: &str, connections: u64) {
    let (mut server, mut output) = (server(), Vec::with_capacity(1_024));
    let request = upgrade_request("/ws");
    let mut upgrade_once = |output: &mut Vec<u8>| {
        output.clear();
        let id = server.connect();
        server.receive(id, request.as_bytes(), output);
        server.abort(id);
    };
    upgrade_once(&mut output);
    await_second();
    (0..connections).for_each(|_| upgrade_once(&mut output));
    checksum::check("upgrade", &output, SWITCHING);
}

/// Sends a client message that the gateway echoes.
fn echo(dialect: &str, messages: u64) {
    let (message, expected) = match dialect {
        "wsrv" => (WSRV, 0x3fa3_3da3),
        _ => ("echo: hi", 0xb294_5b2b),
    };
    let (mut server, mut output) = (server(), Vec::with_capacity(1_024));
    let id = server.session(&format!("/{dialect}"));
    let frame = frames::masked(message.as_bytes());
    for _ in 0..messages {
        output.clear();
        server.receive(id, &frame, &mut output);
    }
    checksum::check(dialect, &output, expected);
}

/// Pushes to one session over a persistent HTTP connection, each push after the previous response.
fn push(_: &str, requests: u64) {
    let body = r#"{"userId":"jack","event":"news","message":"Hello World"}"#;
    send_all(&post("/push", body), requests, 0x3295_04d1);
}

/// Publishes to a channel with one member by the server API.
fn api(_: &str, requests: u64) {
    let body = r#"{"channel":"room","event":"news","data":{"text":"hi"}}"#;
    send_all(&post("/api/v1/publish", body), requests, 0xd578_58c0);
}

/// Sends requests one after another.
fn send_all(request: &str, requests: u64, expected: u32) {
    let (mut server, mut output) = (server(), Vec::with_capacity(4_096));
    let jack = server.session("/ws");
    let register = frames::masked(br#"{"token":"jack","event":"news"}"#);
    server.receive(jack, &register, &mut output);
    server.session("/projectforge?ch=room");
    let backend = server.connect();
    server.receive(backend, request.as_bytes(), &mut output);
    await_second();
    for _ in 0..requests {
        output.clear();
        server.receive(backend, request.as_bytes(), &mut output);
    }
    undate(&mut output);
    checksum::check("requests", &output, expected);
}

/// Returns a gateway at the start of a second.
fn server() -> Server {
    await_second();
    Server::new()
}

/// Waits for the clock's next second: hyper formats the date once per second, and each count must
/// contain this equally often.
#[expect(
    clippy::disallowed_methods,
    reason = "hyper reads the clock, whatever we do"
)]
fn await_second() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let into_second = now.expect("it is past 1970").subsec_nanos();
    std::thread::sleep(Duration::from_nanos(1_000_000_000 - u64::from(into_second)));
}

const WSRV: &str = r#"{"cmd":"echo","seqno":"1","data":{"text":"hi"}}"#;
const SWITCHING: u32 = 0x1206_a59d;
