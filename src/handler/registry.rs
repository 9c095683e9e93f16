//! The registry of one shard: all registered functions and channel rules, and the chain of a call.

use super::HttpService;
use super::access_rules::AccessRules;
use super::admission::{Admission, RequestHead, Upgrade};
use super::chain::{Chain, HandlerFn, MiddlewareFn, Registered};
use super::session::{Session, SessionState};
use super::setup::SetupError;
use super::task::{Label, LocalFuture};
use crate::dialect::Rejection;
use crate::runtime::panic::{DropGuarded, discard};
use crate::shard::classes::ChannelClass;
use crate::shard::settings::{ChannelRule, ShardSettings, TokenRule};
use crate::vocabulary::channel_rules::ChannelRules;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// All functions and channel rules registered on one shard.
#[derive(derive_more::Debug, Default)]
#[debug("Registry {{ registered: {:?}, .. }}", self.labels.len())]
pub(crate) struct Registry {
    pub(crate) routes: Vec<RouteRegistry>,
    /// The access rules of channels, indexed by namespace.
    pub(super) namespaces: Vec<AccessRules>,
    pub(crate) http: Option<(Rc<HttpService>, Label)>,
    pub(crate) labels: Vec<Box<str>>,
}

pub(crate) type AdmitFn = dyn Fn(Upgrade) -> LocalFuture<Result<Admission, Rejection>>;
pub(crate) type AuthenticateFn = dyn Fn(Box<str>) -> LocalFuture<Option<String>>;
pub(crate) type HeadFn = dyn Fn(&RequestHead<'_>) -> bool;
pub(crate) type SessionFn = dyn Fn(Session) -> LocalFuture<()>;

/// A handler that one session was admitted with. Its captured values are an embedder's, so its
/// destructor is guarded.
pub(crate) type SessionHandler = DropGuarded<Rc<HandlerFn>>;

/// The functions and channel rules registered for one route.
#[derive(Default)]
pub(crate) struct RouteRegistry {
    pub(crate) matcher: Option<Registered<HeadFn>>,
    pub(crate) origin: Option<Registered<HeadFn>>,
    pub(crate) authorize_push: Option<Registered<HeadFn>>,
    pub(crate) admit: Option<Registered<AdmitFn>>,
    pub(crate) authenticate: Option<Registered<AuthenticateFn>>,
    pub(crate) middleware: Vec<Registered<MiddlewareFn>>,
    pub(crate) handlers: BTreeMap<Box<str>, Vec<Registered<HandlerFn>>>,
    /// Commands whose handlers are the config's.
    pub(crate) configured: BTreeSet<Box<str>>,
    pub(crate) fallback: Option<Registered<HandlerFn>>,
    pub(crate) on_message: Vec<Registered<HandlerFn>>,
    pub(crate) on_open: Vec<Registered<SessionFn>>,
    pub(crate) on_close: Vec<Registered<SessionFn>>,
    /// The access rules declared on this route; moved to the namespace when setup ends.
    pub(super) access_rules: AccessRules,
    /// The classes of channels declared on this route; moved to the settings when setup ends.
    pub(super) classes: ChannelRules<ChannelClass>,
}

impl Registry {
    /// Creates a registry without functions for `routes_count` routes.
    pub(crate) fn empty(routes_count: usize) -> Self {
        let mut registry = Self::default();
        registry
            .routes
            .resize_with(routes_count, RouteRegistry::default);
        registry
    }
}

/// The chain of one call and its label.
pub(crate) struct CallChain {
    /// Whether the chain has a handler.
    pub(crate) is_handled: bool,
    pub(crate) chain: Chain,
    pub(crate) label: Label,
}

impl Registry {
    /// Returns the registered functions of a session's route.
    pub(crate) fn route_of(&self, state: &SessionState) -> &RouteRegistry {
        &self.routes[state.route.index()]
    }

    /// Returns the chain for a command of a session.
    pub(crate) fn chain(&self, state: &SessionState, command: &str) -> CallChain {
        let route = self.route_of(state);
        let mut label = Label::MIDDLEWARE;
        let mut handlers: SmallVec<[Registered<HandlerFn>; 1]> = SmallVec::new();
        if let Some(function) = &state.handler {
            label = Label::SESSION_HANDLER;
            let function = Rc::clone(function);
            handlers.push(Registered { function, label });
        } else {
            let own = route.handlers.get(command).map(Vec::as_slice);
            handlers.extend(own.unwrap_or(route.fallback.as_slice()).iter().cloned());
        }
        if let Some(first) = handlers.first() {
            label = first.label;
        }
        let is_handled = !handlers.is_empty();
        CallChain {
            is_handled,
            chain: Chain {
                middleware: route.middleware.as_slice().into(),
                handlers,
            },
            label,
        }
    }

    /// Applies the registrations to the settings of the shard.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] if two routes of one namespace declare the same channel or pattern, or
    /// different classes for one.
    pub(crate) fn apply_to(&mut self, settings: &mut ShardSettings) -> Result<(), SetupError> {
        self.namespaces
            .resize_with(settings.namespaces.len(), AccessRules::default);
        for (registry, route) in self.routes.iter_mut().zip(&mut settings.routes) {
            route.handles_calls = registry.handles_calls();
            if registry.authenticate.is_some() {
                route.tokens = TokenRule::AskHost;
            }
            let namespace = usize::from(route.namespace);
            let (rules, access_rules) = (
                &mut settings.namespaces[namespace],
                &mut self.namespaces[namespace],
            );
            for (pattern, rule) in registry.access_rules.joins.iter() {
                if rules.joins.declare(pattern.clone(), rule.rule()).is_err() {
                    return Err(SetupError(format!(
                        "channel {pattern} already exists in a namespace that two routes share"
                    )));
                }
            }
            let AccessRules { joins, publishers } = std::mem::take(&mut registry.access_rules);
            for (pattern, rule) in joins.into_declared() {
                discard(access_rules.joins.declare(pattern, rule));
            }
            for (pattern, rule) in publishers.into_declared() {
                // If two routes of a namespace declare the same publishers, the first rule wins.
                match rules.publishers.declare(pattern.clone(), rule.rule()) {
                    Ok(()) | Err(_) => {}
                }
                discard(access_rules.publishers.declare(pattern, rule));
            }
        }
        self.apply_classes(settings)?;
        // A validator may see the sessions of any route of its namespace, so all of them are kept.
        let namespaces = &settings.namespaces;
        for (registry, route) in self.routes.iter().zip(&mut settings.routes) {
            let rules = &namespaces[usize::from(route.namespace)];
            let has_validator = rules
                .joins
                .iter()
                .chain(rules.publishers.iter())
                .any(|(_, rule)| *rule == ChannelRule::AskHost);
            route.observes_ends = !route.is_tap && (registry.keeps_sessions() || has_validator);
        }
        Ok(())
    }

    fn apply_classes(&mut self, settings: &mut ShardSettings) -> Result<(), SetupError> {
        let mut namespaces: BTreeMap<u16, ChannelRules<ChannelClass>> = BTreeMap::new();
        for (registry, route) in self.routes.iter_mut().zip(&settings.routes) {
            let rules = namespaces.entry(route.namespace).or_default();
            for (pattern, class) in std::mem::take(&mut registry.classes).into_declared() {
                let known = rules.iter().find(|(known, _)| *known == pattern);
                match known {
                    Some((_, known)) if *known == class => {}
                    Some(_) => {
                        return Err(SetupError(format!(
                            "channel {pattern} treats slow members in two ways in a namespace \
                             that two routes share"
                        )));
                    }
                    None => rules.declare(pattern, class).expect("it is not known"),
                }
            }
        }
        let classes = Arc::make_mut(&mut settings.classes);
        for (namespace, rules) in namespaces {
            classes.assign(namespace, rules);
        }
        Ok(())
    }
}

impl RouteRegistry {
    fn discard(self) {
        discard(self.matcher);
        discard(self.origin);
        discard(self.authorize_push);
        discard(self.admit);
        discard(self.authenticate);
        discard(self.fallback);
        self.middleware.into_iter().for_each(discard);
        self.handlers.into_values().flatten().for_each(discard);
        self.on_message.into_iter().for_each(discard);
        self.on_open.into_iter().for_each(discard);
        self.on_close.into_iter().for_each(discard);
        self.access_rules.discard();
    }

    /// Returns whether any registered function needs this route's calls.
    pub(crate) fn handles_calls(&self) -> bool {
        self.admit.is_some()
            || self.fallback.is_some()
            || !self.middleware.is_empty()
            || !self.handlers.is_empty()
            || !self.on_message.is_empty()
    }

    /// Returns whether any registered function needs this route's sessions.
    fn keeps_sessions(&self) -> bool {
        self.handles_calls() || !self.on_open.is_empty() || !self.on_close.is_empty()
    }
}

impl Drop for Registry {
    /// Drops each function separately and catches panics of an embedder's destructors. The panic
    /// hook has reported them.
    fn drop(&mut self) {
        for route in std::mem::take(&mut self.routes) {
            route.discard();
        }
        std::mem::take(&mut self.namespaces)
            .into_iter()
            .for_each(AccessRules::discard);
        discard(self.http.take());
    }
}
