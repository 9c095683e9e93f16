//! Rounds of load that a separate client process, the reader, runs on command.
//!
//! Each server has its own reader: the sockets of two servers with 10,000 clients each exceed the
//! open files of one process, and a fresh process treats all servers alike. Commands on standard
//! input and results on standard output are one line each; orders and results are JSON.
//!
//! ```text
//!   leader                                 reader
//!      | ready                               |   all sessions are open and members
//!      |<------------------------------------|
//!      | {"outstanding":16,"seconds":1}      |   a closed loop: batches of 16
//!      | {"rate":50,"seconds":1}             |   an open loop
//!      |------------------------------------>|
//!      | {"deliveries":297000,..}            |
//!      |<------------------------------------|
//!      | verify                              |   verify the messages of all rounds
//!      |------------------------------------>|
//!      | {"delivery_errors":{"lost":0,..},..}|
//!      |<------------------------------------|
//! ```
//!
//! The server is idle at the beginning and the end of a closed round, so its CPU time between them
//! is the cost of the round's deliveries. With several outstanding publications the client writes
//! the batch as fast as it can; a gateway that sends after it has read only the first sends twice.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::delivery_check::DeliveryErrors;
use crate::engine::{Arrivals, Load, Mix};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{Capability, Name, Options, Purpose};
use crate::report::percentile_curve;
use crate::scenario::arguments::{ClientArguments, ServerArguments};
use crate::scenario::measure::{Plan, Sample, measure};
use crate::scenario::{self, Environment};
use crate::stats::{SplitMix, float, latencies};
use crate::team::EngineTeam;
use crate::wire::{Target, frames};
use crate::{clock, gateway, limits};

/// The source of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageSource {
    /// A backend publishes by HTTP, or by the request of a floor.
    Http,
    /// A member publishes.
    Client,
    /// Every session sends commands, whose replies come back to it alone.
    Rpc,
}

/// The arguments of the hidden command `reader`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReaderArguments {
    /// Number of sessions
    #[arg(long)]
    pub(crate) clients: usize,

    /// Message size in bytes
    #[arg(long)]
    pub(crate) bytes: usize,

    /// Source of the messages
    #[arg(long, value_enum)]
    pub(crate) via: MessageSource,

    /// Number of publishing connections or clients
    #[arg(long)]
    pub(crate) publishers: usize,

    /// Requests in flight per publishing connection
    #[arg(long)]
    pub(crate) pipeline: usize,

    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// An order for one round. Exactly one of `outstanding` and `rate` is set.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Order {
    /// The batch size of a closed loop.
    #[serde(default)]
    pub(crate) outstanding: Option<usize>,
    /// The publications per second of an open loop.
    #[serde(default)]
    pub(crate) rate: Option<f64>,
    /// The duration of the round.
    pub(crate) seconds: f64,
}

impl Order {
    /// Creates an order for a closed loop of batches.
    pub(crate) const fn batches(outstanding: usize, seconds: f64) -> Self {
        Self {
            outstanding: Some(outstanding),
            rate: None,
            seconds,
        }
    }

    /// Creates an order for an open loop.
    pub(crate) const fn open(rate: f64, seconds: f64) -> Self {
        Self {
            outstanding: None,
            rate: Some(rate),
            seconds,
        }
    }
}

/// The result of one round.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Round {
    /// Messages received by all sessions.
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
    /// The server's CPU time.
    pub(crate) server_ns: u64,
    /// The client's CPU time.
    pub(crate) client_ns: u64,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    /// True if the server processed publications about as fast as they were due.
    pub(crate) keeps_up: bool,
    /// The share of the round (0 to 1) in which the client was runnable but waited for a CPU.
    pub(crate) waiting: f64,
    /// Number of errors: failed publications, lost sessions, invalid messages.
    pub(crate) errors: u64,
}

/// The verification of the messages of several rounds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Verification {
    pub(crate) delivery_errors: DeliveryErrors,
    /// Latencies as `(percentile in nines, milliseconds)`.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Round {
    fn of(sample: &Sample) -> Self {
        Self {
            deliveries: sample.counters.delivered,
            deliveries_per_s: sample.deliveries_per_s(),
            server_ns: sample.server.map_or(0, |server| server.cpu_ns),
            client_ns: sample.own_ns,
            p50_ns: sample.latency_ns(0.5),
            p99_ns: sample.latency_ns(0.99),
            keeps_up: sample.keeps_up(),
            waiting: float(sample.counters.waited_ns) / float(sample.counters.ran_ns.max(1)),
            errors: sample.counters.errors().1,
        }
    }

    /// Returns the server's CPU time per delivery in nanoseconds.
    pub(crate) fn server_ns_each(&self) -> f64 {
        float(self.server_ns) / float(self.deliveries.max(1))
    }

    /// Returns the client's CPU time per delivery in nanoseconds.
    pub(crate) fn client_ns_each(&self) -> f64 {
        float(self.client_ns) / float(self.deliveries.max(1))
    }
}

