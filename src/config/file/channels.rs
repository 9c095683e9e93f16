//! From `[[routes.channels]]` to channels with their rules, and from a rule's word or table to a
//! [`Rule`].

use std::str::FromStr as _;

use super::super::error::ConfigError;
use super::super::words::quoted;
use super::super::{ChannelSetting, Create, Rule};
use super::reader::{Entry, Reader};

/// What may stand in a channel.
pub(super) const CHANNEL_KEYS: &[&str] = &["name", "create", "join", "publish"];

/// What may stand in a rule that is a table.
pub(super) const RULE_KEYS: &[&str] = &["tokens", "claim", "value"];

impl Reader {
    pub(super) fn channels(
        &mut self,
        whole: &Entry<'_>,
    ) -> Result<Vec<ChannelSetting>, ConfigError> {
        let mut channels = Vec::new();
        for (whole, table) in self.tables(whole, "must be [[routes.channels]] tables")? {
            let entries = self.entries(&whole.path, table);
            let Some(name) = entries.iter().find(|entry| entry.key == "name") else {
                return Err(self.missing(&whole, "a channel needs", "name", "such as \"room-*\""));
            };
            let mut channel = ChannelSetting::new(self.string(name)?);
            for entry in &entries {
                match entry.key {
                    "name" => {}
                    "create" => channel.create = self.parsed(entry, Create::from_str)?,
                    "join" => channel.join = self.rule(entry)?,
                    "publish" => channel.publish = self.rule(entry)?,
                    _ => return Err(self.unknown(entry, CHANNEL_KEYS)),
                }
            }
            channels.push(channel);
        }
        Ok(channels)
    }

    /// A word, or a table of tokens or of a claim.
    pub(super) fn rule(&mut self, whole: &Entry<'_>) -> Result<Rule, ConfigError> {
        const ALLOWED: &str = "\"anyone\", \"nobody\", \"identified\", \"owner\", \"hook\", \
            { tokens = [\"...\"] } and { claim = \"...\", value = \"...\" }";
        match whole.value.as_str() {
            Some("anyone") => return Ok(Rule::Anyone),
            Some("nobody") => return Ok(Rule::Nobody),
            Some("identified") => return Ok(Rule::Identified),
            Some("owner") => return Ok(Rule::Owner),
            Some("hook") => return Ok(Rule::Hook),
            Some(word) => {
                let problem = format!("{} is unknown, allowed are {ALLOWED}", quoted(word));
                return Err(self.places.complain(&whole.path, problem));
            }
            None => {}
        }
        let (mut tokens, mut claim, mut value) = (None, None, None);
        for entry in self.table(whole, &format!("must be one of {ALLOWED}"))? {
            match entry.key {
                "tokens" => {
                    let mut list = Vec::new();
                    for entry in self.array(&entry, "must be a list such as [\"...\"]")? {
                        list.push(self.secret(&entry)?);
                    }
                    tokens = Some(list);
                }
                "claim" => claim = Some(self.string(&entry)?.to_owned()),
                "value" => value = Some(self.string(&entry)?.to_owned()),
                _ => return Err(self.unknown(&entry, RULE_KEYS)),
            }
        }
        match (tokens, claim, value) {
            (Some(tokens), None, None) => Ok(Rule::Tokens(tokens)),
            (None, Some(name), Some(value)) => Ok(Rule::Claim { name, value }),
            _ => {
                let problem = "must have tokens, or a claim and its value";
                Err(self.places.complain(&whole.path, problem))
            }
        }
    }
}
