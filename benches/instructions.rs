//! How many instructions does each stage take? Workloads for `callgrind`.
//!
//! usage: instructions list
//!        instructions WORKLOAD N
//!
//! `list` names the workloads, how many units a measurement is of, and what a unit is. `WORKLOAD N`
//! does N units of one. `scripts/instructions.sh` runs each with N and 2 N, so that the difference
//! is N units and nothing else. No time is measured here; nothing depends on it or on chance, and
//! the allocator is the system's, which valgrind knows. As `cargo bench` runs it, without arguments
//! of ours, it does a few units of everything.

#![expect(
    clippy::print_stdout,
    reason = "the list of workloads is what the script reads"
)]

use workloads::ALL;

#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/frames.rs"]
mod frames;
#[expect(dead_code, reason = "the workloads need only some of it")]
#[path = "support/languages.rs"]
mod languages;
#[path = "support/pair.rs"]
mod pair;
#[path = "support/room.rs"]
mod room;
#[path = "support/server.rs"]
mod server;
#[path = "support/workloads.rs"]
mod workloads;

fn main() -> Result<(), String> {
    // `cargo bench` adds options of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => {
            for workload in ALL {
                workload.run(workload.step);
            }
        }
        ["list"] => {
            for workload in ALL {
                println!("{} {} {}", workload.name, workload.units, workload.unit);
            }
        }
        [name, units] => {
            let workload = ALL.iter().find(|workload| workload.name == name);
            let workload = workload.ok_or_else(|| format!("{name}: no such workload"))?;
            let units: u64 = units.parse().map_err(|error| format!("{units}: {error}"))?;
            if units == 0 || !units.is_multiple_of(workload.step) {
                return Err(format!("{units}: not a multiple of {}", workload.step));
            }
            workload.run(units);
        }
        _ => return Err("usage: instructions list | instructions WORKLOAD N".to_owned()),
    }
    Ok(())
}
