//! What is said: the parts of a message that mean the same in every language.
//!
//! A push, a reply and a failure are made of these, and each dialect words them in its own way. On
//! the way through a shard everything is borrowed ([`Content`], [`Data`]); what waits, travels to
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

use bytes::Bytes;

/// The two types of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Opcode 1. Not checked for UTF-8.
    Text,
    /// Opcode 2.
    Binary,
}

/// The body of a message, borrowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Data<'c> {
    /// There is none.
    #[default]
    None,
    /// One valid JSON value.
    Json(&'c [u8]),
    /// Text.
    Text(&'c str),
    /// Bytes that need not be text.
    Bytes(&'c [u8]),
}

impl<'c> Data<'c> {
    /// The bytes, whatever they are.
    #[must_use]
    pub fn bytes(self) -> &'c [u8] {
        match self {
            Data::None => &[],
            Data::Text(text) => text.as_bytes(),
            Data::Json(bytes) | Data::Bytes(bytes) => bytes,
        }
    }
}

/// The channel that a message names, in languages that have room for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelName<T> {
    /// This one; empty is none, but for a publication to a channel, which names that one.
    Given(T),
    /// Of each session that hears it the first channel that it is on, or its id if it is on none.
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
    /// The name that is given; empty if none is.
    pub fn given(&self) -> &str {
        match self {
            Self::Given(name) => name.as_ref(),
            Self::Own => "",
        }
    }
}

/// What a publication says, borrowed. Empty strings are what is not said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Content<'c> {
    /// What kind of message it is: a command's or an event's name.
    pub event: &'c str,
    /// Its body.
    pub data: Data<'c>,
    /// Who says so, where the language has room for it.
    pub from: &'c str,
    /// The channel that is named in it.
    pub channel: ChannelName<&'c str>,
    /// What it answers, where the language has room for it.
    pub correlation: &'c str,
    /// Zero, unless something failed.
    pub status: i64,
    /// The status in words.
    pub status_text: &'c str,
}

/// The body of a message, owned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum OwnedData {
    /// There is none.
    #[default]
    None,
    /// One valid JSON value.
    Json(Bytes),
    /// Text.
    Text(Box<str>),
    /// Bytes that need not be text.
    Bytes(Bytes),
}

impl OwnedData {
    /// The same, borrowed.
    #[must_use]
    pub fn borrow(&self) -> Data<'_> {
        match self {
            Self::None => Data::None,
            Self::Json(json) => Data::Json(json),
            Self::Text(text) => Data::Text(text),
            Self::Bytes(bytes) => Data::Bytes(bytes),
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes_count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Json(bytes) | Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// A copy that owns its bytes.
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

/// What a publication says, owned.
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
    /// The same, borrowed.
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

    /// A copy that owns its bytes.
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

/// What an answer must repeat of the message it answers: an owned echo, no longer than that was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Correlation {
    /// The command, as the client spelled it.
    pub command: Box<str>,
    /// The client's name for its request; empty if it gave none.
    pub id: Box<str>,
    /// The channel that the client named; empty if it named none.
    pub channel: Box<str>,
    /// The type of frame that it came in.
    pub kind: MessageType,
}

impl Correlation {
    /// That of a command and nothing else.
    #[must_use]
    pub fn of(command: &str, kind: MessageType) -> Self {
        Self {
            command: command.into(),
            id: Box::default(),
            channel: Box::default(),
            kind,
        }
    }
}

/// What became of something that a client asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is on the channel now.
    Joined,
    /// The gateway's own rules are against it.
    Denied(Denial),
    /// Nobody handles this command.
    NotHandled,
    /// It was handled, and there is nothing to say.
    Silent,
    /// It was handled.
    Replied(Reply),
    /// It was handled, and failed.
    Failed(Failure),
}

/// What the gateway's own rules have against something that a client asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// It is on the channel already.
    AlreadyJoined,
    /// It names no channel, or one whose name is empty or too long.
    NoChannelNamed,
    /// There is no such channel.
    NoSuchChannel,
    /// It may not.
    NotAuthorized,
    /// It is not on the channel.
    NotJoined,
    /// It is on as many channels as it may be.
    TooManyChannels,
    /// There is no room for another name of its own.
    TooManyNames,
    /// There is no room for another name of anybody's.
    NoRoomForNames,
}

impl Denial {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AlreadyJoined,
        Self::NoChannelNamed,
        Self::NoSuchChannel,
        Self::NotAuthorized,
        Self::NotJoined,
        Self::TooManyChannels,
        Self::TooManyNames,
        Self::NoRoomForNames,
    ];

    /// Under which it is counted and logged.
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
        }
    }

    /// The same in words, for clients whose language has none of its own.
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
        }
    }
}

/// What a handler replies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// The command of the reply, where it may differ from that of the request.
    pub(crate) event: Option<Box<str>>,
    /// Its body.
    pub(crate) data: OwnedData,
}

/// How a handler failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    pub(crate) status: i64,
    pub(crate) text: Box<str>,
    pub(crate) data: OwnedData,
    pub(crate) cause: Cause,
}

/// Where a failure comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The handler chose its status.
    Chosen,
    /// The handler gave up with an error.
    Error,
    /// The handler panicked.
    Panic,
    /// The gateway's own rules were against it.
    Denied(Denial),
}

impl Failure {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> i64 {
        self.status
    }

    /// Its status in words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its body.
    #[must_use]
    pub fn data(&self) -> Data<'_> {
        self.data.borrow()
    }

    /// Where it comes from.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl Reply {
    /// The command of the reply, where it differs from that of the request.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// Its body.
    #[must_use]
    pub fn data(&self) -> Data<'_> {
        self.data.borrow()
    }
}
