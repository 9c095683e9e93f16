//! The state machine of one core's share of the gateway.

use super::channels::Channels;
use super::claims::Claims;
use super::connection::{Connection, HttpPhase, Phase};
use super::connection_table::ConnectionTable;
use super::dirty::DirtyQueues;
use super::drain::Drain;
use super::exclusive::{Claimants, Verdict};
use super::hash::HashSeed;
use super::message::{ClaimMessage, MailboxMessage, Ticket};
use super::outbox::{Marks, Outboxes};
use super::presence::Sighting;
use super::question::{Answer, Question};
use super::reports::Report;
use super::room::Kept;
use super::settings::ShardSettings;
use super::unfinished::{Unfinished, kept_bytes};
use super::users::Users;
use super::wheel::Wheel;
use crate::codec::json::Scratch;
use crate::vocabulary::close::End;
use crate::vocabulary::content::{Denial, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::metrics::{Counters, Rejected};
use crate::vocabulary::public_id::Tag;
use crate::vocabulary::time::Tick;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// One core's share of the gateway: its sessions, their users and what they are owed.
///
/// A shard is a state machine. It performs no I/O and reads no clock; whoever owns it carries bytes
/// to and from it and tells it the time. Its methods are of four kinds: getters, taking `&self`;
/// `handle_*`, for what happened outside; commands, for what the process wants ([`Shard::publish`],
/// [`Shard::drop_user`], [`Shard::drain`]); and `poll_*`, for what the shard wants done.
///
/// After one batch of the first three, empty the polls, in this order: mailbox messages; sends;
/// closes; questions (each is answered by [`Shard::handle_answer`], in any order); verdicts;
/// departures; ended sessions; tallies; the next wake-up. When the sends are out,
/// [`Shard::relieve`] bounds what slow readers hold. [`Shard::handle_received`] may stop at a
/// question; hand in the rest when it has been answered.
///
/// # Invariants
///
/// - A session is dirty, and queued, exactly when its outbox is not empty and no send of its is in
///   flight.
/// - A session is bound to a user exactly when that user's list names it, and on a channel exactly
///   when the channel's list names it.
/// - Of the sessions of one exclusive user, on all shards, at most one is bound.
/// - Every connection has at most one deadline in the wheel, the soonest of its timers.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) settings: Arc<ShardSettings>,
    pub(super) now: Tick,
    /// When the process last went on after a pause.
    pub(super) resumed_at: Tick,
    /// Sessions are not read: other shards' mailboxes are full.
    pub(super) is_input_held: bool,
    pub(super) connections: ConnectionTable<Connection>,
    /// One for each slot ever used: of sessions in the middle of a message, where that stands.
    pub(super) unfinished: Vec<Option<Box<Unfinished>>>,
    pub(super) wheel: Wheel,
    /// By slot, like the decoders: what is seldom looked at.
    pub(super) profiles: Vec<SessionProfile>,
    pub(super) users: Users,
    pub(super) channels: Channels,
    /// The exclusive users whose home is here.
    pub(super) claims: Claims,
    /// The sessions of this shard that are, or want to be, an exclusive user's.
    pub(super) claimants: Claimants,
    pub(super) kept: Kept,
    /// What is to be said about claims, as long as something is being said.
    pub(super) claim_work: VecDeque<ClaimMessage>,
    /// By namespace: how many sessions, on all shards, are shown its traffic.
    pub(super) watchers: Vec<u32>,
    pub(super) random: ChaCha12Rng,
    pub(super) outboxes: Outboxes,
    pub(super) scratch: Scratch,
    /// Where answers are worded.
    pub(super) answer_bytes: Vec<u8>,
    pub(super) dirty: DirtyQueues,
    pub(super) messages: VecDeque<(ShardId, MailboxMessage)>,
    pub(super) closes: VecDeque<(ConnectionId, CloseStep)>,
    /// HTTP connections whose phase has lasted too long.
    pub(super) expired: VecDeque<(ConnectionId, HttpPhase)>,
    pub(super) questions: VecDeque<Question>,
    pub(super) verdicts: VecDeque<Verdict>,
    pub(super) ended: VecDeque<SessionId>,
    /// Of namespaces that somebody is shown the traffic of.
    pub(super) departures: VecDeque<Sighting>,
    pub(super) tallies: VecDeque<(Ticket, u32)>,
    pub(super) reports: VecDeque<Report>,
    /// Whether somebody wants them.
    pub(super) reporting: bool,
    pub(super) slots: Vec<u32>,
    /// Sessions that do not read, while they are being ended.
    pub(super) slow: VecDeque<u32>,
    /// By slot, of connections that end: what the kernel held when a grace was over.
    pub(super) unacknowledged: BTreeMap<u32, u32>,
    /// The sessions that are to be closed because the gateway stops.
    pub(super) drain: Option<Box<Drain>>,
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
    /// The same, with a reset: what the kernel has not sent yet is discarded with its memory.
    Reset,
    /// Find out how many bytes the kernel holds that the peer has not acknowledged, and call
    /// [`Shard::handle_unacknowledged`].
    Measure,
}

