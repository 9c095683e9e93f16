//! Commands that the gateway itself handles, so that a route is of use without any program.
//!
//! Where the config names no channel, the message does: by its own channel, in a dialect that has
//! such, and otherwise in its data:
//!
//! ```text
//!   join, leave   "room"          {"channel": "room"}                 room
//!   publish                       {"channel": "room", "data": ...}    room hi
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use super::error::Errors;
use super::key::{Keys, Shape, Spec, Table, Value, keys};
use super::keywords::{key_in, spelled};
use super::read::{Entry, Reader, check_count};
use super::rule::Rule;

/// A command: its action, and who may give it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandSetting {
    /// The action.
    pub action: Action,
    /// The clients that may give the command.
    pub allow: Rule,
}

/// What a command does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Replies with the data of the command.
    Echo,
    /// Joins the sender to a channel, if the channel's rule allows it.
    Join {
        /// The channel; `{user}` stands for the sender's user. `None`: the message names it.
        channel: Option<String>,
    },
    /// Removes the sender from a channel.
    Leave {
        /// As in [`Action::Join`].
        channel: Option<String>,
    },
    /// Publishes the command's data to a channel that the sender is on, if the channel's rule
    /// allows it.
    Publish {
        /// As in [`Action::Join`].
        channel: Option<String>,
        /// The event of the publication; `None`: the name of the command.
        event: Option<String>,
        /// The members that receive it.
        to: PublishTo,
    },
    /// Replies with constant data.
    Reply {
        /// The data.
        data: ReplyData,
    },
    /// Sends the command to the backend of the route's hooks, as its hook `message` would.
    Hook,
}

/// The data of a constant reply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ReplyData {
    /// None.
    #[default]
    None,
    /// A text.
    Text(String),
    /// One JSON value as text.
    Json(String),
    /// Bytes; in a file they are base64.
    Bytes(Vec<u8>),
}

/// The members of a channel that receive what one of them publishes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PublishTo {
    /// All, the sender too.
    #[default]
    All,
    /// All but the sender.
    Others,
}

/// The actions, as the file spells them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ActionWord {
    Echo,
    Join,
    Leave,
    Publish,
    Reply,
    Hook,
}

spelled!(pub PublishTo: All = "all" Others = "others");
spelled!(ActionWord:
    Echo = "echo"
    Join = "join"
    Leave = "leave"
    Publish = "publish"
    Reply = "reply"
    Hook = "hook"
);

keys! {
    /// The keys of a command, before they are one action.
    struct CommandTable {
        /// The action.
        ///
        /// - `echo`: replies with the data of the command.
        /// - `join`: joins the sender to a channel, if the channel's rule allows it.
        /// - `leave`: removes the sender from a channel.
        /// - `publish`: publishes the data to a channel that the sender is on, if the channel's
        ///   rule allows it.
        /// - `reply`: replies with constant data.
        /// - `hook`: sends the command to the backend of the route's hooks.
        pub action: ActionWord = ActionWord::Echo, required, example("\"join\"");

        /// The channel; `{user}` stands for the name of the sender's user. Without this key, the
        /// message names it: in its channel field, in its JSON data as `"room"` or `{"channel":
        /// "room"}` (for a publication with a key `"data"`), or in its text as `room` (for a
        /// publication `room hi`).
        pub channel: Option<String> = None,
            example("\"room\""), actions(&["join", "leave", "publish"]);

        /// The event of the publication. Without this key, the name of the command.
        pub event: Option<String> = None, example("\"chat\""), actions(&["publish"]);

        /// The members that receive the publication: `all`, or `others`, all but the sender.
        pub to: PublishTo = PublishTo::All, actions(&["publish"]);

        /// The data of the reply: a text, or any other value as JSON.
        pub data: Option<ReplyData> = None, example("\"world\""), actions(&["reply"]);

        /// The data of the reply as bytes, in base64.
        pub bytes: Option<Base64> = None,
            example("\"aGk=\""), actions(&["reply"]), excludes(&["data"]);

        /// The clients that may give the command: any rule of a channel's `join` except `owner`.
        pub allow: Rule = Rule::Anyone;
    }
}

