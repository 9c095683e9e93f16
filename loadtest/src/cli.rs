//! The command line: what can be asked of this program, explained to whoever asks.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::figures::Name;
use crate::push::message::BYTES_MIN;

/// Measures a push gateway from outside.
///
/// Knows the wserver protocol (WebSocket on /ws, a register message, HTTP pushes on /push) and
/// nothing of the gateway's code. Start with:
///
///   loadtest push                       one push a millisecond, each to one of 1,000 sessions
///   loadtest push --users 1 --rate 100  each push to all 1,000 sessions: the fan-out
///   loadtest floor --clients 1000       what the kernel alone costs for the same bytes
///   loadtest figures                    the table of promises, each against its bound
///
/// With two cores or more, the server that is started runs on the first and this program on the
/// second. Keep the machine idle otherwise.
///
/// Exit status: 0 when all is as it should be, 1 when something was lost, duplicated or reordered,
/// or a figure does not hold, 2 when the measurement could not be made.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Push on a schedule and judge every delivery
    ///
    /// Opens the sessions with fastwebsockets, registers them, and pushes at a fixed rate over HTTP
    /// keep-alive connections, whether or not earlier pushes have been answered: a stall of the
    /// gateway shows in the latencies, which count from the moment a push was due. Every message
    /// carries its publisher, user and number, so that lost, duplicated and reordered ones are
    /// counted. Ends with 1 if there is any, or if a push is not answered 200 with the number of
    /// sessions its user has.
    #[command(verbatim_doc_comment)]
    Push(PushArguments),

    /// Measure what the kernel alone costs
    ///
    /// Starts a bare `io_uring` loop that, for each trigger as long as an HTTP push, sends prepared
    /// frames of 128 bytes payload to every socket, answers, and does nothing else. What a gateway
    /// costs beyond this is its own doing.
    Floor(FloorArguments),

    /// Measure every promised figure and print the table
    ///
    /// A ratio is the median over alternating pairs of a second each, first the floor and then the
    /// gateway, with its 95 % bootstrap interval; it holds when the interval's lower end is within
    /// the bound. The gateway runs with one shard. Ends with 1 if a figure does not hold.
    Figures(FiguresArguments),

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
    /// How many sessions to open
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// How many users they belong to, dealt out in turn [default: one session per user]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) users: Option<usize>,

    /// Pushes per second, each to the next user
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,

    /// For how long to push
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    /// Bytes in a message
    #[arg(long, default_value_t = 128, value_parser = message_bytes)]
    pub(crate) bytes: usize,

    /// HTTP connections to push over, in turn
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub(crate) connections: usize,

    /// The event that sessions register for
    #[arg(long, default_value = "news", value_parser = plain_name)]
    pub(crate) event: String,

    /// A running gateway to push to, as ws://HOST:PORT/ws [default: start one]
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,

    /// The process of that gateway, to report its CPU and memory
    #[arg(long, requires = "target")]
    pub(crate) pid: Option<u32>,

    /// Shards of the gateway that is started
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shards: u32,

    /// Which gateway to start
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// The arguments of `floor`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FloorArguments {
    /// How many sockets to send to
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// How many frames to send to each at a time
    #[arg(long, default_value_t = 1, value_parser = frames_count)]
    pub(crate) frames: usize,

    /// For how long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
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

/// The arguments of the hidden `floor-server`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FloorServerArguments {
    /// How many sockets to accept before the control connection
    #[arg(long)]
    pub(crate) clients: usize,

    /// How many frames to send to each at a time
    #[arg(long)]
    pub(crate) frames: usize,
}

/// The arguments of the hidden `reader`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReaderArguments {
    /// Where the server listens
    #[arg(long)]
    pub(crate) target: String,

    /// The server's process
    #[arg(long)]
    pub(crate) pid: u32,

    /// How many sessions to open
    #[arg(long)]
    pub(crate) clients: usize,

    /// Frames per session and batch
    #[arg(long)]
    pub(crate) frames: usize,

    /// What the server is, and how it is asked for the frames
    #[arg(long, value_enum)]
    pub(crate) asking: crate::rounds::Asking,
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
        if (BYTES_MIN..=60_000).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("must be from {BYTES_MIN} (the stamp) to 60000"))
        }
    })
}

fn plain_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("must be letters, digits, `-` and `_`".to_owned())
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
            ["push", "--event", "a\"b"],
            ["push", "--pid", "1"],
            ["floor", "--frames", "257"],
            ["figures", "--memory-sessions", "100"],
        ] {
            let line = ["loadtest"].iter().chain(&wrong);
            assert!(Arguments::try_parse_from(line).is_err(), "{wrong:?}");
        }
    }
}
