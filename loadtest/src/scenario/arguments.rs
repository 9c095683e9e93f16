//! The arguments of the scenarios: first what several have, the server, the crowd and the load.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::Arrivals;
use crate::protocol::{App, Name, Options};
use crate::report::Destination;
use crate::values::{at_least_one, message_bytes, seconds};

/// The server and how it is spoken to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArguments {
    /// A running server, as ws://HOST:PORT[/PATH] [default: start campanile]
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,

    /// What it speaks [default: the scenario's own]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) protocol: Option<Name>,

    /// The process of that server, to report its CPU and memory
    #[arg(long, requires = "target")]
    pub(crate) pid: Option<u32>,

    /// Where publications are posted [default: the protocol's own]
    #[arg(long, value_name = "PATH")]
    pub(crate) publish_path: Option<String>,

    /// A header to send with each, as "Name: value"
    #[arg(long, value_name = "HEADER")]
    pub(crate) publish_header: Option<String>,

    /// Pusher's application, as ID:KEY:SECRET
    #[arg(long, value_parser = app, default_value = "app-id:app-key:app-secret")]
    pub(crate) app: App,

    /// The campanile to start [default: the one beside this program, built if missing]
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    pub(crate) gateway: Option<PathBuf>,

    /// A configuration file to start it with
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) config: Option<PathBuf>,

    /// Shards of it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shards: u32,
}

impl ServerArguments {
    /// What is to be said about the protocol.
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
pub(crate) struct CrowdArguments {
    /// How many sessions to open
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// Client threads, for when one is not enough: they go on the cores that the server is not on
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,

    /// Local addresses to connect from, in turn, such as 127.0.0.2: one has 28,000 ports
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) sources: Vec<Ipv4Addr>,
}

/// What is asked of the server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArguments {
    /// Open loop: publications a second, whatever becomes of them
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// How they follow each other
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) arrivals: Arrivals,

    /// Closed loop: so many under way at once, the next when one has been received by all
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    #[arg(conflicts_with_all = ["rate", "ramp"])]
    pub(crate) outstanding: Option<usize>,

    /// Open loop with ever higher rates, from --rate on, until p99 is above --p99-max-ms or the
    /// server falls behind: finds the knee. Each step takes --seconds
    #[arg(long)]
    pub(crate) ramp: bool,

    /// Factor from one step of a ramp to the next
    #[arg(long, default_value_t = 1.3, value_parser = factor, requires = "ramp")]
    pub(crate) ramp_factor: f64,

    /// What p99 may be in a ramp
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) p99_max_ms: f64,

    /// For how long to measure
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) seconds: f64,

    /// For how long before that to do the same without measuring (messages are judged all the same)
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: f64,

    /// How often to measure; the result is the median, with the spread
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) repeat: usize,

    /// Bytes in a message
    #[arg(long, default_value_t = 128, value_parser = message_bytes)]
    pub(crate) bytes: usize,

    /// HTTP connections to publish over, in turn, or clients that publish
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub(crate) publishers: usize,

    /// Requests that one of those connections may have unanswered
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) pipeline: usize,

    /// Seeds what is random: the same seed, the same schedule
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The arguments of `push`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PushArguments {
    /// How many users the sessions belong to, dealt out in turn [default: one session per user]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) users: Option<usize>,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of `channel`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChannelArguments {
    /// Who publishes [default: a client, or a backend where clients cannot]
    #[arg(long, value_enum)]
    pub(crate) via: Option<Via>,
    /// How many channels there are
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A member of the channel
    Client,
    /// A backend, over HTTP
    Http,
    /// A program that embeds the gateway: its example `publisher`, told over HTTP
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
    /// How many channels there are
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of everything that publishes.
#[derive(Args, Clone, Debug)]
pub(crate) struct FlowArguments {
    #[command(flatten)]
    pub(crate) crowd: CrowdArguments,
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
    /// Handshakes under way at once in the storm, by each thread
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) at_a_time: usize,
    /// How often to do all of it; the result is the median, with the spread
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub(crate) repeat: usize,
    #[command(flatten)]
    pub(crate) crowd: CrowdArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArguments {
    /// Sessions that are opened first and subtracted, with what the process needs for itself
    #[arg(long, default_value_t = 100)]
    pub(crate) base: usize,
    /// For how long all must be quiet before memory is read
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) settle: f64,
    #[command(flatten)]
    pub(crate) crowd: CrowdArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `churn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChurnArguments {
    /// Sessions that come and go, besides --clients that stay
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub(crate) wanderers: usize,
    /// Joins and leaves a second
    #[arg(long, default_value_t = 500.0)]
    pub(crate) moves: f64,
    /// How many channels there are
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) channels: usize,
    #[command(flatten)]
    pub(crate) flow: FlowArguments,
}

/// The arguments of `slow`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SlowArguments {
    /// How many more sessions read slowly
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) slow: usize,
    /// How many bytes a second each of them reads; 0 for none
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
