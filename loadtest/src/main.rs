//! The loadtest: measures a push gateway from outside, over its wire, against the kernel's floor.
//!
//! It does not depend on the gateway's crate and does not know its code. `loadtest --help` teaches
//! the commands; each has its own file or folder.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: reports go to standard output, progress to standard error"
)]

mod answers;
mod cli;
mod clock;
mod cores;
mod crowd;
mod engine;
mod failure;
mod figures;
mod floor;
mod gateway;
#[expect(dead_code, reason = "the scenarios come next")]
mod judge;
mod limits;
mod procfs;
mod progress;
#[expect(dead_code, reason = "the scenarios come next")]
mod protocol;
mod push;
mod rounds;
#[expect(dead_code, reason = "the scenarios come next")]
mod stamp;
mod stats;
mod team;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Arguments, Command};

fn main() -> ExitCode {
    let holds = match Arguments::parse().command {
        Command::Push(arguments) => push::run(&arguments),
        Command::Floor(arguments) => floor::run(arguments),
        Command::Figures(arguments) => figures::run(&arguments),
        Command::FloorServer(arguments) => floor::ring::serve(arguments).map(|()| true),
        Command::EpollServer => floor::epoll::serve().map(|()| true),
        Command::Tied { program } => gateway::become_tied(&program).map(|()| true),
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
