//! What bounds the process as a whole: its log, its stop, and what the machine gives it.

use super::{Allowed, GIB, KIB, MIB_32, Number, Setting, TIME_MS};

settings! {
    /// What the log may hold, and when it is summed up: `[logging]`.
    pub struct Logging {
        /// Lines that wait to be written to standard error.
        /// A line beyond is dropped, and how many were is logged once one can be written again.
        pub lines_max: u32 = 8_192, Allowed::between(16, 1_048_576);

        /// Bytes of the lines that wait to be written to standard error.
        /// A line beyond is dropped, and how many were is logged once one can be written again.
        pub bytes_max: u32 = 4 * MIB_32, Allowed::between(4 * KIB, GIB);

        /// Milliseconds that the process waits at its end for the lines that wait; 0 is not at all.
        /// What is not written by then is lost.
        pub flush_ms: u32 = 1_000, Allowed::between(0, 60_000);

        /// Lines that one place in the gateway's code may log in a second, where clients, backends
        /// and pushers can cause them.
        /// More are left out, and how many were is logged.
        pub lines_per_place_max: u32 = 10, Allowed::between(1, 1_000_000);

        /// Milliseconds between two lines that sum up how sessions ended and what was rejected; 0
        /// is off.
        /// Where there was nothing since the last, there is no line.
        pub summary_interval_ms: u32 = 60_000, TIME_MS.or_off();
    }
}

/// The limits that a running process has found: what the config leaves to the machine is resolved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProcessLimits {
    /// Connections of the process, on all shards: from that many on, no session is opened.
    pub sessions_max: usize,
    /// Connections of one shard that have sent something and are not sessions.
    pub http_connections_max: usize,
    /// Descriptors that the process may have.
    pub open_files_max: usize,
}

/// How long sessions have to end when the gateway stops: a key at the top of the file.
pub const SHUTDOWN_GRACE_MS: Setting = Setting {
    key: "shutdown_grace_ms",
    doc: &[
        " Milliseconds that sessions and requests have to end when the gateway stops, from the",
        " moment when it accepts no more connections. After that they are cut.",
    ],
    allowed: Allowed::between(0, 600_000),
};

/// How long the gateway goes on serving when it is told to stop: a key at the top of the file.
pub const DRAIN_DELAY_MS: Setting = Setting {
    key: "drain_delay_ms",
    doc: &[
        " Milliseconds for which the gateway goes on as before when it is told to stop, but",
        " answers health requests with 503, so that a load balancer sends clients elsewhere.",
        " `shutdown_grace_ms` begins after it.",
    ],
    allowed: Allowed::between(0, 600_000),
};

/// How fast sessions are closed when the gateway stops: a key at the top of the file.
pub const DRAIN_MS: Setting = Setting {
    key: "drain_ms",
    doc: &[
        " Milliseconds in which 10,000 sessions are closed when the gateway stops, so that clients",
        " do not all come back to another one at once. More take longer and fewer less, in",
        " proportion; up to 100 are closed at once.",
        " The last one is closed so early that it has `close_grace_ms`, or half of",
        " `shutdown_grace_ms` if that is less, before the end.",
    ],
    allowed: Allowed::between(0, 600_000),
};
