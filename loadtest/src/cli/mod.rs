//! The command line: what can be asked of this program, explained to whoever asks.

mod words;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::compare::CompareArguments;
use crate::figures::FiguresArguments;
use crate::floor::{FloorArguments, FloorServerArguments};
use crate::rounds::ReaderArguments;
use crate::scenario::arguments::{
    ChannelArguments, ChurnArguments, ConnectArguments, IdleArguments, MixedArguments,
    PushArguments, RpcArguments, SlowArguments,
};

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
