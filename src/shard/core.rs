//! The state machine of one core's share of the gateway.

use super::connection::{Connection, HttpPhase, Phase};
use super::connection_table::ConnectionTable;
use super::hash::HashSeed;
use super::outbox::Outboxes;
use super::publication::{MailboxMessage, Ticket};
use super::settings::ShardSettings;
use super::users::Users;
use super::wheel::Wheel;
use crate::close::End;
use crate::dialect::json::Scratch;
use crate::id::{ConnectionId, SessionId, ShardId};
use crate::metrics::Counters;
use crate::time::Tick;
use crate::ws::Decoder;
use std::collections::VecDeque;
use std::sync::Arc;

/// One core's share of the gateway: its sessions, their users and what they are owed.
///
/// A shard is a state machine. It performs no I/O and reads no clock; whoever owns it carries bytes
/// to and from it and tells it the time. Its methods are of four kinds: getters, taking `&self`;
/// `handle_*`, for what happened outside; commands, for what the process wants ([`Shard::publish`],
/// [`Shard::drop_user`], [`Shard::end_all`]); and `poll_*`, for what the shard wants done.
///
/// After one batch of the first three, empty the polls, in this order: mailbox messages; sends;
/// closes; questions (each is answered by [`Shard::handle_answer`]); tallies; the next wake-up.
/// When the sends are out, [`Shard::relieve`] bounds what slow readers hold.
/// [`Shard::handle_received`] may stop at a question; answer it and hand in the rest.
///
/// # Invariants
///
/// - A session is dirty, and queued, exactly when its outbox is not empty and no send of its is in
///   flight.
/// - A session is bound to a user exactly when that user's list names it.
/// - Every connection has at most one deadline in the wheel, the soonest of its timers.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) settings: Arc<ShardSettings>,
    pub(super) now: Tick,
    pub(super) connections: ConnectionTable<Connection>,
    /// One for each slot ever used.
    pub(super) decoders: Vec<Decoder>,
    pub(super) wheel: Wheel,
    pub(super) users: Users,
    pub(super) outboxes: Outboxes,
    pub(super) scratch: Scratch,
    pub(super) dirty: VecDeque<u32>,
    pub(super) urgent: VecDeque<u32>,
    pub(super) messages: VecDeque<(ShardId, MailboxMessage)>,
    pub(super) closes: VecDeque<(ConnectionId, CloseStep)>,
    pub(super) questions: VecDeque<Question>,
    pub(super) tallies: VecDeque<(Ticket, u32)>,
    pub(super) slots: Vec<u32>,
    pub(super) sessions_count: usize,
    pub(super) partial_bytes: usize,
    pub(super) sequence: u64,
    pub(super) counters: Counters,
}

/// What the driver is to do to end a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseStep {
    /// Shut the sending side: everything has been sent. The peer's end is still awaited.
    Shutdown,
    /// Cancel what is under way and close the socket.
    Finish,
}

/// What the shard must find out from somebody outside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The session that waits for the answer.
    pub session: SessionId,
    /// Index of its route.
    pub route: u16,
    /// What is asked.
    pub ask: Ask,
}

/// The kinds of question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// Which user does this token name?
    User {
        /// As the client sent it.
        token: Box<str>,
        /// What the session wants to hear, once it speaks for that user.
        event: Box<str>,
    },
}

/// What became of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The token names this user; `None` if it names nobody.
    User {
        /// The user's name.
        user: Option<Box<str>>,
        /// The event of the question.
        event: Box<str>,
    },
}

