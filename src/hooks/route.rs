//! The hooks of a route: sends them to the route's backend and applies the responses.

use super::HookError;
use super::client::{BackendClient, ShardBackends};
use super::requests::{self, AccessRequest, Hook, Requester};
use super::responses::{self, Actions, HookLimits, OpenResponse, PushAction, PushTarget};
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

/// The hooks of one route on one shard.
#[derive(Debug)]
pub(crate) struct HookClient {
    backend: Rc<BackendClient>,
    hooks: Hooks,
    route: RouteHandle,
    limits: HookLimits,
}

impl HookClient {
    /// Creates the hooks of a route; `None` if its config has none. `handle` is this shard's handle
    /// to the route.
    ///
    /// # Panics
    ///
    /// If there is no such backend. Config validation prevents that.
    pub(crate) fn new(
        backends: &ShardBackends,
        config: &Config,
        route: &Route,
        handle: RouteHandle,
    ) -> Option<Rc<Self>> {
        let hooks = route.hooks.clone()?;
        let backend = backends.find(&hooks.backend);
        let backend = backend.expect("a valid config has every backend that its routes name");
        let limits = HookLimits {
            name_bytes_max: handle.gateway().name_bytes_max(),
            values_bytes_max: backend.limits().values_bytes_max as usize,
            channels_max: config.limits.channels_per_session_max as usize,
            dialect: handle.dialect(),
        };
        Some(Rc::new(Self {
            backend,
            hooks,
            route: handle,
            limits,
        }))
    }

    /// Returns whether the route has this hook.
    pub(crate) fn has_hook(&self, kind: HookKind) -> bool {
        self.hooks.asks(kind)
    }

