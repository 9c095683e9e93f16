//! The command line: what can be asked of this program, explained to whoever asks.

mod shared;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::shared::{CrowdArguments, LoadArguments, ServerArguments};
use crate::compare::Measure;
use crate::figures::Name;
use crate::report::Destination;
use crate::stamp::{BYTES_MAX, BYTES_MIN};

/// Measures push gateways from outside, and judges every message
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = words::LOADTEST)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Push by HTTP to users' sessions
    ///
    /// Opens sessions, registers each for a user, and pushes to one user after the other. By
    /// default a session a user; --users 1 makes every push a fan-out to all.
    #[command(verbatim_doc_comment)]
    Push(PushArguments),

    /// Publish to channels, by a member or by HTTP
    ///
    /// All sessions are members of a channel, dealt out in turn if there are several.
    ///   --via client   one of them publishes, by the protocol's own words (the publisher gets its
    ///                  own message too and is counted)
    ///   --via http     a backend does, by the server's API
    ///   --via library  a program that embeds the gateway does: its example `publisher`
    #[command(verbatim_doc_comment)]
    Channel(ChannelArguments),

    /// Give commands and wait for their replies
    ///
    /// Each session in turn gives a command that is answered with its own data: `echo` of the
    /// dialects, an echo server's echo, or for NATS a message to itself.
    #[command(verbatim_doc_comment)]
    Rpc(RpcArguments),

    /// Connect and register, a storm of it
    ///
    /// Opens all sessions, --at-a-time under way at once, then ends the server (if this program
    /// started it), starts it again and opens all at once. Tells how long each took and what it
    /// cost the server.
    #[command(verbatim_doc_comment)]
    Connect(ConnectArguments),

    /// What an idle session costs in memory, in the server's process and in the kernel
    Idle(IdleArguments),

    /// Members come and go while others publish
    ///
    /// What a client can know is between when it was surely a member and when it surely was not:
    /// every message published while it surely was must come, none may that was published while it
    /// surely was not. Protocols that answer joins and leaves do it on connections that stay; with
    /// the others, joining is connecting and leaving is closing.
    #[command(verbatim_doc_comment)]
    Churn(ChurnArguments),

    /// Some sessions read slowly or not at all
    ///
    /// Tells the latencies of the others and what became of the slow: kept, closed with which code,
    /// or cut. A slow session that is let go may miss what came after; nobody else may.
    #[command(verbatim_doc_comment)]
    Slow(SlowArguments),

    /// Publications by HTTP and by clients, and commands, in proportions
    Mixed(MixedArguments),

    /// Measure what the kernel alone costs
    ///
    /// Starts a bare `io_uring` loop that, for each request as long as an HTTP push, sends the
    /// frame of 128 bytes payload at its end to every socket, answers, and does nothing else. What
    /// a gateway costs beyond this is its own doing. The client's own cost per delivery is printed
    /// beside it: that is its ceiling.
    Floor(FloorArguments),

    /// Measure every promised figure and print the table
    ///
    /// A ratio is the median over alternating pairs of a second each, first the floor and then the
    /// gateway, with its 95 % bootstrap interval; it holds when the interval's lower end is within
    /// the bound. The gateway runs with one shard. Ends with 1 if a figure does not hold.
    Figures(FiguresArguments),

    /// Compare servers, in turn, against the floor of each round
    #[command(verbatim_doc_comment, after_long_help = words::COMPARE)]
    Compare(CompareArguments),

    /// The floor's server process
    #[command(hide = true)]
    FloorServer(FloorServerArguments),

    /// The latency floor's server process
    #[command(hide = true)]
    EpollServer,

    /// Become another program that ends when the caller does
    #[command(hide = true)]
    Tied {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },

    /// A client process that runs rounds on command
    #[command(hide = true)]
    Reader(ReaderArguments),
}

/// Which gateway to start.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArguments {
    /// The gateway's executable [default: `campanile` beside this program, built if missing]
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,

    /// A configuration file to start the gateway with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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

