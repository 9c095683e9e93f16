//! The figure `connect`: CPU time per connection for accept, HTTP, upgrade and registration.

use super::table::Row;
use super::{BOOTSTRAP_SEED, Bench, STORM_AT_A_TIME, engine, push_to_each, wait_until_idle};
use crate::failure::Outcome;
use crate::protocol::Purpose;
use crate::scenario::{members, sizes};
use crate::stats::{Interval, count, float};
use crate::{limits, procfs};

/// Measures one round per pair. Each starts a new gateway, so the growth of its tables counts.
///
/// # Errors
///
/// The gateway cannot be started, a connection fails, or a session is not registered.
pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    limits::raise_file_limit(CONNECTIONS + 1)?;
    let mut prices = Vec::new();
    for _ in 0..bench.pairs {
        let gateway = bench.start_gateway()?;
        wait_until_idle(gateway.pid())?;
        let before = procfs::cpu_ns(gateway.pid())?;
        let all = members(0, CONNECTIONS, CONNECTIONS);
        let mut engine = engine(&gateway, sizes(&all, CONNECTIONS))?;
        engine.open(&all, Purpose::Receive, STORM_AT_A_TIME)?;
        // The gateway sends no response to the last message, the registration.
        wait_until_idle(gateway.pid())?;
        let spent = procfs::cpu_since_ns(gateway.pid(), before)?;
        prices.push(float(spent) / float(count(CONNECTIONS)) / 1000.0);
        engine.add_publishers(1, 16)?;
        push_to_each(&mut engine, CONNECTIONS, 1)?; // Verifies that all are registered.
    }
    let price = Interval::of(&prices, BOOTSTRAP_SEED);
    Ok(vec![Row::price(
        "connect (and register)",
        price,
        "us",
        60.0,
    )])
}

const CONNECTIONS: usize = 2_000;
