//! Cost of a message between shards, from send to receive.
//!
//! Both shards are on one thread, so the transfer between cores is not included. `room` sends as
//! many messages as the mailbox holds, `full` twice as many: half of them wait. `publication` is a
//! publication to one session on the other shard.

use campanile::id::ShardId;
use campanile::shard::message::{CountRequestId, DropTarget, MailboxMessage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pair::{Pair, endpoints};
use std::hint::black_box;
use std::sync::Arc;

#[expect(dead_code, reason = "one session is enough here")]
#[path = "support/bound_sessions.rs"]
mod bound_sessions;
#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/pair.rs"]
mod pair;

fn mailbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    for (name, messages) in [("room", SLOTS), ("full", 2 * SLOTS)] {
        let (near, far) = (ShardId::new(0), ShardId::new(1));
        let (mut sender, receiver) = endpoints(SLOTS as usize);
        let target = Arc::new(DropTarget {
            namespace: 0,
            name: (*b"jack").into(),
            event: None,
        });
        group.throughput(Throughput::Elements(messages.into()));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                for index in 0..messages {
                    let count_request = Some(CountRequestId {
                        requester: near,
                        index,
                    });
                    let target = Arc::clone(&target);
                    sender.send(
                        far,
                        MailboxMessage::Drop {
                            target,
                            count_request,
                        },
                    );
                }
                let mut sum = 0;
                for _ in 0..2 {
                    sender.flush();
                    while let Some(message) = receiver.receive() {
                        sum += number(&message);
                    }
                }
                assert_eq!(sum, u64::from(messages) * u64::from(messages - 1) / 2);
            });
        });
    }
    group.finish();
}

fn publication(criterion: &mut Criterion) {
    let mut pair = Pair::new(SLOTS as usize);
    let mut output = Vec::new();
    pair.publish(PAYLOAD);
    pair.cross();
    pair.far.drain(Some(&mut output));
    checksum::check("publication", &output, 0xfcdf_4bd2);
    let bytes_expected = u64::from(SLOTS) * output.len() as u64;

    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(SLOTS.into()));
    group.bench_function("publication", |bencher| {
        bencher.iter(|| {
            (0..SLOTS).for_each(|_| pair.publish(black_box(PAYLOAD)));
            pair.cross();
            assert_eq!(pair.far.drain(None), (1, bytes_expected));
        });
    });
    group.finish();
}

fn number(message: &MailboxMessage) -> u64 {
    match message {
        MailboxMessage::Publication { count_request, .. }
        | MailboxMessage::Drop { count_request, .. } => {
            count_request.map_or(0, |count_request| count_request.index.into())
        }
        MailboxMessage::Claim(_) | MailboxMessage::Taps { .. } | MailboxMessage::Moved { .. } => 0,
    }
}

const PAYLOAD: &[u8] = &[b'x'; 80];
const SLOTS: u32 = 256;

criterion_group!(benches, mailbox, publication);
criterion_main!(benches);
