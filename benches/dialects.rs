//! Cost of decoding a client message and of encoding a publication in each dialect, by bytes of
//! data.
//!
//! A message is copied before decoding, since a dialect may write to it. A publication is encoded
//! once for all recipients.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dialects::{DATA_BYTES, json, length_of};
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/dialects.rs"]
mod dialects;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/decode");
    for data_bytes in DATA_BYTES {
        for mut sample in dialects::all(data_bytes) {
            sample.check();
            let length = sample.decode(length_of);
            group.throughput(Throughput::ElementsAndBytes {
                elements: 1,
                bytes: sample.bytes() as u64,
            });
            group.bench_function(BenchmarkId::new(sample.name, data_bytes), |bencher| {
                bencher.iter(|| assert_eq!(black_box(&mut sample).decode(length_of), length));
            });
        }
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/encode");
    for data_bytes in DATA_BYTES {
        let data = json(data_bytes);
        for mut sample in dialects::all(data_bytes) {
            sample.check();
            let mut frame = Vec::new();
            sample.encode(data.as_bytes(), &mut frame);
            let frame_bytes = frame.len();
            group.throughput(Throughput::ElementsAndBytes {
                elements: 1,
                bytes: frame_bytes as u64,
            });
            group.bench_function(BenchmarkId::new(sample.name, data_bytes), |bencher| {
                bencher.iter(|| {
                    frame.clear();
                    sample.encode(black_box(data.as_bytes()), &mut frame);
                    assert_eq!(frame.len(), frame_bytes);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
