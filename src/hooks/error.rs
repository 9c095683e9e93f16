//! Hook errors, for the log and the health report.

use super::responses::InvalidResponse;
use std::io;

/// An error that makes backends unusable from the start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendsError {
    /// The settings or files of this backend are not valid.
    #[error("backend {name}: {problem}")]
    Backend { name: String, problem: String },
    /// The kernel has no random numbers for hook ids.
    #[error("no random numbers: {0}")]
    Random(io::Error),
}

/// The error of a hook.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HookError {
    /// The queue of this kind of hook is full. Nothing was sent.
    #[error(
        "too many hooks of this kind wait for the backend; check it, or raise requests_waiting_max \
         or requests_waiting_bytes_max"
    )]
    Busy,
    /// The process has no file descriptor left for a connection. Nothing was sent.
    #[error(
        "no file descriptor is left to connect with; raise the limit of open files \
         (ulimit -n): {0}"
    )]
    NoDescriptor(String),
    /// No response came within `timeout_ms`.
    #[error("no response within timeout_ms")]
    TimedOut,
    /// The connection cannot be established. Nothing was sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The connection was lost before the response was complete.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The response's status is not one of success.
    #[error("the response has status {0}")]
    Status(u16),
    /// The response is invalid.
    #[error("invalid response: {0}")]
    InvalidResponse(String),
}

impl HookError {
    /// The labels under which errors are counted, indexed by [`HookError::label_index`].
    pub(crate) const LABELS: [&str; 7] = [
        "busy",
        "no_descriptor",
        "timed_out",
        "unreachable",
        "lost",
        "status",
        "invalid",
    ];

    /// Returns the index of the error's label in [`HookError::LABELS`].
    pub(super) fn label_index(&self) -> usize {
        match self {
            Self::Busy => 0,
            Self::NoDescriptor(_) => 1,
            Self::TimedOut => 2,
            Self::Unreachable(_) => 3,
            Self::Lost(_) => 4,
            Self::Status(_) => 5,
            Self::InvalidResponse(_) => 6,
        }
    }
}

impl From<InvalidResponse> for HookError {
    fn from(error: InvalidResponse) -> Self {
        Self::InvalidResponse(error.into_text())
    }
}
