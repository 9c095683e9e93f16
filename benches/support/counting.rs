//! Workloads whose instructions are counted, and what is common to the programs that do them.
//!
//! usage: PROGRAM list
//!        PROGRAM WORKLOAD N
//!
//! `list` names the workloads, how many units a measurement is of, and what a unit is. `WORKLOAD N`
//! does N units of one. `scripts/instructions.sh` runs each with N and 2 N, so that the difference
//! is N units and nothing else. As `cargo bench` runs it, without arguments of ours, a program does
//! a few units of everything.

#![expect(
    clippy::print_stdout,
    reason = "the list of workloads is what the script reads"
)]

/// One stage.
#[derive(Debug)]
pub(crate) struct Workload {
    name: &'static str,
    unit: &'static str,
    /// How many are enough for a measurement; a multiple of `step`.
    units: u64,
    /// How many are done at once.
    step: u64,
    work: Work,
}

/// Does so many units of what stands behind the dash of a workload's name, if anything does.
pub(crate) type Work = fn(&'static str, u64);

impl Workload {
    /// A stage, its unit, how many of them are a measurement and how many are done at once.
    pub(crate) const fn new(
        name: &'static str,
        unit: &'static str,
        units: u64,
        step: u64,
        work: Work,
    ) -> Self {
        Self {
            name,
            unit,
            units,
            step,
            work,
        }
    }

    /// Does so many units.
    fn run(&self, units: u64) {
        let of = self.name.split_once('-').map_or("", |(_, of)| of);
        (self.work)(of, units);
    }
}

/// Does what the program's arguments ask for.
pub(crate) fn run(all: &[Workload]) -> Result<(), String> {
    // `cargo bench` adds options of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => {
            for workload in all {
                workload.run(workload.step);
            }
        }
        ["list"] => {
            for workload in all {
                println!("{} {} {}", workload.name, workload.units, workload.unit);
            }
        }
        [name, units] => {
            let workload = all.iter().find(|workload| workload.name == name);
            let workload = workload.ok_or_else(|| format!("{name}: no such workload"))?;
            let units: u64 = units.parse().map_err(|error| format!("{units}: {error}"))?;
            if units == 0 || !units.is_multiple_of(workload.step) {
                return Err(format!("{units}: not a multiple of {}", workload.step));
            }
            workload.run(units);
        }
        _ => return Err("usage: list | WORKLOAD N".to_owned()),
    }
    Ok(())
}
