//! The command line: subcommands and their help texts.

mod help;

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

/// Measures push gateways over the network and verifies every message
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = help::LOADTEST)]
pub(crate) struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Push by HTTP to the sessions of users
    ///
    /// Opens sessions, registers each for a user, and pushes to one user after the other. By
    /// default each user has one session; with --users 1 every push goes to all sessions.
    #[command(verbatim_doc_comment)]
    Push(PushArguments),

    /// Publish to channels, by a member or by HTTP
    ///
    /// Every session is a member of one channel; several channels get equal numbers of members.
    ///   --via client   a member publishes, by the protocol's own command (it receives its own
    ///                  message too, which is counted)
    ///   --via http     a backend publishes, by the server's API
    ///   --via library  a program that embeds the gateway publishes: its example `publisher`
    #[command(verbatim_doc_comment)]
    Channel(ChannelArguments),

    /// Send commands and wait for their replies
    ///
    /// Each session in turn sends a command whose reply carries the command's data: `echo` of the
    /// dialects, the echo of an echo server, or for NATS a message to itself.
    #[command(verbatim_doc_comment)]
    Rpc(RpcArguments),

    /// Connect and register many sessions at once
    ///
    /// Opens all sessions, at most --at-a-time concurrently, then stops the server (if this program
    /// started it), starts it again and opens all at once. Reports the duration of both and the
    /// server's CPU time.
    #[command(verbatim_doc_comment)]
    Connect(ConnectArguments),

    /// Measure the memory of an idle session, in the server's process and in the kernel
    Idle(IdleArguments),

    /// Members join and leave while others publish
    ///
    /// A client knows two kinds of intervals: in one it is certainly a member, in the other it is
    /// certainly not. It must receive every message published in the first kind and none published
    /// in the second. With protocols that confirm joins and leaves the connections stay open; with
    /// the others a client joins by connecting and leaves by closing.
    #[command(verbatim_doc_comment)]
    Churn(ChurnArguments),

    /// Some sessions read slowly or not at all
    ///
    /// Reports the latencies of the other sessions, and for each slow session whether it was kept,
    /// closed (with the code) or aborted. Only a slow session that was closed or aborted may miss
    /// messages, and only those after its end.
    #[command(verbatim_doc_comment)]
    Slow(SlowArguments),

    /// Run publications by HTTP, publications by clients, and commands, in given proportions
    Mixed(MixedArguments),

    /// Measure the cost of the kernel alone (the floor)
    ///
    /// Starts a bare `io_uring` loop. For each request, which is as long as an HTTP push, it sends
    /// the frame at the request's end (128 bytes of payload) to every socket and responds; it does
    /// nothing else. The cost of a gateway above this floor is the gateway's own. The client's own
    /// cost per delivery is printed too: it limits the rate that can be measured.
    Floor(FloorArguments),

    /// Measure every promised figure and print the table
    ///
    /// A ratio is the median over pairs of measurements of one second each, first the floor and
    /// then the gateway, with its 95 % bootstrap interval. A figure holds if the interval's lower
    /// end is at most the limit. The gateway runs with one shard. The exit status is 1 if a figure
    /// does not hold.
    Figures(FiguresArguments),

    /// Compare servers, one after the other, with the floor of each round
    #[command(verbatim_doc_comment, after_long_help = help::COMPARE)]
    Compare(CompareArguments),

    /// Run the server of the floor
    #[command(hide = true)]
    FloorServer(FloorServerArguments),

    /// Run the server of the latency floor
    #[command(hide = true)]
    EpollServer,

    /// Execute another program that is killed when the caller exits
    #[command(hide = true)]
    Tied {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },

    /// Run a client process that measures rounds on command
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
    fn arguments_out_of_range_are_errors() {
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
