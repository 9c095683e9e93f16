//! `loadtest connect`: opens many sessions, restarts the server, and opens all at once.

use hdrhistogram::Histogram;

use super::arguments::ConnectArguments;
use super::{Environment, members, outcome, sizes};
use crate::clock;
use crate::engine::Setup;
use crate::failure::Outcome;
use crate::procfs;
use crate::protocol::{Capability, Member, Name, Purpose};
use crate::report::{Report, percentile_curve};
use crate::stamp::BYTES_MIN;
use crate::stats::{count, duration, float, latencies, median, percentile_line};
use crate::team::EngineTeam;

/// The result of opening all sessions once.
#[derive(Debug)]
struct Storm {
    seconds: f64,
    /// Times from connect to membership, in nanoseconds.
    latency: Histogram<u64>,
    /// The server's CPU time per connection; `None` if its process is unknown.
    server_ns_each: Option<f64>,
    /// The CPU time of this process.
    own_ns: u64,
}

/// Runs the command.
///
/// # Errors
///
/// The server cannot be started or reached, or a session cannot be opened.
pub(crate) fn run(arguments: &ConnectArguments) -> Outcome<bool> {
    let client = &arguments.client;
    let mut environment = Environment::prepare(&arguments.server, client, Name::Wserver)?;
    let mut report = Report::new("connect: many connects and registrations at once");
    environment.describe(&mut report);
    let groups = client.clients; // So that the size of a channel does not affect the cost.
    let all = members(0, client.clients, groups);
    let mut setup = environment.setup(client, sizes(&all, groups), BYTES_MIN);
    setup.may_end = true;

    let (mut storms, mut returns) = (Vec::new(), Vec::new());
    for _ in 0..arguments.repeat {
        let mut team = EngineTeam::new(&setup, client.threads)?;
        storms.push(storm(&mut team, &all, arguments.at_a_time, &environment)?);
        let is_ours = environment.gateway.is_some();
        if is_ours {
            restart(&mut environment, &mut team)?;
            returns.push(storm(&mut team, &all, client.clients, &environment)?);
            check_members(&setup, &mut team, &environment, all.len())?;
            // The next repetition begins with a new server without sessions, too.
            restart(&mut environment, &mut team)?;
        }
    }
    report.row(
        "sessions",
        format!(
            "{}, {} concurrent handshakes per thread",
            all.len(),
            arguments.at_a_time
        ),
    );
    add(&mut report, "storm", &storms, all.len());
    if returns.is_empty() {
        report.row(
            "after a restart",
            "not measured: this program did not start the server",
        );
    } else {
        add(&mut report, "after a restart", &returns, all.len());
    }
    let curves = [("storm", &storms), ("after a restart", &returns)]
        .into_iter()
        .filter(|(_, storms)| !storms.is_empty())
        .map(|(name, storms)| percentile_curve(name, &together(storms)));
    report.chart(outcome::latency_chart(curves.collect()));
    report.deliver(&arguments.destination)
}

fn storm(
    team: &mut EngineTeam,
    all: &[Member],
    at_a_time: usize,
    environment: &Environment,
) -> Outcome<Storm> {
    let engines = team.size();
    let before = environment.pid.map(procfs::cpu_ns).transpose()?;
    let own_before = procfs::own_cpu_ns(environment.pid)?;
    let begun_ns = clock::now_ns();
    let open = |number: usize, engine: &mut crate::engine::Engine| {
        let share = EngineTeam::share(all, number, engines);
        engine.open(&share, Purpose::Receive, at_a_time)?;
        Ok(engine.opening().clone())
    };
    let (openings, ()) = team.all(open, |_| ())?;
    let seconds = float(clock::now_ns() - begun_ns) / 1e9;
    let own_ns = procfs::own_cpu_ns(environment.pid)? - own_before;
    // Not every protocol confirms registrations: wait until the server has processed them.
    let server_ns_each = match environment.pid.zip(before) {
        Some((pid, before)) => {
            procfs::wait_until_idle(pid)?;
            let spent = procfs::cpu_ns(pid)?.saturating_sub(before);
            Some(float(spent) / float(count(all.len())))
        }
        None => None,
    };
    let mut latency = latencies();
    for opening in &openings {
        latency.add(opening).expect("the bounds are the same");
    }
    Ok(Storm {
        seconds,
        latency,
        server_ns_each,
        own_ns,
    })
}

/// Stops the server, waits until every session has ended, and starts it again on the same port.
fn restart(environment: &mut Environment, team: &mut EngineTeam) -> Outcome<()> {
    environment.gateway = None; // stops it
    team.all(|_, engine| engine.wait_until_ended(), |_| ())?;
    team.all(
        |_, engine| {
            engine.drop_sessions();
            Ok(())
        },
        |_| (),
    )?;
    environment.start()
}

/// Publishes to all groups until every session has received a message, if the protocol offers
/// publishing by HTTP.
fn check_members(
    setup: &Setup,
    team: &mut EngineTeam,
    environment: &Environment,
    sessions: usize,
) -> Outcome<()> {
    if !setup.protocol.offers(Capability::Http) || environment.gateway.is_none() {
        return Ok(());
    }
    team.first().add_publishers(16, 1)?;
    team.all(|_, engine| engine.probe(Capability::Http, sessions), |_| ())?;
    Ok(())
}

fn add(report: &mut Report, name: &str, storms: &[Storm], sessions: usize) {
    let seconds: Vec<f64> = storms.iter().map(|storm| storm.seconds).collect();
    let rates: Vec<f64> = seconds.iter().map(|s| float(count(sessions)) / s).collect();
    let own: Vec<f64> = storms
        .iter()
        .map(|storm| float(storm.own_ns) / float(count(sessions)))
        .collect();
    let each: Vec<f64> = storms
        .iter()
        .filter_map(|storm| storm.server_ns_each)
        .collect();
    let rate = outcome::spread(&rates, &|rate| format!("{rate:.0}"));
    report.row(name, format!("{rate} sessions a second"));
    report.row("  each took", percentile_line(&together(storms)));
    if !each.is_empty() {
        report.row(
            "  server CPU",
            format!("{} each", outcome::spread(&each, &duration)),
        );
        report.figure(&format!("{name}: server_cpu_ns_per_session"), median(&each));
    }
    report.row(
        "  own CPU",
        format!("{} each", outcome::spread(&own, &duration)),
    );
    report.figure(&format!("{name}: sessions_per_s"), median(&rates));
}

fn together(storms: &[Storm]) -> Histogram<u64> {
    let mut all = latencies();
    for storm in storms {
        all.add(&storm.latency).expect("the bounds are the same");
    }
    all
}
