//! How long a connection may take before it is a session: the phases of HTTP and their ends.
//!
//! ```text
//!   accepted --> Head --> Body --> Response --> Unread --> Idle --> Head --> ..
//!                  \________\_________________\__________\________ expired: the host ends it
//! ```
//!
//! Every phase but [`HttpPhase::Response`] has a time limit. Head and body are bounded as a whole, so
//! that a peer that trickles gains nothing; answers by the time since some of them were taken, as a
//! large one may take long.

use super::connection::{HttpPhase, Phase};
use super::core::{CloseStep, Shard};
use super::reports::ReportedEvent;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;

impl Shard {
    /// Sets what an HTTP connection waits for. With `anew` its time limit begins again even if the
    /// phase is the same: a request was served, or some of the answers were taken.
    ///
    /// A deadline that is filed already and comes sooner stays: it is looked at again then.
    pub fn handle_http_phase(&mut self, id: ConnectionId, phase: HttpPhase, anew: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Phase::Http(before) = connection.phase else {
            return;
        };
        if before == phase && !anew {
            return;
        }
        connection.phase = Phase::Http(phase);
        connection.since = now;
        let deadline = connection.deadline(&self.settings, self.resumed_at);
        let filed = self.wheel.deadline(id.slot());
        let is_early = deadline.is_some_and(|at| filed.is_some_and(|filed| filed <= at.0));
        if !is_early {
            self.schedule(id);
        }
    }

    /// An HTTP connection has said and sent everything; only the peer's end is missing.
    pub fn handle_http_done(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.begin_draining(id);
        }
    }

    /// The next HTTP connection whose phase has lasted too long, and that phase. The host says what
    /// there is to say and ends it, before it hands in anything else of it.
    pub fn poll_expired(&mut self) -> Option<(ConnectionId, HttpPhase)> {
        self.expired.pop_front()
    }

    /// Closes an HTTP connection at once.
    pub fn close_http(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.finish(id);
        }
    }

    /// Closes an HTTP connection whose peer does not read, with a reset.
    pub fn reset_http(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.finish_by(id, CloseStep::Reset);
        }
    }

    /// Counts a connection that was closed to make room for another.
    pub fn count_evicted(&mut self) {
        self.counters.connections_evicted += 1;
    }

    /// The phase of an HTTP connection has lasted too long.
    pub(super) fn expire_http(&mut self, id: ConnectionId, phase: HttpPhase) {
        let end = match phase {
            HttpPhase::Head => Some(CloseCause::HandshakeTimeout),
            HttpPhase::Body => Some(CloseCause::BodyTimeout),
            // An answer has no limit, and the last ones a grace of their own (`grace.rs`).
            HttpPhase::Response | HttpPhase::Idle | HttpPhase::Last => None,
            HttpPhase::Unread => {
                self.counters.answers_unread += 1;
                None
            }
        };
        if let Some(end) = end {
            self.counters.count_end(end);
            self.report(id, ReportedEvent::Closed(end));
        }
        self.expired.push_back((id, phase));
    }
}
