//! Deferred input: bytes of sessions that wait for a response and whose sockets are not read.

use super::Host;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::{ConnectionId, SessionId};

/// Input of a session that waits for a response.
#[derive(Debug)]
pub(super) struct DeferredInput {
    id: ConnectionId,
    bytes: Vec<u8>,
    /// Number of `bytes` that the session has read.
    read: usize,
    /// The peer's stream has ended.
    pub(super) ended: bool,
}

impl DeferredInput {
    fn new(id: ConnectionId, bytes: &[u8]) -> Self {
        Self {
            id,
            bytes: bytes.to_vec(),
            read: 0,
            ended: false,
        }
    }

    /// Creates the deferred input of an adopted session.
    pub(super) fn adopted(id: ConnectionId, bytes: &[u8], ended: bool) -> Self {
        Self {
            ended,
            ..Self::new(id, bytes)
        }
    }

    /// Returns the bytes that the session has not read.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Returns the bytes of memory used. Counts the struct twice, since a map's nodes may be half
    /// empty.
    fn input_bytes(&self) -> usize {
        2 * size_of::<Self>() + self.bytes.capacity()
    }

    /// Frees the bytes that were read, once they are at least half. So each byte read moves at most
    /// one other byte.
    fn discard_read(&mut self) {
        if self.read * 2 >= self.bytes.len() {
            self.bytes.drain(..self.read);
            self.bytes.shrink_to(2 * self.bytes.len());
            self.read = 0;
        }
    }
}

impl Host {
    /// Hands bytes to a session. If it must wait for a response, keeps the rest and pauses its
    /// socket.
    pub(super) fn feed_session(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        if let Some(deferred) = self.deferred.get_mut(&id.slot()) {
            self.deferred_bytes -= deferred.input_bytes();
            deferred.bytes.extend_from_slice(bytes);
            self.deferred_bytes += deferred.input_bytes();
        } else {
            let at = self.feed(id, bytes);
            if at < bytes.len() {
                self.insert_deferred(DeferredInput::new(id, &bytes[at..]));
            }
        }
        self.enforce_deferred_limit(id);
        self.enforce_partial_limit();
    }

    /// Keeps a session's input and pauses its socket.
    pub(super) fn insert_deferred(&mut self, deferred: DeferredInput) {
        let id = deferred.id;
        self.deferred_bytes += deferred.input_bytes();
        let before = self.deferred.insert(id.slot(), deferred);
        assert!(before.is_none(), "the slot had no deferred input");
        self.readings.push_back((id, false));
    }

