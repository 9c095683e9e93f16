//! Limits of the process as a whole: of its log, and those that the machine sets.

use super::{Allowed, GIB, KIB, MIB_32, Number, Setting, Settings, TIME_MS};

settings! {
    /// The limits of the log, and the interval of its summary: `[logging]`.
    pub struct Logging {
        /// The maximum of lines that wait to be written to standard error. More are dropped, and
        /// their number is logged as soon as a line can be written.
        pub lines_max: u32 = 8_192, Allowed::between(16, 1_048_576);

        /// The maximum of bytes of the lines that wait to be written to standard error. More are
        /// dropped, and their number is logged as soon as a line can be written.
        pub bytes_max: u32 = 4 * MIB_32, Allowed::between(4 * KIB, GIB);

        /// The time in milliseconds that the process waits at its end for lines to be written; with
        /// 0 it does not wait. The rest is lost.
        pub flush_ms: u32 = 1_000, Allowed::between(0, 60_000);

        /// The maximum of lines per second from one place in the gateway's code, for lines that
        /// clients, backends or publishers can cause. More are dropped, and their number is logged.
        pub lines_per_place_max: u32 = 10, Allowed::between(1, 1_000_000);

        /// The time in milliseconds between two lines that sum up ends of sessions and rejections;
        /// 0 is off. No line is written if there was none.
        pub summary_interval_ms: u32 = 60_000, TIME_MS.or_off();
    }
}

/// The limits of a running process, with those that the config leaves to the machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProcessLimits {
    /// Connections of the process, on all shards: from that many on, no session is opened.
    pub sessions_max: usize,
    /// Connections of one shard that have sent something and are not sessions.
    pub http_connections_max: usize,
    /// Descriptors that the process may have.
    pub open_files_max: usize,
}
