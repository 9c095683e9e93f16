//! `loadtest connect`: a storm of connects and registrations, then all at once after a restart.

use hdrhistogram::Histogram;

use super::arguments::ConnectArguments;
use super::{Scene, members, outcome, sizes};
use crate::clock;
use crate::engine::Setup;
use crate::failure::Outcome;
use crate::procfs;
use crate::protocol::{Member, Name, Purpose, Way};
use crate::report::{Report, percentile_curve};
use crate::stamp::BYTES_MIN;
use crate::stats::{count, duration, float, latencies, median, percentile_line};
use crate::team::Team;

/// One storm.
#[derive(Debug)]
struct Storm {
    seconds: f64,
    latency: Histogram<u64>,
    /// The server's nanoseconds on a CPU for each connection.
    server_ns_each: Option<f64>,
    own_ns: u64,
}

/// Runs the command.
///
/// # Errors
///
/// The server could not be started or reached, or a session could not be opened.
pub(crate) fn run(arguments: &ConnectArguments) -> Outcome<bool> {
    let crowd = &arguments.crowd;
    let mut scene = Scene::prepare(&arguments.server, crowd, Name::Wserver)?;
    let mut report = Report::new("connect: storms of connects and registrations");
    scene.describe(&mut report);
    let groups = crowd.clients; // so that a channel's size is not in the price
    let all = members(0, crowd.clients, groups);
    let mut setup = scene.setup(crowd, sizes(&all, groups), BYTES_MIN);
    setup.may_end = true;

    let (mut storms, mut returns) = (Vec::new(), Vec::new());
    for _ in 0..arguments.repeat {
        let mut team = Team::new(&setup, crowd.threads)?;
        storms.push(storm(&mut team, &all, arguments.at_a_time, &scene)?);
        let is_ours = scene.gateway.is_some();
        if is_ours {
            restart(&mut scene, &mut team)?;
            returns.push(storm(&mut team, &all, crowd.clients, &scene)?);
            check_members(&setup, &mut team, &scene, all.len())?;
            // The next round finds a fresh server too, and its sessions gone.
            restart(&mut scene, &mut team)?;
        }
    }
    report.row(
        "sessions",
        format!(
            "{}, {} under way at once per thread",
            all.len(),
            arguments.at_a_time
        ),
    );
    add(&mut report, "storm", &storms, all.len());
    if returns.is_empty() {
        report.row(
            "after a restart",
            "not tried: the server is not ours to restart",
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

fn storm(team: &mut Team, all: &[Member], at_a_time: usize, scene: &Scene) -> Outcome<Storm> {
    let engines = team.size();
    let before = scene.pid.map(procfs::cpu_ns).transpose()?;
    let own_before = procfs::own_cpu_ns(scene.pid)?;
    let begun_ns = clock::now_ns();
    let open = |number: usize, engine: &mut crate::engine::Engine| {
        let share = Team::share(all, number, engines);
        engine.open(&share, Purpose::Receive, at_a_time)?;
        Ok(engine.opening().clone())
    };
    let (openings, ()) = team.all(open, |_| ())?;
    let seconds = float(clock::now_ns() - begun_ns) / 1e9;
    let own_ns = procfs::own_cpu_ns(scene.pid)? - own_before;
    // Registering may not be answered: its price is paid once the server rests.
    let server_ns_each = match scene.pid.zip(before) {
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

/// Ends the server, sees every session end, and starts it again on the same port.
fn restart(scene: &mut Scene, team: &mut Team) -> Outcome<()> {
    scene.gateway = None; // stops it
    team.all(|_, engine| engine.wait_until_ended(), |_| ())?;
    team.all(
        |_, engine| {
            engine.forget_sessions();
            Ok(())
        },
        |_| (),
    )?;
    scene.start()
}

/// Publishes to everyone, where that goes over HTTP, so that all are known to be members.
fn check_members(setup: &Setup, team: &mut Team, scene: &Scene, sessions: usize) -> Outcome<()> {
    if !setup.protocol.offers(Way::Http) || scene.gateway.is_none() {
        return Ok(());
    }
    team.first().add_publishers(16, 1)?;
    team.all(|_, engine| engine.probe(Way::Http, sessions), |_| ())?;
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
