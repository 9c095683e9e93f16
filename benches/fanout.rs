//! Cost of a publication in the shard, by number of sessions.
//!
//! From the call to the last completed send, without the kernel. `turn/1` sends after each
//! publication, `turn/16` after sixteen, which each session gets in one send.

use bound_sessions::BoundSessions;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "support/bound_sessions.rs"]
mod bound_sessions;
#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;

fn fanout(criterion: &mut Criterion) {
    for publications in [1, 16] {
        let mut group = criterion.benchmark_group(format!("fanout/turn/{publications}"));
        for sessions in [1, 100, 10_000] {
            let mut bound = BoundSessions::of(sessions);
            let deliveries = u64::from(sessions) * publications;
            let mut output = Vec::new();
            (0..publications).for_each(|_| bound.publish(PAYLOAD));
            bound.drain(Some(&mut output));
            checksum::check("fanout", &output, expected(deliveries));
            let frame_bytes = 2 + PAYLOAD.len() as u64;
            group.throughput(Throughput::Elements(deliveries));
            group.bench_function(BenchmarkId::from_parameter(sessions), |bencher| {
                bencher.iter(|| {
                    for _ in 0..publications {
                        bound.publish(black_box(PAYLOAD));
                    }
                    let (sends, bytes) = bound.drain(None);
                    assert_eq!(sends, u64::from(sessions));
                    assert_eq!(bytes, deliveries * frame_bytes);
                });
            });
        }
        group.finish();
    }
}

/// Returns the checksum of `deliveries` frames.
fn expected(deliveries: u64) -> u32 {
    let frame = [&[0x81, 80], PAYLOAD].concat();
    checksum::of(&frame.repeat(usize::try_from(deliveries).expect("a few")))
}

const PAYLOAD: &[u8] = &[b'x'; 80];

criterion_group!(benches, fanout);
criterion_main!(benches);
