//! What a shard must find out, or have done, by somebody outside it.
//!
//! A question names its session and owns its data, so that it can be answered in any order, also
//! after the session is gone.

use crate::vocabulary::content::{Correlation, Outcome};
use crate::vocabulary::id::SessionId;
use bytes::Bytes;

/// What the shard must find out from somebody outside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The session that waits for the answer.
    pub session: SessionId,
    /// Index of its route.
    pub route: u16,
    /// What is asked.
    pub ask: Ask,
}

/// A call on its way to whoever handles it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What the answer must repeat.
    pub correlation: Correlation,
    /// Who the client says it is; empty if it says nothing. Not to be believed.
    pub from: Box<str>,
    /// Its data as they came; `None` if it has none.
    pub data: Option<Bytes>,
}

/// The kinds of question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// May the session join this channel, whose rule is [`super::settings::ChannelRule::Ask`]?
    Join {
        /// The channel.
        channel: Box<str>,
        /// What the answer must repeat.
        correlation: Correlation,
    },
    /// Handle this.
    Call(Request),
    /// Which user does this token name?
    User {
        /// As the client sent it.
        token: Box<str>,
        /// What the session wants to hear, once it speaks for that user.
        event: Box<str>,
    },
}

/// What became of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Everything that had to be done before its first message has been done.
    Opened,
    /// The session may join, or not.
    Join {
        /// Whether it may.
        allowed: bool,
        /// The channel of the question.
        channel: Box<str>,
        /// That of the question.
        correlation: Correlation,
    },
    /// The call was handled.
    Call {
        /// What became of it.
        outcome: Outcome,
        /// That of the question.
        correlation: Correlation,
    },
    /// The token names this user; `None` if it names nobody.
    User {
        /// The user's name.
        user: Option<Box<str>>,
        /// The event of the question.
        event: Box<str>,
    },
}
