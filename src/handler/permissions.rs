//! What a client may do with channels by itself: the one place where that is decided, for joins,
//! for the channel that a URL names, and for publications.

use super::admission::Joining;
use super::chain::Registered;
use super::program::Program;
use super::task::LocalFuture;
use crate::runtime::panic::discard;
use crate::shard::settings::{ChannelRule, MayJoin, RouteSettings, ShardSettings};
use crate::vocabulary::channel_rules::ChannelRules;
use crate::vocabulary::content::{Denial, Failure};

/// Judges a client that wants to join or publish.
pub(crate) type ValidateFn = dyn Fn(Joining) -> LocalFuture<Result<(), Failure>>;

/// Who may, as it was declared.
pub(super) enum Gate {
    /// Anyone.
    Open,
    /// No client by itself.
    Closed,
    /// Whom the validator lets.
    Ask(Registered<ValidateFn>),
}

/// Whether a client may do what it wants.
pub(crate) enum Permission {
    Granted,
    Denied(Denial),
    /// If the validator lets it.
    Judged(Registered<ValidateFn>),
}

/// What was declared of channels, on one route or in one namespace.
#[derive(Default)]
pub(super) struct Gates {
    /// Who may join.
    pub(super) joins: ChannelRules<Gate>,
    /// Who may publish; to others whoever is on them may.
    pub(super) publishers: ChannelRules<Gate>,
}

impl Gate {
    /// What the shard is told of it.
    pub(super) fn rule(&self) -> ChannelRule {
        match self {
            Self::Open => ChannelRule::Open,
            Self::Closed => ChannelRule::Closed,
            Self::Ask(_) => ChannelRule::Ask,
        }
    }
}

impl Gates {
    /// Drops every validator by itself.
    pub(super) fn discard(self) {
        let all = self
            .joins
            .into_declared()
            .chain(self.publishers.into_declared());
        all.for_each(|(_, gate)| discard(gate));
    }
}

impl Program {
    /// Whether a client of this route may be on a channel by itself.
    pub(crate) fn may_join(
        &self,
        settings: &ShardSettings,
        route: &RouteSettings,
        channel: &str,
    ) -> Permission {
        match settings.may_join(route, channel) {
            MayJoin::Yes => Permission::Granted,
            MayJoin::No(denial) => Permission::Denied(denial),
            MayJoin::Ask => {
                let gates = &self.namespaces[usize::from(route.namespace)];
                match gates.joins.find(channel) {
                    Some(Gate::Ask(validator)) => Permission::Judged(validator.clone()),
                    None | Some(Gate::Open | Gate::Closed) => {
                        Permission::Denied(Denial::NotAuthorized)
                    }
                }
            }
        }
    }

    /// Whether a client that is on a channel may publish to it by itself.
    pub(crate) fn may_publish(&self, namespace: u16, channel: &str) -> Permission {
        match self.namespaces[usize::from(namespace)]
            .publishers
            .find(channel)
        {
            None | Some(Gate::Open) => Permission::Granted,
            Some(Gate::Closed) => Permission::Denied(Denial::NotAuthorized),
            Some(Gate::Ask(validator)) => Permission::Judged(validator.clone()),
        }
    }
}
