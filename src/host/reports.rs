//! Reports of ended sessions and of rejections: always counted, and logged at `debug`.

use super::Host;
use crate::shard::{Report, ReportedEvent};
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
        self.shard.reject(session.connection(), rejected, reason);
    }

    /// Logs the shard's reports.
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
            ReportedEvent::Closed(end) => {
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
                    tracing::debug!(reason, address, "connection ended before its upgrade");
                }
            }
            ReportedEvent::Rejected(rejected, reason) => {
                let what = rejected.as_str();
                tracing::debug!(what, reason, route, address, public_id, "rejected");
            }
        }
    }
}
