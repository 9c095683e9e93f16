//! The embedder's view of a session.

use super::admission::Profile;
use super::registry::SessionHandler;
use super::route_handle::RouteHandle;
use super::values::Values;
use crate::vocabulary::id::SessionId;
use crate::vocabulary::public_id::PublicId;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// One client's session, from the end of its handshake to its close. Cheap to clone. A clone may be
/// kept after the session has ended; see [`Session::is_open`].
#[derive(Clone, derive_more::Debug)]
#[debug("Session {{ id: {:?}, number: {:?}, .. }}", self.id(), self.number())]
pub struct Session(Rc<SessionState>);

/// The state of a session that a host keeps for the embedder.
#[derive(derive_more::Debug)]
#[debug("SessionState {{ session: {session:?}, tasks: {tasks:?}, ended: {ended:?}, .. }}")]
pub(crate) struct SessionState {
    pub(crate) session: SessionId,
    pub(crate) public_id: PublicId,
    /// The peer's address; `None` unless each close and rejection is logged (`log = "debug"`).
    pub(crate) address: Option<Box<SocketAddr>>,
    pub(crate) number: u64,
    pub(crate) route: RouteHandle,
    pub(crate) user: Option<Box<str>>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) values: Rc<Values>,
    /// The handler of every command, in place of the route's handlers.
    pub(crate) handler: Option<SessionHandler>,
    /// Running tasks of the session.
    pub(crate) tasks: Cell<u32>,
    /// Data bytes of the session's running calls.
    pub(crate) calls_bytes: Cell<usize>,
    /// Denials that were already counted and that no call has returned to the client yet. When a
    /// call returns one, it is not counted again.
    pub(crate) denials: Cell<u32>,
    /// Whether the session has ended. `on_close` has run, or runs when no task of the session is
    /// left.
    pub(crate) ended: Cell<bool>,
}

impl SessionState {
    /// Takes one denial that was already counted. Returns `false` if there is none; then the caller
    /// must count its denial.
    pub(crate) fn take_denial(&self) -> bool {
        let denials = self.denials.get();
        self.denials.set(denials.saturating_sub(1));
        denials > 0
    }
}

impl Session {
    pub(crate) fn new(state: Rc<SessionState>) -> Self {
        Self(state)
    }

    /// Returns the session's public id, a random UUID. A push to one session is addressed to this
    /// id.
    #[must_use]
    pub fn id(&self) -> PublicId {
        self.0.public_id
    }

    /// Returns the peer's address; `None` unless each close and rejection is logged.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.address.as_deref().copied()
    }

    /// Returns the session's number. The sessions of a route are numbered from 1, over all shards.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Returns the user that the session was admitted as; `None` if it was admitted without a user.
    /// Users from later messages are not included.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// Returns the token that the client connected with; `None` if it had none.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.0.token.as_deref()
    }

    /// Returns the profile that the session was admitted with.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Returns the values kept with the session.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.0.values
    }

    /// Returns the session's route, with its operations.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        &self.0.route
    }

    /// Returns whether the session has not ended, as far as its shard knows.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.ended.get()
    }
}
