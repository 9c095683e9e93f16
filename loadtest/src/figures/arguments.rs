//! The arguments of `figures`.

use std::path::PathBuf;

use clap::Args;

use super::{BASE_SESSIONS, Name};
use crate::values::at_least_one;

/// The arguments of `figures`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FiguresArguments {
    /// Measure only this figure; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) only: Vec<Name>,

    /// Alternating pairs per ratio
    #[arg(long, default_value_t = 15, value_parser = at_least_one)]
    pub(crate) pairs: usize,

    /// Duration of each half of a pair in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) round_ms: u64,

    /// Number of sessions in the memory figure
    #[arg(long, default_value_t = 15_000, value_parser = memory_sessions)]
    pub(crate) memory_sessions: usize,

    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
}

/// The arguments that select the gateway to start.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArguments {
    /// The gateway's executable [default: `campanile` beside this program, built if missing]
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,

    /// The gateway's configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

fn memory_sessions(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|sessions| {
        if sessions > BASE_SESSIONS {
            Ok(sessions)
        } else {
            Err("must be above 100, the sessions of the baseline".to_owned())
        }
    })
}
