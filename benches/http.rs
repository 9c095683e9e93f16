//! Cost of an HTTP request, from its bytes to those of the response.
//!
//! On a persistent connection, with hyper and without the kernel: pushes to one session or to none,
//! one request or 16 pipelined ones, and calls of the server API with JSON.

use campanile::id::ConnectionId;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use requests::{post, undate};
use server::Server;
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/requests.rs"]
mod requests;
#[expect(dead_code, reason = "no connection is aborted here")]
#[path = "support/server.rs"]
mod server;

fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request/push");
    for (name, user, count, expected) in [
        ("one", "jack", 1, 0x3295_04d1),
        ("nobody", "jill", 1, 0x78e6_65d5),
        ("pipelined_16", "jack", 16, 0xbd50_6ab4),
    ] {
        let body = format!(r#"{{"userId":"{user}","event":"news","message":"Hello World"}}"#);
        let requests = post("/push", &body).repeat(count);
        measure(&mut group, name, &requests, count as u64, expected);
    }
    group.finish();
}

fn api(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request/api");
    for (name, body, expected) in CALLS {
        let path = format!("/api/v1/{name}");
        let request = match body {
            Some(body) => post(&path, body),
            None => format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"),
        };
        measure(&mut group, name, &request, 1, expected);
    }
    group.finish();
}

/// Measures `count` requests in one buffer, sent repeatedly to a gateway of their own.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    requests: &str,
    count: u64,
    expected: u32,
) {
    let mut fixture = Fixture::new();
    checksum::check(name, &fixture.stable_output(requests.as_bytes()), expected);
    let output_bytes = fixture.stable_output(requests.as_bytes()).len();
    group.throughput(Throughput::ElementsAndBytes {
        elements: count,
        bytes: requests.len() as u64,
    });
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter(|| {
            fixture.send(black_box(requests.as_bytes()));
            assert_eq!(fixture.output.len(), output_bytes);
        });
    });
}

/// A gateway with a session of jack for the event "news", a member of the channel "room", and a
/// connected backend.
struct Fixture {
    server: Server,
    backend: ConnectionId,
    output: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let (mut server, mut output) = (Server::new(), Vec::new());
        let jack = server.session("/ws");
        let register = frames::masked(br#"{"token":"jack","event":"news"}"#);
        server.receive(jack, &register, &mut output);
        server.session("/projectforge?ch=room");
        let backend = server.connect();
        Self {
            server,
            backend,
            output,
        }
    }

    /// Sends requests, and stores responses and publications in `output`.
    fn send(&mut self, requests: &[u8]) {
        self.output.clear();
        self.server
            .receive(self.backend, requests, &mut self.output);
    }

    /// Sends requests and returns the output without dates.
    fn stable_output(&mut self, requests: &[u8]) -> Vec<u8> {
        self.send(requests);
        let mut output = self.output.clone();
        undate(&mut output);
        output
    }
}

/// A call, its body for a POST, and the checksum of response and publications.
type Call = (&'static str, Option<&'static str>, u32);

const CALLS: [Call; 5] = [
    (
        "publish",
        Some(r#"{"channel": "room", "event": "news", "data": {"text": "hi"}}"#),
        0xd578_58c0,
    ),
    (
        "push",
        Some(r#"{"user": "jack", "event": "news", "data": "just for you"}"#),
        0xd91f_222b,
    ),
    (
        "broadcast",
        Some(r#"{"event": "news", "data": "maintenance at ten"}"#),
        0x094a_4dcd,
    ),
    ("channels", None, 0xa927_4793),
    ("users", None, 0x112e_bf21),
];

criterion_group!(benches, push, api);
criterion_main!(benches);
