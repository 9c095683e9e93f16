//! Tests of the loop with a kernel, a clock and clients of their own.
//!
//! ```text
//!   clients <--> machine: links, kernels <--> loops, hosts, shards <--> exchange
//!      ^                    ^                        ^
//!      '--------------------+--- world: whose step is next, by seed
//! ```
//!
//! The real loop runs on a kernel that behaves in every way that a kernel may. A seed determines a
//! run; `CAMPANILE_SEED=n` runs that seed only and prints what the loop is told. The machine
//! asserts what the loop owes a kernel (docs/design/io.md 3 and 4): no operation names a descriptor
//! whose close was queued, lent bytes stay, each buffer goes back. Clients assert what they are
//! owed: responses and frames whole, in order and once, and an end with a reason.

mod client;
mod kernel;
mod machine;
mod record_stage;
mod world;

use campanile_tests::prng::Prng;
use machine::Coverage;
use std::time::Instant;
use world::{Scenario, World};

/// Returns an instant to count from.
#[expect(clippy::disallowed_methods, reason = "there is no other way to one")]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}

#[test]
fn the_loop_loses_nothing_whatever_the_kernel_does() {
    run_all(0..SEEDS, false);
}

/// With a byte stage between each socket and its host.
#[test]
fn stages_lose_nothing_whatever_the_kernel_does() {
    run_all(SEEDS..SEEDS + STAGED_SEEDS, true);
}

fn run_all(seeds: std::ops::Range<u64>, is_staged: bool) {
    let Some(all) = run_seeds(seeds, is_staged) else {
        return;
    };
    for (count, what) in [
        (all.short_sends, "short sends"),
        (all.cancelled_sends, "cancelled sends"),
        (all.data_after_cancel, "data after a cancel"),
        (all.without_buffer, "receives without a buffer"),
        (all.overflows, "overflows"),
        (all.failed_accepts, "failed accepts"),
        (all.rejected, "rejected connections"),
        (all.lost_cancels, "cancels without effect"),
        (all.resets, "resets"),
        (all.jumps, "jumps of time"),
        (all.stops_under_way, "stops under way"),
        (all.deliveries, "deliveries"),
        (all.replies, "replies"),
    ] {
        assert!(count > 0, "no {what} in any seed");
    }
}

/// Runs seeds, or the one in the environment, for which it returns `None`.
fn run_seeds(seeds: std::ops::Range<u64>, is_staged: bool) -> Option<Coverage> {
    let one = std::env::var("CAMPANILE_SEED").ok();
    let one: Option<u64> = one.map(|seed| seed.parse().expect("CAMPANILE_SEED is a number"));
    let seeds = match one {
        Some(seed) if !seeds.contains(&seed) => return None,
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let began = any_instant();
    let count = seeds.end - seeds.start;
    let mut all = Coverage::default();
    for seed in seeds {
        let _named = NameOnPanic(seed);
        let mut prng = Prng::from_seed(seed);
        let scenario = Scenario::random(&mut prng, is_staged);
        let world = World::new(prng, scenario, one.is_some());
        all.add(&world.run());
    }
    println!("{count} seeds in {:?}: {all:?}", began.elapsed());
    one.is_none().then_some(all)
}

/// Prints the seed of a run that panics.
struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("CAMPANILE_SEED={} reproduces this", self.0);
        }
    }
}

const SEEDS: u64 = 2_000;
const STAGED_SEEDS: u64 = 500;
