//! Cost of decoding client frames, by length and by chunk size.
//!
//! A stream is decoded in place, and decoding it twice restores it: unmasking is its own inverse,
//! and frame headers do not change. Each iteration does both and starts from the same bytes.

use campanile::ws::{Decoder, Event, OpCode, encoder};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastwebsockets::unmask;
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;

/// Measures frames of one length in one chunk: nothing is copied.
fn one_chunk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/one_chunk");
    for payload_bytes in [16, 80, 125, 126, 1_024, 16_384, 65_536] {
        let frames = (STREAM_BYTES / payload_bytes).max(1);
        let mut stream = stream(payload_bytes, frames);
        check(&stream, usize::MAX, payload_bytes * frames);
        group.throughput(Throughput::ElementsAndBytes {
            elements: 2 * frames as u64,
            bytes: 2 * stream.len() as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(payload_bytes), |bencher| {
            bencher.iter(|| {
                let masked_twice = [
                    decode(black_box(&mut stream), usize::MAX),
                    decode(black_box(&mut stream), usize::MAX),
                ];
                assert_eq!(masked_twice, expected(payload_bytes, frames));
            });
        });
    }
    group.finish();
}

/// Measures frames of 1,024 bytes in chunks of one length: frames that span two chunks are copied.
fn chunked(criterion: &mut Criterion) {
    let (payload_bytes, frames) = (1_024, 64);
    let mut group = criterion.benchmark_group("decode/chunks_of");
    for chunk_bytes in [1, 7, 64, 1_448, 4_096, 16_384] {
        let mut stream = stream(payload_bytes, frames);
        check(&stream, chunk_bytes, payload_bytes * frames);
        group.throughput(Throughput::ElementsAndBytes {
            elements: 2 * frames as u64,
            bytes: 2 * stream.len() as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(chunk_bytes), |bencher| {
            bencher.iter(|| {
                let masked_twice = [
                    decode(black_box(&mut stream), chunk_bytes),
                    decode(black_box(&mut stream), chunk_bytes),
                ];
                assert_eq!(masked_twice, expected(payload_bytes, frames));
            });
        });
    }
    group.finish();
}

/// Measures unmasking alone, the lower limit.
fn unmasking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/unmask_only");
    for payload_bytes in [16, 80, 1_024, 16_384, 65_536] {
        let mut payload = vec![PAYLOAD; payload_bytes];
        group.throughput(Throughput::Bytes(2 * payload_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(payload_bytes), |bencher| {
            bencher.iter(|| {
                unmask(black_box(&mut payload), MASK);
                let masked = payload[payload_bytes - 1];
                unmask(black_box(&mut payload), MASK);
                let unmasked = payload[payload_bytes - 1];
                assert_eq!(masked ^ unmasked, MASK[(payload_bytes - 1) % 4]);
                assert_eq!(unmasked, PAYLOAD);
            });
        });
    }
    group.finish();
}

/// Number of messages, their total bytes, and the sum of their first and last bytes.
type Checksum = (usize, usize, u64);

/// Compares all payload bytes with the sent ones.
fn check(stream: &[u8], chunk_bytes: usize, payloads_bytes: usize) {
    let mut output = Vec::new();
    read(&mut stream.to_vec(), chunk_bytes, |payload| {
        output.extend_from_slice(payload);
    });
    let sent = vec![PAYLOAD; payloads_bytes];
    checksum::check("decode", &output, checksum::of(&sent));
}

fn decode(stream: &mut [u8], chunk_bytes: usize) -> Checksum {
    let mut sum = (0, 0, 0);
    read(stream, chunk_bytes, |bytes| {
        sum.0 += 1;
        sum.1 += bytes.len();
        sum.2 += u64::from(bytes[0]) + u64::from(bytes[bytes.len() - 1]);
    });
    sum
}

/// Passes the payload of each message to `look`.
fn read(stream: &mut [u8], chunk_bytes: usize, mut look: impl FnMut(&[u8])) {
    let mut decoder = Decoder::new();
    for chunk in stream.chunks_mut(chunk_bytes) {
        let mut rest = chunk;
        while let (taken, Some(event)) = decoder.step(rest, 1 << 20).expect("valid") {
            if let Event::Message { payload, .. } = event {
                look(payload.bytes());
            }
            rest = &mut rest[taken..];
        }
    }
}

/// Returns the checksums of a masked stream, and of the same stream unmasked.
fn expected(payload_bytes: usize, frames: usize) -> [Checksum; 2] {
    let sum = |first: u8, last: u8| {
        let bytes = frames * payload_bytes;
        (
            frames,
            bytes,
            frames as u64 * (u64::from(first) + u64::from(last)),
        )
    };
    let last = MASK[(payload_bytes - 1) % 4];
    [
        sum(PAYLOAD, PAYLOAD),
        sum(PAYLOAD ^ MASK[0], PAYLOAD ^ last),
    ]
}

fn stream(payload_bytes: usize, frames: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encoder::put_head(&mut frame, OpCode::Text, payload_bytes);
    frame[1] |= 0x80;
    frame.extend_from_slice(&MASK);
    let body = frame.len();
    frame.resize(body + payload_bytes, PAYLOAD);
    unmask(&mut frame[body..], MASK);
    frame.repeat(frames)
}

const STREAM_BYTES: usize = 16 * 1_024;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const PAYLOAD: u8 = b'x';

criterion_group!(benches, one_chunk, chunked, unmasking);
criterion_main!(benches);