/// The arguments of `floor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloorArguments {
    /// How many sockets to send to
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// How many frames to send to each at a time
    #[arg(long, default_value_t = 1, value_parser = frames_count)]
    pub(crate) frames: usize,

    /// Bytes of payload in a frame
    #[arg(long, default_value_t = 128, value_parser = message_bytes)]
    pub(crate) bytes: usize,

    /// For how long, a round a second
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of `figures`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FiguresArguments {
    /// Measure only this figure; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) only: Vec<Name>,

    /// Alternating pairs per ratio
    #[arg(long, default_value_t = 15, value_parser = at_least_one)]
    pub(crate) pairs: usize,

    /// Milliseconds for which each half of a pair runs
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) round_ms: u64,

    /// Sessions in the memory figure
    #[arg(long, default_value_t = 15_000, value_parser = memory_sessions)]
    pub(crate) memory_sessions: usize,

    /// Which gateway to start
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// The arguments of `compare`; what is given here goes before the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArguments {
    /// The servers and the measures
    pub(crate) file: PathBuf,

    /// Take only these measures
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    pub(crate) measures: Vec<Measure>,

    /// Compare only these servers
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Rounds of the measures that are short
    #[arg(long, value_parser = at_least_one)]
    pub(crate) rounds: Option<usize>,

    /// Rounds of those that are long: knee, connect and idle
    #[arg(long, value_parser = at_least_one)]
    pub(crate) long_rounds: Option<usize>,

    /// Seconds of a round
    #[arg(long, value_parser = seconds)]
    pub(crate) round_seconds: Option<f64>,

    /// Subscribers in the cells of fanout
    #[arg(long, value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) subscribers: Vec<usize>,

    /// Bytes in a message
    #[arg(long, value_delimiter = ',', value_parser = message_bytes)]
    pub(crate) bytes: Vec<usize>,

    /// Publications outstanding
    #[arg(long, value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) outstanding: Vec<usize>,

    /// Connections of the measure idle
    #[arg(long, value_parser = at_least_one)]
    pub(crate) idle_sessions: Option<usize>,

    /// Connections of the measure connect
    #[arg(long, value_parser = at_least_one)]
    pub(crate) connect_sessions: Option<usize>,

    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of the hidden `floor-server`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FloorServerArguments {
    /// How many sockets to accept before the publishing connections
    #[arg(long)]
    pub(crate) clients: usize,

    /// How many frames to send to each at a time
    #[arg(long)]
    pub(crate) frames: usize,

    /// Over how many connections the frames come, as many over each
    #[arg(long)]
    pub(crate) publishers: usize,

    /// Bytes of payload in a frame
    #[arg(long)]
    pub(crate) bytes: usize,
}

/// The arguments of the hidden `reader`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReaderArguments {
    /// How many sessions to open
    #[arg(long)]
    pub(crate) clients: usize,

    /// Bytes in a message
    #[arg(long)]
    pub(crate) bytes: usize,

    /// Who publishes
    #[arg(long, value_enum)]
    pub(crate) via: crate::rounds::Asking,

    /// Publishing connections or clients
    #[arg(long)]
    pub(crate) publishers: usize,

    /// Requests that one of them may have unanswered
    #[arg(long)]
    pub(crate) pipeline: usize,

    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn frames_count(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|frames| {
        // Above this a socket's send buffer may fill, and a send would have to wait.
        if frames <= 256 {
            Ok(frames)
        } else {
            Err("must be at most 256".to_owned())
        }
    })
}

fn memory_sessions(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|sessions| {
        if sessions > crate::figures::BASE_SESSIONS {
            Ok(sessions)
        } else {
            Err("must be more than the 100 that are subtracted".to_owned())
        }
    })
}

fn message_bytes(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|bytes| {
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!(
                "must be from {BYTES_MIN} (the stamp) to {BYTES_MAX}"
            ))
        }
    })
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be from 0 to 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_that_cannot_work_are_refused_at_the_door() {
        for wrong in [
            ["push", "--bytes", "63"],
            ["push", "--clients", "0"],
            ["push", "--rate", "0"],
            ["push", "--seconds", "-1"],
            ["push", "--app", "id:key"],
            ["channel", "--outstanding", "1025"],
            ["rpc", "--threads", "33"],
            ["push", "--pid", "1"],
            ["floor", "--frames", "257"],
            ["figures", "--memory-sessions", "100"],
        ] {
            let line = ["loadtest"].iter().chain(&wrong);
            assert!(Arguments::try_parse_from(line).is_err(), "{wrong:?}");
        }
    }
}
