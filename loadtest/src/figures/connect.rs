//! What a connection costs the server until it is registered: accept, HTTP, upgrade, register.

use super::table::Row;
use super::{BOOTSTRAP_SEED, Bench, STORM_AT_A_TIME, engine, push_to_each, wait_until_idle};
use crate::failure::Outcome;
use crate::protocol::Purpose;
use crate::scenario::{members, sizes};
use crate::stats::{Interval, count, float};
use crate::{limits, procfs};

/// As many rounds as there are pairs, each with a new gateway, whose tables and pools grow in it.
pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    limits::make_room_for(CONNECTIONS + 1)?;
    let mut prices = Vec::new();
    for _ in 0..bench.pairs {
        let gateway = bench.start_gateway()?;
        wait_until_idle(gateway.pid())?;
        let before = procfs::cpu_ns(gateway.pid())?;
        let all = members(0, CONNECTIONS, CONNECTIONS);
        let mut engine = engine(&gateway, sizes(&all, CONNECTIONS))?;
        engine.open(&all, Purpose::Receive, STORM_AT_A_TIME)?;
        // The register messages are behind the last byte that is answered.
        wait_until_idle(gateway.pid())?;
        let spent = procfs::cpu_since_ns(gateway.pid(), before)?;
        prices.push(float(spent) / float(count(CONNECTIONS)) / 1000.0);
        engine.add_publishers(1, 16)?;
        push_to_each(&mut engine, CONNECTIONS, 1)?; // so all had registered
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
