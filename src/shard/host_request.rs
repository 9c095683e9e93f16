//! Requests from a shard to its host, and the host's responses.
//!
//! A request names its session and owns its data, so the host may respond in any order, also after
//! the session has ended.

use crate::vocabulary::content::{Correlation, Message, Outcome, Reply};
use crate::vocabulary::id::SessionId;
use bytes::Bytes;

/// A request of a shard, to which its host responds with a [`HostResponse`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostRequest {
    /// The session that waits for the response.
    pub session: SessionId,
    /// Index of the session's route.
    pub route: u16,
    /// The request itself.
    pub kind: HostRequestKind,
}

/// A call, on its way to its handler. Owns the data of a [`Call`](crate::dialect::Call).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedCall {
    /// The data that the outcome repeats.
    pub correlation: Correlation,
    /// The user that the client names, unverified; empty if it names none.
    pub from: Box<str>,
    /// The call's data as received; `None` if it has none.
    pub data: Option<Bytes>,
}

/// A client's publication, on its way to its validator. Owns the data of a
/// [`Publish`](crate::dialect::Publish).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedPublish {
    /// The message.
    pub message: Message,
    /// Whether the session itself does not receive it.
    pub to_others: bool,
}

impl OwnedPublish {
    /// Returns the length of its texts and data in bytes.
    #[must_use]
    pub fn bytes_count(&self) -> usize {
        self.message.event.len() + self.message.data.bytes_count()
    }
}

/// The kinds of request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostRequestKind {
    /// May the session join the channel? Its rule is [`super::settings::ChannelRule::AskHost`].
    Join {
        /// The data that the outcome repeats, with the channel.
        correlation: Correlation,
    },
    /// May the session publish this to the channel? The rule is as for joins.
    Publish {
        /// The publication.
        publish: Box<OwnedPublish>,
        /// The data that the outcome repeats, with the channel.
        correlation: Correlation,
    },
    /// Handle this call.
    Call(OwnedCall),
    /// Which user does this token name?
    User {
        /// The token as the client sent it.
        token: Box<str>,
        /// The event that the session registers for.
        event: Box<str>,
        /// The data that the outcome repeats.
        correlation: Correlation,
    },
}

/// The host's response to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostResponse {
    /// Everything that precedes the session's first message is done: its messages are read now.
    Opened,
    /// Whether the session may join.
    Join {
        /// The reply of the channel's validator if the session may join, else `None`.
        allowed: Option<Reply>,
        /// The correlation of the request.
        correlation: Correlation,
    },
    /// Whether the session may publish.
    Publish {
        /// Whether the session may publish.
        allowed: bool,
        /// The publication of the request.
        publish: Box<OwnedPublish>,
        /// The correlation of the request.
        correlation: Correlation,
    },
    /// The call was handled.
    Call {
        /// The result of the call.
        outcome: Outcome,
        /// The correlation of the request.
        correlation: Correlation,
    },
    /// The user of the token.
    User {
        /// The user's name; `None` if the token is invalid.
        user: Option<Box<str>>,
        /// The event of the request.
        event: Box<str>,
        /// The correlation of the request.
        correlation: Correlation,
    },
}
