//! Whole gateways in one thread, without a kernel or a clock, driven by dice.
//!
//! One seed is one run, byte for byte. A failure names its seed; `CAMPANILE_SEED=n` runs that one
//! alone. What is checked is the guarantee that ARCHITECTURE.md gives for deliveries: a join counts
//! from when its shard applied it, one publisher's publications are applied in their order on every
//! shard, and a total is the number of outboxes that the publication was added to. The driver, its
//! ring and its sleep are not here: `tests/wire` and `tests/sleep_loom.rs` look at those.

use campanile_tests::prng::Prng;
use climate::Climate;
use model::Tally;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

mod book;
mod client;
mod climate;
mod embedder;
mod model;
mod strangers;
mod talk;
mod turns;
mod watch;
mod world;

/// Everything at once: short sends, stalled and vanishing clients, drops, leaps of time.
#[test]
fn every_session_hears_what_its_shard_applied_while_it_listened() {
    let all = run_seeds(0..ROUGH_SEEDS, rough);
    println!("{all:?}");
    for (count, what) in [
        (all.delivered, "deliveries"),
        (all.totals, "totals"),
        (all.busy, "busy answers"),
        (all.timed_out, "pushes that timed out"),
        (all.dropped, "drops"),
        (all.slow, "slow consumers"),
        (all.idle, "idle sessions"),
        (all.copied, "outboxes copied"),
        (all.blocked_steps, "full mailboxes"),
    ] {
        assert!(
            count > 0,
            "no {what} in any seed: this tests less than it says"
        );
    }
}

/// Mailboxes of one slot and pushes both ways: nobody waits for ever, every total is right. Only a
/// push that a quiet spell finds waiting may time out, which the model holds to its time.
#[test]
fn mailboxes_of_one_slot_lose_nothing_and_block_nobody() {
    let all = run_seeds(1_000..1_000 + NARROW_SEEDS, narrow);
    println!("{all:?}");
    assert!(all.blocked_steps > 0 && all.busy > 0 && all.totals > 0);
    assert!(all.timed_out < all.totals / 100);
    assert_eq!((all.slow, all.dropped), (0, 0));
}

/// Channels, an embedder and users with one session each, over several shards.
#[test]
fn channels_and_exclusive_users_are_what_they_are_said_to_be() {
    let all = run_seeds(2_000..2_000 + LIVELY_SEEDS, lively);
    println!("{all:?}");
    for (count, what) in [
        (all.delivered, "deliveries"),
        (all.totals, "totals"),
        (all.busy, "busy answers"),
        (all.timed_out, "publications that timed out"),
        (all.on_channels, "messages on channels"),
        (all.direct, "messages to one session"),
        (all.toggles, "joins and leaves"),
        (all.granted, "claims granted"),
        (all.replaced, "sessions replaced"),
        (all.taken, "newcomers that yielded"),
        (all.crowded, "newcomers that were too many"),
        (all.claims_timed_out, "claims that timed out"),
        (all.slow, "slow consumers"),
        (all.blocked_steps, "full mailboxes"),
    ] {
        assert!(
            count > 0,
            "no {what} in any seed: this tests less than it says"
        );
    }
}

/// Long quiets between events: no deadline comes before its time, whatever the clock of a shard
/// showed when it fell asleep.
#[test]
fn a_long_quiet_has_no_deadline_fire_early() {
    let quiet = |prng: &mut Prng| Climate {
        is_quiet: true,
        ..rough(prng)
    };
    let all = run_seeds(0..QUIET_SEEDS, quiet);
    assert!(all.idle > 0 && all.delivered > 0);
}

/// Sessions that are told of each other, and taps, end in every way; nobody watches then.
#[test]
fn whoever_watches_has_stopped_when_it_is_gone() {
    let all = run_all(3_000..3_000 + WATCHED_SEEDS, watched, run_watched);
    println!("{all:?}");
    assert!(all.delivered > 0 && all.slow > 0 && all.blocked_steps > 0);
}

fn rough(prng: &mut Prng) -> Climate {
    let mut pick = |choices: &[u32]| prng.pick(choices.iter().copied()).expect("some");
    Climate {
        shards: pick(&[1, 2, 3, 4]) as usize,
        mailbox_messages: pick(&[1, 2, 8]) as usize,
        mailbox_bytes: pick(&[600, 1 << 20]).into(),
        pushes_in_flight: pick(&[1, 3, 64]),
        outbox_bytes: pick(&[16_000, 1 << 20]),
        publication_bytes: pick(&[150_000, 300_000, 256 << 20]).into(),
        batch_bytes: pick(&[4_096, 65_536]),
        registration_timeout: pick(&[0, 0, 130]),
        handshake_timeout: 120,
        steps: pick(&[300, 1_000, 3_000]),
        sessions: 20,
        pushers: 10,
        is_rough: true,
        is_lively: false,
        is_quiet: pick(&[0, 0, 1]) > 0,
        is_watched: false,
    }
}

