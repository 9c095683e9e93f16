//! The content of messages, independent of the dialect that encodes it.
//!
//! Pushes, replies and failures consist of these parts, and each dialect encodes them in its own
//! way. Within a shard they are borrowed ([`Content`], [`Data`]). Content that waits, goes to
//! another shard or comes from an embedder owns its bytes ([`Message`], [`OwnedData`]).
//!
//! ```text
//!   Message { event "chat", data {"text":"hi"} }
//!     wsrv          {"cmd":"chat","seqno":"Hph7bg5S","status":0,"msg":"ok","data":{"text":"hi"}}
//!     easyws        chat: {"text":"hi"}
//!     projectforge  { "channel": "room", "cmd": "chat", "param": { "text": "hi" } }
//!     wserver       {"text":"hi"}                            to those who registered for "chat"
//!     edk           the data's bytes, or a ws.Message of type "chat"
//! ```

use super::public_id::PublicId;
use bytes::Bytes;

/// The type of a WebSocket message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Opcode 1. UTF-8 is checked only in some dialects.
    Text,
    /// Opcode 2.
    Binary,
}

/// The body of a message, borrowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Data<'c> {
    /// No body.
    #[default]
    None,
    /// One valid JSON value.
    Json(&'c [u8]),
    /// Text.
    Text(&'c str),
    /// Any bytes.
    Bytes(&'c [u8]),
}

impl<'c> Data<'c> {
    /// Returns the bytes of the body; empty if there is none.
    #[must_use]
    pub fn bytes(self) -> &'c [u8] {
        match self {
            Data::None => &[],
            Data::Text(text) => text.as_bytes(),
            Data::Json(bytes) | Data::Bytes(bytes) => bytes,
        }
    }
}

/// The channel that a message names, in dialects that encode one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelName<T> {
    /// This channel. Empty means none; a publication to a channel names that channel then.
    Given(T),
    /// For each receiving session the first channel that it joined, or its public id if it is on
    /// none.
    Own,
}

impl<T: Default> Default for ChannelName<T> {
    fn default() -> Self {
        Self::Given(T::default())
    }
}

impl<'c> From<&'c str> for ChannelName<&'c str> {
    fn from(name: &'c str) -> Self {
        Self::Given(name)
    }
}

impl<T: AsRef<str>> ChannelName<T> {
    /// Returns the given name; empty for [`ChannelName::Own`].
    pub fn given(&self) -> &str {
        match self {
            Self::Given(name) => name.as_ref(),
            Self::Own => "",
        }
    }
}

/// The content of a publication, borrowed. Empty strings are omitted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Content<'c> {
    /// The event, or the command of a reply.
    pub event: &'c str,
    /// The body.
    pub data: Data<'c>,
    /// The sender, for dialects that encode one.
    pub from: &'c str,
    /// The channel that the message names.
    pub channel: ChannelName<&'c str>,
    /// The id of the request that it answers, for dialects that encode one.
    pub correlation: &'c str,
    /// The status; 0 for success.
    pub status: i64,
    /// The status as text.
    pub status_text: &'c str,
}

/// The body of a message, owned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum OwnedData {
    /// No body.
    #[default]
    None,
    /// One valid JSON value.
    Json(Bytes),
    /// Text.
    Text(Box<str>),
    /// Any bytes.
    Bytes(Bytes),
}

impl OwnedData {
    /// Borrows the body.
    #[must_use]
    pub fn borrow(&self) -> Data<'_> {
        match self {
            Self::None => Data::None,
            Self::Json(json) => Data::Json(json),
            Self::Text(text) => Data::Text(text),
            Self::Bytes(bytes) => Data::Bytes(bytes),
        }
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub fn bytes_count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Json(bytes) | Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Copies a borrowed body.
    #[must_use]
    pub fn copy(data: Data<'_>) -> Self {
        match data {
            Data::None => Self::None,
            Data::Json(json) => Self::Json(Bytes::copy_from_slice(json)),
            Data::Text(text) => Self::Text(text.into()),
            Data::Bytes(bytes) => Self::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// The content of a publication, owned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    pub(crate) event: Box<str>,
    pub(crate) data: OwnedData,
    pub(crate) from: Box<str>,
    pub(crate) channel: ChannelName<Box<str>>,
    pub(crate) correlation: Box<str>,
    pub(crate) status: i64,
    pub(crate) status_text: Box<str>,
}

impl Message {
    /// Borrows the content.
    #[must_use]
    pub fn borrow(&self) -> Content<'_> {
        Content {
            event: &self.event,
            data: self.data.borrow(),
            from: &self.from,
            channel: match &self.channel {
                ChannelName::Given(name) => ChannelName::Given(name),
                ChannelName::Own => ChannelName::Own,
            },
            correlation: &self.correlation,
            status: self.status,
            status_text: &self.status_text,
        }
    }

    /// Copies borrowed content.
    #[must_use]
    pub fn copy(content: &Content<'_>) -> Self {
        Self {
            event: content.event.into(),
            data: OwnedData::copy(content.data),
            from: content.from.into(),
            channel: match content.channel {
                ChannelName::Given(name) => ChannelName::Given(name.into()),
                ChannelName::Own => ChannelName::Own,
            },
            correlation: content.correlation.into(),
            status: content.status,
            status_text: content.status_text.into(),
        }
    }
}

/// The parts of a request that its response repeats, owned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Correlation {
    /// The command as the client sent it.
    pub command: Box<str>,
    /// The client's id of the request; empty if it sent none.
    pub id: Box<str>,
    /// The channel that the client named; empty if it named none.
    pub channel: Box<str>,
    /// The type of the request message.
    pub kind: MessageType,
}

