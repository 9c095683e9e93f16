//! What the gateway itself does with commands: that a client can give them, and that their answers
//! can be worded.

use serde::de::IgnoredAny;

use super::super::words::{key_in, quoted};
use super::super::{Action, CommandSetting, Limits, ReplyData, Route};
use super::channels;
use super::rule::{self, Surroundings};
use super::texts::{Complaint, complain};
use crate::dialect::{self, Dialect};

/// Checks the commands of a route.
pub(super) fn check(route: &Route, limits: &Limits) -> Result<(), Complaint> {
    let count = route.commands.len();
    if count > COMMANDS_MAX {
        let problem = format!("has {count} commands, allowed are 0 to {COMMANDS_MAX}");
        return complain("commands", problem);
    }
    let dialect = dialect::named(route.dialect.as_str());
    let dialect = dialect.expect("every dialect of the config is built in");
    for (name, command) in &route.commands {
        let key = key_in("commands", name);
        check_name(name, dialect, limits).or_else(|problem| complain(&key, problem))?;
        check_action(name, command, dialect, limits)
            .map_err(|(part, problem)| (format!("{key}.{part}"), problem))?;
        if command.action == Action::Hook && route.hooks.is_none() {
            let problem = "\"hook\" asks the backend of the route's hooks, and the route has none";
            return complain(&format!("{key}.action"), problem);
        }
        let around = Surroundings {
            names_user: false,
            claims: match &route.jwt {
                Some(_) => Ok(()),
                None => Err("a claim is one of a JWT, and the route has no jwt"),
            },
            hooks: route.hooks.is_some(),
            limits,
        };
        rule::check(&command.allow, &format!("{key}.allow"), around)?;
    }
    Ok(())
}

/// A message without a command has the empty name, where the language has such messages.
fn check_name(name: &str, dialect: &dyn Dialect, limits: &Limits) -> Result<(), String> {
    is_short(name, limits)?;
    let checked = dialect.check_command(name);
    checked.map_err(|problem| format!("{} cannot be a command: {problem}", quoted(name)))
}

fn check_action(
    name: &str,
    command: &CommandSetting,
    dialect: &dyn Dialect,
    limits: &Limits,
) -> Result<(), Complaint> {
    match &command.action {
        Action::Echo | Action::Hook => Ok(()),
        Action::Join { channel } | Action::Leave { channel } => {
            check_channel(channel.as_ref(), limits)
        }
        Action::Publish {
            channel,
            event,
            to: _,
        } => {
            check_channel(channel.as_ref(), limits)?;
            let spoken = event.as_ref().map_or(name, String::as_str);
            is_short(spoken, limits).or_else(|problem| complain("event", problem))?;
            dialect.check_event(spoken).or_else(|problem| {
                let spoken = quoted(spoken);
                let cure = match event {
                    Some(_) => "",
                    None => "; give the command an event of another name",
                };
                complain(
                    "event",
                    format!("{spoken} cannot be an event: {problem}{cure}"),
                )
            })
        }
        Action::Reply { data } => match data {
            ReplyData::Json(json) if serde_json::from_str::<IgnoredAny>(json).is_err() => {
                complain("data", "is not JSON")
            }
            ReplyData::None | ReplyData::Text(_) | ReplyData::Json(_) | ReplyData::Bytes(_) => {
                Ok(())
            }
        },
    }
}

fn check_channel(channel: Option<&String>, limits: &Limits) -> Result<(), Complaint> {
    match channel {
        Some(channel) => {
            channels::check_one(channel, limits).map_err(|problem| ("channel".to_owned(), problem))
        }
        None => Ok(()),
    }
}

fn is_short(name: &str, limits: &Limits) -> Result<(), String> {
    let (bytes, max) = (name.len(), limits.name_bytes_max);
    if bytes <= max as usize {
        return Ok(());
    }
    Err(format!(
        "has {bytes} bytes, allowed are 0 to {max} (limits.name_bytes_max)"
    ))
}

/// More are a program.
const COMMANDS_MAX: usize = 256;
