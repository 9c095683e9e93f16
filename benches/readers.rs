//! Cost per byte of the readers and writers of JSON and Protocol Buffers.
//!
//! JSON is read as both versions of Go's package do and written as both do. Protocol Buffers are
//! checked without a schema and read with the built-in one.

use campanile::codec::json::write::{
    put_base64_string, put_compact_go, put_indented, put_string_go, put_string_plain,
};
use campanile::codec::json::{Wanted, strict};
use campanile::codec::protobuf;
use campanile::codec::protobuf::Envelope;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[expect(dead_code, reason = "only its JSON is read here")]
#[path = "support/dialects.rs"]
mod dialects;

fn json_read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json/read");
    for data_bytes in [1_024, 16_384] {
        let data = dialects::json(data_bytes);
        let message = format!(r#"{{"cmd":"publish","data":{data}}}"#);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(BenchmarkId::new("find", data_bytes), |bencher| {
            bencher.iter(|| {
                let found = WANTED.find(black_box(message.as_bytes()));
                let found = found.expect("it is JSON").raws[0].map(<[u8]>::len);
                assert_eq!(found, Some(data.len()));
            });
        });
        group.bench_function(BenchmarkId::new("strict", data_bytes), |bencher| {
            bencher.iter(|| {
                let found = strict::read(black_box(message.as_bytes()), ["data"]);
                let found = found.expect("it is JSON")[0].map(<[u8]>::len);
                assert_eq!(found, Some(data.len()));
            });
        });
        let found = WANTED.find(message.as_bytes()).expect("it is JSON").raws;
        assert_eq!(found, [Some(data.as_bytes())]);
        let found = strict::read(message.as_bytes(), ["data"]);
        assert_eq!(found, Ok([Some(data.as_bytes())]));
    }
    group.finish();
}

fn json_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json/write");
    let data = dialects::json(1_024);
    for (name, expected, put) in WRITERS {
        let mut output = Vec::new();
        put(&data, &mut output);
        checksum::check(name, &output, expected);
        let output_bytes = output.len();
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                output.clear();
                put(black_box(&data), &mut output);
                assert_eq!(output.len(), output_bytes);
            });
        });
    }
    group.finish();
}

fn protobuf(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protobuf");
    let payload = dialects::json(1_024);
    let envelope = Envelope {
        kind: "publish",
        payload: payload.as_bytes(),
        id: "17",
    };
    let mut message = Vec::new();
    protobuf::put_envelope(&envelope, &mut message);
    checksum::check("put_envelope", &message, 0xebee_048f);
    assert_eq!(protobuf::read_envelope(&message), Ok(envelope));
    // Many small fields with an unknown number.
    let fields = [0x7a, 3, b'a', b'b', b'c'].repeat(200);

    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("read_envelope", |bencher| {
        bencher.iter(|| {
            let read = protobuf::read_envelope(black_box(&message)).expect("it is one");
            assert_eq!(read.payload.len(), payload.len());
        });
    });
    let (mut output, message_bytes) = (Vec::new(), message.len());
    group.bench_function("put_envelope", |bencher| {
        bencher.iter(|| {
            output.clear();
            protobuf::put_envelope(black_box(&envelope), &mut output);
            assert_eq!(output.len(), message_bytes);
        });
    });
    group.throughput(Throughput::Bytes(fields.len() as u64));
    group.bench_function("check_wire", |bencher| {
        bencher.iter(|| assert_eq!(protobuf::check_wire(black_box(&fields)), Ok(())));
    });
    group.finish();
}

/// Name, checksum of the output, and function of a writer.
type Writer = (&'static str, u32, fn(&str, &mut Vec<u8>));

const WRITERS: [Writer; 5] = [
    ("string_go", 0x410c_64f8, put_string_go),
    ("string_plain", 0xab8f_dc72, put_string_plain),
    ("compact_go", 0x901e_ea39, |data, out| {
        put_compact_go(data.as_bytes(), out);
    }),
    ("indented", 0xa5bb_f9ea, |data, out| {
        put_indented(data.as_bytes(), 1, out);
    }),
    ("base64", 0x2882_71df, |data, out| {
        put_base64_string(data.as_bytes(), out);
    }),
];

const WANTED: Wanted<1, 1> = Wanted::new(["cmd"], ["data"]);

criterion_group!(benches, json_read, json_write, protobuf);
criterion_main!(benches);
