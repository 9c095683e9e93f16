//! Channel access of clients: the single place that decides joins, the channel named by an upgrade
//! URL, and publications of clients.

use super::admission::Joining;
use super::chain::Registered;
use super::registry::Registry;
use super::task::LocalFuture;
use crate::runtime::panic::discard;
use crate::shard::settings::{AccessDecision, ChannelRule, RouteSettings, ShardSettings};
use crate::vocabulary::channel_rules::ChannelRules;
use crate::vocabulary::content::Failure;

/// A validator: decides whether a client may join or publish to a channel.
pub(crate) type ValidateFn = dyn Fn(Joining) -> LocalFuture<Result<(), Failure>>;

/// The rule for joining or publishing to a channel.
pub(super) enum AccessRule {
    /// Any client.
    Open,
    /// No client. Only the embedder's code and the server API.
    Closed,
    /// Clients that the validator allows.
    Validator(Registered<ValidateFn>),
}

/// The decision about the channel that an upgrade request names.
pub(crate) enum Permission {
    Granted,
    Denied,
    /// The validator has to decide.
    Validate(Registered<ValidateFn>),
}

/// The declared access rules of channels, of one route or one namespace.
#[derive(Default)]
pub(super) struct AccessRules {
    /// Rules for joining.
    pub(super) joins: ChannelRules<AccessRule>,
    /// Rules for publishing. On a channel without a rule, every member may publish.
    pub(super) publishers: ChannelRules<AccessRule>,
}

impl AccessRule {
    /// Returns the rule in the form that the shard uses.
    pub(super) fn rule(&self) -> ChannelRule {
        match self {
            Self::Open => ChannelRule::Open,
            Self::Closed => ChannelRule::Closed,
            Self::Validator(_) => ChannelRule::AskHost,
        }
    }

    fn validator(&self) -> Option<Registered<ValidateFn>> {
        match self {
            Self::Open | Self::Closed => None,
            Self::Validator(validator) => Some(validator.clone()),
        }
    }
}

impl AccessRules {
    /// Drops each validator separately, catching panics of their destructors.
    pub(super) fn discard(self) {
        let all = self
            .joins
            .into_declared()
            .chain(self.publishers.into_declared());
        all.for_each(|(_, rule)| discard(rule));
    }
}

impl Registry {
    /// Decides whether a client of this route may join a channel.
    pub(crate) fn may_join(
        &self,
        settings: &ShardSettings,
        route: &RouteSettings,
        channel: &str,
    ) -> Permission {
        match settings.may_join(route, channel) {
            AccessDecision::Allowed => Permission::Granted,
            AccessDecision::Denied(_) => Permission::Denied,
            AccessDecision::AskHost => match self.join_validator(route.namespace, channel) {
                Some(validator) => Permission::Validate(validator),
                None => Permission::Denied,
            },
        }
    }

    /// Returns the validator of joins to a channel; `None` if its rule has none.
    pub(crate) fn join_validator(
        &self,
        namespace: u16,
        channel: &str,
    ) -> Option<Registered<ValidateFn>> {
        let rules = &self.namespaces[usize::from(namespace)].joins;
        rules.find(channel)?.validator()
    }

    /// Returns the validator of publications to a channel; `None` if its rule has none.
    pub(crate) fn publish_validator(
        &self,
        namespace: u16,
        channel: &str,
    ) -> Option<Registered<ValidateFn>> {
        let rules = &self.namespaces[usize::from(namespace)].publishers;
        rules.find(channel)?.validator()
    }
}
