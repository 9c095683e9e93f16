//! Cost of scheduling, moving, cancelling and expiring deadlines in a wheel of a million.

use campanile::shard::wheel::Wheel;
use campanile_tests::prng::Prng;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn wheel(criterion: &mut Criterion) {
    let deadlines = deadlines();
    let before: u64 = deadlines.iter().map(|&(_, tick)| u64::from(tick)).sum();
    assert_eq!(sum(&filled(&deadlines)), before);
    let mut group = criterion.benchmark_group("wheel");
    group.throughput(Throughput::Elements(ENTRIES.into()));
    group.sample_size(10);

    group.bench_function("schedule", |bencher| {
        bencher.iter_batched(
            Wheel::new,
            |mut wheel| {
                for &(slot, deadline) in &deadlines {
                    wheel.schedule(slot, deadline);
                }
                assert_eq!(wheel.deadline(0), Some(deadlines[0].1));
                wheel
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("reschedule", |bencher| {
        let mut wheel = filled(&deadlines);
        bencher.iter(|| {
            for &(slot, deadline) in &deadlines {
                wheel.schedule(slot, deadline + 1);
            }
            assert_eq!(wheel.deadline(0), Some(deadlines[0].1 + 1));
        });
        assert_eq!(sum(&wheel), before + u64::from(ENTRIES));
    });
    group.bench_function("cancel", |bencher| {
        bencher.iter_batched(
            || filled(&deadlines),
            |mut wheel| {
                (0..ENTRIES).for_each(|slot| wheel.cancel(slot));
                assert_eq!(wheel.next_wake(), None);
                wheel
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("advance", |bencher| {
        bencher.iter_batched(
            || (filled(&deadlines), Vec::with_capacity(ENTRIES as usize)),
            |(mut wheel, mut due)| {
                for tick in 1..=TICKS {
                    wheel.advance(tick, &mut due);
                }
                let sum: u64 = due.iter().map(|&slot| u64::from(slot)).sum();
                assert_eq!(sum, u64::from(ENTRIES) * u64::from(ENTRIES - 1) / 2);
                (wheel, due)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Returns each slot once, in order, with a random deadline within two minutes.
fn deadlines() -> Vec<(u32, u32)> {
    let mut prng = Prng::from_seed(1);
    (0..ENTRIES)
        .map(|slot| (slot, prng.range(1, TICKS)))
        .collect()
}

fn filled(deadlines: &[(u32, u32)]) -> Wheel {
    let mut wheel = Wheel::new();
    for &(slot, deadline) in deadlines {
        wheel.schedule(slot, deadline);
    }
    wheel
}

/// Returns the sum of all deadlines of a wheel.
fn sum(wheel: &Wheel) -> u64 {
    let filed = (0..ENTRIES).filter_map(|slot| wheel.deadline(slot));
    filed.map(u64::from).sum()
}

const ENTRIES: u32 = 1_000_000;
/// Two minutes in ticks of 64 ms.
const TICKS: u32 = 1_875;

criterion_group!(benches, wheel);
criterion_main!(benches);
