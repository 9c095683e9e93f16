//! Report sections of measurements.

use std::collections::BTreeMap;

use super::measure::Sample;
use crate::delivery_check::DeliveryErrors;
use crate::engine::{Accounts, Arrivals, Load, Pace};
use crate::report::{Chart, Line, Report, Scale, Table, percentile_curve, throughput_line};
use crate::stats::{count, duration, float, median, percentile_line};

/// Adds the samples of one load. Several samples are repetitions.
pub(super) fn add_samples(report: &mut Report, samples: &[Sample], threads: usize) {
    let Some(first) = samples.first() else {
        return;
    };
    let mut all = first.counters.clone();
    for sample in &samples[1..] {
        all.add(&sample.counters);
    }
    report.row("load", describe_load(first, samples.len()));
    let responses = if all.requests == 0 {
        format!("{} measured; the protocol has no responses", all.published)
    } else {
        format!(
            "{} measured; including the warm-up, {} of {} succeeded",
            all.published, all.succeeded, all.requests
        )
    };
    report.row("publications", responses);
    let over =
        |measured: &dyn Fn(&Sample) -> f64| -> Vec<f64> { samples.iter().map(measured).collect() };
    let rates = over(&Sample::deliveries_per_s);
    report.row(
        "deliveries",
        format!(
            "{}, {} per second",
            all.delivered,
            spread(&rates, &|rate| format!("{rate:.0}"))
        ),
    );
    report.row("latency", percentile_line(&all.latency));
    if samples.len() > 1 {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let values = over(&|sample| sample.latency_ns(quantile));
            report.row(&format!("  {name}"), spread(&values, &duration));
        }
    }
    report.row("sent late by", percentile_line(&all.lateness));
    report.figure("published", all.published);
    report.figure("delivered", all.delivered);
    report.figure("deliveries_per_s", median(&rates));
    for (name, quantile) in QUANTILES {
        let values = over(&|sample| sample.latency_ns(quantile));
        report.figure(&format!("latency_{name}_ns"), median(&values));
    }
    report.figure("latency_max_ns", all.latency.max());
    add_server(report, samples);
    add_own(report, samples, threads);
    add_errors(report, &all);
    let curves = samples.iter().zip(1..).map(|(sample, number)| {
        percentile_curve(&format!("run {number}"), &sample.counters.latency)
    });
    report.chart(latency_chart(curves.collect()));
    let lines = samples
        .iter()
        .zip(1..)
        .map(|(sample, number)| throughput_line(&format!("run {number}"), &sample.counters.series));
    report.chart(throughput_chart(lines.collect()));
}

fn describe_load(sample: &Sample, repetitions: usize) -> String {
    let what = match sample.load {
        Load::Open { rate, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Constant => "at equal intervals",
                Arrivals::Poisson => "at random intervals (Poisson)",
            };
            format!("open loop, {rate:.0} a second {arrivals}")
        }
        Load::Closed { outstanding } => format!("closed loop, {outstanding} outstanding"),
        Load::Batches { outstanding } => format!("{outstanding} at once"),
    };
    format!("{what}, {repetitions} x {} s", sample.seconds)
}

fn add_server(report: &mut Report, samples: &[Sample]) {
    let each: Vec<f64> = samples.iter().filter_map(Sample::server_ns_each).collect();
    let usages: Vec<_> = samples
        .iter()
        .filter_map(|s| Some((s.server?, s.wall_ns)))
        .collect();
    let Some((last, _)) = usages.last() else {
        return report.row("server CPU", "unknown (needs --pid)");
    };
    let shares: Vec<f64> = usages
        .iter()
        .map(|(usage, wall_ns)| float(usage.cpu_ns) / float((*wall_ns).max(1)) * 100.0)
        .collect();
    report.row(
        "server CPU",
        format!(
            "{} per delivery, {} of a core",
            spread(&each, &duration),
            spread(&shares, &|share| format!("{share:.0} %"))
        ),
    );
    let delivered: u64 = samples.iter().map(|sample| sample.counters.delivered).sum();
    let voluntary: u64 = usages
        .iter()
        .map(|(usage, _)| usage.switches_voluntary)
        .sum();
    let forced: u64 = usages.iter().map(|(usage, _)| usage.switches_forced).sum();
    let per_delivery = float(voluntary + forced) / float(delivered.max(1));
    report.row(
        "server switches",
        format!("{voluntary} voluntary, {forced} forced; {per_delivery:.4} per delivery"),
    );
    let mebibytes = float(last.anonymous_bytes) / f64::from(1024 * 1024);
    report.row(
        "server memory",
        format!("{mebibytes:.1} MiB anonymous at the end"),
    );
    report.figure("server_cpu_ns_per_delivery", median(&each));
    report.figure("server_cpu_percent", median(&shares));
    report.figure("server_switches_per_delivery", per_delivery);
    report.figure("server_anonymous_bytes", last.anonymous_bytes);
}

fn add_own(report: &mut Report, samples: &[Sample], threads: usize) {
    let shares: Vec<f64> = samples.iter().map(Sample::own_share).collect();
    let share = median(&shares);
    let waited: u64 = samples.iter().map(|sample| sample.counters.waited_ns).sum();
    let ran: u64 = samples.iter().map(|sample| sample.counters.ran_ns).sum();
    let waiting = float(waited) / float(ran.max(1));
    report.row(
        "own CPU",
        format!(
            "{:.0} % of a core, {:.1} % waiting for one",
            share * 100.0,
            waiting * 100.0
        ),
    );
    report.figure("own_cpu_percent", share * 100.0);
    report.figure("own_waiting_percent", waiting * 100.0);
    if share > OWN_CPU_MAX * float(count(threads)) {
        report.warn("the load test is the bottleneck: its own delays increase every latency");
    }
    if waiting > OWN_WAITING_MAX {
        report.warn("other processes used the load test's CPU: latencies are too high");
    }
}

