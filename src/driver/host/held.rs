//! What comes from a session while it waits for an answer: kept, and its socket not read.

use super::Host;
use crate::close::End;
use crate::id::ConnectionId;
use bytes::BytesMut;

/// What came from a session that waits for an answer.
#[derive(Debug)]
pub(super) struct HeldInput {
    id: ConnectionId,
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
            let held = self.held.entry(id.slot()).or_insert_with(|| HeldInput {
                id,
                bytes: BytesMut::new(),
                ended: false,
            });
            held.bytes.extend_from_slice(&bytes[at..]);
            self.held_bytes += bytes.len() - at;
            self.readings.push_back((id, false));
        }
        self.bound_partial_bytes();
    }

    /// Hands bytes to a session until it must wait; returns how many it has read.
    fn feed(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            if self.is_loaded(id) {
                return at;
            }
            at += self.shard.handle_received(id, &mut bytes[at..]);
            self.answer_questions();
            if at == bytes.len() || self.shard.is_held(id) {
                return at;
            }
        }
    }

    /// A session may have stopped waiting: hands it what came meanwhile.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        // The answer may come after the session, whose slot may be another's by now.
        let held = self.held.get_mut(&id.slot());
        let Some(held) = held.filter(|held| held.id == id) else {
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

    /// Whether the calls of a session that are at work hold as much as one message may: however
    /// many may be at work at once, it is read no further then.
    fn is_loaded(&self, id: ConnectionId) -> bool {
        let state = self.sessions.get(id.index()).and_then(Option::as_ref);
        state.is_some_and(|state| {
            let route = &self.settings.routes[state.route.index()];
            state.session.connection() == id && state.calls_bytes.get() >= route.message_bytes_max
        })
    }

    /// Keeps what unfinished messages, messages that wait, calls at work and unfinished bodies
    /// hold within bounds. Whoever makes others wait goes first where those hold most of it.
    pub(super) fn bound_partial_bytes(&mut self) {
        let bytes_max = self.settings.partial_bytes_max;
        loop {
            let elsewhere = self.context.bodies_bytes.get() + self.calls_bytes;
            let partial = self.shard.partial_bytes();
            if elsewhere + self.held_bytes + partial <= bytes_max || self.held_bytes <= partial {
                self.shard.bound_partial_bytes(elsewhere + self.held_bytes);
                return;
            }
            let largest = self.held.values().max_by_key(|held| held.bytes.len());
            let id = largest.expect("somebody holds those bytes").id;
            self.shard.end_session(id, End::PartialBytes);
            self.forget_held(id);
            self.readings.push_back((id, true)); // for its end
        }
    }
}