    /// Hands bytes to a session until it must wait; returns the number of bytes that it has read.
    fn feed(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            if self.is_loaded(id) {
                return at;
            }
            at += self.shard.handle_received(id, &mut bytes[at..]);
            self.handle_host_requests();
            if at == bytes.len() || self.shard.is_read_paused(id) {
                return at;
            }
        }
    }

    /// Hands a session its deferred input, if it no longer waits; resumes its socket after the last
    /// byte.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        // The response may come after the session has closed and its slot has been reused.
        let deferred = self.deferred.get_mut(&id.slot());
        let Some(deferred) = deferred.filter(|deferred| deferred.id == id) else {
            return;
        };
        self.deferred_bytes -= deferred.input_bytes();
        let (mut bytes, read) = (std::mem::take(&mut deferred.bytes), deferred.read);
        self.deferred_bytes += deferred.input_bytes();
        let at = read + self.feed(id, &mut bytes[read..]);
        let deferred = self
            .deferred
            .get_mut(&id.slot())
            .expect("nothing takes it away");
        if at < bytes.len() {
            self.deferred_bytes -= deferred.input_bytes();
            (deferred.bytes, deferred.read) = (bytes, at);
            deferred.discard_read();
            self.deferred_bytes += deferred.input_bytes();
            return;
        }
        let ended = deferred.ended;
        self.remove_deferred(id);
        if ended {
            self.shard.handle_hangup(id, false);
            self.process_ended_sessions();
        } else {
            self.readings.push_back((id, true));
        }
    }

    /// Hands a session its deferred input as [`Host::resume`] does, if it is on this shard.
    pub(super) fn resume_session(&mut self, session: SessionId) {
        if let Some(id) = self.shard.find_session(session) {
            self.resume(id);
        }
    }

    /// Resumes all sessions with deferred input, if calls have ended that made sessions wait;
    /// returns the number of sessions.
    pub(super) fn resume_all(&mut self) -> usize {
        if !std::mem::take(&mut self.is_unloaded) {
            return 0;
        }
        let all: Vec<ConnectionId> = self.deferred.values().map(|deferred| deferred.id).collect();
        for &id in &all {
            self.resume(id);
        }
        all.len()
    }

    pub(super) fn remove_deferred(&mut self, id: ConnectionId) {
        if let Some(deferred) = self.deferred.remove(&id.slot()) {
            self.deferred_bytes -= deferred.input_bytes();
        }
    }

    /// Returns whether running calls hold so much that the session's input is deferred: its own
    /// calls hold as much as one message may, or all calls hold too much.
    fn is_loaded(&self, id: ConnectionId) -> bool {
        let state = self.sessions.get(id.index()).and_then(Option::as_ref);
        state.is_some_and(|state| {
            let route = &self.settings.routes[state.route.index()];
            state.session == self.shard.session_id(id)
                && (state.calls_bytes.get() >= route.message_bytes_max || self.is_overloaded())
        })
    }

    pub(super) fn is_overloaded(&self) -> bool {
        self.calls_bytes > self.settings.partial_bytes_max / 2
    }

    /// Adds bytes held by a function of an embedder's that begins to run for a client.
    pub(super) fn begin_work(&mut self, bytes: usize) {
        self.calls_bytes += bytes;
    }

    /// Removes the bytes of a function that has ended.
    pub(super) fn end_work(&mut self, bytes: usize) {
        let was_overloaded = self.is_overloaded();
        self.calls_bytes -= bytes;
        self.is_unloaded |= was_overloaded && !self.is_overloaded();
    }

    /// Closes a session whose deferred input exceeds its limit.
    fn enforce_deferred_limit(&mut self, id: ConnectionId) {
        let deferred = self.deferred.get(&id.slot());
        let bytes = deferred.map_or(0, DeferredInput::input_bytes);
        if bytes > self.limits.held_bytes_per_session_max {
            self.close_deferred(id);
        }
    }

    fn close_deferred(&mut self, id: ConnectionId) {
        self.shard.close_session(id, CloseCause::PartialBytes);
        self.remove_deferred(id);
        self.readings.push_back((id, true)); // to see the end of its stream
        self.process_ended_sessions();
    }

    /// Keeps the bytes of partial messages, deferred input, running calls and partial bodies below
    /// `partial_bytes_max`. Closes the session with the most deferred input while that is more than
    /// the partial messages; otherwise leaves the choice to the shard.
    pub(super) fn enforce_partial_limit(&mut self) {
        let bytes_max = self.settings.partial_bytes_max;
        loop {
            let elsewhere = self.context.bodies_bytes.get() + self.calls_bytes;
            let partial = self.shard.partial_bytes();
            if elsewhere + self.deferred_bytes + partial <= bytes_max
                || self.deferred_bytes <= partial
            {
                self.shard
                    .enforce_partial_limit(elsewhere + self.deferred_bytes);
                return;
            }
            let largest = self
                .deferred
                .values()
                .max_by_key(|deferred| deferred.input_bytes());
            let id = largest.expect("sessions hold those bytes").id;
            self.close_deferred(id);
        }
    }

    /// Asserts that the byte counts are right.
    pub(super) fn deferred_invariants(&self) {
        let deferred = self.deferred.values().map(DeferredInput::input_bytes);
        assert_eq!(deferred.sum::<usize>(), self.deferred_bytes);
        assert!(self.tasks_count > 0 || self.calls_bytes == 0);
    }
}
