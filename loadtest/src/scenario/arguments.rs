//! The arguments of the scenarios: first the shared ones (server, clients, load), then each one's.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::Arrivals;
use crate::protocol::{App, Name, Options};
use crate::report::Destination;
use crate::values::{at_least_one, message_bytes, seconds};

/// The server and its protocol.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArguments {
    /// A running server, as ws://HOST:PORT[/PATH] [default: start campanile]
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,

    /// The server's protocol [default: depends on the scenario]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) protocol: Option<Name>,

    /// Process id of the server, to report its CPU and memory
    #[arg(long, requires = "target")]
    pub(crate) pid: Option<u32>,

    /// Path of HTTP publications [default: depends on the protocol]
    #[arg(long, value_name = "PATH")]
    pub(crate) publish_path: Option<String>,

    /// Header of HTTP publications, as "Name: value"
    #[arg(long, value_name = "HEADER")]
    pub(crate) publish_header: Option<String>,

    /// Application of the protocol pusher, as ID:KEY:SECRET
    #[arg(long, value_parser = app, default_value = "app-id:app-key:app-secret")]
    pub(crate) app: App,

    /// The gateway's executable [default: `campanile` beside this program, built if missing]
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    pub(crate) gateway: Option<PathBuf>,

    /// The gateway's configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) config: Option<PathBuf>,

    /// The gateway's number of shards
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shards: u32,
}

impl ServerArguments {
    /// Returns the options of the protocol.
    pub(crate) fn protocol_options(&self) -> Options {
        let path = self.target.as_deref().and_then(|url| {
            let rest = url.strip_prefix("ws://")?;
            Some(rest[rest.find('/')?..].to_owned())
        });
        Options {
            path,
            publish_path: self.publish_path.clone(),
            publish_header: self.publish_header.clone(),
            app: self.app.clone(),
        }
    }
}

/// The clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub(crate) struct ClientArguments {
    /// Number of sessions
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// Client threads, at most 32; several run on all cores but the server's
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,

    /// Local addresses to connect from, in turn, such as 127.0.0.2; each has 28,000 ports
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) sources: Vec<Ipv4Addr>,
}

/// The load on the server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArguments {
    /// Open loop: publications per second, sent without regard to earlier ones
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Intervals between the publications of an open loop
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) arrivals: Arrivals,

    /// Closed loop: publications in flight, at most 1024; the next is sent when all receivers have
    /// an earlier one
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    #[arg(conflicts_with_all = ["rate", "ramp"])]
    pub(crate) outstanding: Option<usize>,

    /// Find the knee: an open loop with rising rates, from --rate on, until p99 is above
    /// --p99-max-ms or the server falls behind. Each step takes --seconds
    #[arg(long)]
    pub(crate) ramp: bool,

    /// Factor between the rates of two steps of a ramp, above 1.01
    #[arg(long, default_value_t = 1.3, value_parser = factor, requires = "ramp")]
    pub(crate) ramp_factor: f64,

    /// Limit of p99 in a ramp, in milliseconds
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) p99_max_ms: f64,

    /// Measured time in seconds
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) seconds: f64,

    /// Time under load before that, in seconds; its messages are verified but not measured
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: f64,

    /// Number of measurements; the result is the median, with the spread
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) repeat: usize,

    /// Message size in bytes
    #[arg(long, default_value_t = 128, value_parser = message_bytes)]
    pub(crate) bytes: usize,

    /// Number of HTTP connections or clients that publish, in turn
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub(crate) publishers: usize,

    /// Requests in flight per HTTP connection
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) pipeline: usize,

    /// Seed of the random numbers; equal seeds give equal schedules
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The arguments of `push`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PushArguments {
    /// Number of users; the sessions are distributed evenly [default: one session per user]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) users: Option<usize>,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of `channel`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChannelArguments {
    /// The publisher [default: client, or http if clients cannot publish]
    #[arg(long, value_enum)]
    pub(crate) via: Option<Via>,
    /// Number of channels
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The publisher of the scenario `channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A member of the channel
    Client,
    /// A backend, by HTTP
    Http,
    /// A program that embeds the gateway: its example `publisher`, triggered by HTTP
    Library,
}

/// The arguments of `rpc`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RpcArguments {
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of `mixed`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MixedArguments {
    /// Weight of publications by HTTP
    #[arg(long, default_value_t = 1)]
    pub(crate) http: u32,
    /// Weight of publications by clients
    #[arg(long, default_value_t = 1)]
    pub(crate) client: u32,
    /// Weight of commands
    #[arg(long, default_value_t = 8)]
    pub(crate) rpc: u32,
    /// Number of channels
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments that all publishing scenarios share.
#[derive(Args, Clone, Debug)]
pub(crate) struct FlowArguments {
    #[command(flatten)]
    pub(crate) client: ClientArguments,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `connect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArguments {
    /// Concurrent handshakes per thread
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) at_a_time: usize,
    /// Number of repetitions; the result is the median, with the spread
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub(crate) repeat: usize,
    #[command(flatten)]
    pub(crate) client: ClientArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArguments {
    /// Sessions of the baseline: the memory with them, which includes the process's, is subtracted
    #[arg(long, default_value_t = 100)]
    pub(crate) base: usize,
    /// Time without traffic before memory is read, in seconds
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) settle: f64,
    #[command(flatten)]
    pub(crate) client: ClientArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `churn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChurnArguments {
    /// Sessions that join and leave, besides the --clients that stay
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub(crate) wanderers: usize,
    /// Joins and leaves per second
    #[arg(long, default_value_t = 500.0)]
    pub(crate) moves: f64,
    /// Number of channels
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of `slow`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SlowArguments {
    /// Number of slow sessions, besides --clients
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) slow: usize,
    /// Bytes per second that each of them reads; 0 for none
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_bytes: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

fn app(text: &str) -> Result<App, String> {
    let mut words = text.splitn(3, ':').map(str::to_owned);
    match (words.next(), words.next(), words.next()) {
        (Some(id), Some(key), Some(secret)) => Ok(App { id, key, secret }),
        _ => Err("must be ID:KEY:SECRET".to_owned()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|threads| {
        if threads <= 32 {
            Ok(threads)
        } else {
            Err("must be at most 32".to_owned())
        }
    })
}

fn window(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|window| {
        if window <= crate::engine::SLOTS_MAX {
            Ok(window)
        } else {
            Err(format!("must be at most {}", crate::engine::SLOTS_MAX))
        }
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err("must be above 0".to_owned())
    }
}

fn factor(text: &str) -> Result<f64, String> {
    rate(text).and_then(|factor| {
        if factor > 1.01 {
            Ok(factor)
        } else {
            Err("must be above 1.01".to_owned())
        }
    })
}
