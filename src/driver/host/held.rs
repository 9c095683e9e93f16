//! What comes from a session while it waits for an answer: kept, and its socket not read.

use super::Host;
use crate::id::ConnectionId;
use bytes::BytesMut;

/// What came from a session that waits for an answer.
#[derive(Debug, Default)]
pub(super) struct HeldInput {
    pub(super) bytes: BytesMut,
    /// The peer has said that nothing more will come.
    pub(super) ended: bool,
}

impl Host {
    /// Hands bytes to a session. What it cannot read before an answer is kept, and its socket is
    /// read no further until then.
    pub(super) fn feed_session(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        if let Some(held) = self.held.get_mut(&id.slot()) {
            held.bytes.extend_from_slice(bytes);
            self.held_bytes += bytes.len();
            return;
        }
        let at = self.feed(id, bytes);
        if at < bytes.len() {
            let held = self.held.entry(id.slot()).or_default();
            held.bytes.extend_from_slice(&bytes[at..]);
            self.held_bytes += bytes.len() - at;
            self.readings.push_back((id, false));
        }
        if self.shard.partial_bytes() > 0 {
            self.bound_partial_bytes();
        }
    }

    /// Hands bytes to a session until it must wait; returns how many it has read.
    fn feed(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            at += self.shard.handle_received(id, &mut bytes[at..]);
            self.answer_questions();
            if at == bytes.len() || self.shard.is_held(id) {
                return at;
            }
        }
    }

    /// A session may have stopped waiting: hands it what came meanwhile.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(held) = self.held.get_mut(&id.slot()) else {
            return;
        };
        let mut bytes = std::mem::take(&mut held.bytes);
        let at = self.feed(id, &mut bytes);
        self.held_bytes -= at;
        let held = self
            .held
            .get_mut(&id.slot())
            .expect("nothing takes it away");
        if at < bytes.len() {
            held.bytes = bytes.split_off(at);
            return;
        }
        let ended = held.ended;
        self.held.remove(&id.slot());
        if ended {
            self.shard.handle_hangup(id, false);
            self.notice_ends();
        } else {
            self.readings.push_back((id, true));
        }
    }

    pub(super) fn forget_held(&mut self, id: ConnectionId) {
        if let Some(held) = self.held.remove(&id.slot()) {
            self.held_bytes -= held.bytes.len();
        }
    }

    pub(super) fn bound_partial_bytes(&mut self) {
        self.shard
            .bound_partial_bytes(self.context.bodies_bytes.get() + self.held_bytes);
    }
}
