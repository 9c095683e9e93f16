//! `loadtest compare`: measures several servers in turn, relative to the floor (a bare `io_uring`
//! loop) of the same round.
//!
//! `scripts/compare.sh` uses it. All servers run on the server's core and have one client process
//! each on the client's core; only one pair is active at a time. A server that fails a measurement
//! has no value there; the report has a warning.

mod arguments;
mod config;
mod contender;
mod losses;
mod measures;
mod samples;

use std::fs;

pub(crate) use self::arguments::CompareArguments;
use self::config::Config;
use self::contender::Contender;
use self::measures::Bench;
use crate::cores::Cores;
use crate::failure::{Attempt as _, Outcome};
use crate::report::Report;

/// Runs the command. Returns `false` if the report contains an error.
///
/// # Errors
///
/// The comparison file cannot be read or is invalid, or the report cannot be written.
pub(crate) fn run(arguments: &CompareArguments) -> Outcome<bool> {
    let path = &arguments.file;
    let text = fs::read_to_string(path).attempt(&format!("read {}", path.display()))?;
    let mut config = Config::parse(&text)?;
    override_with(&mut config, arguments);
    config.check()?;
    let cores = Cores::find()?;
    cores.pin_to_client()?;

    let mut report = Report::new("comparison of push servers");
    if let Some(note) = &config.note {
        report.row("note", note);
    }
    report.row("cores", cores.describe());
    let names: Vec<&str> = config
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    report.row("servers", names.join(", "));
    report.row(
        "rounds",
        format!(
            "{} of {} s, servers in turn",
            config.rounds, config.round_seconds
        ),
    );
    report.row(
        "ratios",
        "to the floor of the same round (or the first server's value, where there is no floor), \
         medians with 95 % bootstrap intervals; overlapping intervals count as equal",
    );
    for server in &config.servers {
        let version = server.version.iter().map(|version| format!("{version}: "));
        let words = version.collect::<String>() + &server.command.join(" ");
        report.row(&format!("  {}", server.name), words);
    }
    let mut bench = Bench::new(&config, &cores, report);
    bench.measure_all();
    bench.into_report().deliver(&arguments.destination)
}

fn override_with(config: &mut Config, arguments: &CompareArguments) {
    if !arguments.measures.is_empty() {
        config.measures.clone_from(&arguments.measures);
    }
    if !arguments.subscribers.is_empty() {
        config.subscribers.clone_from(&arguments.subscribers);
    }
    if !arguments.bytes.is_empty() {
        config.bytes.clone_from(&arguments.bytes);
    }
    if !arguments.outstanding.is_empty() {
        config.outstanding.clone_from(&arguments.outstanding);
    }
    if !arguments.only.is_empty() {
        config
            .servers
            .retain(|server| arguments.only.contains(&server.name));
    }
    config.rounds = arguments.rounds.unwrap_or(config.rounds);
    config.long_rounds = arguments.long_rounds.unwrap_or(config.long_rounds);
    config.round_seconds = arguments.round_seconds.unwrap_or(config.round_seconds);
    config.idle_sessions = arguments.idle_sessions.unwrap_or(config.idle_sessions);
    config.connect_sessions = arguments
        .connect_sessions
        .unwrap_or(config.connect_sessions);
}