impl Shard {
    /// A shard without connections, one of `shards`, at tick zero. `seed` keys its hashes.
    #[must_use]
    pub fn new(id: ShardId, shards: usize, settings: Arc<ShardSettings>, seed: HashSeed) -> Self {
        assert!(id.index() < shards);
        let outboxes = Outboxes::new(settings.batch_bytes_max, settings.gather_bytes_max);
        Self {
            id,
            shards,
            settings,
            now: Tick::default(),
            connections: ConnectionTable::new(),
            decoders: Vec::new(),
            wheel: Wheel::new(),
            users: Users::new(seed),
            outboxes,
            scratch: Scratch::new(),
            dirty: VecDeque::new(),
            urgent: VecDeque::new(),
            messages: VecDeque::new(),
            closes: VecDeque::new(),
            questions: VecDeque::new(),
            tallies: VecDeque::new(),
            slots: Vec::new(),
            sessions_count: 0,
            partial_bytes: 0,
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// A socket was accepted; it is in its HTTP phase. `None`: there is no slot left for it.
    pub fn handle_accepted(&mut self) -> Option<ConnectionId> {
        let id = self
            .connections
            .insert(Connection::accepted(self.now))
            .ok()?;
        if self.decoders.len() <= id.index() {
            self.decoders.resize_with(id.index() + 1, Decoder::new);
        }
        self.counters.connections_accepted += 1;
        self.schedule(id);
        Some(id)
    }

    /// An HTTP connection waits for this now. It is `anew` if a request was served since the last
    /// call, so that the time limit begins again even if the phase is the same.
    pub fn handle_http_phase(&mut self, id: ConnectionId, phase: HttpPhase, anew: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Phase::Http(before) = connection.phase else {
            return;
        };
        if before != phase || anew {
            connection.phase = Phase::Http(phase);
            connection.since = now;
            self.schedule(id);
        }
    }

    /// An HTTP connection has said and sent everything; only the peer's end is missing.
    pub fn handle_http_done(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if matches!(connection.phase, Phase::Http(_)) {
            self.begin_draining(id);
        }
    }

    /// An upgrade was granted: the connection is a session of `route` from now on.
    ///
    /// `greeting` is what goes out before its first frame: the 101.
    pub fn handle_upgraded(&mut self, id: ConnectionId, route: u16, greeting: &[u8]) -> SessionId {
        let frame = self
            .outboxes
            .batches
            .put(greeting.len(), |out| out.extend_from_slice(greeting));
        let now = self.now;
        let connection = self
            .connections
            .get_mut(id)
            .expect("the driver upgrades what is open");
        assert!(matches!(connection.phase, Phase::Http(_)));
        connection.phase = Phase::Open;
        connection.route = route;
        connection.last_input = now;
        connection.last_ping = now;
        connection.since = now;
        let len = u32::try_from(greeting.len()).expect("a head is small");
        let pushed = self
            .outboxes
            .push(&mut connection.outbox, frame, len, u32::MAX);
        pushed.expect("an empty outbox has room for a greeting");
        connection.outbox.keep_first();
        self.sessions_count += 1;
        self.counters.sessions_opened += 1;
        self.mark_dirty(id.slot(), true);
        self.schedule(id);
        SessionId::new(self.id, id)
    }

    /// The socket took `taken` bytes of what [`Shard::poll_send`] lent; the send is over.
    pub fn handle_sent(&mut self, id: ConnectionId, taken: u32) {
        let connection = self
            .connections
            .get_mut(id)
            .expect("a slot outlives its operations");
        self.outboxes.settle(&mut connection.outbox, taken);
        if connection.phase == Phase::Gone {
            // Nothing may be queued for it any more: its descriptor is about to be closed.
            self.outboxes.clear(&mut connection.outbox);
        } else if !connection.outbox.is_empty() {
            self.mark_dirty(id.slot(), false);
        } else if connection.phase == Phase::Closing {
            self.begin_draining(id);
        }
    }

    /// Nothing more will come from the peer: its end of input, or, `broken`, its reset.
    pub fn handle_hangup(&mut self, id: ConnectionId, broken: bool) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.peer_ended = true;
        match connection.phase {
            // What is owed to a peer that only stopped sending still goes out.
            Phase::Open if !broken && !connection.outbox.is_empty() => self.leave(id, End::Reset),
            Phase::Open => self.end(id, End::Reset),
            Phase::Closing if !broken => {}
            Phase::Http(_) | Phase::Closing | Phase::Draining => self.finish(id),
            Phase::Gone => {}
        }
    }

    /// The socket is closed and none of its operations is left: its slot is free.
    pub fn handle_closed(&mut self, id: ConnectionId) {
        self.wheel.cancel(id.slot());
        let mut connection = self.connections.remove(id).expect("closed once");
        assert!(connection.phase == Phase::Gone, "closed only when asked to");
        self.outboxes.clear(&mut connection.outbox);
    }

    /// A question has been answered. A session that has ended since then is not found: a miss.
    pub fn handle_answer(&mut self, session: SessionId, answer: &Answer) {
        assert_eq!(session.shard(), self.id);
        let id = session.connection();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.waiting = false;
        if connection.phase == Phase::Open {
            let Answer::User { user, event } = answer;
            if let Some(user) = user {
                self.bind(id, user, event);
            }
        }
    }

    /// What another shard is to be told next.
    pub fn poll_message(&mut self) -> Option<(ShardId, MailboxMessage)> {
        self.messages.pop_front()
    }

    /// What is to be sent next, to whom. It stays where it is until [`Shard::handle_sent`].
    ///
    /// The first call after a batch seals what was encoded in it.
    pub fn poll_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        self.outboxes.batches.seal();
        let (id, outbox) = loop {
            let (slot, urgent) = match self.urgent.pop_front() {
                Some(slot) => (slot, true),
                None => (self.dirty.pop_front()?, false),
            };
            let Some((id, connection)) = self.connections.entry_mut(slot) else {
                continue;
            };
            if urgent {
                connection.queued_urgent = false;
            } else {
                connection.queued = false;
            }
            if connection.is_dirty() {
                break (id, &mut connection.outbox);
            }
        };
        Some((id, self.outboxes.lend(outbox)))
    }

