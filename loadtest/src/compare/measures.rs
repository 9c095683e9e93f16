//! The measures of a comparison. Each runs its rounds on all servers in turn and fills a table.

mod load;

use super::Contender;
use super::config::{Config, Measure};
use super::losses::{Better, Losses};
use super::samples::{Samples, compare};
use crate::cores::Cores;
use crate::failure::{Failure, Outcome};
use crate::floor::{self, Shape};
use crate::report::{Chart, Line, Report, Scale, Table};
use crate::rounds::{Order, Reader, Round, Verification};
use crate::stats::{Interval, duration, float, median};

/// A running comparison.
pub(super) struct Bench<'a> {
    config: &'a Config,
    cores: &'a Cores,
    report: Report,
    losses: Losses,
}

/// A server in a measure, with its client process and its rounds so far.
struct Part<'a> {
    contender: Contender<'a>,
    reader: Reader,
    rounds: Vec<Round>,
    values: Vec<f64>,
}

/// A measure by another command of this program, one server after the other.
struct OneByOne<'a> {
    measure: Measure,
    title: &'a str,
    key: &'a str,
    /// The arguments without the last, the number of sessions.
    arguments: &'a [&'a str],
    sessions: usize,
    /// The figure's key in the command's report.
    figure: &'a str,
    /// Formats a value with its unit.
    label: fn(f64) -> String,
}

impl<'a> Bench<'a> {
    /// Creates a comparison that adds to `report`.
    pub(super) fn new(config: &'a Config, cores: &'a Cores, report: Report) -> Self {
        Self {
            config,
            cores,
            report,
            losses: Losses::of(config),
        }
    }

    /// Returns the report, with the table of losses first.
    pub(super) fn into_report(mut self) -> Report {
        self.report.put_first(self.losses.into_table());
        self.report
    }

    /// Runs the configured measures. A server that fails is left out of the measure with a warning;
    /// a failed floor is an error of the report.
    pub(super) fn measure_all(&mut self) {
        let mut measures = self.config.measures.clone();
        measures.sort_unstable();
        measures.dedup();
        for measure in measures {
            match measure {
                Measure::Fanout => self.all_fanouts(),
                Measure::Rpc => self.rpc(),
                Measure::Knee => self.knee(),
                Measure::HalfLoad => self.half_load(),
                Measure::Connect => self.one_by_one(&OneByOne {
                    measure,
                    title: "CPU per connect, from connect to member",
                    key: "connect",
                    arguments: &["connect", "--repeat", "1", "--clients"],
                    sessions: self.config.connect_sessions,
                    figure: "storm: server_cpu_ns_per_session",
                    label: duration,
                }),
                Measure::Idle => self.one_by_one(&OneByOne {
                    measure,
                    title: "anonymous memory per idle connection",
                    key: "idle",
                    arguments: &["idle", "--clients"],
                    sessions: self.config.idle_sessions,
                    figure: "process_bytes_per_session",
                    label: |bytes| format!("{bytes:.0} bytes"),
                }),
                Measure::Shards => self.shards(),
            }
        }
    }

    fn all_fanouts(&mut self) {
        for clients in &self.config.subscribers {
            for bytes in &self.config.bytes {
                for frames in &self.config.outstanding {
                    let shape = Shape {
                        clients: *clients,
                        frames: *frames,
                        publishers: *frames,
                        bytes: *bytes,
                    };
                    if clients * bytes * frames > self.config.batch_bytes_max {
                        self.report
                            .warn(format!("{}: skipped, above batch_bytes_max", title(shape)));
                    } else if let Err(failure) = self.fanout(shape) {
                        self.report
                            .record_error(format!("{}: {failure}", title(shape)));
                    }
                }
            }
        }
    }

