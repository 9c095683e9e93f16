//! The log at `debug`: a listener for ends and rejections, which are always counted.

use super::Host;
use crate::shard::{Event, EventPeer, EventSession};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::metrics::{Counters, RejectionKind};
use std::net::SocketAddr;
use tracing::field::display;

impl Host {
    /// Returns whether the host logs peers' addresses, which cost one system call per connection.
    #[must_use]
    pub fn wants_peers(&self) -> bool {
        self.context.wants_reports
    }

    /// Sets the address of a connection's peer.
    pub fn set_peer(&mut self, id: ConnectionId, address: SocketAddr) {
        let mut peers = self.context.peers.borrow_mut();
        if peers.len() <= id.index() {
            peers.resize_with(id.index() + 1, || None);
        }
        peers[id.index()] = Some((id, address));
    }

    /// Returns the shard's counters, with the rejections of requests that did not reach the shard.
    #[must_use]
    pub fn all_counters(&self) -> Counters {
        let mut counters = self.shard.counters().clone();
        for (&(rejected, reason), count) in &*self.context.rejections.borrow() {
            *counters.rejections.entry((rejected, reason)).or_default() += count;
        }
        counters
    }

    /// Counts a rejection of a session's join, publish or command.
    pub(super) fn reject(
        &mut self,
        session: SessionId,
        rejected: RejectionKind,
        reason: &'static str,
    ) {
        // Of a session that has ended, its first connection, which is gone, is as good.
        let id = self.shard.find_session(session);
        if let Some(id) = id.or_else(|| (session.shard() == self.id).then(|| session.connection()))
        {
            self.shard.reject(id, rejected, reason);
        }
    }

    /// Logs an event, if it is an end or a rejection.
    pub(super) fn log_event(&self, event: &Event) {
        match *event {
            Event::Ended { peer, cause, .. } => self.log_end(peer, cause),
            Event::Rejected { peer, kind, reason } => self.log_rejection(peer, kind, reason),
            Event::Opened(_)
            | Event::MessageIn(..)
            | Event::MessageOut(..)
            | Event::Joined(..)
            | Event::Left(..)
            | Event::Called(..)
            | Event::Replied(..)
            | Event::Published { .. }
            | Event::Dropped(..) => {}
        }
    }

    fn log_end(&self, peer: EventPeer, cause: CloseCause) {
        let (reason, code, text) = (cause.label(), cause.code(), cause.reason());
        let text = Some(text.as_str()).filter(|text| !text.is_empty());
        let address = self.context.peer(peer.connection).map(display);
        if let Some(session) = peer.session {
            let (route, public_id) = (self.path_of(session), display(session.public_id));
            tracing::debug!(
                reason,
                code,
                text,
                route,
                address,
                public_id,
                "session ended"
            );
        } else {
            tracing::debug!(reason, address, "connection ended before its upgrade");
        }
    }

    fn log_rejection(&self, peer: EventPeer, kind: RejectionKind, reason: &str) {
        let what = kind.as_str();
        let address = self.context.peer(peer.connection).map(display);
        let route = peer.session.and_then(|session| self.path_of(session));
        let public_id = peer.session.map(|session| display(session.public_id));
        tracing::debug!(what, reason, route, address, public_id, "rejected");
    }

    /// Returns the path of a session's route; `None` if it is that of a tap.
    fn path_of(&self, session: EventSession) -> Option<&str> {
        let route = self.handle.routes().get(usize::from(session.route));
        route.map(|route| route.path.as_str())
    }
}