    /// Whether [`Shard::poll_send`] may have something.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.urgent.is_empty() || !self.dirty.is_empty()
    }

    /// The next connection to be shut or closed.
    pub fn poll_close(&mut self) -> Option<(ConnectionId, CloseStep)> {
        self.closes.pop_front()
    }

    /// The next question.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// The next number that somebody else asked for.
    pub fn poll_tally(&mut self) -> Option<(Ticket, u32)> {
        self.tallies.pop_front()
    }

    /// Frees what is kept for the next batch; for a shard that has been idle for a while.
    pub fn free_spare(&mut self) {
        self.outboxes.free_spare();
        if self.dirty.is_empty() && self.urgent.is_empty() {
            self.dirty = VecDeque::new();
            self.urgent = VecDeque::new();
        }
    }

    /// Whether memory was given up since the last call, so that collecting it may pay.
    pub fn take_shrank(&mut self) -> bool {
        self.outboxes.batches.take_shrank()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions_count(&self) -> usize {
        self.sessions_count
    }

    /// How many connections there are, sessions included.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.connections.len()
    }

    /// Bytes that unfinished messages hold.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Whether the connection is a session that has not begun to end.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| connection.phase == Phase::Open)
    }

    /// Whether the connection has not been upgraded.
    #[must_use]
    pub fn is_http(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| matches!(connection.phase, Phase::Http(_)))
    }

    /// When the connection began to wait for what it waits for now.
    #[must_use]
    pub fn phase_began(&self, id: ConnectionId) -> Option<Tick> {
        self.connections.get(id).map(|connection| connection.since)
    }

    /// Asserts what the type promises. Linear in everything: for tests and the simulator.
    pub fn invariants(&self) {
        self.connections.invariants();
        self.users.invariants();
        self.wheel.invariants();
        self.outboxes.batches.invariants();
        let (mut open, mut partial) = (0, 0);
        for (id, connection) in self.connections.iter() {
            self.outboxes.invariants(&connection.outbox);
            open += usize::from(connection.phase == Phase::Open);
            partial += self.decoders[id.index()].partial_bytes();
            let queued = connection.queued || connection.queued_urgent;
            if connection.phase != Phase::Gone {
                assert!(
                    queued || !connection.is_dirty(),
                    "{id} is dirty and forgotten"
                );
            }
            if connection.phase != Phase::Open {
                assert!(!self.users.is_bound(id.slot()));
            }
            let filed = self.wheel.deadline(id.slot()).is_some();
            assert_eq!(filed, connection.deadline(&self.settings).is_some(), "{id}");
        }
        assert_eq!(open, self.sessions_count);
        assert_eq!(partial, self.partial_bytes);
    }

    pub(super) fn mark_dirty(&mut self, slot: u32, urgent: bool) {
        let connection = self
            .connections
            .slot_mut(slot)
            .expect("only what is there gets dirty");
        mark(connection, slot, urgent, &mut self.dirty, &mut self.urgent);
    }
}

