//! Why what a handle was asked for has not been done.

use super::Denial;
use crate::shard::NoRoom;
use std::fmt;

/// Why something was not done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandleError {
    /// The shard has too much to do already (`commands_max`). Nothing was done.
    Busy,
    /// The gateway is stopping and takes no new work. Nothing was done.
    Stopping,
    /// The gateway has stopped.
    Stopped,
    /// There is no such session any more.
    NoSession,
    /// Not every shard answered in time (`push_timeout_ms`); some may have done it.
    TimedOut,
    /// The session is on as many channels as it may be.
    TooManyChannels,
    /// There is no room for another name of the session (`names_bytes_per_session_max`).
    TooManyNames,
    /// The session's shard has no room for another name (`names_bytes_max`).
    NoRoomForNames,
    /// A name is empty, or longer than `name_bytes_max`.
    BadName,
    /// Something of a push or drop by user and event is empty, in the words of the original
    /// (`wserver`).
    Empty(&'static str),
    /// The route's language has no words for such an event, and why.
    BadEvent(&'static str),
    /// A code that may not be sent (RFC 6455 7.4), or a reason of more than 123 bytes.
    BadClose,
    /// The rules of the gateway are against it.
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

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the shard has too much to do, nothing was done",
            Self::Stopping => "the gateway is stopping, nothing was done",
            Self::Stopped => "the gateway has stopped",
            Self::NoSession => "there is no such session",
            Self::TimedOut => "timed out, it may have been done",
            Self::TooManyChannels => "the session is on too many channels",
            Self::TooManyNames => "the session has too many names",
            Self::NoRoomForNames => "the shard has no room for another name",
            Self::BadName => "a name is empty or too long",
            Self::BadEvent(why) | Self::Empty(why) => why,
            Self::BadClose => "a close code or reason that may not be sent",
            Self::Denied(denial) => denial.as_str(),
        })
    }
}

impl std::error::Error for HandleError {}
