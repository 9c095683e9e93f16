//! Time limits of HTTP connections, by phase.
//!
//! ```text
//!   accepted --> Head --> Body --> Response --> Unread --> Idle --> Head --> ..
//!                  \________\_________________\__________\________ expired: the host ends it
//! ```
//!
//! Every phase except that of the server's own response has a time limit. Head and body are limited
//! as a whole, so a peer that trickles gains nothing. Reading the responses is limited by the time
//! since the last progress, as a large response may take long.

use super::connection::{HttpPhase, Phase};
use super::core::{CloseStep, Shard};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;

impl Shard {
    /// Sets the phase of an HTTP connection. With `anew`, the time limit restarts even if the phase
    /// is the same: a request was served, or part of the responses was taken.
    ///
    /// An earlier deadline stays in the wheel; the timers are checked again when it fires.
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

    /// Ends an HTTP connection that has sent everything: shuts down its write side and waits for
    /// the peer's end of input.
    pub fn handle_http_done(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.begin_draining(id);
        }
    }

    /// Returns the next HTTP connection whose phase has reached its time limit, and that phase. The
    /// host responds and ends it before it passes any other input of it.
    pub fn poll_expired(&mut self) -> Option<(ConnectionId, HttpPhase)> {
        self.expired.pop_front()
    }

    /// Closes an HTTP connection at once, without waiting for the peer.
    pub fn close_http(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.finish(id);
        }
    }

    /// Closes an HTTP connection with a reset, if its peer does not read.
    pub fn reset_http(&mut self, id: ConnectionId) {
        if self.is_http(id) {
            self.finish_by(id, CloseStep::Reset);
        }
    }

    /// Counts an HTTP connection that was closed to make room for another.
    pub fn count_evicted(&mut self) {
        self.counters.connections_evicted += 1;
    }

    /// Reports that an HTTP connection's phase has reached its time limit.
    pub(super) fn expire_http(&mut self, id: ConnectionId, phase: HttpPhase) {
        let end = match phase {
            HttpPhase::Head => Some(CloseCause::HandshakeTimeout),
            HttpPhase::Body => Some(CloseCause::BodyTimeout),
            // The server's response has no limit here, and the last responses have the close grace
            // (`close_grace.rs`).
            HttpPhase::Response | HttpPhase::Idle | HttpPhase::Last => None,
            HttpPhase::Unread => {
                self.counters.responses_unread += 1;
                None
            }
        };
        if let Some(end) = end {
            self.counters.count_end(end);
            self.report_end(id, end, None);
        }
        self.expired.push_back((id, phase));
    }
}
