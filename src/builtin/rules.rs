//! Whether a client may: what a [`Rule`] of the config means for one of them.

use crate::auth::Claims;
use crate::config::{Rule, Secret};
use crate::handler::{Context, Joining, Values};
use crate::hooks::{Asker, HookClient, Question};
use crate::vocabulary::channel_pattern::{ChannelPattern, Fit};
use crate::vocabulary::content::{Denial, Failure};
use std::rc::Rc;

/// Judges clients by one rule.
pub(super) struct Judge {
    rule: Rule,
    /// The channels that it is the rule of, which may name a user.
    channels: Option<ChannelPattern>,
    hooks: Option<Rc<HookClient>>,
}

/// Who wants something.
#[derive(Clone, Copy)]
struct Who<'w> {
    user: Option<&'w str>,
    token: Option<&'w str>,
    values: &'w Values,
    asker: Asker<'w>,
}

impl Judge {
    /// For a rule of commands, or of the channels that have a name or fit a pattern.
    pub(super) fn new(rule: &Rule, channels: Option<&str>, hooks: Option<&Rc<HookClient>>) -> Self {
        let parse = |name| ChannelPattern::parse(name).expect("the config has checked it");
        Self {
            rule: rule.clone(),
            channels: channels.map(parse),
            hooks: hooks.cloned(),
        }
    }

    /// Whether a client may join.
    pub(super) async fn judge_join(&self, joining: &Joining) -> Result<(), Failure> {
        let question = Question::Join(&joining.channel);
        self.verdict(Who::of(joining), question).await
    }

    /// Whether a client may publish.
    pub(super) async fn judge_publish(&self, joining: &Joining) -> Result<(), Failure> {
        let question = Question::Publish(&joining.channel);
        self.verdict(Who::of(joining), question).await
    }

    /// Whether a client may give a command.
    pub(super) async fn judge_command(&self, cx: &Context) -> Result<(), Failure> {
        let session = cx.session();
        let who = Who {
            user: session.user(),
            token: session.token(),
            values: session.values(),
            asker: Asker::Session(session),
        };
        self.verdict(who, Question::Command(cx.command())).await
    }

    async fn verdict(&self, who: Who<'_>, question: Question<'_>) -> Result<(), Failure> {
        let allowed = match &self.rule {
            Rule::Anyone => true,
            Rule::Nobody => false,
            Rule::Identified => who.user.is_some(),
            Rule::Owner => self.is_owner(who, question),
            Rule::Tokens(tokens) => who.token.is_some_and(|token| is_among(tokens, token)),
            Rule::Claim { name, value } => {
                let claims = who.values.get::<Claims>();
                claims.is_some_and(|claims| claims.holds(name, value))
            }
            Rule::Hook => match &self.hooks {
                Some(hooks) => hooks.allows(who.asker, question).await,
                None => false,
            },
        };
        if allowed {
            Ok(())
        } else {
            Err(Failure::denied(Denial::NotAuthorized))
        }
    }

    /// Whether the channel's name names the client's user.
    fn is_owner(&self, who: Who<'_>, question: Question<'_>) -> bool {
        let (Question::Join(channel) | Question::Publish(channel)) = question else {
            return false;
        };
        let pattern = self.channels.as_ref();
        match pattern.and_then(|pattern| pattern.fit(channel)) {
            Some(Fit::Names(user)) => who.user == Some(user),
            Some(Fit::Fits) | None => false,
        }
    }
}

impl<'w> Who<'w> {
    fn of(joining: &'w Joining) -> Self {
        let (user, token) = (joining.user.as_deref(), joining.token.as_deref());
        Self {
            user,
            token,
            values: &joining.values,
            asker: match &joining.session {
                Some(session) => Asker::Session(session),
                None => Asker::Connecting { user, token },
            },
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