impl Table for CommandTable {
    fn decider(&self) -> Option<(&'static str, &'static str)> {
        Some(("action", self.action.as_str()))
    }
}

impl CommandSetting {
    /// Creates a command that all clients may give.
    #[must_use]
    pub fn new(action: Action) -> Self {
        let allow = Rule::Anyone;
        Self { action, allow }
    }
}

impl Action {
    /// Returns the word of the action in a file.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        let word = match self {
            Self::Echo => ActionWord::Echo,
            Self::Join { .. } => ActionWord::Join,
            Self::Leave { .. } => ActionWord::Leave,
            Self::Publish { .. } => ActionWord::Publish,
            Self::Reply { .. } => ActionWord::Reply,
            Self::Hook => ActionWord::Hook,
        };
        word.as_str()
    }
}

impl From<CommandTable> for CommandSetting {
    fn from(table: CommandTable) -> Self {
        let CommandTable {
            channel,
            event,
            to,
            data,
            bytes,
            allow,
            ..
        } = table;
        let bytes = bytes.map(|bytes| ReplyData::Bytes(bytes.0));
        let action = match table.action {
            ActionWord::Echo => Action::Echo,
            ActionWord::Join => Action::Join { channel },
            ActionWord::Leave => Action::Leave { channel },
            ActionWord::Publish => Action::Publish { channel, event, to },
            ActionWord::Reply => Action::Reply {
                data: data.or(bytes).unwrap_or_default(),
            },
            ActionWord::Hook => Action::Hook,
        };
        Self { action, allow }
    }
}

impl Value for CommandSetting {
    fn shape(_: &Spec) -> Shape {
        let words = Shape::Words(ActionWord::SPELLINGS.to_vec());
        Shape::OneOf(vec![words, Shape::Table(CommandTable::keys())])
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        if let Some(word) = entry.value.as_str() {
            let action = reader.ok(entry, word.parse())?;
            return Some(
                CommandTable {
                    action,
                    ..CommandTable::blank()
                }
                .into(),
            );
        }
        let wanted = "must be an action such as \"join\", or a table such as \
            { action = \"reply\", data = \"...\" }";
        let entries = reader.table(entry, wanted)?;
        let table: CommandTable = reader.read_table(&entry.path, &entries);
        Some(table.into())
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        self.allow.check(&format!("{at}.allow"), spec, errors);
        if let Action::Reply {
            data: ReplyData::Json(json),
        } = &self.action
            && serde_json::from_str::<IgnoredAny>(json).is_err()
        {
            errors.error(&format!("{at}.data"), "is not JSON");
        }
    }
}

/// The commands of a route by their names.
impl Value for BTreeMap<String, CommandSetting> {
    fn shape(spec: &Spec) -> Shape {
        Shape::Map(Box::new(CommandSetting::shape(spec)))
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        let wanted = "must be a table of lines such as join = \"join\"";
        let mut commands = Self::new();
        for entry in reader.table(entry, wanted)? {
            let command = CommandSetting::read(reader, &entry, spec);
            commands.extend(command.map(|command| (entry.key.to_owned(), command)));
        }
        Some(commands)
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        errors.check(at, check_count(self.len(), spec));
        for (name, command) in self {
            command.check(&key_in(at, name), spec, errors);
        }
    }
}

impl Value for ReplyData {
    fn shape(_: &Spec) -> Shape {
        Shape::Json
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        match entry.value.as_str() {
            Some(text) => Some(Self::Text(text.to_owned())),
            None => reader.json(entry).map(Self::Json),
        }
    }
}

/// Bytes that are base64 in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Base64(Vec<u8>);

impl Value for Base64 {
    fn shape(_: &Spec) -> Shape {
        Shape::Text
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        let wrong = |_| "is not base64, such as \"aGk=\"".to_owned();
        reader.parsed(entry, |text| STANDARD.decode(text).map(Self).map_err(wrong))
    }
}