    /// Measures one cell of `fanout` and adds its table.
    fn fanout(&mut self, shape: Shape) -> Outcome<()> {
        let what = title(shape);
        eprintln!("{what}");
        let (_floor, mut floor_reader) = floor::start_with_reader(shape, self.cores)?;
        let start = |contender: &Contender<'_>| {
            contender
                .reader(shape.clients, shape.bytes, shape.frames)
                .map(Some)
        };
        let mut parts = self.parts(Measure::Fanout, &what, &start);
        let seconds = self.config.round_seconds;
        let mut floors = Vec::new();
        for number in 0..self.config.rounds {
            floors.push(floor_reader.batches(shape.frames, seconds)?);
            self.round(&what, &mut parts, number, |part| {
                let round = part.reader.batches(shape.frames, seconds)?;
                part.rounds.push(round);
                Ok(())
            });
        }
        let verification = floor_reader.check()?;
        if !verification.delivery_errors.is_clean() {
            return Err(Failure::new("the floor lost messages"));
        }
        let floor_line = line("floor", verification.curve);
        self.check(&what, &mut parts, vec![floor_line]);
        self.chart_throughput(&what, &floors, &parts);
        self.add_fanout(&what, shape, &floors, &parts);
        Ok(())
    }

    fn add_fanout(&mut self, what: &str, shape: Shape, floors: &[Round], parts: &[Part<'_>]) {
        let compared = |value| compare(&samples(parts, value), &values(floors, value), SEED);
        let cpu = compared(Round::server_ns_each);
        let p50 = compared(|round| round.p50_ns);
        let p99 = compared(|round| round.p99_ns);
        for (figure, compared) in [("CPU", &cpu), ("p50", &p50), ("p99", &p99)] {
            self.losses.add(what, figure, compared, Better::Less);
        }
        let mut rows = vec![floor_row(floors)];
        for (part, ((cpu, p50), p99)) in parts.iter().zip(cpu.iter().zip(&p50).zip(&p99)) {
            let client = median(&values(&part.rounds, Round::client_ns_each));
            let name = &cpu.name;
            if client > cpu.value {
                self.report
                    .warn(format!("{what}: against {name} the client needs more CPU"));
            }
            let mut row = vec![name.clone()];
            for one in [cpu, p50, p99] {
                row.push(duration(one.value));
                row.push(interval(one.ratio));
                row.push(one.against.label().to_owned());
            }
            row.push(format!("{:.0}", 1e9 / cpu.value));
            row.push(duration(client));
            rows.push(row);
            let Shape {
                clients,
                frames,
                bytes,
                ..
            } = shape;
            let key = format!("fanout {clients} {bytes} {frames} {name}");
            self.report.figure(&format!("{key}: cpu_ns"), cpu.value);
            self.report
                .figure(&format!("{key}: cpu_to_floor"), cpu.ratio.median);
            self.report.figure(&format!("{key}: p50_ns"), p50.value);
            self.report.figure(&format!("{key}: p99_ns"), p99.value);
        }
        let heads = [
            "server",
            "CPU each",
            "to floor [95 %]",
            "against",
            "p50",
            "to floor",
            "against",
            "p99",
            "to floor",
            "against",
            "per CPU second",
            "client CPU each",
        ];
        self.add_table(what, &heads, rows);
    }

    /// Measures the round trip of one command.
    fn rpc(&mut self) {
        let what = "round trip of one command of 64 bytes on one connection".to_owned();
        eprintln!("{what}");
        let parts = self.parts(Measure::Rpc, &what, &|contender| contender.rpc_reader(64));
        let order = Order::batches(1, self.config.round_seconds);
        self.latencies(&what, "rpc", parts, order);
    }

    /// Runs `order` in all rounds on every server and compares the latencies with the first's.
    fn latencies(&mut self, what: &str, key: &str, mut parts: Vec<Part<'_>>, order: Order) {
        for number in 0..self.config.rounds {
            self.round(what, &mut parts, number, |part| {
                part.rounds.push(part.reader.round(order)?);
                Ok(())
            });
        }
        self.check(what, &mut parts, Vec::new());
        self.add_latencies(what, key, &parts);
    }

    /// Adds the table of p50, p99 and CPU time relative to the first server.
    fn add_latencies(&mut self, what: &str, key: &str, parts: &[Part<'_>]) {
        let Some(first) = parts.first() else {
            return;
        };
        let compared = |value| compare(&samples(parts, value), &values(&first.rounds, value), SEED);
        let cpu = compared(Round::server_ns_each);
        let p50 = compared(|round| round.p50_ns);
        let p99 = compared(|round| round.p99_ns);
        for (figure, compared) in [("p50", &p50), ("p99", &p99), ("CPU", &cpu)] {
            self.losses.add(what, figure, compared, Better::Less);
        }
        let heads = [
            "server",
            "p50",
            "to first [95 %]",
            "against",
            "p99",
            "to first",
            "against",
            "CPU each",
            "to first",
            "against",
        ];
        let mut rows = Vec::new();
        for ((p50, p99), cpu) in p50.iter().zip(&p99).zip(&cpu) {
            let mut row = vec![p50.name.clone()];
            for one in [p50, p99, cpu] {
                row.push(duration(one.value));
                row.push(interval(one.ratio));
                row.push(one.against.label().to_owned());
            }
            rows.push(row);
            let name = &p50.name;
            self.report
                .figure(&format!("{key} {name}: p50_ns"), p50.value);
            self.report
                .figure(&format!("{key} {name}: p99_ns"), p99.value);
            self.report
                .figure(&format!("{key} {name}: cpu_ns"), cpu.value);
        }
        self.add_table(what, &heads, rows);
    }

    /// Measures a figure by another command. Every round starts its server anew.
    fn one_by_one(&mut self, measure: &OneByOne<'_>) {
        let sessions = measure.sessions.to_string();
        let what = format!("{}, {sessions} connections", measure.title);
        eprintln!("{what}");
        let arguments = [measure.arguments, &[sessions.as_str()]].concat();
        let servers = || self.config.taking_part(measure.measure);
        let mut all: Vec<Samples> = servers()
            .map(|server| Samples {
                name: server.name.clone(),
                values: Vec::new(),
            })
            .collect();
        for _ in 0..self.config.long_rounds {
            for (server, samples) in servers().zip(&mut all) {
                let measured = Contender::start(server, self.cores)
                    .and_then(|contender| contender.figure(&arguments, measure.figure));
                match measured {
                    Ok(value) => samples.values.push(value),
                    Err(failure) => {
                        self.report
                            .warn(format!("{what}: {}: {failure}", server.name));
                    }
                }
            }
        }
        all.retain(|samples| samples.values.len() == self.config.long_rounds);
        self.add_samples(&what, measure.key, &all, Better::Less, &measure.label);
    }

    /// Adds the table of one value per server, relative to the first.
    fn add_samples(
        &mut self,
        what: &str,
        key: &str,
        all: &[Samples],
        better: Better,
        label: &dyn Fn(f64) -> String,
    ) {
        let Some(first) = all.first() else {
            return;
        };
        let compared = compare(all, &first.values, SEED);
        self.losses.add(what, "", &compared, better);
        let mut rows = Vec::new();
        for one in compared {
            self.report
                .figure(&format!("{key} {}", one.name), one.value);
            let (ratio, against) = (interval(one.ratio), one.against.label().to_owned());
            rows.push(vec![one.name, label(one.value), ratio, against]);
        }
        self.add_table(
            what,
            &["server", "median", "to first [95 %]", "against"],
            rows,
        );
    }

    fn add_table(&mut self, title: &str, heads: &[&str], rows: Vec<Vec<String>>) {
        let table = Table {
            title: title.to_owned(),
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            rows,
        };
        eprintln!("{}", table.as_text()); // A later measure may fail or be interrupted.
        self.report.table(table);
    }

    /// Starts the servers of `measure` and their clients. A server that fails is left out.
    fn parts(
        &mut self,
        measure: Measure,
        what: &str,
        start: &dyn Fn(&Contender<'_>) -> Outcome<Option<Reader>>,
    ) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for server in self.config.taking_part(measure) {
            let started = Contender::start(server, self.cores)
                .and_then(|contender| Ok((start(&contender)?, contender)));
            match started {
                Ok((Some(reader), contender)) => parts.push(Part {
                    contender,
                    reader,
                    rounds: Vec::new(),
                    values: Vec::new(),
                }),
                Ok((None, _)) => {} // The server does not support the measure.
                Err(failure) => self
                    .report
                    .warn(format!("{what}: {}: {failure}", server.name)),
            }
        }
        parts
    }

    /// Runs one round on every server. The order rotates from round to round. A server that fails
    /// is removed with a warning.
    fn round(
        &mut self,
        what: &str,
        parts: &mut Vec<Part<'_>>,
        number: usize,
        mut work: impl FnMut(&mut Part<'_>) -> Outcome<()>,
    ) {
        let mut failed = Vec::new();
        for turn in 0..parts.len() {
            let index = (turn + number) % parts.len();
            if let Err(failure) = work(&mut parts[index]) {
                let name = parts[index].contender.name();
                self.report.warn(format!("{what}: {name}: {failure}"));
                failed.push(index);
            }
        }
        failed.sort_unstable();
        for index in failed.into_iter().rev() {
            parts.remove(index);
        }
    }

    /// Verifies the messages of all servers, reports errors, and adds the chart of latencies.
    fn check(&mut self, what: &str, parts: &mut [Part<'_>], mut lines: Vec<Line>) {
        for part in parts {
            let name = part.contender.name();
            let errors: u64 = part.rounds.iter().map(|round| round.errors).sum();
            match part.reader.check() {
                Ok(verified) => {
                    let Verification {
                        delivery_errors,
                        curve,
                    } = verified;
                    lines.push(line(name, curve));
                    if delivery_errors.is_clean() && errors == 0 {
                        continue;
                    }
                    let delivery_errors = delivery_errors.summary();
                    let text = format!("{what}: {name}: {delivery_errors}, {errors} other errors");
                    self.report.record_error(text);
                }
                Err(failure) => self
                    .report
                    .record_error(format!("{what}: {name}: {failure}")),
            }
        }
        self.report.chart(Chart {
            title: format!("latency by percentile: {what}"),
            x_name: "percentile".to_owned(),
            y_name: "ms".to_owned(),
            x_scale: Scale::Nines,
            y_scale: Scale::Logarithmic,
            lines,
        });
    }

    /// Adds the chart of deliveries per second in each round.
    fn chart_throughput(&mut self, what: &str, floors: &[Round], parts: &[Part<'_>]) {
        let over_rounds = |name: &str, rounds: &[Round]| {
            let rates = rounds.iter().map(|round| round.deliveries_per_s);
            let points = (1..).zip(rates).map(|(number, rate)| (float(number), rate));
            line(name, points.collect())
        };
        let mut lines = vec![over_rounds("floor", floors)];
        for part in parts {
            lines.push(over_rounds(part.contender.name(), &part.rounds));
        }
        self.report.chart(Chart {
            title: format!("throughput over time: {what}"),
            x_name: "round".to_owned(),
            y_name: "deliveries a second".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Logarithmic,
            lines,
        });
    }
}

/// A figure of a round.
type Value = fn(&Round) -> f64;

fn values(rounds: &[Round], value: Value) -> Vec<f64> {
    rounds.iter().map(value).collect()
}

fn samples(parts: &[Part<'_>], value: Value) -> Vec<Samples> {
    let samples = parts.iter().map(|part| Samples {
        name: part.contender.name().to_owned(),
        values: values(&part.rounds, value),
    });
    samples.collect()
}

/// Returns the floor's row in a table of `fanout`.
fn floor_row(floors: &[Round]) -> Vec<String> {
    let median_of = |value| median(&values(floors, value));
    let cpu = median_of(Round::server_ns_each);
    let times = [
        cpu,
        median_of(|round| round.p50_ns),
        median_of(|round| round.p99_ns),
    ];
    let mut row = vec!["floor".to_owned()];
    for ns in times {
        row.extend([duration(ns), "1".to_owned(), String::new()]);
    }
    row.push(format!("{:.0}", 1e9 / cpu));
    row.push(duration(median_of(Round::client_ns_each)));
    row
}

fn title(shape: Shape) -> String {
    let Shape {
        clients,
        frames,
        bytes,
        ..
    } = shape;
    format!("{clients} subscribers, {bytes} bytes, {frames} outstanding")
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}

fn interval(interval: Interval) -> String {
    let Interval { median, low, high } = interval;
    format!("{median:.3} [{low:.3}, {high:.3}]")
}

/// The seed of every bootstrap, constant so that equal samples give equal tables.
const SEED: u64 = 0x6361_6d70;
