//! `loadtest idle`: what a session costs in memory while nothing happens.

use std::time::Duration;

use super::arguments::IdleArguments;
use super::{Scene, members, sizes};
use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::procfs;
use crate::protocol::{Name, Purpose};
use crate::report::Report;
use crate::stamp::BYTES_MIN;
use crate::stats::{count, float};
use crate::team::Team;

/// What is held at one moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    process: u64,
    kernel: u64,
}

/// Runs the command.
///
/// # Errors
///
/// The server could not be started or reached, its process is unknown, or a session could not be
/// opened.
pub(crate) fn run(arguments: &IdleArguments) -> Outcome<bool> {
    let crowd = &arguments.crowd;
    let scene = Scene::prepare(&arguments.server, crowd, Name::Wserver)?;
    let Some(pid) = scene.pid else {
        return Err(Failure::new("memory of which process? name it with --pid"));
    };
    let mut report = Report::new("idle: memory of a session that does nothing");
    scene.describe(&mut report);
    let sessions = arguments.base + crowd.clients;
    let all = members(0, sessions, sessions);
    let setup = scene.setup(crowd, sizes(&all, sessions), BYTES_MIN);
    let mut team = Team::new(&setup, crowd.threads)?;
    let engines = team.size();
    let (base, rest) = all.split_at(arguments.base);
    let mut held = Vec::new();
    for some in [base, rest] {
        team.all(
            |number, engine| engine.open(&Team::share(some, number, engines), Purpose::Receive, 64),
            |_| (),
        )?;
        procfs::wait_until_idle(pid)?;
        clock::pause(Duration::from_secs_f64(arguments.settle));
        held.push(Held {
            process: procfs::anonymous_bytes(pid)?,
            kernel: procfs::kernel_bytes()?,
        });
    }
    let each = |of: fn(&Held) -> u64| {
        (float(of(&held[1])) - float(of(&held[0]))) / float(count(crowd.clients))
    };
    let (process, kernel) = (each(|held| held.process), each(|held| held.kernel));
    report.row(
        "sessions",
        format!("{} measured, after {} more", crowd.clients, arguments.base),
    );
    report.row(
        "process",
        format!("{process:.0} bytes of anonymous memory each"),
    );
    report.row(
        "kernel",
        format!("{kernel:.0} bytes each, both ends of the connection and the client's files"),
    );
    let mebibytes = float(held[1].process) / f64::from(1024 * 1024);
    report.row("in all", format!("{mebibytes:.1} MiB of anonymous memory"));
    report.figure("process_bytes_per_session", process);
    report.figure("kernel_bytes_per_session", kernel);
    report.figure("process_bytes", held[1].process);
    report.deliver(&arguments.destination)
}
