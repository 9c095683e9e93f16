//! What does each language cost: a client's message decoded, a publication encoded?
//!
//! By the bytes of the data in it. A message is copied before it is decoded, since a dialect may
//! write in it. A publication is encoded once for all who receive it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use languages::{DATA_BYTES, json, length_of};
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/languages.rs"]
mod languages;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/decode");
    for data_bytes in DATA_BYTES {
        for mut spoken in languages::all(data_bytes) {
            spoken.check();
            let length = spoken.decode(length_of);
            group.throughput(Throughput::ElementsAndBytes {
                elements: 1,
                bytes: spoken.bytes() as u64,
            });
            group.bench_function(BenchmarkId::new(spoken.name, data_bytes), |bencher| {
                bencher.iter(|| assert_eq!(black_box(&mut spoken).decode(length_of), length));
            });
        }
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/encode");
    for data_bytes in DATA_BYTES {
        let data = json(data_bytes);
        for mut spoken in languages::all(data_bytes) {
            spoken.check();
            let mut frame = Vec::new();
            spoken.encode(data.as_bytes(), &mut frame);
            let frame_bytes = frame.len();
            group.throughput(Throughput::ElementsAndBytes {
                elements: 1,
                bytes: frame_bytes as u64,
            });
            group.bench_function(BenchmarkId::new(spoken.name, data_bytes), |bencher| {
                bencher.iter(|| {
                    frame.clear();
                    spoken.encode(black_box(data.as_bytes()), &mut frame);
                    assert_eq!(frame.len(), frame_bytes);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
