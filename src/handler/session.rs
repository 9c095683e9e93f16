//! A session as an embedder sees it.

use super::admission::Profile;
use super::handle::RouteHandle;
use super::program::SessionHandler;
use super::values::Values;
use crate::vocabulary::id::SessionId;
use crate::vocabulary::public_id::PublicId;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// One client, from the end of its handshake to its close. Cheap to clone; it can be kept after the
/// end of the session, for which it then stands alone.
#[derive(Clone, derive_more::Debug)]
#[debug("Session {{ id: {:?}, number: {:?}, .. }}", self.id(), self.number())]
pub struct Session(Rc<SessionState>);

/// What a shard's host keeps of a session for the embedder.
#[derive(derive_more::Debug)]
#[debug("SessionState {{ session: {session:?}, tasks: {tasks:?}, ended: {ended:?}, .. }}")]
pub(crate) struct SessionState {
    pub(crate) session: SessionId,
    pub(crate) public_id: PublicId,
    /// Its peer's address, where failures are logged one by one.
    pub(crate) address: Option<Box<SocketAddr>>,
    pub(crate) number: u64,
    pub(crate) route: RouteHandle,
    pub(crate) user: Option<Box<str>>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) values: Rc<Values>,
    /// Handles every command in place of the route's handlers.
    pub(crate) handler: Option<SessionHandler>,
    /// Tasks that are at work for it.
    pub(crate) tasks: Cell<u32>,
    /// What its calls hold that are at work, in bytes of their data.
    pub(crate) calls_bytes: Cell<usize>,
    /// Wishes of its calls that were denied and counted, and that no call has answered with yet.
    pub(crate) denials: Cell<u32>,
    /// Its close has been told to the embedder, or will be when no task is at work for it.
    pub(crate) ended: Cell<bool>,
}

impl SessionState {
    /// Whether a call that answers with a denial answers with one that was counted already.
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

    /// Its public id, a random UUID: the name under which anything can be pushed to it.
    #[must_use]
    pub fn id(&self) -> PublicId {
        self.0.public_id
    }

    /// Its peer's address, where failures are logged one by one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.address.as_deref().copied()
    }

    /// Counts the sessions of its route from 1, on all shards; no two have the same.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The user it was admitted as. One that names its user in a message later is not known here.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// The token that the client connected with.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.0.token.as_deref()
    }

    /// What it was admitted with.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// What is kept with it.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.0.values
    }

    /// Its route, and everything that can be done there.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        &self.0.route
    }

    /// Whether it has not ended yet, as far as its shard knows.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.ended.get()
    }
}
