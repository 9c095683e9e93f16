//! Reports of single connections, for the log: ends and rejections.
//!
//! Counters are always updated. Reports are made only while [`Shard::set_reporting`] is on; the
//! host polls them after each batch.

use super::connection::Phase;
use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::RejectionKind;
use crate::vocabulary::public_id::PublicId;

/// An event of one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// The connection.
    pub id: ConnectionId,
    /// The session's public id and route; `None` if the connection was not a session.
    pub session: Option<(PublicId, u16)>,
    /// The event.
    pub event: ReportedEvent,
}

/// The events that are reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportedEvent {
    /// The connection has ended.
    Closed(CloseCause),
    /// A request of the client was rejected, for this reason.
    Rejected(RejectionKind, &'static str),
}

impl Shard {
    /// Turns reports on or off.
    pub fn set_reporting(&mut self, on: bool) {
        self.reporting = on;
    }

    /// Returns the next report.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Counts a rejection, and reports it if reporting is on.
    pub fn reject(&mut self, id: ConnectionId, rejected: RejectionKind, reason: &'static str) {
        self.counters.count_rejection(rejected, reason);
        self.report(id, ReportedEvent::Rejected(rejected, reason));
    }

    pub(super) fn report(&mut self, id: ConnectionId, event: ReportedEvent) {
        if !self.reporting {
            return;
        }
        let connection = self.connections.get(id);
        let route = connection
            .filter(|connection| !matches!(connection.phase, Phase::Http(_)))
            .map(|connection| connection.route);
        self.reports.push_back(Report {
            id,
            session: self.public_id(id).zip(route),
            event,
        });
    }
}
