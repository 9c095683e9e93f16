//! What the requests of one connection tell its host.

use super::pipe::Pipe;
use super::raw_head::RawHead;
use super::service::GrantedUpgrade;
use crate::shard::HttpPhase;
use crate::vocabulary::id::ConnectionId;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

/// The state that a connection's requests and its host share.
#[derive(Debug)]
pub(super) struct ConnectionContext {
    pub(super) id: ConnectionId,
    /// Its peer's address, where that is wanted.
    pub(super) address: Option<SocketAddr>,
    pub(super) phase: Cell<HttpPhase>,
    pub(super) upgrade: RefCell<Option<Box<GrantedUpgrade>>>,
    /// The head that hyper was given last, until its request is served; `None` if it was not seen.
    pub(super) raw_head: Cell<Option<RawHead>>,
    /// hyper offers an upgrade to the request that is served: it takes it for HTTP/1.1.
    pub(super) offers_upgrade: Cell<bool>,
    /// The body of the request that is served was read whole, or somebody else answers for it.
    pub(super) has_read_body: Cell<bool>,
    /// A request has come since the host looked.
    pub(super) served: Cell<bool>,
    /// The most that a request has earned since the host looked.
    credit: Cell<Option<Credit>>,
    /// The parts of an answer are still being made, so nothing else can be said.
    pub(super) is_streaming: Cell<bool>,
    pipe: Rc<RefCell<Pipe>>,
}

/// What a completed request says about whoever made it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Credit {
    /// It asked how the gateway is.
    Health,
    /// It was a push, a drop or an API request, and authorized: with the secret or key that the
    /// config asks for or, where it asks for none, by being accepted.
    Authorized,
}

impl ConnectionContext {
    pub(super) fn new(
        id: ConnectionId,
        address: Option<SocketAddr>,
        phase: HttpPhase,
        pipe: &Rc<RefCell<Pipe>>,
    ) -> Self {
        Self {
            id,
            address,
            phase: Cell::new(phase),
            upgrade: RefCell::new(None),
            raw_head: Cell::new(None),
            offers_upgrade: Cell::new(false),
            has_read_body: Cell::new(false),
            served: Cell::new(false),
            credit: Cell::new(None),
            is_streaming: Cell::new(false),
            pipe: Rc::clone(pipe),
        }
    }

    /// Notes what a request has earned.
    pub(super) fn earn(&self, credit: Credit) {
        self.credit.set(self.credit.get().max(Some(credit)));
    }

    /// Returns what was earned since the last call.
    pub(super) fn take_credit(&self) -> Option<Credit> {
        self.credit.take()
    }

    /// Whether it is certain that nothing has come behind the request that is served.
    pub(super) fn is_last_request(&self) -> bool {
        self.pipe.borrow().is_at_end_of_request()
    }

    /// Whether hyper has been given the whole of the request that is served.
    pub(super) fn has_whole_request(&self) -> bool {
        self.pipe.borrow().has_given_request()
    }

    /// Waits until so few answers are unread that another request may be begun.
    pub(super) async fn wait_for_room(&self) {
        poll_fn(|cx| self.pipe.borrow_mut().poll_room(cx)).await;
    }
}
