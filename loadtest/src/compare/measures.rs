//! The measures of a comparison: each takes its rounds from all servers in turn and fills a table.

mod load;

use super::Contender;
use super::config::{Config, Measure};
use super::losses::{Better, Losses};
use super::samples::{Samples, compare};
use crate::cores::Cores;
use crate::failure::{Failure, Outcome};
use crate::floor::{self, Shape};
use crate::report::{Chart, Line, Report, Scale, Table};
use crate::rounds::{Judged, Order, Reader, Round};
use crate::stats::{Interval, duration, float, median};

/// The comparison under way.
pub(super) struct Bench<'a> {
    config: &'a Config,
    cores: &'a Cores,
    report: Report,
    losses: Losses,
}

/// A server that takes part in a measure, with its clients and its rounds so far.
struct Part<'a> {
    contender: Contender<'a>,
    reader: Reader,
    rounds: Vec<Round>,
    values: Vec<f64>,
}

/// A measure that another command of this program takes, one server after the other.
struct OneByOne<'a> {
    measure: Measure,
    title: &'a str,
    key: &'a str,
    /// All but the number of sessions, which is the last.
    arguments: &'a [&'a str],
    sessions: usize,
    /// Its name in the command's report.
    figure: &'a str,
    word: fn(f64) -> String,
}

impl<'a> Bench<'a> {
    pub(super) fn new(config: &'a Config, cores: &'a Cores, report: Report) -> Self {
        Self {
            config,
            cores,
            report,
            losses: Losses::of(config),
        }
    }

    pub(super) fn into_report(mut self) -> Report {
        self.report.put_first(self.losses.into_table());
        self.report
    }

    /// Takes every measure that is asked for. A server that fails one is left out of it; a cell of
    /// fan-outs whose floor fails is wrong.
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
                    word: duration,
                }),
                Measure::Idle => self.one_by_one(&OneByOne {
                    measure,
                    title: "anonymous memory per idle connection",
                    key: "idle",
                    arguments: &["idle", "--clients"],
                    sessions: self.config.idle_sessions,
                    figure: "process_bytes_per_session",
                    word: |bytes| format!("{bytes:.0} bytes"),
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
                            .warn(format!("{}: left out, too many bytes", title(shape)));
                    } else if let Err(failure) = self.fanout(shape) {
                        self.report.complain(format!("{}: {failure}", title(shape)));
                    }
                }
            }
        }
    }

    /// One cell of the table of fan-outs.
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
        let judged = floor_reader.judge()?;
        if !judged.verdict.is_clean() {
            return Err(Failure::new("the floor lost messages"));
        }
        let floor_line = line("floor", judged.curve);
        self.judge(&what, &mut parts, vec![floor_line]);
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
                row.push(one.against.word().to_owned());
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

    /// The round trip of one command.
    fn rpc(&mut self) {
        let what = "round trip of one command of 64 bytes on one connection".to_owned();
        eprintln!("{what}");
        let parts = self.parts(Measure::Rpc, &what, &|contender| contender.asker(64));
        let order = Order::batches(1, self.config.round_seconds);
        self.latencies(&what, "rpc", parts, order);
    }

    /// Has every server carry out `order` in all rounds, and compares them with the first.
    fn latencies(&mut self, what: &str, key: &str, mut parts: Vec<Part<'_>>, order: Order) {
        for number in 0..self.config.rounds {
            self.round(what, &mut parts, number, |part| {
                part.rounds.push(part.reader.round(order)?);
                Ok(())
            });
        }
        self.judge(what, &mut parts, Vec::new());
        self.add_latencies(what, key, &parts);
    }

    /// CPU, p50 and p99 of servers against the first.
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
                row.push(one.against.word().to_owned());
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

    /// A figure of another command, each time of a server that was started for it.
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
        self.add_samples(&what, measure.key, &all, Better::Less, &measure.word);
    }

    /// A table of one value of each server, against the first's.
    fn add_samples(
        &mut self,
        what: &str,
        key: &str,
        all: &[Samples],
        better: Better,
        word: &dyn Fn(f64) -> String,
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
            let (ratio, against) = (interval(one.ratio), one.against.word().to_owned());
            rows.push(vec![one.name, word(one.value), ratio, against]);
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
        eprintln!("{}", table.as_text()); // at once: a later measure may fail or be interrupted
        self.report.table(table);
    }

    /// Starts every server and its clients; one that fails is left out.
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
                Ok((None, _)) => {} // it has nothing of the kind
                Err(failure) => self
                    .report
                    .warn(format!("{what}: {}: {failure}", server.name)),
            }
        }
        parts
    }

    /// Has every server do one round, in an order that differs from round to round.
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

    /// Says aloud who lost a message, and draws everyone's latencies.
    fn judge(&mut self, what: &str, parts: &mut [Part<'_>], mut lines: Vec<Line>) {
        for part in parts {
            let name = part.contender.name();
            let complaints: u64 = part.rounds.iter().map(|round| round.complaints).sum();
            match part.reader.judge() {
                Ok(judged) => {
                    let Judged { verdict, curve } = judged;
                    lines.push(line(name, curve));
                    if verdict.is_clean() && complaints == 0 {
                        continue;
                    }
                    let verdict = verdict.words();
                    let text = format!("{what}: {name}: {verdict}, {complaints} complaints");
                    self.report.complain(text);
                }
                Err(failure) => self.report.complain(format!("{what}: {name}: {failure}")),
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

    /// Draws what was delivered in each round.
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

/// What a round came to, in one number.
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

/// The floor's row in a table of fan-outs.
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

/// Seeds every bootstrap: the same samples give the same table.
const SEED: u64 = 0x6361_6d70;
