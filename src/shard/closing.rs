//! Closing and aborting sessions and connections.

use super::connection::{ConnectionFlags, Phase};
use super::core::{CloseStep, Shard};
use super::partial_messages::partial_bytes_of;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;

impl Shard {
    /// Closes a session. Does nothing if it is not open.
    pub fn close_session(&mut self, id: ConnectionId, end: CloseCause) {
        if self.is_open(id) {
            self.end(id, end);
        }
    }

    /// Closes a session with a code and a reason of the caller's. Does nothing if it is not open.
    ///
    /// The code must be one that may be sent (RFC 6455 7.4). A reason above 123 bytes is cut.
    pub fn close_session_with(&mut self, id: ConnectionId, code: u16, reason: &str) {
        if self.is_open(id) {
            self.close_with(id, CloseCause::Closed(code), reason);
        }
    }

    /// Ends those connections in their HTTP phase that `choose` selects, which have no bytes
    /// pending: shuts down their write side.
    pub fn end_http(&mut self, choose: impl Fn(ConnectionId) -> bool) {
        let chosen: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches!(connection.phase, Phase::Http(_)))
            .map(|(id, _)| id)
            .filter(|&id| choose(id))
            .collect();
        for id in chosen {
            self.begin_draining(id);
        }
    }

    /// Returns whether the shard is idle: each connection is gone, or in its HTTP phase and passes
    /// `is_idle`, or waits only for its peer's end of input and passes `was_http`. Stops at the
    /// first connection that is none of these.
    pub fn is_idle(
        &self,
        is_idle: impl Fn(ConnectionId) -> bool,
        was_http: impl Fn(ConnectionId) -> bool,
    ) -> bool {
        self.connections
            .iter()
            .all(|(id, connection)| match connection.phase {
                Phase::Http(_) => is_idle(id),
                Phase::Draining => was_http(id),
                Phase::Gone => true,
                Phase::Open | Phase::Closing => false,
            })
    }

    /// Aborts a connection in any phase.
    pub fn abort(&mut self, id: ConnectionId, end: CloseCause) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match connection.phase {
            Phase::Open => {
                self.detach(id, end);
                self.finish(id);
            }
            Phase::Http(_) | Phase::Closing | Phase::Draining => self.finish(id),
            Phase::Gone => {}
        }
    }

    /// Aborts every connection, when the shard stops.
    pub fn abort_all(&mut self) {
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in all {
            self.abort(id, CloseCause::CloseGrace);
        }
    }

    /// Closes an open session: detaches it and enqueues its close frame, with the cause's reason.
    /// Its framing may have none.
    pub(super) fn end(&mut self, id: ConnectionId, end: CloseCause) {
        let reason = end.reason();
        self.close_with(id, end, reason.as_str());
    }

    /// Closes an open session, with a reason of the caller's.
    pub(super) fn close_with(&mut self, id: ConnectionId, end: CloseCause, reason: &str) {
        self.detach(id, end);
        let connection = self.connections.get_mut(id).expect("detached above");
        let framing = self.settings.encoding(connection.encoding).framing;
        let is_over =
            connection.flags.contains(ConnectionFlags::PEER_ENDED) && !framing.outlives_input();
        if !end.sends_close_frame() || is_over {
            self.finish(id);
            return;
        }

        if end == CloseCause::SlowConsumer {
            self.counters.bytes_dropped +=
                u64::from(self.outboxes.drop_unsent(&mut connection.outbox));
        }
        let frame = self.outboxes.batches.try_put(CLOSE_BYTES_MAX, |out| {
            framing.put_close(out, end.code(), reason);
        });
        let Some(frame) = frame else {
            if connection.outbox.is_empty() {
                self.begin_draining(id);
            }
            return;
        };
        // The close frame has no limit.
        let pushed = self.outboxes.push(&mut connection.outbox, frame, u32::MAX);
        pushed.expect("at most outbox_bytes_max and one control frame");
        self.send_queues
            .queue_urgent(&mut connection.outbox, id.slot());
    }

    /// Removes a session from all lists and begins its end. Pending bytes may still be sent.
    pub(super) fn detach(&mut self, id: ConnectionId, end: CloseCause) {
        let snapshot = if end == CloseCause::Shutdown {
            None
        } else {
            self.snapshot(id)
        };
        let connection = self
            .connections
            .get_mut(id)
            .expect("an ending session exists");
        assert!(connection.phase == Phase::Open, "a session ends once");
        connection.phase = Phase::Closing;
        connection.begin_closing(self.now);
        let partial = self.partial_messages[id.index()].take();
        self.partial_bytes -= partial_bytes_of(partial.as_deref());
        let route = usize::from(connection.route);
        // Before the users are unbound: the leave announcements may contain the user's name.
        self.leave_channels(id, end);
        self.users.unbind_all(id.slot());
        self.host_bytes.release(id.slot());
        self.release_claim(id);
        if self.settings.routes[route].observes_ends {
            self.ended.push_back(self.session_id(id));
        }
        self.sessions_count -= 1;
        self.counters.count_end(end);
        self.report_end(id, end, snapshot);
        self.schedule(id);
    }

    pub(super) fn begin_draining(&mut self, id: ConnectionId) {
        let now = self.now;
        let connection = self
            .connections
            .get_mut(id)
            .expect("a draining connection exists");
        if connection.flags.contains(ConnectionFlags::PEER_ENDED) {
            self.finish(id);
            return;
        }
        if !connection.is_closing() {
            connection.begin_closing(now);
        }
        connection.phase = Phase::Draining;
        connection.since = now;
        self.closes.push_back((id, CloseStep::Shutdown));
        self.schedule(id);
    }

    pub(super) fn finish(&mut self, id: ConnectionId) {
        self.finish_by(id, CloseStep::Finish);
    }

    pub(super) fn finish_by(&mut self, id: ConnectionId, step: CloseStep) {
        let connection = self
            .connections
            .get_mut(id)
            .expect("a finished connection exists");
        connection.phase = Phase::Gone;
        if !connection.outbox.is_sending() {
            self.outboxes.clear(&mut connection.outbox);
        }
        self.wheel.cancel(id.slot());
        self.unacknowledged.remove(&id.slot());
        self.closes.push_back((id, step));
    }

    /// Enforces `limits.publication_bytes_max` on the batches' memory. Called after a flush, when
    /// only slow readers are behind.
    ///
    /// First copies the pending bytes of those sessions out of the shared batches. If that is not
    /// enough, aborts the sessions with the largest share.
    pub fn enforce_publication_limit(&mut self) {
        let bytes_max = self.settings.publication_bytes_max;
        if self.outboxes.batches.bytes_held() <= bytes_max {
            return;
        }
        let (mut behind, mut leaving_bytes) = (Vec::new(), 0);
        for (id, connection) in self.connections.iter() {
            if connection.phase == Phase::Gone {
                leaving_bytes += self.outboxes.share_bytes(&connection.outbox);
            } else if connection.outbox.is_sending() && self.outboxes.is_behind(&connection.outbox)
            {
                behind.push((self.outboxes.share_bytes(&connection.outbox), id));
            }
        }
        behind.sort_unstable();
        for &(_, id) in behind.iter().rev() {
            if self.outboxes.batches.bytes_held() <= bytes_max {
                return;
            }
            let connection = self.connections.get_mut(id).expect("listed above");
            if self.outboxes.copy_out(&mut connection.outbox) > 0 {
                self.counters.outboxes_copied += 1;
            }
        }

        // An aborted session's share is freed a little later, when its send has been cancelled.
        let mut held = self
            .outboxes
            .batches
            .bytes_held()
            .saturating_sub(leaving_bytes);
        while held > bytes_max {
            let Some((share_bytes, id)) = behind.pop() else {
                break;
            };
            self.abort(id, CloseCause::SlowConsumer);
            held = held.saturating_sub(share_bytes);
        }
    }
}

/// Size limit of a close frame, in bytes: the head, and the code with the longest reason.
const CLOSE_BYTES_MAX: usize = 2 + 125;
