//! What comes from a session while it waits for an answer: kept, and its socket not read.

use super::Host;
use crate::vocabulary::close::End;
use crate::vocabulary::id::ConnectionId;

/// What came from a session that waits for an answer.
#[derive(Debug)]
pub(super) struct HeldInput {
    id: ConnectionId,
    bytes: Vec<u8>,
    /// How many of the bytes have been read.
    read: usize,
    /// The peer has said that nothing more will come.
    pub(super) ended: bool,
}

impl HeldInput {
    fn new(id: ConnectionId, bytes: &[u8]) -> Self {
        Self {
            id,
            bytes: bytes.to_vec(),
            read: 0,
            ended: false,
        }
    }

    /// What it takes; a map's nodes may be half empty.
    fn held_bytes(&self) -> usize {
        2 * size_of::<Self>() + self.bytes.capacity()
    }

    /// Gives back what has been read, once that is most of it: each byte is moved once at most for
    /// each that was read.
    fn forget_read(&mut self) {
        if self.read * 2 >= self.bytes.len() {
            self.bytes.drain(..self.read);
            self.bytes.shrink_to(2 * self.bytes.len());
            self.read = 0;
        }
    }
}

impl Host {
    /// Hands bytes to a session. What it cannot read before an answer is kept, and its socket is
    /// read no further until then.
    pub(super) fn feed_session(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        if let Some(held) = self.held.get_mut(&id.slot()) {
            self.held_bytes -= held.held_bytes();
            held.bytes.extend_from_slice(bytes);
            self.held_bytes += held.held_bytes();
        } else {
            let at = self.feed(id, bytes);
            if at < bytes.len() {
                let held = HeldInput::new(id, &bytes[at..]);
                self.held_bytes += held.held_bytes();
                let before = self.held.insert(id.slot(), held);
                assert!(before.is_none(), "nobody was there a moment ago");
                self.readings.push_back((id, false));
            }
        }
        self.bound_held_bytes(id);
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
        self.held_bytes -= held.held_bytes();
        let (mut bytes, read) = (std::mem::take(&mut held.bytes), held.read);
        self.held_bytes += held.held_bytes();
        let at = read + self.feed(id, &mut bytes[read..]);
        let held = self
            .held
            .get_mut(&id.slot())
            .expect("nothing takes it away");
        if at < bytes.len() {
            self.held_bytes -= held.held_bytes();
            (held.bytes, held.read) = (bytes, at);
            held.forget_read();
            self.held_bytes += held.held_bytes();
            return;
        }
        let ended = held.ended;
        self.forget_held(id);
        if ended {
            self.shard.handle_hangup(id, false);
            self.notice_ends();
        } else {
            self.readings.push_back((id, true));
        }
    }

    /// Hands all sessions what came meanwhile, if calls have ended that had others wait; returns
    /// how many there were.
    pub(super) fn resume_all(&mut self) -> usize {
        if !std::mem::take(&mut self.is_unloaded) {
            return 0;
        }
        let all: Vec<ConnectionId> = self.held.values().map(|held| held.id).collect();
        for &id in &all {
            self.resume(id);
        }
        all.len()
    }

    pub(super) fn forget_held(&mut self, id: ConnectionId) {
        if let Some(held) = self.held.remove(&id.slot()) {
            self.held_bytes -= held.held_bytes();
        }
    }

    /// Whether the calls that are at work hold so much that a session is read no further: those of
    /// its own as much as one message may, or all of them half of what may be unfinished.
    fn is_loaded(&self, id: ConnectionId) -> bool {
        let state = self.sessions.get(id.index()).and_then(Option::as_ref);
        state.is_some_and(|state| {
            let route = &self.settings.routes[state.route.index()];
            state.session.connection() == id
                && (state.calls_bytes.get() >= route.message_bytes_max || self.is_overloaded())
        })
    }

    pub(super) fn is_overloaded(&self) -> bool {
        self.calls_bytes > self.settings.partial_bytes_max / 2
    }

    /// Something of an embedder's begins to work on what a client said.
    pub(super) fn begin_work(&mut self, bytes: usize) {
        self.calls_bytes += bytes;
    }

    /// It has ended.
    pub(super) fn end_work(&mut self, bytes: usize) {
        let was_overloaded = self.is_overloaded();
        self.calls_bytes -= bytes;
        self.is_unloaded |= was_overloaded && !self.is_overloaded();
    }

    /// Ends a session that has said too much more while it waits.
    fn bound_held_bytes(&mut self, id: ConnectionId) {
        let held = self.held.get(&id.slot());
        let bytes = held.map_or(0, HeldInput::held_bytes);
        if bytes > self.limits.held_bytes_per_session_max {
            self.end_held(id);
        }
    }

    fn end_held(&mut self, id: ConnectionId) {
        self.shard.end_session(id, End::PartialBytes);
        self.forget_held(id);
        self.readings.push_back((id, true)); // for its end
        self.notice_ends();
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
            let largest = self.held.values().max_by_key(|held| held.held_bytes());
            let id = largest.expect("somebody holds those bytes").id;
            self.end_held(id);
        }
    }

    /// Asserts that what is held is counted.
    pub(super) fn held_invariants(&self) {
        let held = self.held.values().map(HeldInput::held_bytes);
        assert_eq!(held.sum::<usize>(), self.held_bytes);
        assert!(self.tasks_count > 0 || self.calls_bytes == 0);
    }
}
