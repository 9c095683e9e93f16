//! How many instructions does the whole gateway take, but for the kernel's? Workloads for
//! `callgrind`.
//!
//! As in `instructions.rs`, but with hyper, which reads the clock to word a date once a second: a
//! workload begins with a second and must end within it.

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

/// In the order of a message's way.
const ALL: &[Workload] = &[
    Workload::new("upgrade", "connection", 100, 1, upgrade),
    Workload::new("message-wsrv", "message", 500, 1, echo),
    Workload::new("message-easyws", "message", 500, 1, echo),
    Workload::new("push", "request", 200, 1, push),
    Workload::new("api", "request", 200, 1, api),
];

/// Takes a connection from its acceptance over hyper to a session, and cuts it.
fn upgrade(_: &str, connections: u64) {
    let (mut server, mut output) = (server(), Vec::with_capacity(1_024));
    let request = upgrade_request("/ws");
    let mut take_in = |output: &mut Vec<u8>| {
        output.clear();
        let id = server.connect();
        server.say(id, request.as_bytes(), output);
        server.cut(id);
    };
    take_in(&mut output);
    await_second();
    (0..connections).for_each(|_| take_in(&mut output));
    checksum::check("upgrade", &output, SWITCHING);
}

/// Has the gateway send a client's message back, from its frame to what is sent.
fn echo(language: &str, messages: u64) {
    let (message, expected) = match language {
        "wsrv" => (WSRV, 0x3fa3_3da3),
        _ => ("echo: hi", 0xb294_5b2b),
    };
    let (mut server, mut output) = (server(), Vec::with_capacity(1_024));
    let id = server.session(&format!("/{language}"));
    let frame = frames::masked(message.as_bytes());
    for _ in 0..messages {
        output.clear();
        server.say(id, &frame, &mut output);
    }
    checksum::check(language, &output, expected);
}

/// Pushes to one session over a kept HTTP connection, each push after the last one's answer.
fn push(_: &str, requests: u64) {
    let body = r#"{"userId":"jack","event":"news","message":"Hello World"}"#;
    ask(&post("/push", body), requests, 0x3295_04d1);
}

/// Publishes to a channel by the server API, with one session on it.
fn api(_: &str, requests: u64) {
    let body = r#"{"channel":"room","event":"news","data":{"text":"hi"}}"#;
    ask(&post("/api/v1/publish", body), requests, 0xd578_58c0);
}

/// Has requests answered, one after another.
fn ask(request: &str, requests: u64, expected: u32) {
    let (mut server, mut output) = (server(), Vec::with_capacity(4_096));
    let jack = server.session("/ws");
    let register = frames::masked(br#"{"token":"jack","event":"news"}"#);
    server.say(jack, &register, &mut output);
    server.session("/projectforge?ch=room");
    let backend = server.connect();
    server.say(backend, request.as_bytes(), &mut output);
    await_second();
    for _ in 0..requests {
        output.clear();
        server.say(backend, request.as_bytes(), &mut output);
    }
    undate(&mut output);
    checksum::check("requests", &output, expected);
}

/// A gateway at the beginning of a second.
fn server() -> Server {
    await_second();
    Server::new()
}

/// Waits for the clock's next second: hyper words the date once in each, and a count is to have
/// the same number of them.
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
