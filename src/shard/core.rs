//! The shard's state, and the methods by which its host drives it.

use super::channels::Channels;
use super::claims::ClaimTable;
use super::connection::{Connection, ConnectionFlags, HttpPhase, Phase};
use super::connection_table::ConnectionTable;
use super::drain::Drain;
use super::events::Events;
use super::exclusive::{ClaimResult, Claimants};
use super::hash::HashSeed;
use super::host_request::{HostRequest, HostResponse};
use super::message::{ClaimMessage, CountRequestId, MailboxMessage};
use super::names_budget::HostBytes;
use super::outbox::{OutboxFlags, Outboxes};
use super::partial_messages::{PartialMessage, partial_bytes_of};
use super::send_queues::SendQueues;
use super::settings::ShardSettings;
use super::users::Users;
use super::wheel::Wheel;
use crate::codec::json::Scratch;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::public_id::Tag;
use crate::vocabulary::time::Tick;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The connections of one thread: their sessions, users, channels and pending bytes.
///
/// A shard is a state machine without I/O and without a clock. Its host carries bytes to and from
/// it and sets its time. Its methods are of four kinds:
///
/// - getters, which take `&self`;
/// - `handle_*`, for input from outside;
/// - commands of the process, such as [`Shard::publish`], [`Shard::drop_user`] and
///   [`Shard::drain`];
/// - `poll_*`, for output.
///
/// After each batch of the first three, the host empties the polls in this order: mailbox messages,
/// sends, closes, host requests (each is followed by [`Shard::handle_host_response`], in any
/// order), claim results, events, ended sessions, counts, the next wake-up.
/// After the sends are flushed, [`Shard::enforce_publication_limit`] limits what slow readers
/// retain. [`Shard::handle_received`] may stop at a host request; pass the rest of the input after
/// the response.
///
/// # Invariants
///
/// - A session is in a send queue exactly when its outbox is not empty and none of its sends is in
///   flight.
/// - A session is bound to a user exactly when that user's list contains it, and on a channel
///   exactly when the channel's list contains it.
/// - Of the sessions of one exclusive user, on all shards, at most one is bound.
/// - Every connection has at most one deadline in the wheel: that of its next timer.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) settings: Arc<ShardSettings>,
    pub(super) now: Tick,
    /// The time at which the process last resumed after a pause.
    pub(super) resumed_at: Tick,
    /// Whether sessions are not read because other shards' mailboxes are full.
    pub(super) are_reads_paused: bool,
    pub(super) connections: ConnectionTable<Connection>,
    /// By slot: the message that a session has begun and not completed.
    pub(super) partial_messages: Vec<Option<Box<PartialMessage>>>,
    pub(super) wheel: Wheel,
    /// By slot: rarely used data, kept out of the cache line of the connection.
    pub(super) profiles: Vec<SessionProfile>,
    pub(super) users: Users,
    pub(super) channels: Channels,
    /// The exclusive users whose home is this shard.
    pub(super) claims: ClaimTable,
    /// The sessions of this shard that hold or claim an exclusive user.
    pub(super) claimants: Claimants,
    pub(super) host_bytes: HostBytes,
    /// Claim messages to be handled; the first one is being handled now.
    pub(super) claim_messages: VecDeque<ClaimMessage>,
    pub(super) random: ChaCha12Rng,
    pub(super) outboxes: Outboxes,
    pub(super) scratch: Scratch,
    /// Buffer for encoding outcomes.
    pub(super) encode_buffer: Vec<u8>,
    pub(super) send_queues: SendQueues,
    pub(super) messages: VecDeque<(ShardId, MailboxMessage)>,
    pub(super) closes: VecDeque<(ConnectionId, CloseStep)>,
    /// HTTP connections whose phase has reached its time limit.
    pub(super) expired: VecDeque<(ConnectionId, HttpPhase)>,
    pub(super) host_requests: VecDeque<HostRequest>,
    pub(super) claim_results: VecDeque<ClaimResult>,
    pub(super) ended: VecDeque<SessionId>,
    pub(super) counts: VecDeque<(CountRequestId, u32)>,
    pub(super) events: Events,
    pub(super) slots: Vec<u32>,
    /// Slots of slow consumers that are still to be closed.
    pub(super) slow: VecDeque<u32>,
    /// By slot: the unacknowledged bytes measured when the last close grace of a closing connection
    /// ended.
    pub(super) unacknowledged: BTreeMap<u32, u32>,
    /// Sessions that opened here and are on another shard.
    pub(super) away: BTreeMap<SessionId, ShardId>,
    /// The sessions that remain to be closed by a drain; `None` if none is in progress.
    pub(super) drain: Option<Box<Drain>>,
    pub(super) sessions_count: usize,
    pub(super) partial_bytes: usize,
    pub(super) sequence: u64,
    pub(super) counters: Counters,
}

