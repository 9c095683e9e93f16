//! Why what a handle was asked for has not been done.

use super::Denial;
use crate::shard::NoRoom;

/// Why something was not done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandleError {
    /// The shard has too much to do already (`commands_max`). Nothing was done.
    #[error("the shard has too much to do, nothing was done")]
    Busy,
    /// The gateway is stopping and takes no new work. Nothing was done.
    #[error("the gateway is stopping, nothing was done")]
    Stopping,
    /// The gateway has stopped.
    #[error("the gateway has stopped")]
    Stopped,
    /// There is no such session any more.
    #[error("there is no such session")]
    NoSession,
    /// Not every shard answered in time (`push_timeout_ms`); some may have done it.
    #[error("timed out, it may have been done")]
    TimedOut,
    /// The session is on as many channels as it may be.
    #[error("the session is on too many channels")]
    TooManyChannels,
    /// There is no room for another name of the session (`names_bytes_per_session_max`).
    #[error("the session has too many names")]
    TooManyNames,
    /// The session's shard has no room for another name (`names_bytes_max`).
    #[error("the shard has no room for another name")]
    NoRoomForNames,
    /// A name is empty, or longer than `name_bytes_max`.
    #[error("a name is empty or too long")]
    BadName,
    /// Something of a push or drop by user and event is empty, in the words of the original
    /// (`wserver`).
    #[error("{0}")]
    Empty(&'static str),
    /// The route's language has no words for such an event, and why.
    #[error("{0}")]
    BadEvent(&'static str),
    /// A code that may not be sent (RFC 6455 7.4), or a reason of more than 123 bytes.
    #[error("a close code or reason that may not be sent")]
    BadClose,
    /// The rules of the gateway are against it.
    #[error("{}", .0.as_str())]
    Denied(Denial),
}

impl HandleError {
    /// A push by user and event in which one of them or the message is empty.
    pub(super) const EMPTY_PUSH: Self =
        Self::Empty("parameters(userId, event, message) can't be empty");
    /// A drop without a user.
    pub(super) const EMPTY_DROP: Self = Self::Empty("userID can't be empty");
}

impl From<NoRoom> for HandleError {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::Session => Self::TooManyNames,
            NoRoom::Shard => Self::NoRoomForNames,
        }
    }
}
