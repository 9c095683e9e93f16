//! Cost of appending a frame to a batch buffer, with known and unknown length.

use campanile::ws::{OpCode, encoder};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;

/// Measures a payload that is copied behind its frame header.
fn known_length(criterion: &mut Criterion) {
    bench(criterion, "encode/put_frame", |out, payload| {
        encoder::put_frame(out, OpCode::Text, payload);
    });
}

/// Measures a payload that is appended in pieces before the frame header is filled in.
fn unknown_length(criterion: &mut Criterion) {
    bench(criterion, "encode/begin_end", |out, payload| {
        let start = encoder::begin(out);
        let (front, back) = payload.split_at(payload.len() / 2);
        out.extend_from_slice(front);
        out.extend_from_slice(back);
        encoder::end(out, start, OpCode::Text);
    });
}

fn bench(criterion: &mut Criterion, name: &str, put: impl Fn(&mut Vec<u8>, &[u8])) {
    let mut group = criterion.benchmark_group(name);
    for (payload_bytes, expected) in BATCHES {
        let payload = vec![b'x'; payload_bytes];
        let frames = (BATCH_BYTES / payload_bytes).max(1);
        let frame_bytes = encoder::head_len(payload_bytes) + payload_bytes;
        let mut batch = Vec::with_capacity(frames * (frame_bytes + 16));
        (0..frames).for_each(|_| put(&mut batch, &payload));
        checksum::check(name, &batch, expected);
        group.throughput(Throughput::ElementsAndBytes {
            elements: frames as u64,
            bytes: (frames * frame_bytes) as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(payload_bytes), |bencher| {
            bencher.iter(|| {
                batch.clear();
                for _ in 0..frames {
                    put(&mut batch, black_box(&payload));
                }
                let sum: u64 = batch
                    .iter()
                    .step_by(frame_bytes)
                    .map(|&byte| u64::from(byte))
                    .sum();
                assert_eq!(batch.len(), frames * frame_bytes);
                assert_eq!(sum, frames as u64 * 0x81);
            });
        });
    }
    group.finish();
}

/// Payload bytes, and the checksum of a batch of such frames.
const BATCHES: [(usize, u32); 8] = [
    (16, 0xd189_7476),
    (80, 0xc860_c035),
    (125, 0x7783_09e9),
    (126, 0x6718_550c),
    (1_024, 0x9598_3ed7),
    (16_384, 0x46a0_56e7),
    (65_535, 0xfb44_5497),
    (65_536, 0x066a_0c61),
];
const BATCH_BYTES: usize = 16 * 1_024;

criterion_group!(benches, known_length, unknown_length);
criterion_main!(benches);
