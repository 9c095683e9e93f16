//! Authorization of clients by a [`Rule`] of the config.

use crate::auth::Claims;
use crate::config::{Rule, Secret};
use crate::handler::{Context, Joining, Values};
use crate::hooks::{AccessRequest, HookClient, Requester};
use crate::vocabulary::channel_pattern::{ChannelPattern, PatternMatch};
use crate::vocabulary::content::{Denial, Failure, Reply};
use std::rc::Rc;

/// The authorization of clients by one rule.
pub(super) struct Authorizer {
    rule: Rule,
    /// The channels that the rule applies to. The pattern may contain the user's name.
    channels: Option<ChannelPattern>,
    hooks: Option<Rc<HookClient>>,
}

/// The client that a rule is applied to.
#[derive(Clone, Copy)]
struct RuleSubject<'s> {
    user: Option<&'s str>,
    token: Option<&'s str>,
    values: &'s Values,
    requester: Requester<'s>,
}

impl Authorizer {
    /// Creates the authorization for a rule of a command, or of the channels with a name or
    /// pattern.
    pub(super) fn new(rule: &Rule, channels: Option<&str>, hooks: Option<&Rc<HookClient>>) -> Self {
        let parse = |name| ChannelPattern::parse(name).expect("the config has checked it");
        Self {
            rule: rule.clone(),
            channels: channels.map(parse),
            hooks: hooks.cloned(),
        }
    }

    /// Authorizes a join.
    ///
    /// # Errors
    ///
    /// The denial.
    pub(super) async fn authorize_join(&self, joining: &Joining) -> Result<(), Failure> {
        let request = AccessRequest::Join(&joining.channel);
        let reply = self.decide(RuleSubject::of(joining), request).await?;
        joining.set_reply(reply);
        Ok(())
    }

    /// Authorizes a publication.
    ///
    /// # Errors
    ///
    /// The denial.
    pub(super) async fn authorize_publish(&self, joining: &Joining) -> Result<(), Failure> {
        let request = AccessRequest::Publish(&joining.channel);
        self.decide(RuleSubject::of(joining), request)
            .await
            .map(drop)
    }

    /// Authorizes a command.
    ///
    /// # Errors
    ///
    /// The denial.
    pub(super) async fn authorize_command(&self, cx: &Context) -> Result<(), Failure> {
        if matches!(self.rule, Rule::Anyone) {
            return Ok(()); // the common case, of every message
        }
        let session = cx.session();
        let subject = RuleSubject {
            user: session.user(),
            token: session.token(),
            values: session.values(),
            requester: Requester::Session(session),
        };
        self.decide(subject, AccessRequest::Command(cx.command()))
            .await
            .map(drop)
    }

    /// Applies the rule. Returns the reply to a join.
    ///
    /// # Errors
    ///
    /// The denial.
    async fn decide(
        &self,
        subject: RuleSubject<'_>,
        request: AccessRequest<'_>,
    ) -> Result<Reply, Failure> {
        let denied = || Failure::denied(Denial::NotAuthorized);
        let allowed = match &self.rule {
            Rule::Anyone => true,
            Rule::Nobody => false,
            Rule::Identified => subject.user.is_some(),
            Rule::Owner => self.is_owner(subject, request),
            Rule::Tokens(tokens) => subject.token.is_some_and(|token| is_among(tokens, token)),
            Rule::Claim { name, value } => {
                let claims = subject.values.get::<Claims>();
                claims.is_some_and(|claims| claims.has_claim(name, value))
            }
            Rule::Hook => match &self.hooks {
                Some(hooks) => {
                    let reply = hooks.allows(subject.requester, request).await;
                    return reply.ok_or_else(denied);
                }
                None => false,
            },
        };
        allowed.then(Reply::default).ok_or_else(denied)
    }

    /// Returns whether the channel's name contains the client's user.
    fn is_owner(&self, subject: RuleSubject<'_>, request: AccessRequest<'_>) -> bool {
        let (AccessRequest::Join(channel) | AccessRequest::Publish(channel)) = request else {
            return false;
        };
        let pattern = self.channels.as_ref();
        match pattern.and_then(|pattern| pattern.match_name(channel)) {
            Some(PatternMatch::User(user)) => subject.user == Some(user),
            Some(PatternMatch::Plain) | None => false,
        }
    }
}

impl<'s> RuleSubject<'s> {
    fn of(joining: &'s Joining) -> Self {
        let (user, token) = (joining.user.as_deref(), joining.token.as_deref());
        Self {
            user,
            token,
            values: &joining.values,
            requester: match &joining.session {
                Some(session) => Requester::Session(session),
                None => Requester::Connecting { user, token },
            },
        }
    }
}

/// Returns whether a token is one of several. The time does not depend on which one matches.
fn is_among(tokens: &[Secret], token: &str) -> bool {
    let mut found = false;
    for each in tokens {
        found |= each.matches(token.as_bytes());
    }
    found
}
