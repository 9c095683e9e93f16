//! The arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

use super::config::Measure;
use crate::report::Destination;
use crate::values::{at_least_one, message_bytes, seconds};

/// The arguments of `compare`. They override the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArguments {
    /// File with the servers and measures
    pub(crate) file: PathBuf,

    /// Run only these measures
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    pub(crate) measures: Vec<Measure>,

    /// Compare only these servers
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Rounds of the short measures: all but those of --long-rounds
    #[arg(long, value_parser = at_least_one)]
    pub(crate) rounds: Option<usize>,

    /// Rounds of the long measures: knee, connect and idle
    #[arg(long, value_parser = at_least_one)]
    pub(crate) long_rounds: Option<usize>,

    /// Duration of a round in seconds
    #[arg(long, value_parser = seconds)]
    pub(crate) round_seconds: Option<f64>,

    /// Numbers of subscribers in the cells of fanout
    #[arg(long, value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) subscribers: Vec<usize>,

    /// Message sizes in bytes
    #[arg(long, value_delimiter = ',', value_parser = message_bytes)]
    pub(crate) bytes: Vec<usize>,

    /// Numbers of outstanding publications
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