fn narrow(prng: &mut Prng) -> Climate {
    let mut pick = |choices: &[u32]| prng.pick(choices.iter().copied()).expect("some");
    Climate {
        shards: pick(&[2, 3, 4]) as usize,
        mailbox_messages: 1,
        mailbox_bytes: 1 << 20,
        pushes_in_flight: pick(&[2, 64]),
        outbox_bytes: 1 << 20,
        publication_bytes: 256 << 20,
        batch_bytes: 65_536,
        registration_timeout: 0,
        handshake_timeout: 120,
        steps: 1_500,
        sessions: 16,
        pushers: 12,
        is_rough: false,
        is_lively: false,
        is_quiet: pick(&[0, 0, 1]) > 0,
        is_watched: false,
    }
}

fn lively(prng: &mut Prng) -> Climate {
    let mut pick = |choices: &[u32]| prng.pick(choices.iter().copied()).expect("some");
    Climate {
        shards: pick(&[1, 2, 3, 4]) as usize,
        mailbox_messages: pick(&[1, 2, 8]) as usize,
        mailbox_bytes: pick(&[600, 1 << 20]).into(),
        pushes_in_flight: pick(&[1, 3, 64]),
        outbox_bytes: pick(&[24_000, 1 << 20]),
        publication_bytes: pick(&[300_000, 256 << 20]).into(),
        batch_bytes: pick(&[4_096, 65_536]),
        registration_timeout: 0,
        handshake_timeout: pick(&[20, 120]),
        steps: pick(&[500, 1_000, 2_000]),
        sessions: 40,
        pushers: 3,
        is_rough: pick(&[0, 1, 1]) > 0,
        is_lively: true,
        is_quiet: pick(&[0, 0, 1]) > 0,
        is_watched: false,
    }
}

fn watched(prng: &mut Prng) -> Climate {
    let mut pick = |choices: &[u32]| prng.pick(choices.iter().copied()).expect("some");
    Climate {
        shards: pick(&[1, 2, 3]) as usize,
        mailbox_messages: pick(&[1, 8]) as usize,
        mailbox_bytes: pick(&[600, 1 << 20]).into(),
        pushes_in_flight: 64,
        outbox_bytes: 16_000,
        publication_bytes: pick(&[150_000, 256 << 20]).into(),
        batch_bytes: pick(&[4_096, 65_536]),
        registration_timeout: 0,
        handshake_timeout: 120,
        steps: 1_500,
        sessions: 60,
        pushers: 0,
        is_rough: true,
        is_lively: false,
        is_quiet: pick(&[0, 0, 1]) > 0,
        is_watched: true,
    }
}

fn run_seeds(seeds: std::ops::Range<u64>, climate: fn(&mut Prng) -> Climate) -> Tally {
    run_all(seeds, climate, run)
}

fn run_all(
    seeds: std::ops::Range<u64>,
    climate: fn(&mut Prng) -> Climate,
    run: fn(u64, Climate) -> Tally,
) -> Tally {
    let one = std::env::var("CAMPANILE_SEED").ok();
    let one: Option<u64> = one.map(|seed| seed.parse().expect("CAMPANILE_SEED is a number"));
    let seeds = one.map_or(seeds, |seed| seed..seed + 1);
    let mut all = Tally::default();
    for seed in seeds {
        let run = || run(seed, climate(&mut Prng::from_seed(!seed)));
        let tally = catch_unwind(AssertUnwindSafe(run)).ok();
        all.add(tally.unwrap_or_else(|| panic!("CAMPANILE_SEED={seed} reproduces the above")));
    }
    all
}

fn run(seed: u64, climate: Climate) -> Tally {
    let mut world = World::new(seed, climate);
    for _ in 0..world.climate.steps {
        world.step();
    }
    world.settle();
    for host in &world.hosts {
        assert!(!host.is_blocked() && !host.has_arrivals() && !host.wants_to_send());
    }
    let tally = model::judge(&world);
    if world.climate.is_lively {
        world.leave();
        model::judge(&world);
    }
    world.stop();
    for host in &world.hosts {
        assert_eq!((host.connections_count(), host.sessions_count()), (0, 0));
    }
    model::judge(&world);
    tally
}

fn run_watched(seed: u64, climate: Climate) -> Tally {
    let mut world = World::new(seed, climate);
    for _ in 0..world.climate.steps {
        world.step();
    }
    world.settle();
    world.check_unwatched();
    let tally = model::count(&world);
    world.stop();
    for host in &world.hosts {
        assert_eq!((host.connections_count(), host.sessions_count()), (0, 0));
    }
    tally
}

const ROUGH_SEEDS: u64 = 300;
/// Among them one that fails if the clock is read after events are handled: 16.
const QUIET_SEEDS: u64 = 24;
const NARROW_SEEDS: u64 = 60;
const LIVELY_SEEDS: u64 = 120;
const WATCHED_SEEDS: u64 = 40;
