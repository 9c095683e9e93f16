//! Cost of a client message in the gateway, from its frame to the bytes sent for it.
//!
//! For each dialect with the default config, without the kernel. The gateway itself handles `echo`;
//! a `publish` reaches the sender, the only member of the channel. `wserver` has neither.

use campanile::codec::protobuf;
use campanile::codec::protobuf::Envelope;
use campanile::ws::OpCode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use server::Server;
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;
#[expect(dead_code, reason = "no HTTP request but upgrades here")]
#[path = "support/requests.rs"]
mod requests;
#[expect(dead_code, reason = "no connection is aborted here")]
#[path = "support/server.rs"]
mod server;

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for Sample {
        name,
        path,
        before,
        message,
        expected,
    } in samples()
    {
        let (mut server, mut output) = (Server::new(), Vec::new());
        let id = server.session(path);
        for message in before {
            server.receive(id, &frames::masked(message.as_bytes()), &mut output);
        }
        output.clear();
        server.receive(id, &message, &mut output);
        checksum::check(name, &output, expected);
        let output_bytes = output.len();
        group.throughput(Throughput::ElementsAndBytes {
            elements: 1,
            bytes: message.len() as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                output.clear();
                server.receive(id, black_box(&message), &mut output);
                assert_eq!(output.len(), output_bytes);
            });
        });
    }
    group.finish();
}

/// A client message.
struct Sample {
    name: &'static str,
    path: &'static str,
    /// Messages that are sent first.
    before: &'static [&'static str],
    /// The frame.
    message: Vec<u8>,
    /// Checksum of the bytes sent for it.
    expected: u32,
}

fn samples() -> Vec<Sample> {
    let mut envelope = Vec::new();
    let (kind, payload, id) = ("chat", &b"hi"[..], "");
    protobuf::put_envelope(&Envelope { kind, payload, id }, &mut envelope);
    let text = |name, path, before, message: &str, expected| Sample {
        name,
        path,
        before,
        message: frames::masked(message.as_bytes()),
        expected,
    };
    vec![
        text("echo", "/echo", &[], "hi", 0xee6f_e27f),
        text(
            "wsrv_echo",
            "/wsrv",
            &[],
            r#"{"cmd":"echo","seqno":"1","data":{"text":"hi"}}"#,
            0x3fa3_3da3,
        ),
        text(
            "wsrv_publish",
            "/wsrv",
            &[r#"{"cmd":"join","seqno":"1","data":"room"}"#],
            r#"{"cmd":"publish","seqno":"2","data":{"channel":"room","data":"hi"}}"#,
            0xa77f_e5b9,
        ),
        text("easyws_echo", "/easyws", &[], "echo: hi", 0xb294_5b2b),
        text(
            "easyws_publish",
            "/easyws",
            &["join: room"],
            "publish: room hi",
            0x1cc2_3244,
        ),
        text(
            "projectforge_echo",
            "/projectforge?ch=room",
            &[],
            r#"{"channel":"room","cmd":"echo","param":{"text":"hi"}}"#,
            0x5f5c_6def,
        ),
        text(
            "projectforge_publish",
            "/projectforge?ch=room",
            &[],
            r#"{"channel":"room","cmd":"publish","param":"hi"}"#,
            0x2d1f_8a4a,
        ),
        Sample {
            name: "edk_publish",
            path: "/edk",
            before: &[],
            message: frames::masked_as(OpCode::Binary, &envelope),
            expected: 0x1651_e252,
        },
    ]
}

criterion_group!(benches, messages);
criterion_main!(benches);
