//! One measurement: a phase of all engines, with the server looked at before and after.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{self, MILLISECOND_NS};
use crate::engine::{Load, Mix, Phase, Tally};
use crate::failure::Outcome;
use crate::procfs;
use crate::progress::Progress;
use crate::stats::float;
use crate::team::Team;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) load: Load,
    pub(crate) mix: Mix,
    pub(crate) warm_up_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) patience_s: f64,
    pub(crate) seed: u64,
    pub(crate) moves: f64,
    /// Whether a person sees how far it has come.
    pub(crate) is_shown: bool,
}

/// What it came to.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) tally: Tally,
    pub(crate) load: Load,
    /// For how long was measured.
    pub(crate) seconds: f64,
    /// From the beginning of measuring until all had come.
    pub(crate) wall_ns: u64,
    /// What the server used in that time; `None` for one of unknown process.
    pub(crate) server: Option<Usage>,
    /// What this program did.
    pub(crate) own_ns: u64,
}

/// What a process used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    pub(crate) switches_voluntary: u64,
    pub(crate) switches_forced: u64,
    /// Anonymous memory at the end.
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

/// Carries out `plan`.
///
/// # Errors
///
/// The kernel fails us, or the server's process has ended.
pub(crate) fn measure(team: &mut Team, plan: &Plan, pid: Option<u32>) -> Outcome<Sample> {
    let begin_ns = clock::now_ns() + LEAD_NS;
    let from_ns = begin_ns + nanoseconds(plan.warm_up_s);
    let until_ns = from_ns + nanoseconds(plan.measured_s);
    let phase = Phase {
        load: plan.load,
        mix: plan.mix,
        begin_ns,
        from_ns,
        until_ns,
        patience_ns: nanoseconds(plan.patience_s),
        seed: plan.seed,
        moves: plan.moves,
        engines: team.size(),
    };
    let shared = Arc::clone(team.shared());
    shared.begin_phase();
    let watch = |is_done: &dyn Fn() -> bool| -> Outcome<(Option<Usage>, u64, u64)> {
        // Where nothing is under way before, nothing of it may be missed.
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
    let mut tally = Tally::new(from_ns);
    for one in &tallies {
        tally.add(one);
    }
    Ok(Sample {
        tally,
        load: plan.load,
        seconds: plan.measured_s,
        wall_ns,
        server,
        own_ns,
    })
}

impl Sample {
    /// Messages received a second: of what was due while measuring, until the last had come.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        float(self.tally.delivered) / self.delivering_s()
    }

    /// Whether the server took what it was given about as fast as it was given.
    pub(crate) fn keeps_up(&self) -> bool {
        let late_s = self.delivering_s() - self.seconds;
        late_s < 0.02 * self.seconds + 0.05 && self.tally.complaints().1 == 0
    }

    fn delivering_s(&self) -> f64 {
        let late_s = float(
            self.tally
                .last_ns
                .saturating_sub(self.tally.measured_from_ns()),
        ) / 1e9;
        // Where only the end of the measured time was quiet, that counts too.
        late_s.max(self.seconds)
    }

    /// The server's nanoseconds for each message that a session received.
    pub(crate) fn server_ns_each(&self) -> Option<f64> {
        let server = self.server?;
        Some(float(server.cpu_ns) / float(self.tally.delivered.max(1)))
    }

    /// The latency, in nanoseconds, that this share of messages did not exceed.
    pub(crate) fn latency_ns(&self, quantile: f64) -> f64 {
        float(self.tally.latency.value_at_quantile(quantile))
    }

    /// How much of one core this program needed.
    pub(crate) fn own_share(&self) -> f64 {
        float(self.own_ns) / float(self.wall_ns.max(1))
    }
}

/// `seconds` in nanoseconds.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}

fn pause_until(moment_ns: u64) {
    let left = moment_ns.saturating_sub(clock::now_ns());
    clock::pause(Duration::from_nanos(left));
}

/// From the order to the first publication.
const LEAD_NS: u64 = 20 * MILLISECOND_NS;
const POLL: Duration = Duration::from_millis(5);
