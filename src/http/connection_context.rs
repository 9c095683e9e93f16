//! The state shared by a connection's requests and its host.

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
    /// The peer's address; `None` unless each close and rejection is logged (`log = "debug"`).
    pub(super) address: Option<SocketAddr>,
    pub(super) phase: Cell<HttpPhase>,
    pub(super) upgrade: RefCell<Option<Box<GrantedUpgrade>>>,
    /// The properties of the head that hyper got last, until its request is served; `None` if the
    /// head was not inspected.
    pub(super) raw_head: Cell<Option<RawHead>>,
    /// Whether hyper offers an upgrade for the current request, which it takes for HTTP/1.1.
    pub(super) offers_upgrade: Cell<bool>,
    /// Whether the current request's body was read completely, or is the embedder's responsibility.
    pub(super) has_read_body: Cell<bool>,
    /// Whether a request has arrived since the host's last check.
    pub(super) served: Cell<bool>,
    /// The highest credit of a request since the host's last check.
    credit: Cell<Option<Credit>>,
    /// Whether a response body is being streamed, so that no other response can be sent.
    pub(super) is_streaming: Cell<bool>,
    pipe: Rc<RefCell<Pipe>>,
}

/// The credit of a connection for a completed request, which protects it from eviction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Credit {
    /// A request for the health report.
    Health,
    /// An authorized push, drop or API request: with the secret or key that the config requires or,
    /// if it requires none, accepted.
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

    /// Records a request's credit.
    pub(super) fn add_credit(&self, credit: Credit) {
        self.credit.set(self.credit.get().max(Some(credit)));
    }

    /// Takes the highest credit since the last call.
    pub(super) fn take_credit(&self) -> Option<Credit> {
        self.credit.take()
    }

    /// Returns whether no input after the current request has arrived. `false` if the end of the
    /// request is unknown.
    pub(super) fn is_last_request(&self) -> bool {
        self.pipe.borrow().is_at_end_of_request()
    }

    /// Returns whether hyper has read the whole current request.
    pub(super) fn has_whole_request(&self) -> bool {
        self.pipe.borrow().has_given_request()
    }

    /// Waits until the unread responses leave room for another one.
    pub(super) async fn wait_for_room(&self) {
        poll_fn(|cx| self.pipe.borrow_mut().poll_room(cx)).await;
    }
}
