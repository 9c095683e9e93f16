//! Everything that was set up on one shard, and what becomes of a call there.

use super::HttpService;
use super::admission::{Admission, RequestHead, Upgrade};
use super::chain::{Chain, HandlerFn, MiddlewareFn, Registered};
use super::permissions::Gates;
use super::session::{Session, SessionState};
use super::setup::SetupError;
use super::task::{Label, LocalFuture};
use crate::dialect::Rejection;
use crate::runtime::panic::{DropGuarded, discard};
use crate::shard::settings::{ChannelRule, ShardSettings, TokenRule};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Everything that was set up on one shard.
#[derive(derive_more::Debug, Default)]
#[debug("Program {{ registered: {:?}, .. }}", self.labels.len())]
pub(crate) struct Program {
    pub(crate) routes: Vec<RouteProgram>,
    /// What was declared of the channels of each namespace.
    pub(super) namespaces: Vec<Gates>,
    pub(crate) http: Option<(Rc<HttpService>, Label)>,
    pub(crate) labels: Vec<Box<str>>,
}

pub(crate) type AdmitFn = dyn Fn(Upgrade) -> LocalFuture<Result<Admission, Rejection>>;
pub(crate) type AuthenticateFn = dyn Fn(Box<str>) -> LocalFuture<Option<String>>;
pub(crate) type HeadFn = dyn Fn(&RequestHead<'_>) -> bool;
pub(crate) type SessionFn = dyn Fn(Session) -> LocalFuture<()>;

/// A handler that one session was admitted with. What it has captured is an embedder's.
pub(crate) type SessionHandler = DropGuarded<Rc<HandlerFn>>;

/// What was set up for one route.
#[derive(Default)]
pub(crate) struct RouteProgram {
    pub(crate) matcher: Option<Registered<HeadFn>>,
    pub(crate) origin: Option<Registered<HeadFn>>,
    pub(crate) authorize_push: Option<Registered<HeadFn>>,
    pub(crate) admit: Option<Registered<AdmitFn>>,
    pub(crate) authenticate: Option<Registered<AuthenticateFn>>,
    pub(crate) middleware: Vec<Registered<MiddlewareFn>>,
    pub(crate) handlers: BTreeMap<Box<str>, Vec<Registered<HandlerFn>>>,
    /// Commands that the config has handled, and no code.
    pub(crate) configured: BTreeSet<Box<str>>,
    pub(crate) fallback: Option<Registered<HandlerFn>>,
    pub(crate) on_message: Vec<Registered<HandlerFn>>,
    pub(crate) on_open: Vec<Registered<SessionFn>>,
    pub(crate) on_close: Vec<Registered<SessionFn>>,
    /// What was declared of channels here; empty once it is settled in the namespace.
    pub(super) gates: Gates,
}

impl Program {
    /// Nothing, for as many routes as there are.
    pub(crate) fn empty(routes_count: usize) -> Self {
        let mut program = Self::default();
        program
            .routes
            .resize_with(routes_count, RouteProgram::default);
        program
    }
}

/// What one call goes through, with what is said about it.
pub(crate) struct CallChain {
    /// Whether there is a handler at its end.
    pub(crate) is_handled: bool,
    pub(crate) chain: Chain,
    pub(crate) label: Label,
}

impl Program {
    /// What was set up for the route of a session.
    pub(crate) fn route_of(&self, state: &SessionState) -> &RouteProgram {
        &self.routes[state.route.index()]
    }

    /// What a command of a session goes through.
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

    /// Writes what was set up into the settings of its shard.
    ///
    /// # Errors
    ///
    /// If two routes of one namespace declare the same channel or pattern.
    pub(crate) fn settle(&mut self, settings: &mut ShardSettings) -> Result<(), SetupError> {
        self.namespaces
            .resize_with(settings.namespaces.len(), Gates::default);
        for (program, route) in self.routes.iter_mut().zip(&mut settings.routes) {
            route.handles_calls = program.handles_calls();
            if program.authenticate.is_some() {
                route.tokens = TokenRule::Ask;
            }
            let namespace = usize::from(route.namespace);
            let (rules, gates) = (
                &mut settings.namespaces[namespace],
                &mut self.namespaces[namespace],
            );
            for (pattern, gate) in program.gates.joins.iter() {
                if rules.declare(pattern.clone(), gate.rule()).is_err() {
                    return Err(SetupError(format!(
                        "channel {pattern} already exists in a namespace that two routes share"
                    )));
                }
            }
            let Gates { joins, publishers } = std::mem::take(&mut program.gates);
            for (pattern, gate) in joins.into_declared() {
                discard(gates.joins.declare(pattern, gate));
            }
            for (pattern, gate) in publishers.into_declared() {
                // Where two routes declare the same, the first counts.
                discard(gates.publishers.declare(pattern, gate));
            }
        }
        // Whoever may be judged by a validator is kept, on whatever route it was declared.
        let namespaces = &settings.namespaces;
        for (program, route) in self.routes.iter().zip(&mut settings.routes) {
            let is_judged = namespaces[usize::from(route.namespace)]
                .iter()
                .any(|(_, rule)| *rule == ChannelRule::Ask);
            route.observes_ends = !route.watches && (program.keeps_sessions() || is_judged);
        }
        Ok(())
    }
}

impl RouteProgram {
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
        self.gates.discard();
    }

    /// Whether somebody handles calls, or wants to see them.
    pub(crate) fn handles_calls(&self) -> bool {
        self.admit.is_some()
            || self.fallback.is_some()
            || !self.middleware.is_empty()
            || !self.handlers.is_empty()
            || !self.on_message.is_empty()
    }

    /// Whether anything of a session is to be kept for its functions.
    fn keeps_sessions(&self) -> bool {
        self.handles_calls() || !self.on_open.is_empty() || !self.on_close.is_empty()
    }
}

impl Drop for Program {
    /// Destructors of an embedder's may panic; that has been reported then, and hurts nobody.
    fn drop(&mut self) {
        for route in std::mem::take(&mut self.routes) {
            route.discard();
        }
        std::mem::take(&mut self.namespaces)
            .into_iter()
            .for_each(Gates::discard);
        discard(self.http.take());
    }
}
