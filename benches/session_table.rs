//! Cost of looking up a connection by its id, current or stale, and of inserting one.

use campanile::id::ConnectionId;
use campanile::shard::connection_table::ConnectionTable;
use campanile_tests::prng::Prng;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// A row as large as a shard's entry of a connection.
type Row = [u32; 12];

fn session_table(criterion: &mut Criterion) {
    for rows in [1_000, 1_000_000] {
        let (mut table, ids, stale) = filled(rows);
        let mut group = criterion.benchmark_group(format!("session_table/{rows}"));
        group.throughput(Throughput::Elements(LOOKUPS as u64));
        let sum: u64 = ids.iter().map(|id| u64::from(id.slot())).sum();
        group.bench_function(BenchmarkId::from_parameter("found"), |bencher| {
            bencher.iter(|| {
                let rows = ids.iter().filter_map(|&id| table.get(black_box(id)));
                assert_eq!(rows.map(|row| u64::from(row[0])).sum::<u64>(), sum);
            });
        });
        group.bench_function(BenchmarkId::from_parameter("stale"), |bencher| {
            bencher.iter(|| {
                let found = stale
                    .iter()
                    .filter(|&&id| table.get(black_box(id)).is_some());
                assert_eq!(found.count(), 0);
            });
        });
        let (mut turn, mut at) = (ids.clone(), 0);
        turn.sort_unstable();
        turn.dedup();
        group.bench_function(BenchmarkId::from_parameter("replaced"), |bencher| {
            bencher.iter(|| {
                for _ in 0..LOOKUPS {
                    let row = table.remove(turn[at]).expect("filed before");
                    turn[at] = table.insert(row).expect("its slot is free");
                    at = (at + 1) % turn.len();
                }
                assert_eq!(table.len(), rows as usize);
            });
        });
        let found = turn.iter().filter_map(|&id| table.get(id));
        let sum: u64 = found.map(|row| u64::from(row[0])).sum();
        let expected: u64 = turn.iter().map(|id| u64::from(id.slot())).sum();
        assert_eq!(sum, expected, "rows were mixed up");
        group.finish();
    }
}

/// Returns a full table and random ids, of current rows and of removed ones.
fn filled(rows: u32) -> (ConnectionTable<Row>, Vec<ConnectionId>, Vec<ConnectionId>) {
    let mut table = ConnectionTable::new();
    let before: Vec<ConnectionId> = (0..rows)
        .map(|_| table.insert([0; 12]).expect("there is room"))
        .collect();
    let now: Vec<ConnectionId> = before
        .iter()
        .map(|&id| {
            table.remove(id).expect("filed above");
            table.insert([id.slot(); 12]).expect("its slot is free")
        })
        .collect();
    let mut prng = Prng::from_seed(1);
    let mut chosen = |ids: &[ConnectionId]| -> Vec<ConnectionId> {
        let mut choose = |_| ids[prng.range(0, rows - 1) as usize];
        (0..LOOKUPS).map(&mut choose).collect()
    };
    let (found, stale) = (chosen(&now), chosen(&before));
    (table, found, stale)
}

const LOOKUPS: usize = 10_000;

criterion_group!(benches, session_table);
criterion_main!(benches);