/// A step that the driver takes to end a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseStep {
    /// Shut down the write side: everything was sent. The peer's end of input is still awaited.
    Shutdown,
    /// Cancel the operations in flight and close the socket.
    Finish,
    /// The same with a reset: the kernel discards its unsent bytes and frees their memory.
    Reset,
    /// Read how many bytes in the kernel's send buffer the peer has not acknowledged, and call
    /// [`Shard::handle_unacknowledged`].
    Measure,
}

/// Rarely used data of a session, stored apart from its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionProfile {
    /// Random, drawn at the upgrade; with the session id it makes the public id.
    pub(super) tag: Tag,
    pub(super) messages_received: u64,
    pub(super) bytes_received: u64,
}

/// Traffic counters of a session. Payload bytes exclude frame heads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionStatistics {
    /// Publications and replies enqueued to the session. Wraps at 2^32.
    pub messages_sent: u64,
    /// Payload bytes of those messages.
    pub bytes_sent: u64,
    /// Messages received from the client.
    pub messages_received: u64,
    /// Payload bytes of those messages.
    pub bytes_received: u64,
    /// The tick of the upgrade.
    pub opened: Tick,
}

impl Shard {
    /// Creates a shard without connections, one of `shards`, at tick zero.
    ///
    /// `seed` keys the shard's hash tables. `random_seed` seeds its random numbers, which public
    /// ids and publications use.
    ///
    /// # Panics
    ///
    /// If `id` is not below `shards`.
    #[must_use]
    pub fn new(
        id: ShardId,
        shards: usize,
        settings: Arc<ShardSettings>,
        seed: HashSeed,
        random_seed: [u8; 32],
    ) -> Self {
        assert!(id.index() < shards);
        let events = Events::new(settings.namespaces.len());
        let classes = Arc::clone(&settings.classes);
        let claims_waiting_max = settings.claims_waiting_max as usize;
        let outboxes = Outboxes::new(settings.batch_bytes_max, settings.gather_bytes_max);
        Self {
            id,
            shards,
            settings,
            now: Tick::default(),
            resumed_at: Tick::default(),
            are_reads_paused: false,
            connections: ConnectionTable::new(),
            partial_messages: Vec::new(),
            wheel: Wheel::new(),
            profiles: Vec::new(),
            users: Users::new(seed),
            channels: Channels::new(seed, classes),
            claims: ClaimTable::new(seed, claims_waiting_max),
            claimants: Claimants::default(),
            host_bytes: HostBytes::default(),
            claim_messages: VecDeque::new(),
            random: ChaCha12Rng::from_seed(random_seed),
            outboxes,
            scratch: Scratch::new(),
            encode_buffer: Vec::new(),
            send_queues: SendQueues::default(),
            messages: VecDeque::new(),
            closes: VecDeque::new(),
            expired: VecDeque::new(),
            host_requests: VecDeque::new(),
            claim_results: VecDeque::new(),
            ended: VecDeque::new(),
            counts: VecDeque::new(),
            events,
            slots: Vec::new(),
            slow: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            away: BTreeMap::new(),
            drain: None,
            sessions_count: 0,
            partial_bytes: 0,
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// Adds an accepted connection, in its HTTP phase. Returns `None` if no slot is free.
    pub fn handle_accepted(&mut self) -> Option<ConnectionId> {
        let id = self
            .connections
            .insert(Connection::accepted(self.now))
            .ok()?;
        self.make_room_for(id);
        self.counters.connections_accepted += 1;
        self.schedule(id);
        Some(id)
    }

    /// Extends the tables by slot to a new connection's.
    pub(super) fn make_room_for(&mut self, id: ConnectionId) {
        if self.partial_messages.len() <= id.index() {
            self.partial_messages.resize_with(id.index() + 1, || None);
            self.profiles
                .resize_with(id.index() + 1, SessionProfile::default);
        }
    }

    /// Turns a connection into a session of `route`, after its upgrade request was accepted.
    ///
    /// `format` is one of the formats of the route's dialect ([`Dialect::formats`]). `greeting` is
    /// sent before the first message: the 101 response, or that of the format's framing. With
    /// `waits_for_open`, the session's messages are not read until [`HostResponse::Opened`].
    ///
    /// # Panics
    ///
    /// If `id` is not a connection in its HTTP phase, or the route has no such format.
    ///
    /// [`Dialect::formats`]: crate::dialect::Dialect::formats
    pub fn handle_upgraded(
        &mut self,
        id: ConnectionId,
        route: u16,
        format: u8,
        greeting: &[u8],
        waits_for_open: bool,
    ) -> SessionId {
        self.profiles[id.index()] = SessionProfile {
            tag: Tag::from_random(self.random.next_u64()),
            ..SessionProfile::default()
        };
        let frame = self
            .outboxes
            .batches
            .put(greeting.len(), |out| out.extend_from_slice(greeting));
        let now = self.now;
        let connection = self
            .connections
            .get_mut(id)
            .expect("an upgraded connection exists");
        assert!(matches!(connection.phase, Phase::Http(_)));
        connection.phase = Phase::Open;
        connection.route = route;
        let formats = &self.settings.routes[usize::from(route)].formats;
        connection.encoding = formats[usize::from(format)].encoding;
        connection
            .flags
            .set(ConnectionFlags::WAITING, waits_for_open);
        connection.last_input = now;
        connection.last_ping = now;
        connection.since = now;
        let pushed = self.outboxes.push(&mut connection.outbox, frame, u32::MAX);
        pushed.expect("an empty outbox has room for a greeting");
        connection.outbox.keep_first();
        self.send_queues
            .queue_urgent(&mut connection.outbox, id.slot());
        self.sessions_count += 1;
        self.counters.sessions_opened += 1;
        self.schedule(id);
        if self.settings.routes[usize::from(route)].is_tap {
            self.open_tap(id);
        }
        if self.claimants.was_evicted(id) {
            self.end(id, CloseCause::Replaced);
        }
        SessionId::new(self.id, id)
    }

    /// Completes a send that [`Shard::poll_send`] began, of which the socket took `taken` bytes.
    #[inline]
    pub fn handle_sent(&mut self, id: ConnectionId, taken: u32) {
        let connection = self
            .connections
            .get_mut(id)
            .expect("a connection outlives its operations");
        self.outboxes.complete_send(&mut connection.outbox, taken);
        if !connection.is_open() {
            self.complete_closing_send(id, taken);
        } else if !connection.outbox.is_empty() {
            self.send_queues.queue(&mut connection.outbox, id.slot());
        }
    }

    /// Completes a send to a connection that is no longer an open session.
    #[cold]
    fn complete_closing_send(&mut self, id: ConnectionId, taken: u32) {
        if taken > 0 {
            self.note_progress(id);
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let dropped = self.outboxes.drop_deferred(&mut connection.outbox);
        self.counters.bytes_dropped += u64::from(dropped);
        if connection.phase == Phase::Gone {
            // The descriptor is about to be closed, so nothing may be queued for it.
            self.outboxes.clear(&mut connection.outbox);
        } else if !connection.outbox.is_empty() {
            self.send_queues.queue(&mut connection.outbox, id.slot());
        } else if connection.phase == Phase::Closing {
            self.begin_draining(id);
        }
    }

    /// Records the peer's end of input, or with `broken` its reset.
    pub fn handle_hangup(&mut self, id: ConnectionId, broken: bool) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.flags.set(ConnectionFlags::PEER_ENDED, true);
        let encoding = connection.encoding;
        match connection.phase {
            Phase::Open if !broken && self.settings.encoding(encoding).framing.outlives_input() => {
            }
            // A peer that only shut down its write side still receives the pending bytes.
            Phase::Open if !broken && !connection.outbox.is_empty() => {
                self.detach(id, CloseCause::Reset);
            }
            Phase::Open => self.end(id, CloseCause::Reset),
            Phase::Closing if !broken => {}
            Phase::Http(_) | Phase::Closing | Phase::Draining => self.finish(id),
            Phase::Gone => {}
        }
    }

    /// Removes a connection whose socket is closed and whose operations have all completed; its
    /// slot becomes free.
    ///
    /// # Panics
    ///
    /// If the connection is unknown, or the shard did not request its close.
    pub fn handle_closed(&mut self, id: ConnectionId) {
        self.wheel.cancel(id.slot());
        let mut connection = self.connections.remove(id).expect("closed once");
        assert!(
            connection.phase == Phase::Gone,
            "closed without a close step"
        );
        self.outboxes.clear(&mut connection.outbox);
        self.release_claim(id);
        self.end_move(id);
    }

    /// Applies the host's response to a request. Does nothing if the session has ended since.
    pub fn handle_host_response(&mut self, session: SessionId, response: &HostResponse) {
        let Some(id) = self.find_session(session) else {
            return;
        };
        let connection = self.connections.get_mut(id).expect("just found");
        if connection.phase != Phase::Open {
            return;
        }
        match response {
            HostResponse::Opened => connection.flags.set(ConnectionFlags::WAITING, false),
            HostResponse::User {
                user,
                event,
                correlation,
            } => {
                connection.flags.set(ConnectionFlags::WAITING, false);
                self.finish_identify(id, user.as_deref(), event, correlation);
            }
            HostResponse::Join {
                allowed,
                correlation,
            } => {
                connection.flags.set(ConnectionFlags::WAITING, false);
                self.apply_join(id, allowed.as_ref(), correlation);
            }
            HostResponse::Publish {
                allowed,
                publish,
                correlation,
            } => {
                connection.flags.set(ConnectionFlags::WAITING, false);
                self.apply_publish(id, *allowed, publish, correlation);
            }
            HostResponse::Call {
                outcome,
                correlation,
            } => {
                assert!(connection.calls_in_flight > 0, "one response per call");
                connection.calls_in_flight -= 1;
                self.enqueue_outcome(id, correlation, outcome);
            }
        }
    }

    /// Returns the next mailbox message and the shard to send it to.
    pub fn poll_message(&mut self) -> Option<(ShardId, MailboxMessage)> {
        self.messages.pop_front()
    }

    /// Returns the next bytes to send and their connection. They keep their address until
    /// [`Shard::handle_sent`].
    ///
    /// Seals the open batch of frames.
    #[inline]
    pub fn poll_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        self.outboxes.batches.seal();
        let (id, outbox) = loop {
            let (slot, queue) = self.send_queues.pop()?;
            let Some((id, connection)) = self.connections.entry_mut(slot) else {
                continue;
            };
            let outbox = &mut connection.outbox;
            outbox.flags.clear(queue);
            if outbox.can_send() {
                break (id, outbox);
            }
        };
        Some((id, self.outboxes.begin_send(outbox)))
    }

    /// Returns whether there are mailbox messages, claim results, events or counts to poll.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.messages.is_empty()
            || !self.claim_results.is_empty()
            || self.has_events()
            || !self.counts.is_empty()
    }

