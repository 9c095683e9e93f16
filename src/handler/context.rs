//! What a handler is given: the call, the session it came from, and the means to act.

use super::bind::{self, BindError};
use super::handle::RouteHandle;
use super::pending::Pending;
use super::session::Session;
use crate::runtime::panic::{Panicked, guarded};
use crate::shard::Request;
use crate::vocabulary::content::Message;
use crate::vocabulary::public_id::PublicId;
use crate::ws::Kind;
use garde::Validate;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// One call, and everything a handler may do about it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    session: Session,
    call: Rc<Call>,
}

/// What all clones of one call's context share.
struct Call {
    request: Request,
    farewell: RefCell<Option<Farewell>>,
}

/// How a session is closed: a code and a reason that may be sent.
pub(crate) type Farewell = (u16, Box<str>);

impl Context {
    pub(crate) fn new(session: Session, request: Request) -> Self {
        let farewell = RefCell::default();
        let call = Rc::new(Call { request, farewell });
        Self { session, call }
    }

    /// The session that the call came from.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its route, and everything that can be done there: push, join, close, list.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        self.session.route()
    }

    /// The command; empty where the message has none.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.call.request.correlation.command
    }

    /// The client's name for its request (`seqno` in `wsrv`); empty if it gave none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.call.request.correlation.id
    }

    /// The channel that the message is about (`projectforge`); empty if it names none. The sender
    /// need not be on it.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.call.request.correlation.channel
    }

    /// Who the client says it is (`projectforge`); empty if it says nothing. Not to be believed.
    #[must_use]
    pub fn claimed_from(&self) -> &str {
        &self.call.request.from
    }

    /// The type of frame that the message came in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.call.request.correlation.kind
    }

    /// Its data as they came: JSON in `wsrv` and `projectforge`, any bytes elsewhere; `None` if it
    /// has none.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.call.request.data.as_deref()
    }

    /// Its data as text; `None` if it has none, or they are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(self.data()?).ok()
    }

    /// Its data, read as JSON of this type the way the original of `wsrv` reads them, which is
    /// Go's `encoding/json`:
    ///
    /// - Keys match in any case, and the last of several wins.
    /// - A member that is missing or `null` is what `#[serde(default)]` says, `None` for an
    ///   `Option`, and otherwise the zero of its type: 0, `false`, `""`, an empty list or struct.
    /// - Integers that do not fit and wrong types are errors in Go's words, with the names that
    ///   serde knows: `json: cannot unmarshal string into Go struct field Register.uid of type
    ///   int64`.
    /// - Half a surrogate pair becomes U+FFFD.
    ///
    /// An enum has no zero. A struct with `#[serde(flatten)]` matches keys to the letter, unless
    /// a member is missing, and has no zeros for what is flattened. [`Context::bind_serde`] has
    /// serde's rules.
    ///
    /// # Errors
    ///
    /// [`BindError::Missing`] and [`BindError::Type`].
    pub fn bind<T: DeserializeOwned>(&self) -> Result<T, BindError> {
        bind::bind(self.data())
    }

    /// Its data, read as JSON of this type by serde's rules: keys match to the letter, no key comes
    /// twice, and what is missing is an error unless the type says otherwise. `null` is an object
    /// without members to a type that does not take it.
    ///
    /// # Errors
    ///
    /// [`BindError::Missing`] and [`BindError::Type`].
    pub fn bind_serde<T: DeserializeOwned>(&self) -> Result<T, BindError> {
        bind::bind_serde(self.data())
    }

    /// [`Context::bind`], and then the rules of the type (crate `garde`).
    ///
    /// # Errors
    ///
    /// A [`BindError`].
    pub fn bind_valid<T>(&self) -> Result<T, BindError>
    where
        T: DeserializeOwned + Validate<Context = ()>,
    {
        bind::bind_valid(self.data())
    }

    /// Pushes to this session; before the response, if the handler has not returned.
    pub fn push(&self, message: Message) -> Pending<u64> {
        self.route().push_session(self.session.id(), message)
    }

    /// Pushes to a channel of the route's namespace.
    pub fn publish(&self, channel: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.route().publish(channel, message)
    }

    /// Pushes to a channel of the route's namespace, but not to this session.
    pub fn publish_to_others(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
    ) -> Pending<u64> {
        self.route()
            .publish_except(channel, message, &[self.session.id()])
    }

    /// Puts this session on a channel; `false`: it was there already.
    pub fn join(&self, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.route().join(self.session.id(), channel)
    }

    /// Puts this session on a channel if the channel's rule lets its client: as if the client had
    /// asked for it in a language that has words for that.
    ///
    /// [`HandleError::Denied`](super::HandleError::Denied) if it may not, if there is no such
    /// channel, and if it is there already.
    pub fn join_as_client(&self, channel: impl Into<Box<str>>) -> Pending<()> {
        let gateway = self.route().gateway();
        gateway.join_as_client(self.session.id(), channel.into())
    }

    /// Publishes to a channel if this session is on it and the channel's rule lets its client
    /// ([`RouteSetup::publishers`](super::RouteSetup::publishers)); `to_others` passes over this
    /// session. A message that names no sender is from the session, as its route names it.
    ///
    /// [`HandleError::Denied`](super::HandleError::Denied) if it may not, and if it is not on it.
    pub fn publish_as_client(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
        to_others: bool,
    ) -> Pending<()> {
        let (gateway, id) = (self.route().gateway(), self.session.id());
        gateway.publish_as_client(id, channel.into(), message, to_others)
    }

    /// Takes this session off a channel; `false`: it was not there.
    pub fn leave(&self, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.route().leave(self.session.id(), channel)
    }

    /// Closes this session with a code and a reason, see [`RouteHandle::close`].
    pub fn close(&self, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        self.route().close(self.session.id(), code, reason)
    }

    /// Closes this session behind the response to this call, with a code and a reason that may be
    /// sent.
    pub(crate) fn close_behind_response(&self, code: u16, reason: Box<str>) {
        self.call.farewell.replace(Some((code, reason)));
    }

    /// How the session is to be closed behind the response, if it is.
    pub(crate) fn take_farewell(&self) -> Option<Farewell> {
        self.call.farewell.take()
    }

    /// The session's public id.
    #[must_use]
    pub fn session_id(&self) -> PublicId {
        self.session.id()
    }

    /// Runs work that blocks, such as a file system's or a slow computation, on a thread that may.
    ///
    /// # Panics
    ///
    /// If the work panics: the handler then has.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match tokio::task::spawn_blocking(|| guarded(work)).await {
            Ok(Ok(value)) => value,
            Ok(Err(Panicked)) => std::panic::resume_unwind(Box::new("its blocking work panicked")),
            Err(_) => std::future::pending().await, // the runtime is going away
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