    /// Sends an `open` hook, which admits or rejects an upgrade request. `user` is the user that
    /// the config's rules have found; a user in the response replaces it.
    ///
    /// # Errors
    ///
    /// The backend's [`Rejection`], or one with status 503 if the hook fails.
    pub(crate) async fn open(
        &self,
        upgrade: &Upgrade,
        token: Option<&str>,
        user: Option<&str>,
        claims: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<Admission, Rejection> {
        let body = |id| requests::open(id, upgrade, token, user, claims);
        let read = |json: &[u8]| responses::read_open(json, &self.limits);
        let admitted = match self.backend.send(Hook::Open, body, read).await {
            Ok(OpenResponse::Admit(admitted)) => *admitted,
            Ok(OpenResponse::Reject(rejection)) => return Err(rejection),
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

    /// Pushes the first message that the backend's `open` response contained. Call it when the
    /// session has opened.
    pub(crate) async fn opened(&self, session: Session) {
        if let Some(FirstMessage(message)) = session.values().remove() {
            let pushed = self.route.push_session(session.id(), message).await;
            log_failed_actions("a first message", pushed);
        }
    }

    /// Sends an `authenticate` hook and returns the token's user; `None` if the token is invalid or
    /// the hook fails.
    pub(crate) async fn authenticate(&self, token: &str) -> Option<String> {
        let body = |id| requests::authenticate(id, &self.route, token);
        let read = |json: &[u8]| responses::read_user(json, &self.limits);
        let user = self.backend.send(Hook::Authenticate, body, read).await;
        user.inspect_err(|error| self.log_failure(Hook::Authenticate, None, None, error))
            .ok()
            .flatten()
    }

    /// Sends a `message` hook for a call and applies the response. When it returns, joins and
    /// leaves have been done and pushes are in the shard's queue, so that the response follows
    /// them.
    pub(crate) async fn message(&self, cx: Context) -> Response {
        let body = |id| requests::message(id, &cx);
        let read = |json: &[u8]| responses::read_message(json, &self.limits);
        let actions = match self.backend.send(Hook::Message, body, read).await {
            Ok(actions) => actions,
            Err(error) => {
                self.log_failure_of(Hook::Message, cx.session(), &error);
                return self.failed(&cx);
            }
        };
        let problem = if !self.can_encode_all(&actions.pushes) {
            Some("the response pushes an event that a dialect of the namespace cannot encode")
        } else if !self.may_join_all(&cx, &actions.joins).await {
            Some("the response joins more channels than a session may be on")
        } else {
            None
        };
        if let Some(problem) = problem {
            let backend = self.backend.name();
            limited!(WARN, "a hook response cannot be used", backend, problem);
            return self.failed(&cx);
        }
        self.act(&cx, actions).await
    }

    /// Sends a hook that allows or denies a client's action. Returns the reply to a join, without
    /// data for other actions; `None` if the action is denied or the hook fails.
    pub(crate) async fn allows(
        &self,
        requester: Requester<'_>,
        access: AccessRequest<'_>,
    ) -> Option<Reply> {
        let body = |id| requests::access(id, &self.route, requester, access);
        let hook = access.hook();
        let read = |json: &[u8]| match access {
            AccessRequest::Join(_) => responses::read_join(json, &self.limits),
            AccessRequest::Publish(_) | AccessRequest::Command(_) => {
                responses::read_allow(json).map(|allow| allow.then(Reply::default))
            }
        };
        match self.backend.send(hook, body, read).await {
            Ok(allowed) => allowed,
            Err(error) => {
                match requester {
                    Requester::Session(session) => self.log_failure_of(hook, session, &error),
                    Requester::Connecting { .. } => self.log_failure(hook, None, None, &error),
                }
                None
            }
        }
    }

    /// Sends a `close` hook for a session that has ended.
    pub(crate) async fn closed(&self, session: Session) {
        let (public_id, address) = (session.id(), session.address());
        let body = move |id| requests::close(id, &session); // drops the session before the wait
        if let Err(error) = self.backend.send(Hook::Close, body, |_| Ok(())).await {
            // No caller waits for the result; the failure is counted.
            self.log_failure(Hook::Close, Some(public_id), address, &error);
        }
    }

    fn log_failure_of(&self, hook: Hook, session: &Session, error: &HookError) {
        self.log_failure(hook, Some(session.id()), session.address(), error);
    }

    /// Logs a failed hook at level `debug`, without a rate limit.
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

    /// Returns the response to a call whose hook failed, and closes the session if the config says
    /// so.
    fn failed(&self, cx: &Context) -> Response {
        match self.hooks.on_failure {
            OnFailure::Fail => Err(Failure::error(UNAVAILABLE)),
            OnFailure::Close => {
                if check_enqueued(cx.close(1013, UNAVAILABLE)).is_err() {
                    cx.close_behind_response(1013, UNAVAILABLE.into());
                }
                Ok(None)
            }
        }
    }

    /// Returns whether the dialects of all possible receivers can encode these pushes.
    fn can_encode_all(&self, pushes: &[PushAction]) -> bool {
        pushes.iter().all(|push| match push.to {
            PushTarget::Channel(_) | PushTarget::User(_) | PushTarget::Everyone => {
                self.route.check_event(&push.message.event).is_ok()
            }
            PushTarget::Session(_) => true, // checked on the session's shard
        })
    }

    /// Returns whether a session may join these channels in addition to its present ones.
    async fn may_join_all(&self, cx: &Context, joins: &[Box<str>]) -> bool {
        if joins.is_empty() {
            return true;
        }
        let Ok(info) = self.route.gateway().session(cx.session_id()).await else {
            return true; // the session has ended, and joins will fail
        };
        let mut channels: BTreeSet<&str> = info.channels.iter().map(String::as_str).collect();
        channels.extend(joins.iter().map(|channel| &**channel));
        channels.len() <= self.limits.channels_max
    }

    /// Applies the actions of a response in order and returns the response to the call.
    async fn act(&self, cx: &Context, actions: Actions) -> Response {
        let mut failed_actions = FailedActions::default();
        for channel in actions.joins {
            failed_actions.note(cx.join(channel).await.err());
        }
        for channel in actions.leaves {
            failed_actions.note(cx.leave(channel).await.err());
        }
        for push in actions.pushes {
            failed_actions.note(check_enqueued(self.push(cx, push)).err());
        }
        if let Some(values) = actions.values {
            cx.session().values().insert::<HookValues>(values);
        }
        if let Some((code, reason)) = actions.close {
            cx.close_behind_response(code, reason);
        }
        match (failed_actions.0, actions.response) {
            (Some(error), _) => Err(Failure::error(error.to_string())),
            // In a dialect with a response for each request, an empty reply reports success.
            (None, Ok(None)) if self.limits.dialect.spec().concurrent => Ok(Some(Reply::ok())),
            (None, response) => response,
        }
    }

    fn push(&self, cx: &Context, push: PushAction) -> Pending<u64> {
        let sender = [cx.session_id()];
        let except = if push.except_sender { &sender[..] } else { &[] };
        match push.to {
            PushTarget::Channel(name) => self.route.publish_except(name, push.message, except),
            PushTarget::Everyone => self.route.broadcast_except(push.message, except),
            PushTarget::User(user) => self.route.push_user(user, push.message),
            PushTarget::Session(id) => self.route.push_session(id, push.message),
        }
    }
}

/// The first error of a response's actions.
#[derive(Debug, Default)]
struct FailedActions(Option<HandleError>);

impl FailedActions {
    fn note(&mut self, error: Option<HandleError>) {
        // An action for a session that has ended is not an error.
        if let Some(error) = error.filter(|&error| error != HandleError::NoSession) {
            limited!(WARN, "an action of a hook response failed", %error);
            self.0.get_or_insert(error);
        }
    }
}

/// Checks that a command was enqueued, without waiting for its result.
///
/// # Errors
///
/// The error if it could not be enqueued.
fn check_enqueued<T>(mut pending: Pending<T>) -> Result<(), HandleError> {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match Pin::new(&mut pending).poll(&mut cx) {
        Poll::Ready(result) => result.map(|_| ()),
        Poll::Pending => Ok(()),
    }
}

fn log_failed_actions(what: &str, pushed: Result<u64, HandleError>) {
    if let Err(error) = pushed {
        tracing::debug!(%error, "{what} was not pushed");
    }
}

/// The failure text for a message whose hook failed, in dialects that send one.
const UNAVAILABLE: &str = "backend unavailable";
