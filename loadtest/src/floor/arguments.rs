//! The arguments of `floor` and of its server process.

use clap::Args;

use crate::report::Destination;
use crate::values::{at_least_one, message_bytes};

/// The arguments of `floor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloorArguments {
    /// Number of receiving sockets
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// Frames per send, at most 256
    #[arg(long, default_value_t = 1, value_parser = frames_count)]
    pub(crate) frames: usize,

    /// Payload of a frame in bytes
    #[arg(long, default_value_t = 128, value_parser = message_bytes)]
    pub(crate) bytes: usize,

    /// Number of rounds, each of one second
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    #[command(flatten)]
    pub(crate) destination: Destination,
}

/// The arguments of the hidden `floor-server`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FloorServerArguments {
    /// Number of receiving sockets, which connect before the publishing connections
    #[arg(long)]
    pub(crate) clients: usize,

    /// Frames per send
    #[arg(long)]
    pub(crate) frames: usize,

    /// Number of publishing connections, which share the frames equally
    #[arg(long)]
    pub(crate) publishers: usize,

    /// Payload of a frame in bytes
    #[arg(long)]
    pub(crate) bytes: usize,
}

fn frames_count(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|frames| {
        // More frames may fill a socket's send buffer, so that a send would block.
        if frames <= 256 {
            Ok(frames)
        } else {
            Err("must be at most 256".to_owned())
        }
    })
}
