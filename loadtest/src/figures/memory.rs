//! The figure `memory`: anonymous memory per idle session after many connects, and after a burst.
//!
//! The memory with 100 sessions, which includes the process's own, is subtracted. The burst pushes
//! 16 messages to every session; 5 s later the memory should be as before.

use std::time::Duration;

use super::table::Row;
use super::{BASE_SESSIONS, Bench, STORM_AT_A_TIME, engine, push_to_each, wait_until_idle};
use crate::clock;
use crate::failure::Outcome;
use crate::gateway::Gateway;
use crate::protocol::Purpose;
use crate::scenario::{members, sizes};
use crate::stats::{count, float};
use crate::{limits, procfs};

/// Measures both rows on one gateway.
///
/// # Errors
///
/// The gateway cannot be started, a connection fails, or a push is not delivered.
pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let sessions = bench.memory_sessions;
    limits::raise_file_limit(sessions)?;
    let gateway = bench.start_gateway()?;
    let all = members(0, sessions, sessions);
    let mut engine = engine(&gateway, sizes(&all, sessions))?;
    let (base, rest) = all.split_at(BASE_SESSIONS);

    engine.open(base, Purpose::Receive, STORM_AT_A_TIME)?;
    let base = memory_at_rest(&gateway)?;
    engine.open(rest, Purpose::Receive, STORM_AT_A_TIME)?;
    let after_storm = memory_at_rest(&gateway)?;
    engine.add_publishers(1, PUSHES)?;
    push_to_each(&mut engine, sessions, PUSHES)?;
    let after_burst = memory_at_rest(&gateway)?;

    let row = |figure: &str, bytes: u64| {
        let each = (float(bytes) - float(base)) / float(count(sessions - BASE_SESSIONS));
        let mebibytes = float(bytes) / f64::from(1024 * 1024);
        Row::count(figure, each, "bytes", 512.0).with_note(&format!(
            "{mebibytes:.1} MiB RssAnon in all with {sessions} sessions ({:.1} MiB with \
             {BASE_SESSIONS})",
            float(base) / f64::from(1024 * 1024)
        ))
    };
    Ok(vec![
        row("memory after a storm", after_storm),
        row("memory 5 s after a burst", after_burst),
    ])
}

/// Returns the anonymous memory in bytes, 5 s after the gateway became idle.
fn memory_at_rest(gateway: &Gateway) -> Outcome<u64> {
    wait_until_idle(gateway.pid())?;
    clock::pause(Duration::from_secs(5));
    procfs::anonymous_bytes(gateway.pid())
}

const PUSHES: usize = 16;
