//! `loadtest idle`: measures the memory of a session without traffic.

use std::time::Duration;

use super::arguments::IdleArguments;
use super::{Environment, members, sizes};
use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::procfs;
use crate::protocol::{Name, Purpose};
use crate::report::Report;
use crate::stamp::BYTES_MIN;
use crate::stats::{count, float};
use crate::team::EngineTeam;

/// Memory in use, in bytes.
#[derive(Clone, Copy, Debug)]
struct IdleSample {
    /// Anonymous memory of the server's process.
    process: u64,
    /// Memory of the kernel for sockets.
    kernel: u64,
}

/// Runs the command.
///
/// # Errors
///
/// The server cannot be started or reached, its process is unknown, or a session cannot be opened.
pub(crate) fn run(arguments: &IdleArguments) -> Outcome<bool> {
    let client = &arguments.client;
    let environment = Environment::prepare(&arguments.server, client, Name::Wserver)?;
    let Some(pid) = environment.pid else {
        return Err(Failure::new("idle with --target needs --pid of the server"));
    };
    let mut report = Report::new("idle: memory of a session without traffic");
    environment.describe(&mut report);
    let sessions = arguments.base + client.clients;
    let all = members(0, sessions, sessions);
    let setup = environment.setup(client, sizes(&all, sessions), BYTES_MIN);
    let mut team = EngineTeam::new(&setup, client.threads)?;
    let engines = team.size();
    let (base, rest) = all.split_at(arguments.base);
    let mut samples = Vec::new();
    for some in [base, rest] {
        team.all(
            |number, engine| {
                engine.open(
                    &EngineTeam::share(some, number, engines),
                    Purpose::Receive,
                    64,
                )
            },
            |_| (),
        )?;
        procfs::wait_until_idle(pid)?;
        clock::pause(Duration::from_secs_f64(arguments.settle));
        samples.push(IdleSample {
            process: procfs::anonymous_bytes(pid)?,
            kernel: procfs::kernel_bytes()?,
        });
    }
    let each = |of: fn(&IdleSample) -> u64| {
        (float(of(&samples[1])) - float(of(&samples[0]))) / float(count(client.clients))
    };
    let (process, kernel) = (
        each(|samples| samples.process),
        each(|samples| samples.kernel),
    );
    report.row(
        "sessions",
        format!("{} measured, after {} more", client.clients, arguments.base),
    );
    report.row(
        "process",
        format!("{process:.0} bytes of anonymous memory each"),
    );
    report.row(
        "kernel",
        format!("{kernel:.0} bytes each, both ends of the connection and the client's files"),
    );
    let mebibytes = float(samples[1].process) / f64::from(1024 * 1024);
    report.row("in all", format!("{mebibytes:.1} MiB of anonymous memory"));
    report.figure("process_bytes_per_session", process);
    report.figure("kernel_bytes_per_session", kernel);
    report.figure("process_bytes", samples[1].process);
    report.deliver(&arguments.destination)
}