/// The options to start a reader with.
#[derive(Clone, Debug)]
pub(crate) struct ReaderOptions {
    /// The server's URL.
    pub(crate) url: String,
    /// The server's process.
    pub(crate) pid: u32,
    pub(crate) protocol: Name,
    pub(crate) options: Options,
    pub(crate) via: MessageSource,
    pub(crate) clients: usize,
    pub(crate) bytes: usize,
    pub(crate) publishers: usize,
    pub(crate) pipeline: usize,
}

/// A handle of a reader process. Dropping it stops the process.
#[derive(Debug)]
pub(crate) struct Reader {
    child: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts the process and waits until its sessions are open and members.
    ///
    /// The process inherits the CPU affinity of this thread.
    ///
    /// # Errors
    ///
    /// The process cannot be started or has exited; its standard error has the reason.
    pub(crate) fn start(options: &ReaderOptions) -> Outcome<Self> {
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let via = options
            .via
            .to_possible_value()
            .expect("no value is skipped");
        let app = &options.options.app;
        let mut command = Command::new(own);
        command
            .args(["reader", "--target", &options.url])
            .args(["--protocol", &options.protocol.as_str()])
            .args(["--pid", &options.pid.to_string()])
            .args(["--clients", &options.clients.to_string()])
            .args(["--bytes", &options.bytes.to_string()])
            .args(["--publishers", &options.publishers.to_string()])
            .args(["--pipeline", &options.pipeline.to_string()])
            .args(["--via", via.get_name()])
            .args(["--app", &format!("{}:{}:{}", app.id, app.key, app.secret)]);
        if let Some(path) = &options.options.publish_path {
            command.args(["--publish-path", path]);
        }
        if let Some(header) = &options.options.publish_header {
            command.args(["--publish-header", header]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().attempt("start a client process")?;
        let orders = child.stdin.take().expect("it is piped");
        let results = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut reader = Self {
            child,
            orders,
            results,
        };
        match reader.line()?.as_str() {
            READY => Ok(reader),
            other => Err(Failure::new(format!(
                "a client process began with `{other}` instead of `{READY}`"
            ))),
        }
    }

    /// Runs one round.
    ///
    /// # Errors
    ///
    /// The process has exited; its standard error has the reason.
    pub(crate) fn round(&mut self, order: Order) -> Outcome<Round> {
        let order = serde_json::to_string(&order).attempt("serialize an order")?;
        writeln!(self.orders, "{order}").attempt("write to a client process")?;
        let line = self.line()?;
        serde_json::from_str(&line).attempt(&format!("a client process reported `{line}`"))
    }

    /// Runs one closed round of batches of `outstanding`.
    ///
    /// # Errors
    ///
    /// As [`Reader::round`].
    pub(crate) fn batches(&mut self, outstanding: usize, seconds: f64) -> Outcome<Round> {
        self.round(Order::batches(outstanding, seconds))
    }

    /// Verifies the messages of all rounds since the previous call.
    ///
    /// # Errors
    ///
    /// As [`Reader::round`].
    pub(crate) fn check(&mut self) -> Outcome<Verification> {
        writeln!(self.orders, "{VERIFY}").attempt("write to a client process")?;
        let line = self.line()?;
        serde_json::from_str(&line).attempt(&format!("a client process reported `{line}`"))
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        let read = self.results.read_line(&mut line);
        match read.attempt("read from a client process")? {
            0 => Err(Failure::new("a client process exited")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
    }
}

/// Runs the reader process: opens the sessions, then runs rounds until its input ends.
///
/// # Errors
///
/// Setup, a system call or the parsing of an order failed.
pub(crate) fn serve(arguments: &ReaderArguments) -> Outcome<()> {
    limits::raise_file_limit(arguments.clients + arguments.publishers)?;
    limits::kill_with_parent()?;
    let mut rounds = Rounds::open(arguments)?;
    println!("{READY}");
    let orders = orders();
    loop {
        let line = match orders.recv_timeout(KEEP_ALIVE_INTERVAL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                rounds.team.first().keep_alive()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let response = if line == VERIFY {
            serde_json::to_string(&rounds.check())
        } else {
            let order = serde_json::from_str(&line).attempt("parse an order")?;
            serde_json::to_string(&rounds.run(order)?)
        };
        println!("{}", response.attempt("serialize a result")?);
    }
}

/// Returns the lines of standard input. A thread reads them, so that the main thread can send
/// heartbeats while it waits.
fn orders() -> Receiver<String> {
    let (sender, orders) = channel();
    let read = move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "this process runs no gateway")]
    drop(std::thread::spawn(read));
    orders
}

struct Rounds {
    team: EngineTeam,
    /// The latencies of all rounds since the last verification.
    latency: Histogram<u64>,
    mix: Mix,
    pid: u32,
    prng: SplitMix,
}

impl Rounds {
    fn open(arguments: &ReaderArguments) -> Outcome<Self> {
        let pid = arguments.server.pid;
        let pid = pid.ok_or_else(|| Failure::new("reader needs --pid of the server"))?;
        let groups = match arguments.via {
            MessageSource::Http | MessageSource::Client => 1,
            MessageSource::Rpc => arguments.clients,
        };
        let client_arguments = ClientArguments {
            clients: arguments.clients,
            threads: 1,
            sources: Vec::new(),
        };
        let environment =
            Environment::prepare(&arguments.server, &client_arguments, Name::Wserver)?;
        let all = scenario::members(0, arguments.clients, groups);
        let sizes = scenario::sizes(&all, groups);
        let mut setup = environment.setup(&client_arguments, sizes, arguments.bytes);
        setup.client_publishers = arguments.publishers;
        let mut team = EngineTeam::new(&setup, 1)?;
        let (mix, purpose) = match arguments.via {
            MessageSource::Http => (scenario::flow::HTTP, Purpose::Receive),
            MessageSource::Client => (scenario::flow::CLIENT, Purpose::Receive),
            MessageSource::Rpc => (scenario::flow::ASK, Purpose::Command),
        };
        team.first().open(&all, purpose, OPENING_AT_A_TIME)?;
        if arguments.via == MessageSource::Http {
            // After the sessions: a floor treats the first connections as its receivers.
            team.first()
                .add_publishers(arguments.publishers, arguments.pipeline)?;
        }
        let is_real = arguments.server.protocol != Some(Name::Floor);
        if is_real && purpose == Purpose::Receive {
            let capability = if mix.http > 0 {
                Capability::Http
            } else {
                Capability::Client
            };
            team.first().probe(capability, all.len())?;
        }
        Ok(Self {
            team,
            latency: latencies(),
            mix,
            pid,
            prng: SplitMix(clock::now_ns()),
        })
    }

    fn run(&mut self, order: Order) -> Outcome<Round> {
        let load = match (order.outstanding, order.rate) {
            (Some(outstanding), None) => Load::Batches { outstanding },
            (None, Some(rate)) => Load::Open {
                rate,
                arrivals: Arrivals::Constant,
            },
            _ => {
                return Err(Failure::new(
                    "an order needs `outstanding` or `rate`, not both",
                ));
            }
        };
        let plan = |measured_s| Plan {
            load,
            mix: self.mix,
            warm_up_s: 0.0,
            measured_s,
            patience_s: 3.0,
            seed: 1,
            moves: 0.0,
            is_shown: false,
        };
        let mut plan_of_round = plan(order.seconds);
        plan_of_round.seed = self.prng.next();
        // Warm up: the caches and branch predictors hold the state of another server's round.
        measure(&mut self.team, &plan(0.01), None)?;
        let sample = measure(&mut self.team, &plan_of_round, Some(self.pid))?;
        if let Some(error) = sample.counters.errors().0.first() {
            eprintln!("reader: {error}");
        }
        let bounds = "the bounds are the same";
        self.latency.add(&sample.counters.latency).expect(bounds);
        Ok(Round::of(&sample))
    }

    /// Verifies all rounds since the previous call and resets the records.
    fn check(&mut self) -> Verification {
        let verification = Verification {
            delivery_errors: self.team.accounts().errors(),
            curve: percentile_curve("", &self.latency).points,
        };
        self.latency.reset();
        verification
    }
}

/// Returns an HTTP push of a message of `bytes` bytes. A floor's request has its length.
pub(crate) fn request(target: &Target, bytes: usize) -> Vec<u8> {
    let protocol = Name::Wserver.build(&Options::default());
    let request = protocol.request(&target.authority, 0, &"m".repeat(bytes), 0);
    request.unwrap_or_default()
}

/// Returns the frame in which a message of `bytes` bytes is delivered.
pub(crate) fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::put_plain(frames::TEXT, "m".repeat(bytes).as_bytes(), &mut frame);
    frame
}

/// Returns default options for a server that this program started: HTTP, one client, 128 bytes.
pub(crate) fn plain_options(url: &str, pid: u32, protocol: Name) -> ReaderOptions {
    ReaderOptions {
        url: url.to_owned(),
        pid,
        protocol,
        options: Options::default(),
        via: MessageSource::Http,
        clients: 1,
        bytes: 128,
        publishers: 1,
        pipeline: 1,
    }
}

/// The interval between heartbeats and reads while no round runs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const READY: &str = "ready";
const VERIFY: &str = "verify";
const OPENING_AT_A_TIME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_serialization() {
        let order = Order {
            outstanding: Some(16),
            rate: None,
            seconds: 0.5,
        };
        let text = serde_json::to_string(&order).expect("plain data");
        assert_eq!(serde_json::from_str::<Order>(&text).ok(), Some(order));
        let open: Order = serde_json::from_str(r#"{"rate":50,"seconds":1}"#).expect("an order");
        assert_eq!((open.outstanding, open.rate), (None, Some(50.0)));
    }
}
