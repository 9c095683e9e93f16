//! Which sessions ended and what was rejected: a line for each at `debug`, and counts in any case.

use super::Host;
use crate::shard::{Report, ReportedEvent};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::metrics::{Counters, Rejected};
use std::net::SocketAddr;
use tracing::field::display;

impl Host {
    /// Whether peers' addresses are wanted: they cost a call of the kernel for each connection.
    #[must_use]
    pub fn wants_peers(&self) -> bool {
        self.context.wants_reports
    }

    /// A connection's peer has this address.
    pub fn set_peer(&mut self, id: ConnectionId, address: SocketAddr) {
        let mut peers = self.context.peers.borrow_mut();
        if peers.len() <= id.index() {
            peers.resize_with(id.index() + 1, || None);
        }
        peers[id.index()] = Some((id, address));
    }

    /// What the shard has counted, and the rejections of requests that never reached it.
    #[must_use]
    pub fn all_counters(&self) -> Counters {
        let mut counters = self.shard.counters().clone();
        for (&(rejected, reason), count) in &*self.context.rejections.borrow() {
            *counters.rejections.entry((rejected, reason)).or_default() += count;
        }
        counters
    }

    /// Counts that something which a session's client wanted was rejected.
    pub(super) fn reject(&mut self, session: SessionId, rejected: Rejected, reason: &'static str) {
        self.shard.reject(session.connection(), rejected, reason);
    }

    /// Logs what the shard has to report.
    pub(super) fn log_reports(&mut self) {
        while let Some(report) = self.shard.poll_report() {
            self.log_report(&report);
        }
    }

    fn log_report(&self, report: &Report) {
        let address = self.context.peer(report.id).map(display);
        let (public_id, route) = report.session.unzip();
        let routes = self.handle.routes();
        let route = route.and_then(|route| routes.get(usize::from(route)));
        let route = route.map(|route| route.path.as_str());
        let public_id = public_id.map(display);
        match report.event {
            ReportedEvent::Ended(end) => {
                let reason = end.label();
                let code = end.code();
                let text = end.reason();
                let text = Some(text.as_str()).filter(|text| !text.is_empty());
                if report.session.is_some() {
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
                    tracing::debug!(reason, address, "connection ended before it was a session");
                }
            }
            ReportedEvent::Rejected(rejected, reason) => {
                let what = rejected.as_str();
                tracing::debug!(what, reason, route, address, public_id, "rejected");
            }
        }
    }
}