fn add_errors(report: &mut Report, all: &crate::engine::Counters) {
    let (errors, _) = all.errors();
    for error in errors {
        report.record_error(error.clone());
    }
    let more = all.more_errors();
    if more > 0 {
        report.record_error(format!("and {more} more errors"));
    }
    if all.succeeded < all.requests {
        let lacking = all.requests - all.succeeded;
        report.record_error(format!("{lacking} publications did not succeed"));
    }
}

/// Adds the result of the verification.
pub(super) fn add_delivery_errors(report: &mut Report, errors: DeliveryErrors) {
    let DeliveryErrors {
        lost,
        duplicated,
        reordered,
        misdelivered,
    } = errors;
    let words = errors.summary();
    if !errors.is_clean() {
        report.record_error(words.clone());
    }
    report.row("messages", words);
    report.figure("lost", lost);
    report.figure("duplicated", duplicated);
    report.figure("reordered", reordered);
    report.figure("misdelivered", misdelivered);
}

/// Adds the ends of the slow sessions.
pub(super) fn add_slow(report: &mut Report, accounts: &Accounts) {
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for session in accounts
        .sessions
        .iter()
        .filter(|one| one.pace != Pace::Eager)
    {
        let end = session
            .end
            .map_or_else(|| "kept".to_owned(), |end| end.to_string());
        *ends.entry(end).or_default() += 1;
    }
    let words: Vec<String> = ends.iter().map(|(end, n)| format!("{n} {end}")).collect();
    report.row("slow sessions", words.join(", "));
    for (end, sessions) in ends {
        report.figure(&format!("slow: {end}"), sessions);
    }
}

/// Adds the steps of a ramp. The last step may be above the knee.
pub(super) fn add_ramp(report: &mut Report, samples: &[Sample], knee: Option<&Sample>) {
    let heads = [
        "rate",
        "deliveries/s",
        "p50",
        "p99",
        "max",
        "server CPU each",
        "own CPU",
    ];
    let rows = samples.iter().map(|sample| {
        let rate = match sample.load {
            Load::Open { rate, .. } => format!("{rate:.0}"),
            Load::Closed { .. } | Load::Batches { .. } => "-".to_owned(),
        };
        vec![
            rate,
            format!("{:.0}", sample.deliveries_per_s()),
            duration(sample.latency_ns(0.5)),
            duration(sample.latency_ns(0.99)),
            duration(float(sample.counters.latency.max())),
            sample
                .server_ns_each()
                .map_or_else(|| "-".to_owned(), duration),
            format!("{:.0} %", sample.own_share() * 100.0),
        ]
    });
    report.table(Table {
        title: "steps of the ramp".to_owned(),
        heads: heads.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    });
    let point =
        |sample: &Sample, quantile| (sample.deliveries_per_s(), sample.latency_ns(quantile) / 1e6);
    let line = |name: &str, quantile| Line {
        name: name.to_owned(),
        points: samples
            .iter()
            .map(|sample| point(sample, quantile))
            .collect(),
    };
    report.chart(Chart {
        title: "latency over throughput".to_owned(),
        x_name: "deliveries a second".to_owned(),
        y_name: "ms".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Logarithmic,
        lines: vec![line("p50", 0.5), line("p99", 0.99)],
    });
    match knee {
        Some(sample) => {
            let rate = sample.deliveries_per_s();
            report.row(
                "knee",
                format!("{rate:.0} deliveries a second are sustained"),
            );
            report.figure("knee_deliveries_per_s", rate);
        }
        None => report.row("knee", "below the first step"),
    }
}

/// Returns the chart of latencies by percentile.
pub(super) fn latency_chart(lines: Vec<Line>) -> Chart {
    Chart {
        title: "latency by percentile".to_owned(),
        x_name: "percentile".to_owned(),
        y_name: "ms".to_owned(),
        x_scale: Scale::Nines,
        y_scale: Scale::Logarithmic,
        lines,
    }
}

fn throughput_chart(lines: Vec<Line>) -> Chart {
    Chart {
        title: "throughput over time".to_owned(),
        x_name: "seconds".to_owned(),
        y_name: "deliveries a second".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        lines,
    }
}

/// Formats the median of `values` with their range, a single value alone, and none as `-`.
pub(super) fn spread(values: &[f64], word: &dyn Fn(f64) -> String) -> String {
    if values.len() < 2 {
        return values
            .first()
            .map_or_else(|| "-".to_owned(), |value| word(*value));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} [{} to {}]", word(median(values)), word(low), word(high))
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
/// The share of a core above which the client's own delays increase every latency.
const OWN_CPU_MAX: f64 = 0.9;
/// The share of time that the client may wait for its core without a warning.
const OWN_WAITING_MAX: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_have_their_median_and_range() {
        let word = |value: f64| format!("{value:.0}");
        assert_eq!(spread(&[3.0, 1.0, 2.0], &word), "2 [1 to 3]");
        assert_eq!(spread(&[3.0], &word), "3");
        assert_eq!(spread(&[], &word), "-");
    }
}