/// What is kept of a session beside its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionProfile {
    /// Drawn when it opened; with its id it makes its public id.
    pub(super) tag: Tag,
    pub(super) messages_received: u64,
    pub(super) bytes_received: u64,
}

/// What has gone through a session so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionStatistics {
    /// Messages that publications and replies have owed to it.
    pub messages_sent: u64,
    /// Their payloads, in bytes.
    pub bytes_sent: u64,
    /// Messages that came from its client.
    pub messages_received: u64,
    /// Their payloads, in bytes.
    pub bytes_received: u64,
    /// When it opened.
    pub opened: Tick,
}

impl Shard {
    /// A shard without connections, one of `shards`, at tick zero. `seed` keys its hashes, and
    /// `random_seed` its random numbers: those of public ids and of publications.
    #[must_use]
    pub fn new(
        id: ShardId,
        shards: usize,
        settings: Arc<ShardSettings>,
        seed: HashSeed,
        random_seed: [u8; 32],
    ) -> Self {
        assert!(id.index() < shards);
        let watchers = vec![0; settings.namespaces.len()];
        let claims_waiting_max = settings.claims_waiting_max as usize;
        let outboxes = Outboxes::new(settings.batch_bytes_max, settings.gather_bytes_max);
        Self {
            id,
            shards,
            settings,
            now: Tick::default(),
            resumed_at: Tick::default(),
            is_input_held: false,
            connections: ConnectionTable::new(),
            unfinished: Vec::new(),
            wheel: Wheel::new(),
            profiles: Vec::new(),
            users: Users::new(seed),
            channels: Channels::new(seed),
            claims: Claims::new(seed, claims_waiting_max),
            claimants: Claimants::default(),
            kept: Kept::default(),
            claim_work: VecDeque::new(),
            watchers,
            random: ChaCha12Rng::from_seed(random_seed),
            outboxes,
            scratch: Scratch::new(),
            answer_bytes: Vec::new(),
            dirty: DirtyQueues::default(),
            messages: VecDeque::new(),
            closes: VecDeque::new(),
            expired: VecDeque::new(),
            questions: VecDeque::new(),
            verdicts: VecDeque::new(),
            ended: VecDeque::new(),
            departures: VecDeque::new(),
            tallies: VecDeque::new(),
            reports: VecDeque::new(),
            reporting: false,
            slots: Vec::new(),
            slow: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            drain: None,
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
        if self.unfinished.len() <= id.index() {
            self.unfinished.resize_with(id.index() + 1, || None);
            self.profiles
                .resize_with(id.index() + 1, SessionProfile::default);
        }
        self.counters.connections_accepted += 1;
        self.schedule(id);
        Some(id)
    }

    /// An upgrade was granted: the connection is a session of `route` from now on.
    ///
    /// `greeting` is what goes out before its first frame: the 101. If `opens`, its messages wait
    /// until [`Answer::Opened`].
    pub fn handle_upgraded(
        &mut self,
        id: ConnectionId,
        route: u16,
        greeting: &[u8],
        opens: bool,
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
            .expect("the driver upgrades what is open");
        assert!(matches!(connection.phase, Phase::Http(_)));
        connection.phase = Phase::Open;
        connection.route = route;
        connection.waiting = opens;
        connection.last_input = now;
        connection.last_ping = now;
        connection.since = now;
        let pushed = self.outboxes.push(&mut connection.outbox, frame, u32::MAX);
        pushed.expect("an empty outbox has room for a greeting");
        connection.outbox.keep_first();
        self.dirty.mark_urgent(&mut connection.outbox, id.slot());
        self.sessions_count += 1;
        self.counters.sessions_opened += 1;
        self.schedule(id);
        if self.settings.routes[usize::from(route)].watches {
            self.begin_watching(id);
        }
        if self.claimants.has_lost(id) {
            self.end(id, End::Replaced);
        }
        SessionId::new(self.id, id)
    }

    /// The socket took `taken` bytes of what [`Shard::poll_send`] lent; the send is over.
    #[inline]
    pub fn handle_sent(&mut self, id: ConnectionId, taken: u32) {
        let connection = self
            .connections
            .get_mut(id)
            .expect("a slot outlives its operations");
        self.outboxes.settle(&mut connection.outbox, taken);
        if !connection.is_open() {
            self.after_last_sends(id, taken);
        } else if !connection.outbox.is_empty() {
            self.dirty.mark(&mut connection.outbox, id.slot());
        }
    }

    /// A send to what is no session any more is over.
    #[cold]
    fn after_last_sends(&mut self, id: ConnectionId, taken: u32) {
        if taken > 0 {
            self.note_progress(id);
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let dropped = self.outboxes.drop_left(&mut connection.outbox);
        self.counters.bytes_dropped += u64::from(dropped);
        if connection.phase == Phase::Gone {
            // Nothing may be queued for it any more: its descriptor is about to be closed.
            self.outboxes.clear(&mut connection.outbox);
        } else if !connection.outbox.is_empty() {
            self.dirty.mark(&mut connection.outbox, id.slot());
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
        self.give_up_claim(id);
    }

    /// A question has been answered. A session that has ended since then is not found: a miss.
    pub fn handle_answer(&mut self, session: SessionId, answer: &Answer) {
        assert_eq!(session.shard(), self.id);
        let id = session.connection();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.phase != Phase::Open {
            return;
        }
        match answer {
            Answer::Opened => connection.waiting = false,
            Answer::User { user, event } => {
                connection.waiting = false;
                match user {
                    Some(user) => self.bind(id, user, event.as_bytes()),
                    None => self.reject(id, Rejected::Token, "unknown"),
                }
            }
            Answer::Join {
                allowed,
                channel,
                correlation,
            } => {
                connection.waiting = false;
                let outcome = if *allowed {
                    self.join(id, channel).into()
                } else {
                    Outcome::Denied(Denial::NotAuthorized)
                };
                self.reject_join(id, &outcome);
                self.say(id, correlation, &outcome);
            }
            Answer::Call {
                outcome,
                correlation,
            } => {
                assert!(connection.calls_in_flight > 0, "answered once");
                connection.calls_in_flight -= 1;
                self.say(id, correlation, outcome);
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
    #[inline]
    pub fn poll_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        self.outboxes.batches.seal();
        let (id, outbox) = loop {
            let (slot, queue) = self.dirty.pop()?;
            let Some((id, connection)) = self.connections.entry_mut(slot) else {
                continue;
            };
            let outbox = &mut connection.outbox;
            outbox.marks.clear(queue);
            if outbox.is_dirty() {
                break (id, outbox);
            }
        };
        Some((id, self.outboxes.lend(outbox)))
    }

    /// Whether there is something for other shards, or for those who have asked.
    #[must_use]
    pub fn has_said(&self) -> bool {
        !self.messages.is_empty() || !self.verdicts.is_empty() || !self.tallies.is_empty()
    }

    /// Whether [`Shard::poll_send`] may have something.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next connection to be shut or closed.
    pub fn poll_close(&mut self) -> Option<(ConnectionId, CloseStep)> {
        self.closes.pop_front()
    }

    /// The next question.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// What has been decided about the next connection that wants to be an exclusive user's.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// The next session that has ended in a namespace that somebody is shown the traffic of.
    pub fn poll_departure(&mut self) -> Option<Sighting> {
        self.departures.pop_front()
    }

    /// The next session that has ended on a route whose ends are observed.
    pub fn poll_ended(&mut self) -> Option<SessionId> {
        self.ended.pop_front()
    }

    /// The next number that somebody else asked for.
    pub fn poll_tally(&mut self) -> Option<(Ticket, u32)> {
        self.tallies.pop_front()
    }

    /// Frees what is kept for the next batch; for a shard that has been idle for a while.
    pub fn free_spare(&mut self) {
        self.outboxes.free_spare();
        self.dirty.free_spare();
    }

    /// Whether memory was given up since the last call, so that collecting it may pay.
    pub fn take_shrank(&mut self) -> bool {
        self.outboxes.batches.take_shrank()
    }

    /// Counts a connection whose cancelled operations did not end in time.
    pub fn count_late_cancel(&mut self) {
        self.counters.cancels_late += 1;
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

    /// Whether a session waits for an answer before its next message is read.
    #[must_use]
    pub fn is_held(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            let route = &self.settings.routes[usize::from(connection.route)];
            connection.phase == Phase::Open && connection.must_wait(route)
        })
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

    /// Asserts what the type promises. Linear in everything: for tests and the simulator.
    pub fn invariants(&self) {
        self.connections.invariants();
        self.users.invariants();
        self.channels.invariants();
        self.claims.invariants();
        self.claimants.invariants();
        self.kept.invariants();
        self.wheel.invariants();
        self.outboxes.batches.invariants();
        let (mut open, mut partial) = (0, 0);
        for (id, connection) in self.connections.iter() {
            self.outboxes.invariants(&connection.outbox);
            open += usize::from(connection.phase == Phase::Open);
            partial += kept_bytes(self.unfinished[id.index()].as_deref());
            let outbox = &connection.outbox;
            let queued =
                outbox.marks.have(Marks::QUEUED) || outbox.marks.have(Marks::QUEUED_URGENT);
            if connection.phase != Phase::Gone {
                assert!(queued || !outbox.is_dirty(), "{id} is dirty and forgotten");
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

    /// A session that speaks for jack; its greeting has not been sent.
    fn join(shard: &mut Shard) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, 0, b"greeting", false);
        say(shard, id, 0x81, br#"{"token":"jack","event":"e"}"#);
        id
    }

    fn say(shard: &mut Shard, id: ConnectionId, first_octet: u8, payload: &[u8]) {
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
    fn who_is_passed_over_counts_once_however_often_named() {
        let mut shard = shard();
        let ids: Vec<ConnectionId> = (0..3).map(|_| join(&mut shard)).collect();
        let named = [2, 0, 2, 2, 0].map(|index| SessionId::new(shard.id, ids[index]));
        let slots = crate::shard::output::slots_here(shard.id, &shard.connections, &named);
        assert_eq!(slots[..], [ids[0].slot(), ids[2].slot()]);
        let everyone = Audience::Everyone {
            namespace: 0,
            except: &named,
        };
        assert_eq!(shard.publish(everyone, &Content::default(), None), 1);
    }

    #[test]
    fn what_is_gone_is_never_sent_to_again() {
        let mut shard = shard();
        let id = join(&mut shard);
        assert_eq!(send_all(&mut shard), b"greeting");

        // It stands in both queues, is lent from one, and ends while that send is under way.
        assert_eq!(publish(&mut shard, b"hello"), 1);
        say(&mut shard, id, 0x89, b"");
        assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
        assert_eq!(publish(&mut shard, b"more"), 1);
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
            publish(&mut shard, &large),
            1,
            "nothing but a greeting is owed"
        );
        assert_eq!(publish(&mut shard, &large), 0);
        assert_eq!(send_all(&mut shard), b"greeting\x88\x0a\x03\xf0too slow");
        assert_eq!(shard.counters().ended("slow_consumer"), 1);
    }

    #[test]
    fn a_frame_that_the_first_had_no_room_for_is_there_for_the_next() {
        let mut config = Config::default();
        config.routes.truncate(2);
        for route in &mut config.routes {
            route.namespace = Some("one".to_owned());
        }
        let settings = Arc::new(crate::gateway::shard_settings(&config));
        let mut shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        // Of two languages, in turn, so that their frames of one publication lie in two batches.
        for route in [0, 1, 0] {
            let id = shard.handle_accepted().expect("there is room");
            shard.handle_upgraded(id, route, b"greeting", false);
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
        assert!(sent[1] != sent[2], "each in its own language");
    }

    #[test]
    fn a_peer_that_only_stops_sending_gets_what_it_is_owed() {
        let mut shard = shard();
        let id = join(&mut shard);
        shard.handle_hangup(id, false);
        assert_eq!(publish(&mut shard, b"too late"), 0);
        assert_eq!(send_all(&mut shard), b"greeting");
        assert_eq!(shard.poll_close(), Some((id, CloseStep::Finish)));
    }
}