impl Correlation {
    /// Creates a correlation with only a command.
    #[must_use]
    pub fn of(command: &str, kind: MessageType) -> Self {
        Self {
            command: command.into(),
            id: Box::default(),
            channel: Box::default(),
            kind,
        }
    }

    /// Returns the length of its texts in bytes.
    #[must_use]
    pub fn bytes_count(&self) -> usize {
        self.command.len() + self.id.len() + self.channel.len()
    }
}

/// The facts about a session that its dialect may send to its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionFacts {
    /// Public id.
    pub id: PublicId,
    /// [`RouteLimits::idle_timeout_ms`](super::limits::RouteLimits::idle_timeout_ms) of its route.
    pub idle_timeout_ms: u32,
}

/// The outcome of a client's request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The session joined the channel. The reply is that of the channel's validator, without data
    /// if there is none.
    Joined(Reply),
    /// The session left the channel.
    Left,
    /// The message was published.
    Published,
    /// The session is bound to the user of the token.
    Identified(SessionFacts),
    /// A rule of the gateway denies the request.
    Denied(Denial),
    /// No handler exists for the command.
    NotHandled,
    /// A handler succeeded without a reply.
    Silent,
    /// A handler replied.
    Replied(Reply),
    /// A handler failed.
    Failed(Failure),
}

/// The reason for which the gateway denies a request of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// The session is on the channel already.
    AlreadyJoined,
    /// The request names no channel, or one whose name is empty or too long.
    NoChannelNamed,
    /// The channel is not declared, or its name is too long.
    NoSuchChannel,
    /// The channel's rule denies it.
    NotAuthorized,
    /// The session is not on the channel.
    NotJoined,
    /// The session is on `limits.channels_per_session_max` channels.
    TooManyChannels,
    /// The session's names would exceed `limits.names_bytes_per_session_max`.
    TooManyNames,
    /// The shard's names would exceed `limits.names_bytes_max`.
    NoRoomForNames,
    /// The token names no user, or it or its event is too long.
    InvalidToken,
    /// The session is bound to `limits.users_per_session_max` users.
    TooManyUsers,
}

impl Denial {
    /// All denials.
    pub const ALL: &[Self] = &[
        Self::AlreadyJoined,
        Self::NoChannelNamed,
        Self::NoSuchChannel,
        Self::NotAuthorized,
        Self::NotJoined,
        Self::TooManyChannels,
        Self::TooManyNames,
        Self::NoRoomForNames,
        Self::InvalidToken,
        Self::TooManyUsers,
    ];

    /// Returns the label for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AlreadyJoined => "already_joined",
            Self::NoChannelNamed => "no_channel_named",
            Self::NoSuchChannel => "no_such_channel",
            Self::NotAuthorized => "not_authorized",
            Self::NotJoined => "not_joined",
            Self::TooManyChannels => "too_many_channels",
            Self::TooManyNames => "too_many_names",
            Self::NoRoomForNames => "no_room_for_names",
            Self::InvalidToken => "invalid_token",
            Self::TooManyUsers => "too_many_users",
        }
    }

    /// Returns the text for clients, in dialects without texts of their own.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyJoined => "already on the channel",
            Self::NoChannelNamed => "no channel is named",
            Self::NoSuchChannel => "channel does not exist",
            Self::NotAuthorized => "not authorized",
            Self::NotJoined => "not on the channel",
            Self::TooManyChannels => "too many channels",
            Self::TooManyNames => "too many names",
            Self::NoRoomForNames => "no room for another name",
            Self::InvalidToken => "invalid token",
            Self::TooManyUsers => "too many users",
        }
    }
}

/// A handler's reply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// The command of the reply; `None` for that of the request.
    pub(crate) event: Option<Box<str>>,
    /// The body.
    pub(crate) data: OwnedData,
}

/// A handler's failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    pub(crate) status: i64,
    pub(crate) text: Box<str>,
    pub(crate) data: OwnedData,
    pub(crate) cause: Cause,
}

/// The origin of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The handler returned a failure with a status.
    Chosen,
    /// The handler returned another error.
    Error,
    /// The handler panicked.
    Panic,
    /// A rule of the gateway denied it.
    Denied(Denial),
}

impl Failure {
    /// Creates a failure with a text and without a status; `wsrv` sends status 999999999.
    pub fn error(text: impl Into<Box<str>>) -> Self {
        Self {
            status: UNEXPECTED,
            text: text.into(),
            data: OwnedData::None,
            cause: Cause::Error,
        }
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> i64 {
        self.status
    }

    /// Returns the status as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the body.
    #[must_use]
    pub fn data(&self) -> Data<'_> {
        self.data.borrow()
    }

    /// Returns the origin.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl Reply {
    /// Returns the command of the reply; `None` for that of the request.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// Returns the body.
    #[must_use]
    pub fn data(&self) -> Data<'_> {
        self.data.borrow()
    }
}

/// The status of failures without one of their own.
pub(crate) const UNEXPECTED: i64 = 999_999_999;
