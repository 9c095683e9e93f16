//! The load test: measures a push gateway over the network and compares it with the bare kernel.
//!
//! The crate does not depend on the gateway's crate. `loadtest --help` explains the commands; each
//! has its own file or folder.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: reports go to standard output, progress to standard error"
)]

mod cli;
mod clock;
mod compare;
mod cores;
mod delivery_check;
mod engine;
mod failure;
mod figures;
mod floor;
mod gateway;
mod limits;
mod procfs;
mod progress;
mod protocol;
mod report;
mod rounds;
mod scenario;
mod stamp;
mod stats;
mod team;
mod values;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Arguments, Command};
use crate::scenario::{connect, flow, idle};

fn main() -> ExitCode {
    let holds = match Arguments::parse().command {
        Command::Push(arguments) => flow::push(&arguments),
        Command::Channel(arguments) => flow::channel(&arguments),
        Command::Rpc(arguments) => flow::rpc(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
        Command::Churn(arguments) => flow::churn(&arguments),
        Command::Slow(arguments) => flow::slow(&arguments),
        Command::Mixed(arguments) => flow::mixed(&arguments),
        Command::Floor(arguments) => floor::run(&arguments),
        Command::Figures(arguments) => figures::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::FloorServer(arguments) => floor::ring::serve(arguments).map(|()| true),
        Command::EpollServer => floor::epoll::serve().map(|()| true),
        Command::Tied { program } => gateway::exec_tied(&program).map(|()| true),
        Command::Reader(arguments) => rounds::serve(&arguments).map(|()| true),
    };
    match holds {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("loadtest: {failure}");
            ExitCode::from(2)
        }
    }
}
