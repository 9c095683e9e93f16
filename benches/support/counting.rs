//! Command line of the programs whose instructions are counted.
//!
//! usage: PROGRAM list
//!        PROGRAM WORKLOAD N
//!
//! `list` prints the workloads with the units of a measurement and the unit's name. `WORKLOAD N`
//! runs N units of one. `scripts/instructions.sh` runs each with N and 2 N; the difference is the
//! cost of N units. Without these arguments, as `cargo bench` runs it, a program runs one step of
//! each workload.

#![expect(
    clippy::print_stdout,
    reason = "the list of workloads is what the script reads"
)]

/// A workload: one stage.
#[derive(Debug)]
pub(crate) struct Workload {
    name: &'static str,
    unit: &'static str,
    /// Units of a measurement; a multiple of `step`.
    units: u64,
    /// Units that are done at once.
    step: u64,
    work: Work,
}

/// A function that runs a number of units. Its first argument is the part of the workload's name
/// behind the dash, or empty.
pub(crate) type Work = fn(&'static str, u64);

impl Workload {
    /// Creates a workload.
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

    /// Runs `units` units.
    fn run(&self, units: u64) {
        let of = self.name.split_once('-').map_or("", |(_, of)| of);
        (self.work)(of, units);
    }
}

/// Runs the command in the program's arguments.
///
/// # Errors
///
/// A message if the arguments are invalid.
pub(crate) fn run(all: &[Workload]) -> Result<(), String> {
    // `cargo bench` adds its own options.
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
