//! From `[routes.commands]` to what the gateway itself does with commands.
//!
//! ```text
//!   join = "join"                                        the short form: what is done
//!   hello = { action = "reply", data = "world" }         what is done, with what, for whom
//! ```

use std::collections::BTreeMap;
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::error::ConfigError;
use super::super::words::unknown;
use super::super::{Action, CommandSetting, PublishTo, ReplyData, Rule};
use super::reader::{Entry, Reader};

/// What may stand in a command, whatever its action.
pub(super) const COMMAND_KEYS: &[&str] =
    &["action", "channel", "event", "to", "data", "bytes", "allow"];

/// Each action, and the keys that it alone has.
const ACTIONS: &[(&str, &[&str])] = &[
    ("echo", &[]),
    ("join", &["channel"]),
    ("leave", &["channel"]),
    ("publish", &["channel", "event", "to"]),
    ("reply", &["data", "bytes"]),
    ("hook", &[]),
];

/// What the keys of a command say, before they are one action.
#[derive(Default)]
struct Parts {
    channel: Option<String>,
    event: Option<String>,
    to: PublishTo,
    data: ReplyData,
    allow: Rule,
}

impl Reader {
    pub(super) fn commands(
        &mut self,
        whole: &Entry<'_>,
    ) -> Result<BTreeMap<String, CommandSetting>, ConfigError> {
        let wrong = "must be a table of lines such as join = \"join\"";
        let mut commands = BTreeMap::new();
        for entry in self.table(whole, wrong)? {
            commands.insert(entry.key.to_owned(), self.command(&entry)?);
        }
        Ok(commands)
    }

    fn command(&mut self, whole: &Entry<'_>) -> Result<CommandSetting, ConfigError> {
        if whole.value.as_str().is_some() {
            let (action, _) = self.action(whole)?;
            return Ok(setting(action, Parts::default()));
        }
        let wrong = "must be an action such as \"join\", or a table such as \
            { action = \"reply\", data = \"...\" }";
        let entries = self.table(whole, wrong)?;
        let Some(entry) = entries.iter().find(|entry| entry.key == "action") else {
            return Err(self.missing(whole, "a command needs", "action", "such as \"join\""));
        };
        let (action, own) = self.action(entry)?;
        let mut parts = Parts::default();
        for entry in &entries {
            self.is_of_action(entry, action, own)?;
            match entry.key {
                "action" => {}
                "channel" => parts.channel = Some(self.string(entry)?.to_owned()),
                "event" => parts.event = Some(self.string(entry)?.to_owned()),
                "to" => parts.to = self.parsed(entry, PublishTo::from_str)?,
                "data" | "bytes" if parts.data != ReplyData::None => {
                    let problem = "a reply has data or bytes, not both";
                    return Err(self.places.complain(&entry.path, problem));
                }
                "data" => parts.data = self.reply_data(entry)?,
                "bytes" => {
                    let decode = |text: &str| STANDARD.decode(text);
                    parts.data = ReplyData::Bytes(self.parsed(entry, |text| {
                        decode(text).map_err(|_| "is not base64, such as \"aGk=\"".to_owned())
                    })?);
                }
                _ => parts.allow = self.rule(entry)?,
            }
        }
        Ok(setting(action, parts))
    }

    /// The action that is named, with the keys that it alone has.
    fn action(
        &self,
        entry: &Entry<'_>,
    ) -> Result<(&'static str, &'static [&'static str]), ConfigError> {
        let word = self.string(entry)?;
        let found = ACTIONS.iter().find(|(action, _)| *action == word);
        found.copied().ok_or_else(|| {
            let actions: Vec<&str> = ACTIONS.iter().map(|(action, _)| *action).collect();
            self.places.complain(&entry.path, unknown(word, &actions))
        })
    }

    /// Complains about a key that no command has, or none with this action.
    fn is_of_action(
        &self,
        entry: &Entry<'_>,
        action: &str,
        own: &[&str],
    ) -> Result<(), ConfigError> {
        let allowed = [&["action"], own, &["allow"]].concat();
        if allowed.contains(&entry.key) {
            return Ok(());
        }
        if !COMMAND_KEYS.contains(&entry.key) {
            return Err(self.unknown(entry, &allowed));
        }
        let problem = format!(
            "the action \"{action}\" has no such key; allowed here: {}",
            allowed.join(", ")
        );
        Err(self.places.complain(&entry.path, problem))
    }

    /// A string is a text, everything else is JSON.
    fn reply_data(&mut self, entry: &Entry<'_>) -> Result<ReplyData, ConfigError> {
        match entry.value.as_str() {
            Some(text) => Ok(ReplyData::Text(text.to_owned())),
            None => self.json(entry).map(ReplyData::Json),
        }
    }
}

fn setting(action: &str, parts: Parts) -> CommandSetting {
    let Parts {
        channel,
        event,
        to,
        data,
        allow,
    } = parts;
    let action = match action {
        "echo" => Action::Echo,
        "join" => Action::Join { channel },
        "leave" => Action::Leave { channel },
        "publish" => Action::Publish { channel, event, to },
        "reply" => Action::Reply { data },
        _ => Action::Hook,
    };
    CommandSetting { action, allow }
}
