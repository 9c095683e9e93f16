//! A route's hooks: what its functions ask the backend, and what is done with the answers.

use super::HookError;
use super::answers::{self, Actions, Bounds, OpenAnswer, Push, Target};
use super::asks::{self, Asker, Hook, Question};
use super::client::{BackendClient, ShardBackends};
use super::values::{FirstMessage, HookValues};
use crate::config::{Config, HookKind, Hooks, OnFailure, Route};
use crate::dialect::Rejection;
use crate::handler::{
    Admission, Context, HandleError, Pending, Response, RouteHandle, Session, Upgrade,
};
use crate::logging::limited;
use crate::vocabulary::content::{Failure, Reply};
use crate::vocabulary::public_id::PublicId;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The hooks of one route, on one shard.
#[derive(Debug)]
pub(crate) struct HookClient {
    backend: Rc<BackendClient>,
    hooks: Hooks,
    route: RouteHandle,
    bounds: Bounds,
}

impl HookClient {
    /// The hooks of a route of the config; `None` if it has none. The handle is the route's, of
    /// this shard.
    ///
    /// # Panics
    ///
    /// If there is no such backend, which a valid config rules out.
    pub(crate) fn new(
        backends: &ShardBackends,
        config: &Config,
        route: &Route,
        handle: RouteHandle,
    ) -> Option<Rc<Self>> {
        let hooks = route.hooks.clone()?;
        let backend = backends.find(&hooks.backend);
        let backend = backend.expect("a valid config has every backend that its routes name");
        let bounds = Bounds {
            name_bytes_max: handle.gateway().name_bytes_max(),
            values_bytes_max: backend.limits().values_bytes_max as usize,
            channels_max: config.limits.channels_per_session_max as usize,
            dialect: handle.dialect(),
        };
        Some(Rc::new(Self {
            backend,
            hooks,
            route: handle,
            bounds,
        }))
    }

    /// Whether the route has this hook.
    pub(crate) fn asks(&self, kind: HookKind) -> bool {
        self.hooks.asks(kind)
    }

