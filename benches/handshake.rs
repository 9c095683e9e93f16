//! Cost of an upgrade.
//!
//! `validate` is the gateway's own part: checks, `Sec-WebSocket-Accept` and the 101. `upgrade` is
//! everything from an accepted connection to an aborted session, with hyper and without the kernel.

use campanile::ws::handshake;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use requests::upgrade_request;
use server::Server;
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[expect(dead_code, reason = "nothing is pushed here")]
#[path = "support/requests.rs"]
mod requests;
#[expect(dead_code, reason = "sessions are made step by step here")]
#[path = "support/server.rs"]
mod server;

fn validate(criterion: &mut Criterion) {
    let request = upgrade_request("/ws");
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<(&str, &[u8])> = lines.map(|(name, text)| (name, text.as_bytes())).collect();
    let respond = |output: &mut Vec<u8>| {
        let lines = black_box(&headers).iter().copied();
        let accept = handshake::validate("GET", lines, || true).expect("a browser's is right");
        handshake::put_switching_protocols(output, &accept, Some("token"));
    };
    let mut output = Vec::new();
    respond(&mut output);
    checksum::check("validate", &output, WITH_SUBPROTOCOL);
    let output_bytes = output.len();

    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("validate", |bencher| {
        bencher.iter(|| {
            output.clear();
            respond(&mut output);
            assert_eq!(output.len(), output_bytes);
        });
    });
    group.finish();
}

fn upgrade(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake/upgrade");
    for (path, expected) in UPGRADES {
        let (mut server, mut output) = (Server::new(), Vec::new());
        let request = upgrade_request(path);
        let mut upgrade_once = |output: &mut Vec<u8>| {
            output.clear();
            let id = server.connect();
            server.receive(id, black_box(request.as_bytes()), output);
            server.abort(id);
        };
        upgrade_once(&mut output);
        checksum::check(path, &output, expected);
        let output_bytes = output.len();

        group.throughput(Throughput::ElementsAndBytes {
            elements: 1,
            bytes: request.len() as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(&path[1..]), |bencher| {
            bencher.iter(|| {
                upgrade_once(&mut output);
                assert_eq!(output.len(), output_bytes);
            });
        });
    }
    group.finish();
}

/// A route of each dialect, and the checksum of its response.
const UPGRADES: [(&str, u32); 5] = [
    ("/wsrv", WITHOUT),
    ("/easyws", WITHOUT),
    ("/projectforge", WITHOUT),
    ("/edk", WITH_SUBPROTOCOL),
    ("/ws", WITHOUT),
];

/// Checksums of the 101 with and without `Sec-WebSocket-Protocol: token`.
const WITH_SUBPROTOCOL: u32 = 0xb24c_b479;
const WITHOUT: u32 = 0x1206_a59d;

criterion_group!(benches, validate, upgrade);
criterion_main!(benches);
