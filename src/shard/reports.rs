//! What a shard reports of single connections, for a host that logs it: ends and rejections.
//!
//! Both are counted in any case; a report is made only while somebody wants it
//! ([`Shard::set_reporting`]), and is to be taken at the end of a batch.

use super::connection::Phase;
use super::core::Shard;
use crate::vocabulary::close::End;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::Rejected;
use crate::vocabulary::public_id::PublicId;

/// One thing that happened to one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// The connection.
    pub id: ConnectionId,
    /// The public id and the route of a session; `None` for what was none.
    pub session: Option<(PublicId, u16)>,
    /// What happened.
    pub event: ReportedEvent,
}

/// What a [`Report`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportedEvent {
    /// It has ended.
    Ended(End),
    /// Something that its client wanted was rejected, for this reason.
    Rejected(Rejected, &'static str),
}

impl Shard {
    /// Turns reports on or off.
    pub fn set_reporting(&mut self, on: bool) {
        self.reporting = on;
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Counts a rejection, and reports it if somebody wants that.
    pub fn reject(&mut self, id: ConnectionId, rejected: Rejected, reason: &'static str) {
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