    /// Asks whether a client may connect, as whom and with what. `user` is the one whom the config
    /// has found already; the client is admitted as that one unless the backend names another.
    ///
    /// # Errors
    ///
    /// How the backend refuses it, or 503 if the backend does not answer.
    pub(crate) async fn open(
        &self,
        upgrade: &Upgrade,
        token: Option<&str>,
        user: Option<&str>,
        claims: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<Admission, Rejection> {
        let body = |id| asks::open(id, upgrade, token, user, claims);
        let read = |json: &[u8]| answers::read_open(json, &self.bounds);
        let admitted = match self.backend.ask(Hook::Open, body, read).await {
            Ok(OpenAnswer::Admit(admitted)) => *admitted,
            Ok(OpenAnswer::Refuse(rejection)) => return Err(rejection),
            Err(error) => {
                self.log_failure(Hook::Open, None, upgrade.address, &error);
                return Err(Rejection::new(
                    503,
                    "the backend does not answer, try again\n",
                ));
            }
        };
        let mut admission = Admission::new().profile(admitted.profile);
        admission.user = admitted.user.or_else(|| user.map(Into::into));
        admission.channels = admitted.channels;
        if let Some(values) = admitted.values {
            admission = admission.value(values);
        }
        if let Some(message) = admitted.message {
            admission = admission.value(FirstMessage(message.on_own_channel()));
        }
        Ok(admission)
    }

    /// Pushes what the backend wanted a session to be told first. To be called when it has opened.
    pub(crate) async fn opened(&self, session: Session) {
        if let Some(FirstMessage(message)) = session.values().remove() {
            let pushed = self.route.push_session(session.id(), message).await;
            log_undone("a first message", pushed);
        }
    }

    /// Asks which user a token names; nobody, if the backend does not answer.
    pub(crate) async fn authenticate(&self, token: &str) -> Option<String> {
        let body = |id| asks::authenticate(id, &self.route, token);
        let read = |json: &[u8]| answers::read_user(json, &self.bounds);
        let answered = self.backend.ask(Hook::Authenticate, body, read).await;
        answered
            .inspect_err(|error| self.log_failure(Hook::Authenticate, None, None, error))
            .ok()
            .flatten()
    }

    /// Asks what is to be done about a call, and does it. When it returns, joins and leaves have
    /// been done, and pushes are in the shard's queue, so that the response comes behind them.
    pub(crate) async fn message(&self, cx: Context) -> Response {
        let body = |id| asks::message(id, &cx);
        let read = |json: &[u8]| answers::read_message(json, &self.bounds);
        let actions = match self.backend.ask(Hook::Message, body, read).await {
            Ok(actions) => actions,
            Err(error) => {
                self.log_failure_of(Hook::Message, cx.session(), &error);
                return self.failed(&cx);
            }
        };
        let problem = if !self.are_worded(&actions.pushes) {
            Some("an answer pushes an event that a language of the namespace has no words for")
        } else if !self.may_join_all(&cx, &actions.joins).await {
            Some("an answer joins more channels than a session may be on")
        } else {
            None
        };
        if let Some(problem) = problem {
            let backend = self.backend.name();
            limited!(WARN, "an answer cannot be used", backend, problem);
            return self.failed(&cx);
        }
        self.act(&cx, actions).await
    }

    /// Asks whether somebody may do something; nobody may, if the backend does not answer.
    pub(crate) async fn allows(&self, asker: Asker<'_>, question: Question<'_>) -> bool {
        let body = |id| asks::question(id, &self.route, asker, question);
        let hook = question.hook();
        match self.backend.ask(hook, body, answers::read_allow).await {
            Ok(allowed) => allowed,
            Err(error) => {
                match asker {
                    Asker::Session(session) => self.log_failure_of(hook, session, &error),
                    Asker::Connecting { .. } => self.log_failure(hook, None, None, &error),
                }
                false
            }
        }
    }

    /// Tells that a session has ended.
    pub(crate) async fn closed(&self, session: Session) {
        let (public_id, address) = (session.id(), session.address());
        let body = move |id| asks::close(id, &session); // and the session is let go
        if let Err(error) = self.backend.ask(Hook::Close, body, |_| Ok(())).await {
            // It has been counted, and there is nobody else to tell.
            self.log_failure(Hook::Close, Some(public_id), address, &error);
        }
    }

    fn log_failure_of(&self, hook: Hook, session: &Session, error: &HookError) {
        self.log_failure(hook, Some(session.id()), session.address(), error);
    }

    /// Each of them is a line at `debug`, whatever is left out elsewhere.
    fn log_failure(
        &self,
        hook: Hook,
        public_id: Option<PublicId>,
        address: Option<SocketAddr>,
        error: &HookError,
    ) {
        tracing::debug!(
            hook = hook.as_str(),
            reason = HookError::LABELS[error.label_index()],
            error = error.to_string(),
            backend = self.backend.name(),
            route = self.route.path(),
            address = address.map(display),
            public_id = public_id.map(display),
            "hook failed"
        );
    }

    /// What becomes of a call that the backend did not answer.
    fn failed(&self, cx: &Context) -> Response {
        match self.hooks.on_failure {
            OnFailure::Fail => Err(Failure::error(UNAVAILABLE)),
            OnFailure::Close => {
                if left_in_queue(cx.close(1013, UNAVAILABLE)).is_err() {
                    cx.close_behind_response(1013, UNAVAILABLE.into());
                }
                Ok(None)
            }
        }
    }

    /// Whether all who hear these pushes can be told in their own language.
    fn are_worded(&self, pushes: &[Push]) -> bool {
        pushes.iter().all(|push| match push.to {
            Target::Channel(_) | Target::User(_) | Target::Everyone => {
                self.route.check_event(&push.message.event).is_ok()
            }
            Target::Session(_) => true, // its own shard knows its language
        })
    }

    /// Whether a session may be on these channels, beside those it is on.
    async fn may_join_all(&self, cx: &Context, joins: &[Box<str>]) -> bool {
        if joins.is_empty() {
            return true;
        }
        let Ok(info) = self.route.gateway().session(cx.session_id()).await else {
            return true; // it has ended, and joins nothing
        };
        let mut channels: BTreeSet<&str> = info.channels.iter().map(String::as_str).collect();
        channels.extend(joins.iter().map(|channel| &**channel));
        channels.len() <= self.bounds.channels_max
    }

    /// Does what an answer asks for, in its order, and returns the response.
    async fn act(&self, cx: &Context, actions: Actions) -> Response {
        let mut undone = Undone::default();
        for channel in actions.joins {
            undone.note(cx.join(channel).await.err());
        }
        for channel in actions.leaves {
            undone.note(cx.leave(channel).await.err());
        }
        for push in actions.pushes {
            undone.note(left_in_queue(self.push(cx, push)).err());
        }
        if let Some(values) = actions.values {
            cx.session().values().insert::<HookValues>(values);
        }
        if let Some((code, reason)) = actions.close {
            cx.close_behind_response(code, reason);
        }
        match (undone.0, actions.response) {
            (Some(error), _) => Err(Failure::error(error.to_string())),
            // Where each request has its response, this is the one that says: done.
            (None, Ok(None)) if self.bounds.dialect.spec().concurrent => Ok(Some(Reply::ok())),
            (None, response) => response,
        }
    }

    fn push(&self, cx: &Context, push: Push) -> Pending<u64> {
        let sender = [cx.session_id()];
        let except = if push.except_sender { &sender[..] } else { &[] };
        match push.to {
            Target::Channel(name) => self.route.publish_except(name, push.message, except),
            Target::Everyone => self.route.broadcast_except(push.message, except),
            Target::User(user) => self.route.push_user(user, push.message),
            Target::Session(id) => self.route.push_session(id, push.message),
        }
    }
}

/// The first thing that could not be done although it was asked for.
#[derive(Debug, Default)]
struct Undone(Option<HandleError>);

impl Undone {
    fn note(&mut self, error: Option<HandleError>) {
        // Whoever is gone misses what there is.
        if let Some(error) = error.filter(|&error| error != HandleError::NoSession) {
            limited!(WARN, "what a backend wants could not be done", %error);
            self.0.get_or_insert(error);
        }
    }
}

/// Whether what was asked for is on its way; what comes of it is not waited for.
fn left_in_queue<T>(mut pending: Pending<T>) -> Result<(), HandleError> {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match Pin::new(&mut pending).poll(&mut cx) {
        Poll::Ready(result) => result.map(|_| ()),
        Poll::Pending => Ok(()),
    }
}

fn log_undone(what: &str, pushed: Result<u64, HandleError>) {
    if let Err(error) = pushed {
        tracing::debug!(%error, "{what} was not pushed");
    }
}

/// What a client is told whose message the backend did not answer, in languages that tell it.
const UNAVAILABLE: &str = "backend unavailable";
