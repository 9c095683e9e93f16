//! Errors of the gateway handle.

use super::Denial;
use crate::shard::NamesLimit;

/// The error of a gateway operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandleError {
    /// The shard's command queue is full (`limits.commands_max`). Nothing was done.
    #[error("the shard's command queue is full (limits.commands_max); nothing was done")]
    Busy,
    /// The gateway is stopping and rejects changes. Nothing was done.
    #[error("the gateway is stopping, nothing was done")]
    Stopping,
    /// The gateway has stopped.
    #[error("the gateway has stopped")]
    Stopped,
    /// The session does not exist, or has ended.
    #[error("there is no such session")]
    NoSession,
    /// Not every shard responded within `http.push_timeout_ms`; some may have done it.
    #[error("timed out, it may have been done")]
    TimedOut,
    /// The session is on the maximum number of channels (`channels_per_session_max`).
    #[error("the session is on too many channels")]
    TooManyChannels,
    /// The session's names would exceed `names_bytes_per_session_max` bytes.
    #[error("the session has too many names")]
    TooManyNames,
    /// The names on the session's shard would exceed `names_bytes_max` bytes.
    #[error("the shard has no room for another name")]
    NoRoomForNames,
    /// A channel or user name is empty, or longer than `name_bytes_max` or `user_bytes_max` bytes.
    #[error("a name is empty or too long")]
    BadName,
    /// A parameter of a push or drop by user and event is empty. The text is that of the original
    /// (`wserver`).
    #[error("{0}")]
    Empty(&'static str),
    /// A dialect that would have to encode the event cannot. The text is the reason.
    #[error("{0}")]
    BadEvent(&'static str),
    /// The close code may not be sent (RFC 6455 7.4), or the reason is longer than 123 bytes.
    #[error("the close code or reason may not be sent")]
    BadClose,
    /// A rule or limit of the gateway denies it.
    #[error("{}", .0.as_str())]
    Denied(Denial),
}

impl HandleError {
    /// A push by user and event in which user, event or data is empty.
    pub(super) const EMPTY_PUSH: Self =
        Self::Empty("parameters(userId, event, message) can't be empty");
    /// A drop without a user name.
    pub(super) const EMPTY_DROP: Self = Self::Empty("userID can't be empty");
}

impl From<NamesLimit> for HandleError {
    fn from(limit: NamesLimit) -> Self {
        match limit {
            NamesLimit::Session => Self::TooManyNames,
            NamesLimit::Shard => Self::NoRoomForNames,
        }
    }
}
