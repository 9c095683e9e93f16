//! A measurement: a phase of all engines, with the resource usage of server and client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{self, MILLISECOND_NS};
use crate::engine::{Counters, Load, Mix, Phase};
use crate::failure::Outcome;
use crate::procfs;
use crate::progress::Progress;
use crate::stats::float;
use crate::team::EngineTeam;

/// The parameters of a measurement. Times are in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) load: Load,
    pub(crate) mix: Mix,
    pub(crate) warm_up_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) patience_s: f64,
    pub(crate) seed: u64,
    pub(crate) moves: f64,
    /// True if progress is shown.
    pub(crate) is_shown: bool,
}

/// The result of a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) counters: Counters,
    pub(crate) load: Load,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Time from the end of the warm-up until all engines were done.
    pub(crate) wall_ns: u64,
    /// The server's usage in `wall_ns`; `None` if its process is unknown.
    pub(crate) server: Option<Usage>,
    /// The CPU time of this process in `wall_ns`.
    pub(crate) own_ns: u64,
}

/// The resource usage of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    /// Voluntary context switches.
    pub(crate) switches_voluntary: u64,
    /// Involuntary context switches.
    pub(crate) switches_forced: u64,
    /// Anonymous memory at the end, in bytes.
    pub(crate) anonymous_bytes: u64,
}

impl Usage {
    fn until_now(pid: u32) -> Outcome<Self> {
        let (switches_voluntary, switches_forced) = procfs::switches(pid)?;
        Ok(Self {
            cpu_ns: procfs::cpu_ns(pid)?,
            switches_voluntary,
            switches_forced,
            anonymous_bytes: procfs::anonymous_bytes(pid)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            switches_voluntary: self
                .switches_voluntary
                .saturating_sub(before.switches_voluntary),
            switches_forced: self.switches_forced.saturating_sub(before.switches_forced),
            anonymous_bytes: self.anonymous_bytes,
        }
    }
}

/// Runs a measurement. `pid` is the server's process, if known.
///
/// # Errors
///
/// A system call failed, or the server's process has exited.
pub(crate) fn measure(team: &mut EngineTeam, plan: &Plan, pid: Option<u32>) -> Outcome<Sample> {
    let begin_ns = clock::now_ns() + LEAD_NS;
    let from_ns = begin_ns + nanoseconds(plan.warm_up_s);
    let until_ns = from_ns + nanoseconds(plan.measured_s);
    let phase = Phase {
        load: plan.load,
        mix: plan.mix,
        begin_ns,
        from_ns,
        until_ns,
        idle_timeout_ns: nanoseconds(plan.patience_s),
        seed: plan.seed,
        moves: plan.moves,
        engines: team.size(),
    };
    let shared = Arc::clone(team.shared());
    shared.begin_phase();
    let watch = |is_done: &dyn Fn() -> bool| -> Outcome<(Option<Usage>, u64, u64)> {
        // Without a warm-up, read the server's usage before its first publication.
        let is_cold = plan.warm_up_s <= 0.0;
        pause_until(if is_cold {
            from_ns - LEAD_NS / 2
        } else {
            from_ns
        });
        let before = pid.map(Usage::until_now).transpose()?;
        let (own_before, started_ns) = (procfs::own_cpu_ns(pid)?, clock::now_ns());
        let tenths = (until_ns - from_ns) / (100 * MILLISECOND_NS);
        let mut progress = Progress::new("tenths of a second", tenths);
        while !is_done() {
            clock::pause(POLL);
            let now_ns = clock::now_ns();
            let done = now_ns.saturating_sub(from_ns) / (100 * MILLISECOND_NS);
            if plan.is_shown {
                progress.at(done.min(tenths), now_ns, || {
                    format!("{} delivered", shared.delivered.load(Ordering::Relaxed))
                });
            }
        }
        progress.finish();
        let own_ns = procfs::own_cpu_ns(pid)? - own_before;
        let after = pid.map(Usage::until_now).transpose()?;
        let used = after.zip(before).map(|(after, before)| after.since(before));
        Ok((used, own_ns, clock::now_ns() - started_ns))
    };
    let (tallies, watched) = team.all(|_, engine| engine.run(&phase), watch)?;
    let (server, own_ns, wall_ns) = watched?;
    let mut counters = Counters::new(from_ns);
    for one in &tallies {
        counters.add(one);
    }
    Ok(Sample {
        counters,
        load: plan.load,
        seconds: plan.measured_s,
        wall_ns,
        server,
        own_ns,
    })
}

impl Sample {
    /// Returns the measured deliveries per second, over the time until the last of them.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        float(self.counters.delivered) / self.delivering_s()
    }

    /// Returns `true` if the last delivery came at most 2 % of the time and 50 ms late, and there
    /// were no errors.
    pub(crate) fn keeps_up(&self) -> bool {
        let late_s = self.delivering_s() - self.seconds;
        late_s < 0.02 * self.seconds + 0.05 && self.counters.errors().1 == 0
    }

    fn delivering_s(&self) -> f64 {
        let late_s = float(
            self.counters
                .last_ns
                .saturating_sub(self.counters.measured_from_ns()),
        ) / 1e9;
        // At least the measured time, even if its end had no deliveries.
        late_s.max(self.seconds)
    }

    /// Returns the server's CPU time per delivery in nanoseconds; `None` if its process is unknown.
    pub(crate) fn server_ns_each(&self) -> Option<f64> {
        let server = self.server?;
        Some(float(server.cpu_ns) / float(self.counters.delivered.max(1)))
    }

    /// Returns a quantile (0 to 1) of the latencies in nanoseconds.
    pub(crate) fn latency_ns(&self, quantile: f64) -> f64 {
        float(self.counters.latency.value_at_quantile(quantile))
    }

    /// Returns the CPU time of this process as a share of one core.
    pub(crate) fn own_share(&self) -> f64 {
        float(self.own_ns) / float(self.wall_ns.max(1))
    }
}

/// Converts seconds to nanoseconds.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}

fn pause_until(moment_ns: u64) {
    let left = moment_ns.saturating_sub(clock::now_ns());
    clock::pause(Duration::from_nanos(left));
}

/// The time from the start of a phase to its first publication.
const LEAD_NS: u64 = 20 * MILLISECOND_NS;
const POLL: Duration = Duration::from_millis(5);