impl Connection {
    fn is_dirty(&self) -> bool {
        !self.outbox.is_empty() && !self.outbox.is_lent()
    }
}

/// Queues a session that is owed something, unless it is queued or being sent to.
pub(super) fn mark(
    connection: &mut Connection,
    slot: u32,
    urgent: bool,
    dirty_queue: &mut VecDeque<u32>,
    urgent_queue: &mut VecDeque<u32>,
) {
    if connection.outbox.is_lent() || connection.queued_urgent {
        return;
    }
    if urgent {
        connection.queued_urgent = true;
        urgent_queue.push_back(slot);
    } else if !connection.queued {
        connection.queued = true;
        dirty_queue.push_back(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::publication::Audience;

    const JACK: Audience<'static> = Audience::User {
        namespace: 0,
        name: b"jack",
        event: b"e",
    };
    fn ticket() -> Ticket {
        let asker = ShardId::new(0);
        Ticket { asker, index: 0 }
    }

    fn shard() -> Shard {
        let settings = Arc::new(crate::gateway::shard_settings(&Config::default(), false));
        Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]))
    }

    /// A session that speaks for jack; its greeting has not been sent.
    fn join(shard: &mut Shard) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, 0, b"greeting");
        say(shard, id, 0x81, br#"{"token":"jack","event":"e"}"#);
        id
    }

    fn say(shard: &mut Shard, id: ConnectionId, first_octet: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("a short frame");
        let mut frame = [&[first_octet, 0x80 | len, 0, 0, 0, 0], payload].concat();
        assert_eq!(shard.handle_received(id, &mut frame), frame.len());
    }

    fn send_all(shard: &mut Shard) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some((id, bytes)) = shard.poll_send() {
            let len = u32::try_from(bytes.len()).expect("small");
            sent.extend_from_slice(bytes);
            shard.handle_sent(id, len);
        }
        shard.invariants();
        sent
    }

    #[test]
    fn what_is_gone_is_never_sent_to_again() {
        let mut shard = shard();
        let id = join(&mut shard);
        assert_eq!(send_all(&mut shard), b"greeting");

        // It stands in both queues, is lent from one, and ends while that send is under way.
        assert_eq!(shard.publish(JACK, b"hello", ticket()), 1);
        say(&mut shard, id, 0x89, b"");
        assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
        assert_eq!(shard.publish(JACK, b"more", ticket()), 1);
        shard.cut(id, End::Reset);
        shard.handle_sent(id, 0);
        assert_eq!(shard.poll_send(), None);
        assert_eq!(shard.poll_close(), Some((id, CloseStep::Finish)));
        shard.invariants();
        shard.handle_closed(id);
        assert_eq!(shard.connections_count(), 0);
    }

    #[test]
    fn a_slow_consumer_still_gets_its_greeting_before_the_close() {
        let mut shard = shard();
        let large = vec![b'x'; 700 << 10];
        join(&mut shard);
        assert_eq!(
            shard.publish(JACK, &large, ticket()),
            1,
            "nothing but a greeting is owed"
        );
        assert_eq!(shard.publish(JACK, &large, ticket()), 0);
        assert_eq!(send_all(&mut shard), b"greeting\x88\x0a\x03\xf0too slow");
        assert_eq!(shard.counters().ended("slow_consumer"), 1);
    }

    #[test]
    fn a_peer_that_only_stops_sending_gets_what_it_is_owed() {
        let mut shard = shard();
        let id = join(&mut shard);
        shard.handle_hangup(id, false);
        assert_eq!(shard.publish(JACK, b"too late", ticket()), 0);
        assert_eq!(send_all(&mut shard), b"greeting");
        assert_eq!(shard.poll_close(), Some((id, CloseStep::Finish)));
    }
}
