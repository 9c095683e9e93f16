//! What does a publication cost in the shard, by the number of sessions it reaches?
//!
//! From the call to the last send settled, without the kernel: `turn/1` sends after each
//! publication, `turn/16` after sixteen, which every session then gets in one send.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use room::Room;
use std::hint::black_box;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/room.rs"]
mod room;

fn fanout(criterion: &mut Criterion) {
    for publications in [1, 16] {
        let mut group = criterion.benchmark_group(format!("fanout/turn/{publications}"));
        for sessions in [1, 100, 10_000] {
            let mut room = Room::of(sessions);
            let deliveries = u64::from(sessions) * publications;
            let mut output = Vec::new();
            (0..publications).for_each(|_| room.publish(PAYLOAD));
            room.drain(Some(&mut output));
            checksum::check("fanout", &output, expected(deliveries));
            let frame_bytes = 2 + PAYLOAD.len() as u64;
            group.throughput(Throughput::Elements(deliveries));
            group.bench_function(BenchmarkId::from_parameter(sessions), |bencher| {
                bencher.iter(|| {
                    for _ in 0..publications {
                        room.publish(black_box(PAYLOAD));
                    }
                    let (sends, bytes) = room.drain(None);
                    assert_eq!(sends, u64::from(sessions));
                    assert_eq!(bytes, deliveries * frame_bytes);
                });
            });
        }
        group.finish();
    }
}

/// The checksum of so many frames.
fn expected(deliveries: u64) -> u32 {
    let frame = [&[0x81, 80], PAYLOAD].concat();
    checksum::of(&frame.repeat(usize::try_from(deliveries).expect("a few")))
}

const PAYLOAD: &[u8] = &[b'x'; 80];

criterion_group!(benches, fanout);
criterion_main!(benches);
