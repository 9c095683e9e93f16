//! What the gateway itself does with a command, so that a route is of use without any program.
//!
//! Where the config does not say which channel is meant, the message does. It is the message's own
//! channel, in a language that has such, and otherwise in its data:
//!
//! ```text
//!   join, leave   "room"          {"channel": "room"}                 room
//!   publish                       {"channel": "room", "data": ...}    room hi
//! ```

use super::rule::Rule;

/// What a command does, and who may give it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandSetting {
    /// What it does.
    pub action: Action,
    /// Who may give it.
    pub allow: Rule,
}

/// What a command does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Answers with the data of the command.
    Echo,
    /// Puts the sender on a channel, if the channel's rule lets it.
    Join {
        /// The channel; `{user}` is the name of the sender's user. `None`: the message names it.
        channel: Option<String>,
    },
    /// Takes the sender off a channel.
    Leave {
        /// As in [`Action::Join`].
        channel: Option<String>,
    },
    /// Publishes the command's data to a channel that the sender is on, if the channel's rule lets
    /// it.
    Publish {
        /// As in [`Action::Join`].
        channel: Option<String>,
        /// The event of the publication; `None`: the name of the command.
        event: Option<String>,
        /// Who on the channel receives it.
        to: PublishTo,
    },
    /// Answers with something that is always the same.
    Reply {
        /// The data of the answer.
        data: ReplyData,
    },
    /// Asks the backend of the route's hooks, as its hook `message` would.
    Hook,
}

/// The data of a constant answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ReplyData {
    /// There is none.
    #[default]
    None,
    /// A text.
    Text(String),
    /// One JSON value, spelled out.
    Json(String),
    /// Bytes; in a file they are base64.
    Bytes(Vec<u8>),
}

/// Who on a channel receives what one of them publishes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PublishTo {
    /// Everyone, the sender too.
    #[default]
    All,
    /// Everyone else.
    Others,
}

super::words::spelled!(PublishTo: All = "all" Others = "others");

impl CommandSetting {
    /// An action for anyone.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            action,
            allow: Rule::Anyone,
        }
    }
}

impl Action {
    /// How the action is spelled in a file.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Publish { .. } => "publish",
            Self::Reply { .. } => "reply",
            Self::Hook => "hook",
        }
    }
}
