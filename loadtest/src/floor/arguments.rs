//! The arguments of `floor` and of its server process.

use clap::Args;

use crate::report::Destination;
use crate::values::{at_least_one, message_bytes};

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
