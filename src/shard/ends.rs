//! How a shard ends sessions and connections, one by one or all at once.

use super::connection::{HttpPhase, Phase};
use super::core::{CloseStep, Shard};
use crate::close::End;
use crate::id::ConnectionId;

impl Shard {
    /// Ends every session for the same reason.
    pub fn end_all(&mut self, end: End) {
        let open: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.phase == Phase::Open)
            .map(|(id, _)| id)
            .collect();
        for id in open {
            self.end(id, end);
        }
    }

    /// Ends the connections that have sent nothing of a request yet; for a shard that stops.
    pub fn end_silent(&mut self) {
        let silent: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.phase == Phase::Http(HttpPhase::Head))
            .map(|(id, _)| id)
            .collect();
        for id in silent {
            self.begin_draining(id);
        }
    }

    /// Cuts one connection, whatever it is doing.
    pub fn cut(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match connection.phase {
            Phase::Open => {
                self.leave(id, end);
                self.finish(id);
            }
            Phase::Http(_) | Phase::Closing | Phase::Draining => self.finish(id),
            Phase::Gone => {}
        }
    }

    /// Cuts every connection, whatever it is doing: the end of the shard's life.
    pub fn cut_all(&mut self) {
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in all {
            self.cut(id, End::CloseGrace);
        }
    }

    /// Ends a session: nobody reaches it any more, and its close frame is owed.
    pub(super) fn end(&mut self, id: ConnectionId, end: End) {
        self.leave(id, end);
        let peer_ended = self
            .connections
            .get(id)
            .expect("it has just left")
            .peer_ended;
        if !end.sends_close_frame() || peer_ended {
            self.finish(id);
            return;
        }

        let connection = self.connections.get_mut(id).expect("it has just left");
        if end == End::SlowConsumer {
            self.counters.bytes_dropped +=
                u64::from(self.outboxes.drop_unsent(&mut connection.outbox));
        }
        let mut len = 0;
        let frame = self.outboxes.batches.put(CLOSE_BYTES_MAX, |out| {
            let start = out.len();
            crate::ws::encoder::put_close(out, end.code(), end.reason().as_str());
            len = u32::try_from(out.len() - start).expect("a control frame");
        });
        // The last frame of a session is owed in any case.
        let pushed = self
            .outboxes
            .push(&mut connection.outbox, frame, len, u32::MAX);
        pushed.expect("bounded by outbox_bytes_max and one control frame");
        connection.phase = Phase::Closing;
        connection.since = self.now;
        self.mark_dirty(id.slot(), true);
        self.schedule(id);
    }

    /// Takes a session out of every list.
    fn leave(&mut self, id: ConnectionId, end: End) {
        let connection = self.connections.get_mut(id).expect("what ends is there");
        assert!(connection.phase == Phase::Open, "a session ends once");
        connection.phase = Phase::Closing;
        let decoder = std::mem::take(&mut self.decoders[id.index()]);
        self.partial_bytes -= decoder.partial_bytes();
        self.users.unbind_all(id.slot());
        self.sessions_count -= 1;
        self.counters.count_end(end);
    }

    pub(super) fn begin_draining(&mut self, id: ConnectionId) {
        let now = self.now;
        let connection = self.connections.get_mut(id).expect("what drains is there");
        if connection.peer_ended {
            self.finish(id);
            return;
        }
        connection.phase = Phase::Draining;
        connection.since = now;
        self.closes.push_back((id, CloseStep::Shutdown));
        self.schedule(id);
    }

    pub(super) fn finish(&mut self, id: ConnectionId) {
        let connection = self
            .connections
            .get_mut(id)
            .expect("what is finished is there");
        connection.phase = Phase::Gone;
        if !connection.outbox.is_lent() {
            self.outboxes.clear(&mut connection.outbox);
        }
        self.wheel.cancel(id.slot());
        self.closes.push_back((id, CloseStep::Finish));
    }

    /// Batches hold too much: frees them from those who read slowly, then ends the slowest.
    pub(super) fn relieve(&mut self) {
        let mut owing: Vec<(u32, ConnectionId)> = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.outbox.is_empty())
            .map(|(id, connection)| (connection.outbox.bytes(), id))
            .collect();
        for &(_, id) in &owing {
            let connection = self.connections.get_mut(id).expect("listed a moment ago");
            self.outboxes.copy_out(&mut connection.outbox);
            self.counters.outboxes_copied += 1;
        }

        owing.sort_unstable();
        let bytes_max = self.settings.publication_bytes_max;
        while self.outboxes.batches.bytes_held() > bytes_max {
            let Some((_, id)) = owing.pop() else { break };
            if self.is_open(id) {
                self.end(id, End::SlowConsumer);
            }
            // Even its close frame would have to wait behind what it does not read.
            self.cut(id, End::SlowConsumer);
        }
    }
}

/// A close frame: a head, a code and the longest reason.
const CLOSE_BYTES_MAX: usize = 2 + 125;
