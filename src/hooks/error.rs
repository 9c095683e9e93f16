//! Why a hook has no answer, for the log and the health report.

use super::answers::Nonsense;
use std::io;

/// Why backends cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// This one never can be.
    #[error("backend {name}: {problem}")]
    Backend { name: String, problem: String },
    /// The kernel has no random numbers for the ids of hooks.
    #[error("no random numbers: {0}")]
    Random(io::Error),
}

/// Why a hook has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HookError {
    /// The queue of this kind of hook is full; nothing was sent.
    #[error(
        "too many hooks of this kind wait for it (requests_waiting_max, \
         requests_waiting_bytes_max)"
    )]
    Busy,
    /// The process has no file descriptor left to connect with; nothing was sent.
    #[error(
        "no file descriptor is left to connect with; raise the limit of open files \
         (ulimit -n): {0}"
    )]
    NoDescriptor(String),
    /// There was none within `timeout_ms`.
    #[error("no answer in time (timeout_ms)")]
    TimedOut,
    /// The backend cannot be connected to; nothing was sent.
    #[error("cannot be connected to: {0}")]
    Unreachable(String),
    /// The connection was lost before the whole answer had come.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The answer has a status that is not one of success.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer is not one.
    #[error("answered nonsense: {0}")]
    Nonsense(String),
}

impl HookError {
    /// Under which it is counted, in the order in which [`HookError::LABELS`] has them.
    pub(crate) const LABELS: [&str; 7] = [
        "busy",
        "no_descriptor",
        "timed_out",
        "unreachable",
        "lost",
        "status",
        "invalid",
    ];

    /// Where its label is in [`HookError::LABELS`].
    pub(super) fn label_index(&self) -> usize {
        match self {
            Self::Busy => 0,
            Self::NoDescriptor(_) => 1,
            Self::TimedOut => 2,
            Self::Unreachable(_) => 3,
            Self::Lost(_) => 4,
            Self::Status(_) => 5,
            Self::Nonsense(_) => 6,
        }
    }
}

impl From<Nonsense> for HookError {
    fn from(nonsense: Nonsense) -> Self {
        Self::Nonsense(nonsense.into_text())
    }
}
