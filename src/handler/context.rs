//! The context of a call: the call, its session, and the actions that a handler can take.

use super::bind::{self, BindError};
use super::pending::Pending;
use super::route_handle::RouteHandle;
use super::session::Session;
use crate::runtime::panic::{Panicked, guarded};
use crate::shard::OwnedCall;
use crate::vocabulary::content::{Message, Reply};
use crate::vocabulary::public_id::PublicId;
use crate::ws::MessageType;
use garde::Validate;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// One call and the actions that its handler can take. Clones share the call and are cheap.
#[derive(Clone)]
pub struct Context {
    session: Session,
    call: Rc<CallState>,
}

/// The state shared by all clones of a call's context.
struct CallState {
    request: OwnedCall,
    close_request: RefCell<Option<CloseRequest>>,
}

/// A close to make: a code and a reason, both checked.
pub(crate) type CloseRequest = (u16, Box<str>);

impl Context {
    pub(crate) fn new(session: Session, request: OwnedCall) -> Self {
        let close_request = RefCell::default();
        let call = Rc::new(CallState {
            request,
            close_request,
        });
        Self { session, call }
    }

    /// Returns the session that sent the call.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the session's route, with its operations: push, join, close, list.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        self.session.route()
    }

    /// Returns the command; empty if the message has none.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.call.request.correlation.command
    }

    /// Returns the client's request id (`seqno` in `wsrv`); empty if there is none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.call.request.correlation.id
    }

    /// Returns the channel that the message names (`projectforge`); empty if it names none. The
    /// sender need not be on it.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.call.request.correlation.channel
    }

    /// Returns the sender that the client names (`projectforge`), unverified; empty if there is
    /// none.
    #[must_use]
    pub fn claimed_from(&self) -> &str {
        &self.call.request.from
    }

    /// Returns the type of the message's frame: text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageType {
        self.call.request.correlation.kind
    }

    /// Returns the message's data as received: JSON in `wsrv` and `projectforge`, any bytes in
    /// other dialects; `None` if there is none.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.call.request.data.as_deref()
    }

    /// Returns the message's data as text; `None` if there is none or it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(self.data()?).ok()
    }

    /// Deserializes the message's data from JSON as the original of `wsrv` does, which uses Go's
    /// `encoding/json`:
    ///
    /// - Keys match in any case. The last of several equal keys wins.
    /// - A member that is missing or `null` takes its `#[serde(default)]`, `None` for an `Option`,
    ///   and otherwise the zero value of its type: 0, `false`, `""`, an empty list or struct.
    /// - Integers out of range and wrong types are errors with Go's texts and serde's names: `json:
    ///   cannot unmarshal string into Go struct field Register.uid of type int64`.
    /// - An unpaired surrogate becomes U+FFFD.
    ///
    /// An enum has no zero value. A struct with `#[serde(flatten)]` matches keys exactly, unless a
    /// member is missing, and has no zero values for flattened members. [`Context::bind_serde`]
    /// uses serde's rules instead.
    ///
    /// # Errors
    ///
    /// [`BindError::Missing`] if there is no data, [`BindError::Type`] if it does not match.
    pub fn bind<T: DeserializeOwned>(&self) -> Result<T, BindError> {
        bind::bind(self.data())
    }

    /// Deserializes the message's data from JSON by serde's rules: keys match exactly, duplicate
    /// keys are errors, and so are missing members unless the type has defaults. If the type does
    /// not accept `null`, `null` is read as `{}`.
    ///
    /// # Errors
    ///
    /// [`BindError::Missing`] if there is no data, [`BindError::Type`] if it does not match.
    pub fn bind_serde<T: DeserializeOwned>(&self) -> Result<T, BindError> {
        bind::bind_serde(self.data())
    }

    /// Runs [`Context::bind`], then the type's validation rules (crate `garde`).
    ///
    /// # Errors
    ///
    /// Those of [`Context::bind`], and [`BindError::Value`] if a rule is broken.
    pub fn bind_valid<T>(&self) -> Result<T, BindError>
    where
        T: DeserializeOwned + Validate<Context = ()>,
    {
        bind::bind_valid(self.data())
    }

    /// Pushes a message to this session. It arrives before the response if the handler has not
    /// returned yet.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::push_session`].
    pub fn push(&self, message: Message) -> Pending<u64> {
        self.route().push_session(self.session.id(), message)
    }

    /// Publishes a message to a channel of the route's namespace.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::publish`].
    pub fn publish(&self, channel: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.route().publish(channel, message)
    }

    /// Publishes a message to a channel of the route's namespace, except to this session.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::publish`].
    pub fn publish_to_others(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
    ) -> Pending<u64> {
        self.route()
            .publish_except(channel, message, &[self.session.id()])
    }

    /// Adds this session to a channel without checking the channel's rule. Returns `false` if it
    /// was on the channel already.
    ///
    /// # Errors
    ///
    /// Those of [`Handle::join`](super::Handle::join).
    pub fn join(&self, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.route().join(self.session.id(), channel)
    }

    /// Adds this session to a channel if the channel's rule allows it, as if the client had sent a
    /// join command of its own. The result is the reply of the channel's validator
    /// ([`Joining::set_reply`](super::Joining::set_reply)), without data if it gave none.
    ///
    /// # Errors
    ///
    /// [`HandleError::Denied`](super::HandleError::Denied) if the rule denies it, there is no such
    /// channel, the session is on it already, or a limit of names or channels is reached;
    /// [`HandleError::NoSession`](super::HandleError::NoSession) if the session has ended; and
    /// those of [`Pending`].
    pub fn join_as_client(&self, channel: impl Into<Box<str>>) -> Pending<Reply> {
        let gateway = self.route().gateway();
        gateway.join_as_client(self.session.id(), channel.into())
    }

    /// Publishes a message to a channel if this session is on it and the channel's rule allows it
    /// ([`RouteSetup::publishers`](super::RouteSetup::publishers)). `to_others` excludes this
    /// session. If the message has no sender, the sender is the session's name in its dialect.
    ///
    /// # Errors
    ///
    /// [`HandleError::Denied`](super::HandleError::Denied) if the rule denies it or the session is
    /// not on the channel, [`HandleError::BadEvent`](super::HandleError::BadEvent) if a dialect of
    /// the namespace cannot encode the event,
    /// [`HandleError::NoSession`](super::HandleError::NoSession) if the session has ended, and
    /// those of [`Pending`].
    pub fn publish_as_client(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
        to_others: bool,
    ) -> Pending<()> {
        let (gateway, id) = (self.route().gateway(), self.session.id());
        gateway.publish_as_client(id, channel.into(), message, to_others)
    }

    /// Removes this session from a channel. Returns `false` if it was not on it.
    ///
    /// # Errors
    ///
    /// Those of [`Handle::leave`](super::Handle::leave).
    pub fn leave(&self, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.route().leave(self.session.id(), channel)
    }

    /// Closes this session with a close code and a reason, see [`RouteHandle::close`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::close`](super::Handle::close).
    pub fn close(&self, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        self.route().close(self.session.id(), code, reason)
    }

    /// Closes this session after the response to this call. The caller has checked that code and
    /// reason may be sent.
    pub(crate) fn close_behind_response(&self, code: u16, reason: Box<str>) {
        self.call.close_request.replace(Some((code, reason)));
    }

    /// Takes the close that follows the response; `None` if there is none.
    pub(crate) fn take_close_request(&self) -> Option<CloseRequest> {
        self.call.close_request.take()
    }

    /// Returns the session's public id.
    #[must_use]
    pub fn session_id(&self) -> PublicId {
        self.session.id()
    }

    /// Runs blocking work, such as file I/O or a slow computation, on a thread outside the shards.
    ///
    /// # Panics
    ///
    /// If the work panics. The panic fails the handler.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match tokio::task::spawn_blocking(|| guarded(work)).await {
            Ok(Ok(value)) => value,
            Ok(Err(Panicked)) => std::panic::resume_unwind(Box::new("its blocking work panicked")),
            Err(_) => std::future::pending().await, // the runtime is shutting down
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.session)
            .field("request", &self.call.request)
            .finish()
    }
}
