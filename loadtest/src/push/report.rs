//! What a run came to, and its printing.

use hdrhistogram::Histogram;

use super::judge::Verdict;
use super::ledger::Ledger;
use crate::cli::PushArguments;
use crate::stats::{count, duration, float, percentile_line};
use crate::wire::Target;

/// What the run cost, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// To open all sessions.
    pub(super) opening_ns: u64,
    /// From the first push due until nothing more came.
    pub(super) running_ns: u64,
    /// The gateway's anonymous memory before the sessions; `None` for a target of unknown process.
    pub(super) memory_before: Option<u64>,
    /// And with all of them, registered and idle.
    pub(super) memory_after: Option<u64>,
    /// The gateway's time on a CPU during the run.
    pub(super) gateway_cpu_ns: Option<u64>,
    /// This program's.
    pub(super) own_cpu_ns: u64,
}

/// The result of a run.
#[derive(Debug)]
pub(super) struct Report {
    costs: Costs,
    verdict: Verdict,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    delivered: u64,
    /// From the first push due to the last delivery.
    delivering_ns: u64,
    pushed: u64,
    answered: u64,
    complaints: Vec<String>,
    complaints_count: u64,
}

impl Report {
    /// Takes stock of a finished run.
    pub(super) fn new(ledger: &Ledger, costs: Costs) -> Self {
        let (complaints, complaints_count) = ledger.complaints();
        Self {
            costs,
            verdict: ledger.verdict(),
            latency: ledger.latency.clone(),
            lateness: ledger.lateness.clone(),
            delivered: ledger.delivered,
            delivering_ns: ledger.delivered_last_ns.saturating_sub(ledger.started_ns),
            pushed: ledger.pushed,
            answered: ledger.answered,
            complaints: complaints.to_vec(),
            complaints_count,
        }
    }

    /// Whether everything arrived once, in order, and every push was answered as it should be.
    pub(super) fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.complaints_count == 0 && self.answered == self.pushed
    }

    /// Prints it.
    pub(super) fn print(&self, arguments: &PushArguments, target: &Target, placing: Option<&str>) {
        let costs = &self.costs;
        let users = arguments.users.unwrap_or(arguments.clients);
        let whose = placing.unwrap_or("not started by this program");
        println!(
            "gateway         ws://{}{}, {whose}",
            target.authority, target.path
        );
        println!(
            "sessions        {} of {users} users, opened in {}",
            arguments.clients,
            duration(float(costs.opening_ns))
        );
        println!(
            "pushes          {} at {}/s, {} bytes, over {} connections; {} answered",
            self.pushed, arguments.rate, arguments.bytes, arguments.connections, self.answered
        );
        let seconds = float(self.delivering_ns.max(1)) / 1e9;
        let rate = float(self.delivered) / seconds;
        println!("deliveries      {}, {rate:.0} per second", self.delivered);
        println!("latency         {}", percentile_line(&self.latency));
        println!("sent late by    {}", percentile_line(&self.lateness));
        let Verdict {
            lost,
            duplicated,
            reordered,
        } = self.verdict;
        println!("wrong           {lost} lost, {duplicated} duplicated, {reordered} reordered");
        self.print_gateway(arguments.clients);
        let own = float(costs.own_cpu_ns) / float(costs.running_ns);
        println!("own CPU         {:.0} % of a core", own * 100.0);
        if own > OWN_CPU_MAX {
            println!("                WARNING: the loadtest itself is the bottleneck");
        }
        for complaint in &self.complaints {
            println!("complaint       {complaint}");
        }
        let more = self.complaints_count - count(self.complaints.len());
        if more > 0 {
            println!("                and {more} more");
        }
    }

    fn print_gateway(&self, clients: usize) {
        let costs = &self.costs;
        let Some(cpu_ns) = costs.gateway_cpu_ns else {
            println!("gateway CPU     unknown (name its process with --pid)");
            return;
        };
        let each = float(cpu_ns) / float(self.delivered.max(1));
        let share = float(cpu_ns) / float(costs.running_ns) * 100.0;
        println!(
            "gateway CPU     {} per delivery, {share:.0} % of a core",
            duration(each)
        );
        if let (Some(before), Some(after)) = (costs.memory_before, costs.memory_after) {
            let each = (float(after) - float(before)) / float(count(clients));
            println!(
                "gateway memory  {each:.0} bytes per connection, {:.1} MiB in all (RssAnon)",
                float(after) / f64::from(1024 * 1024)
            );
        }
    }
}

/// Above this share of a core the client's own queueing is in every latency.
const OWN_CPU_MAX: f64 = 0.9;