    /// Returns whether a session is queued for sending. [`Shard::poll_send`] may still return
    /// `None`.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.send_queues.is_empty()
    }

    /// Returns the next connection to shut down or close.
    pub fn poll_close(&mut self) -> Option<(ConnectionId, CloseStep)> {
        self.closes.pop_front()
    }

    /// Returns the next request to the host.
    pub fn poll_host_request(&mut self) -> Option<HostRequest> {
        self.host_requests.pop_front()
    }

    /// Returns the next result of a claim to an exclusive user.
    pub fn poll_claim_result(&mut self) -> Option<ClaimResult> {
        self.claim_results.pop_front()
    }

    /// Returns the next ended session of a route with `observes_ends`.
    pub fn poll_ended(&mut self) -> Option<SessionId> {
        self.ended.pop_front()
    }

    /// Returns the next count that another shard requested.
    pub fn poll_count(&mut self) -> Option<(CountRequestId, u32)> {
        self.counts.pop_front()
    }

    /// Frees the buffers kept for reuse. Called when a shard becomes idle.
    pub fn free_spare(&mut self) {
        self.outboxes.free_spare();
        self.send_queues.free_spare();
    }

    /// Returns whether buffers were freed since the last call, so that trimming the heap may pay.
    pub fn take_shrank(&mut self) -> bool {
        self.outboxes.batches.take_shrank()
    }

    /// Counts a connection whose cancelled operations did not complete in time.
    pub fn count_late_cancel(&mut self) {
        self.counters.cancels_late += 1;
    }

    /// Returns the shard's counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the number of open sessions.
    #[must_use]
    pub fn sessions_count(&self) -> usize {
        self.sessions_count
    }

    /// Returns whether the session's input is paused: it waits for a response, or has too many
    /// calls in flight or pending bytes.
    #[must_use]
    pub fn is_read_paused(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            let route = &self.settings.routes[usize::from(connection.route)];
            connection.phase == Phase::Open && connection.must_wait(route)
        })
    }

    /// Returns the number of connections, sessions included.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.connections.len()
    }

    /// Returns the bytes that partial messages hold.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Returns whether the connection is a session that is not closing.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| connection.phase == Phase::Open)
    }

    /// Returns whether the connection is in its HTTP phase.
    #[must_use]
    pub fn is_http(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| matches!(connection.phase, Phase::Http(_)))
    }

    /// Asserts the invariants. Linear in the shard's size: for tests and the simulator.
    pub fn invariants(&self) {
        self.connections.invariants();
        self.users.invariants();
        self.channels.invariants();
        self.claims.invariants();
        self.claimants.invariants();
        self.host_bytes.invariants();
        self.wheel.invariants();
        self.outboxes.batches.invariants();
        let (mut open, mut partial) = (0, 0);
        for (id, connection) in self.connections.iter() {
            self.outboxes.invariants(&connection.outbox);
            open += usize::from(connection.phase == Phase::Open);
            partial += partial_bytes_of(self.partial_messages[id.index()].as_deref());
            let outbox = &connection.outbox;
            let queued = outbox.flags.contains_any(OutboxFlags::QUEUED)
                || outbox.flags.contains_any(OutboxFlags::QUEUED_URGENT);
            if connection.phase != Phase::Gone {
                assert!(
                    queued || !outbox.can_send(),
                    "{id} has pending bytes and is not queued"
                );
            }
            if connection.phase != Phase::Open {
                assert!(!self.users.is_bound(id.slot()));
                assert_eq!(self.channels.count_of_slot(id.slot()), 0);
                let claim = self.claimants.bytes_of_slot(id.slot());
                assert_eq!(self.names_bytes_of(id), claim, "{id} holds names");
            }
            let filed = self.wheel.deadline(id.slot()).is_some();
            assert_eq!(filed, self.deadline_of(id, connection).is_some(), "{id}");
        }
        assert_eq!(open, self.sessions_count);
        assert_eq!(partial, self.partial_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::vocabulary::content::{Content, Data};
    use crate::vocabulary::publication::Audience;

    const JACK: Audience<'static> = Audience::User {
        namespace: 0,
        name: b"jack",
        event: Some(b"e"),
    };

    fn shard() -> Shard {
        let settings = Arc::new(crate::gateway::shard_settings(&Config::default()));
        Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32])
    }

    /// A session bound to jack; its greeting has not been sent.
    fn open_bound(shard: &mut Shard) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, 0, 0, b"greeting", false);
        send_frame(shard, id, 0x81, br#"{"token":"jack","event":"e"}"#);
        id
    }

    fn send_frame(shard: &mut Shard, id: ConnectionId, first_octet: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).expect("a short frame");
        let mut frame = [&[first_octet, 0x80 | len, 0, 0, 0, 0], payload].concat();
        assert_eq!(shard.handle_received(id, &mut frame), frame.len());
    }

    fn publish(shard: &mut Shard, payload: &[u8]) -> u32 {
        let content = Content {
            data: Data::Bytes(payload),
            ..Content::default()
        };
        shard.publish(JACK, &content, None)
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
    fn an_excepted_session_counts_once_however_often_listed() {
        let mut shard = shard();
        let ids: Vec<ConnectionId> = (0..3).map(|_| open_bound(&mut shard)).collect();
        let named = [2, 0, 2, 2, 0].map(|index| SessionId::new(shard.id, ids[index]));
        let slots = crate::shard::output::local_slots(shard.id, &shard.connections, &named);
        assert_eq!(slots[..], [ids[0].slot(), ids[2].slot()]);
        let everyone = Audience::Everyone {
            namespace: 0,
            except: &named,
        };
        assert_eq!(shard.publish(everyone, &Content::default(), None), 1);
    }

    #[test]
    fn no_send_begins_to_a_connection_that_is_gone() {
        let mut shard = shard();
        let id = open_bound(&mut shard);
        assert_eq!(send_all(&mut shard), b"greeting");

        // The session is in both queues, a send from one is in flight, and it ends before
        // completion.
        assert_eq!(publish(&mut shard, b"hello"), 1);
        send_frame(&mut shard, id, 0x89, b"");
        assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
        assert_eq!(publish(&mut shard, b"more"), 1);
        shard.abort(id, CloseCause::Reset);
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
        open_bound(&mut shard);
        assert_eq!(publish(&mut shard, &large), 1, "only a greeting is pending");
        assert_eq!(publish(&mut shard, &large), 0);
        assert_eq!(send_all(&mut shard), b"greeting\x88\x0a\x03\xf0too slow");
        assert_eq!(shard.counters().ended("slow_consumer"), 1);
    }

    #[test]
    fn a_frame_that_the_first_outbox_had_no_room_for_is_valid_for_the_next() {
        let mut config = Config::default();
        config.routes.truncate(2);
        for route in &mut config.routes {
            route.namespace = Some("one".to_owned());
        }
        let settings = Arc::new(crate::gateway::shard_settings(&config));
        let mut shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        // Two dialects alternate, so that the frames of one publication lie in two batches.
        for route in [0, 1, 0] {
            let id = shard.handle_accepted().expect("there is room");
            shard.handle_upgraded(id, route, 0, b"greeting", false);
        }
        send_all(&mut shard);
        let large = vec![b'x'; 700 << 10];
        let content = Content {
            data: Data::Bytes(&large),
            ..Content::default()
        };
        let slow = shard.connections.id_of(0).expect("it is there");
        let slow = Audience::Session(SessionId::new(shard.id, slow));
        assert_eq!(shard.publish(slow, &content, None), 1);
        let everyone = Audience::Everyone {
            namespace: 0,
            except: &[],
        };
        assert_eq!(shard.publish(everyone, &content, None), 2);
        let mut sent = vec![Vec::new(); 3];
        while let Some((id, bytes)) = shard.poll_send() {
            let taken = u32::try_from(bytes.len()).expect("below 4 GiB");
            sent[id.index()] = bytes.to_vec();
            shard.handle_sent(id, taken);
        }
        shard.invariants();
        assert!(sent[1].len() > large.len() && sent[2].len() > large.len());
        assert!(sent[1] != sent[2], "each in its own dialect");
    }

    #[test]
    fn a_peer_that_only_shuts_its_write_side_gets_the_pending_bytes() {
        let mut shard = shard();
        let id = open_bound(&mut shard);
        shard.handle_hangup(id, false);
        assert_eq!(publish(&mut shard, b"too late"), 0);
        assert_eq!(send_all(&mut shard), b"greeting");
        assert_eq!(shard.poll_close(), Some((id, CloseStep::Finish)));
    }
}
