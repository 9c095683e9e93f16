//! Whether a client may: what a [`Rule`] of the config means for one of them.

use crate::channel_pattern::{ChannelPattern, Fit};
use crate::config::{Rule, Secret};
use crate::content::{Denial, Failure};
use crate::handler::{Context, Joining};

/// Judges clients by one rule.
pub(super) struct Judge {
    rule: Rule,
    /// The channels that it is the rule of, which may name a user.
    channels: Option<ChannelPattern>,
}

/// Who wants something.
#[derive(Clone, Copy, Debug)]
struct Who<'w> {
    user: Option<&'w str>,
    token: Option<&'w str>,
}

impl Judge {
    /// For a rule of commands, or of the channels that have a name or fit a pattern.
    pub(super) fn new(rule: &Rule, channels: Option<&str>) -> Self {
        let parse = |name| ChannelPattern::parse(name).expect("the config has checked it");
        Self {
            rule: rule.clone(),
            channels: channels.map(parse),
        }
    }

    /// Whether a client may join or publish.
    pub(super) async fn judge_joining(&self, joining: &Joining) -> Result<(), Failure> {
        let who = Who {
            user: joining.user.as_deref(),
            token: joining.token.as_deref(),
        };
        self.verdict(who, Some(&joining.channel))
    }

    /// Whether a client may give a command.
    pub(super) async fn judge_command(&self, cx: &Context) -> Result<(), Failure> {
        let session = cx.session();
        let who = Who {
            user: session.user(),
            token: session.token(),
        };
        self.verdict(who, None)
    }

    fn verdict(&self, who: Who<'_>, channel: Option<&str>) -> Result<(), Failure> {
        let allowed = match &self.rule {
            Rule::Anyone => true,
            Rule::Nobody => false,
            Rule::Identified => who.user.is_some(),
            Rule::Owner => self.is_owner(who, channel),
            Rule::Tokens(tokens) => who.token.is_some_and(|token| is_among(tokens, token)),
            Rule::Claim { .. } | Rule::Hook => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Failure::denied(Denial::NotAuthorized))
        }
    }

    /// Whether the channel's name names the client's user.
    fn is_owner(&self, who: Who<'_>, channel: Option<&str>) -> bool {
        let fit = self
            .channels
            .as_ref()
            .zip(channel)
            .and_then(|(pattern, channel)| pattern.fit(channel));
        match fit {
            Some(Fit::Names(user)) => who.user == Some(user),
            Some(Fit::Fits) | None => false,
        }
    }
}

/// Whether a token is one of several, in a time that does not depend on which.
fn is_among(tokens: &[Secret], token: &str) -> bool {
    let mut found = false;
    for each in tokens {
        found |= each.matches(token.as_bytes());
    }
    found
}
