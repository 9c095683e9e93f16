//! The load generator: many sessions and publishing connections on one epoll instance.
//!
//! An engine belongs to one thread; [`crate::team`] runs several in parallel. An engine opens
//! sessions, publishes on a schedule or in a window (`run.rs`), decodes every frame and verifies
//! every message. It blocks only in `epoll_wait`.
//!
//! ```text
//!              Engine
//!   sessions ----- Pipe ---- Frames ---- Protocol::read ---- DeliveryCheck, Counters
//!   publishers --- Pipe ---- Responses --- Protocol::parse_response - Counters
//! ```

mod accounts;
mod churn;
mod counters;
mod pipe;
mod publisher;
mod run;
mod schedule;
mod session;
mod steps;

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

pub(crate) use self::accounts::{Accounts, SessionAccount};
pub(crate) use self::churn::{Membership, MembershipLog, Published};
pub(crate) use self::counters::Counters;
use self::pipe::Pipe;
use self::publisher::Publisher;
pub(crate) use self::run::{Load, Mix, Phase};
pub(crate) use self::schedule::Arrivals;
pub(crate) use self::session::Pace;
use self::session::{Context, Session, State};
pub(crate) use self::steps::Until;
use crate::clock::{self, SECOND_NS};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{Member, Protocol, Purpose};
use crate::stats::count;
use crate::wire::Target;

/// The settings that all engines of a run share.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The server's address.
    pub(crate) target: Target,
    /// The server's protocol.
    pub(crate) protocol: Arc<dyn Protocol>,
    /// The number of sessions of each group, over all engines.
    pub(crate) groups: Arc<[u32]>,
    /// Message size in bytes.
    pub(crate) bytes: usize,
    /// The number of the first engine's sessions that publish, if clients publish.
    pub(crate) client_publishers: usize,
    /// Local addresses to connect from, in turn; if empty, the kernel chooses.
    pub(crate) sources: Vec<Ipv4Addr>,
    /// True if the receivers that a response reports must equal the group's size.
    pub(crate) counts_receivers: bool,
    /// True if the times of publications are kept, because members join and leave.
    pub(crate) keeps_times: bool,
    /// True if the end of a session is no error.
    pub(crate) may_end: bool,
}

/// Counters that all engines of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Per slot of a window: deliveries and responses that are still missing.
    slots: Vec<AtomicU32>,
    /// Deliveries that the publications so far must cause.
    expected: AtomicU64,
    /// Messages that sessions have received.
    pub(crate) delivered: AtomicU64,
    /// Engines that are still publishing.
    publishing: AtomicUsize,
    /// Sessions that have received a probe.
    probed: AtomicUsize,
    /// Sessions that are open, over all engines.
    pub(crate) open: AtomicUsize,
    /// One eventfd per engine, written when another engine has freed a slot of its window.
    wake_events: Vec<OwnedFd>,
}

impl Shared {
    /// Creates the counters for `engines` engines.
    ///
    /// # Errors
    ///
    /// An eventfd cannot be created.
    pub(crate) fn new(engines: usize) -> Outcome<Self> {
        let wake_events = (0..engines).map(|_| {
            eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).attempt("create an eventfd")
        });
        Ok(Self {
            slots: (0..engines * SLOTS_MAX)
                .map(|_| AtomicU32::new(0))
                .collect(),
            expected: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            publishing: AtomicUsize::new(0),
            probed: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            wake_events: wake_events.collect::<Outcome<_>>()?,
        })
    }

    /// Prepares the counters for a phase. Call before any engine begins it.
    pub(crate) fn begin_phase(&self) {
        self.publishing
            .store(self.wake_events.len(), Ordering::SeqCst);
        // Do not wait for messages that the previous phase lost.
        let delivered = self.delivered.load(Ordering::SeqCst);
        self.expected.store(delivered, Ordering::SeqCst);
    }

    /// Counts a publication with `receivers` deliveries and `responses` responses. Its slot, if
    /// any, is in use until all have arrived.
    fn expect_deliveries(&self, slot: u16, receivers: u32, responses: u32) {
        self.expected
            .fetch_add(u64::from(receivers), Ordering::Relaxed);
        if let Some(left) = self.slots.get(usize::from(slot)) {
            left.store(receivers + responses, Ordering::Relaxed);
        }
    }

    /// Counts an arrival for a slot. Wakes the slot's engine if it was the last.
    fn count_arrival(&self, slot: u16, engine: usize) {
        let slot = usize::from(slot);
        let Some(left) = self.slots.get(slot) else {
            return;
        };
        let before = left.fetch_sub(1, Ordering::Relaxed);
        if before == 1 && slot / SLOTS_MAX != engine {
            // A write fails only if the eventfd is readable already.
            let _rung = rustix::io::write(&self.wake_events[slot / SLOTS_MAX], &EVENTFD_ONE);
        }
    }
}

/// Sessions and publishing connections of one thread, on one epoll instance.
pub(crate) struct Engine {
    setup: Setup,
    shared: Arc<Shared>,
    /// The index of this engine in the run.
    number: usize,
    address: SocketAddr,
    epoll: OwnedFd,
    scratch: Vec<u8>,
    sessions: Vec<Session>,
    publishers: Vec<Publisher>,
    /// Indexes of sessions with unwritten bytes.
    unwritten: Vec<usize>,
    counters: Counters,
    /// Times from connect to membership, in nanoseconds.
    opening: Histogram<u64>,
    /// Number of open sessions of this engine.
    open: usize,
    /// Counter that selects the next publisher and group round-robin.
    turn: usize,
    /// Buffer for the message being written.
    text: String,
    /// Counter that selects the next of `Setup::sources`.
    next_source: usize,
    /// Publications with their times; empty unless `Setup::keeps_times`.
    published: Vec<Published>,
    /// Indexes of sessions that join and leave.
    churning: Vec<usize>,
    /// Number of joins and leaves.
    pub(crate) membership_changes: u64,
    /// The session that sent the last heartbeat.
    last_heartbeat: usize,
    /// Time of the last heartbeat.
    last_heartbeat_ns: u64,
    /// Indexes of slow sessions.
    paced: Vec<usize>,
    /// Time of the slow sessions' next read.
    paced_ns: u64,
}

impl Engine {
    /// Creates engine `number`, without sessions.
    ///
    /// # Errors
    ///
    /// The host name does not resolve, or an epoll instance cannot be created.
    pub(crate) fn new(setup: &Setup, shared: &Arc<Shared>, number: usize) -> Outcome<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).attempt("create an epoll instance")?;
        let wake_event = EventData::new_u64(WAKE_EVENT);
        epoll::add(
            &epoll,
            &shared.wake_events[number],
            wake_event,
            EventFlags::IN | EventFlags::ET,
        )
        .attempt("add an eventfd to epoll")?;
        Ok(Self {
            setup: setup.clone(),
            shared: Arc::clone(shared),
            number,
            address: setup.target.address()?,
            epoll,
            scratch: vec![0; SCRATCH_BYTES],
            sessions: Vec::new(),
            publishers: Vec::new(),
            unwritten: Vec::new(),
            counters: Counters::new(0),
            opening: crate::stats::latencies(),
            open: 0,
            turn: 0,
            text: String::new(),
            next_source: number,
            published: Vec::new(),
            churning: Vec::new(),
            membership_changes: 0,
            last_heartbeat: 0,
            last_heartbeat_ns: clock::now_ns(),
            paced: Vec::new(),
            paced_ns: 0,
        })
    }

    /// Opens a session for each of `members`, at most `at_a_time` concurrently.
    ///
    /// # Errors
    ///
    /// A session is rejected, or no session opens for 10 s.
    pub(crate) fn open(
        &mut self,
        members: &[Member],
        purpose: Purpose,
        at_a_time: usize,
    ) -> Outcome<()> {
        let mut left = members.iter();
        let wanted = self.open + members.len();
        let mut opening = self.sessions.len() - self.open;
        let mut deadline = clock::now_ns() + TIMEOUT_NS;
        while self.open < wanted {
            while opening < at_a_time
                && let Some(member) = left.next()
            {
                self.connect_session(*member, purpose, Pace::Eager)?;
                opening += 1;
            }
            let before = self.open;
            self.wait(SECOND_NS)?;
            opening -= (self.open - before).min(opening);
            if self.open > before {
                deadline = clock::now_ns() + TIMEOUT_NS;
            } else if let Some(why) = self.counters.first_error() {
                return Err(Failure::new(format!(
                    "a session could not be opened: {why}"
                )));
            } else if clock::now_ns() > deadline {
                return Err(Failure::new(format!(
                    "no further session opens: {} of {wanted} are open",
                    self.open
                )));
            }
        }
        Ok(())
    }

    /// Opens a session for each of `members`. Once open, they read at `pace`.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub(crate) fn open_paced(&mut self, members: &[Member], pace: Pace) -> Outcome<()> {
        let from = self.sessions.len();
        for member in members {
            self.paced.push(self.sessions.len());
            self.connect_session(*member, Purpose::Receive, pace)?;
        }
        let deadline = clock::now_ns() + TIMEOUT_NS;
        while !self.sessions[from..].iter().all(Session::is_open) {
            if clock::now_ns() > deadline {
                return Err(Failure::new("the slow sessions do not open within 10 s"));
            }
            self.wait(SECOND_NS)?;
        }
        Ok(())
    }

    /// Opens `connections` publishing connections, each with at most `depth` requests in flight.
    ///
    /// # Errors
    ///
    /// A socket cannot be created or `connect` fails at once.
    pub(crate) fn add_publishers(&mut self, connections: usize, depth: usize) -> Outcome<()> {
        for _ in 0..connections {
            let number = self.publishers.len();
            let pipe = self.connect(PUBLISHER_BIT | count(number), None)?;
            let groups = self.setup.groups.len();
            self.publishers.push(Publisher::new(pipe, depth, groups));
        }
        Ok(())
    }

    /// Returns the times that sessions took to open, in nanoseconds.
    pub(crate) const fn opening(&self) -> &Histogram<u64> {
        &self.opening
    }

    /// Sends due heartbeats and processes what has arrived. Call it at least once a second between
    /// phases, or servers close the sessions as dead.
    ///
    /// # Errors
    ///
    /// `epoll_wait` failed.
    pub(crate) fn keep_alive(&mut self) -> Outcome<()> {
        self.send_heartbeats();
        self.wait(0)
    }

    /// Sends the heartbeats that are due. The sessions' heartbeats are spread over the interval.
    fn send_heartbeats(&mut self) {
        let Some(heartbeat) = self.setup.protocol.heartbeat() else {
            return;
        };
        let sessions = count(self.sessions.len());
        let since_ns = clock::now_ns() - self.last_heartbeat_ns;
        let due = (since_ns.saturating_mul(sessions) / HEARTBEAT_NS).min(sessions);
        if due == 0 {
            return;
        }
        self.last_heartbeat_ns += since_ns;
        let kind = self.setup.protocol.kind();
        for _ in 0..due {
            self.last_heartbeat = (self.last_heartbeat + 1) % self.sessions.len();
            if self.sessions[self.last_heartbeat].is_open() {
                self.sessions[self.last_heartbeat].enqueue(heartbeat, kind);
                self.unwritten.push(self.last_heartbeat);
            }
        }
    }

    /// Aborts and removes all sessions and resets the counters.
    pub(crate) fn drop_sessions(&mut self) {
        self.sessions.clear();
        self.unwritten.clear();
        self.churning.clear();
        self.paced.clear();
        self.shared.open.fetch_sub(self.open, Ordering::Relaxed);
        self.open = 0;
        self.opening.reset();
        self.counters = Counters::new(0);
    }

    /// Waits until the server has closed every session.
    ///
    /// # Errors
    ///
    /// A session is still open after 10 s.
    pub(crate) fn wait_until_ended(&mut self) -> Outcome<()> {
        let deadline = clock::now_ns() + TIMEOUT_NS;
        while self.open > 0 {
            if clock::now_ns() > deadline {
                return Err(Failure::new(format!("{} sessions stay open", self.open)));
            }
            self.wait(SECOND_NS / 10)?;
        }
        Ok(())
    }

    fn connect_session(&mut self, member: Member, purpose: Purpose, pace: Pace) -> Outcome<()> {
        let index = self.sessions.len();
        let pipe = self.connect(count(index), pace.receive_buffer_bytes())?;
        let state = State::new(index, member, purpose, pace);
        let session = Session::new(pipe, state, &self.setup);
        self.sessions.push(session);
        Ok(())
    }

    /// Opens session `index` again. It keeps the history of its memberships.
    fn reconnect_session(&mut self, index: usize) -> Outcome<()> {
        let pipe = self.connect(count(index), None)?;
        let old = &self.sessions[index].state;
        let mut state = State::new(index, old.member, old.purpose, old.pace);
        state.membership_log = self.sessions[index].state.membership_log.take();
        self.sessions[index] = Session::new(pipe, state, &self.setup);
        Ok(())
    }

    fn connect(&mut self, data: u64, receive_buffer: Option<usize>) -> Outcome<Pipe> {
        let source = match self.setup.sources.len() {
            0 => None,
            sources => Some(self.setup.sources[self.next_source % sources]),
        };
        self.next_source += 1;
        let pipe = Pipe::connect(self.address, source, receive_buffer)?;
        // Edge-triggered: one read per arrival, without a second one that returns EAGAIN.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, pipe.stream(), EventData::new_u64(data), flags)
            .attempt("add a socket to epoll")?;
        Ok(pipe)
    }

    /// Waits at most `timeout_ns` for events and processes them.
    fn wait(&mut self, timeout_ns: u64) -> Outcome<()> {
        self.write_all_unwritten();
        let mut room = [MaybeUninit::<Event>::uninit(); EVENTS_MAX];
        let timeout = clock::timespec(timeout_ns);
        let events: &[Event] = match epoll::wait(&self.epoll, &mut room[..], Some(&timeout)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => &[],
            Err(error) => return Err(error).attempt("wait on epoll"),
        };
        for event in events {
            let data = event.data.u64();
            let flags = event.flags;
            if data == WAKE_EVENT {
                let mut rung = [0; 8];
                // The result is irrelevant: the window is checked after each wait.
                let _read = rustix::io::read(&self.shared.wake_events[self.number], &mut rung);
            } else if data & PUBLISHER_BIT == 0 {
                self.serve_session(index(data), flags)?;
            } else {
                self.serve_publisher(index(data & !PUBLISHER_BIT), flags)?;
            }
        }
        for (publisher, sequence, now_ns) in std::mem::take(&mut self.counters.own_receipts) {
            let is_it =
                |one: &&mut Published| one.publisher == publisher && one.sequence == sequence;
            if let Some(published) = self.published.iter_mut().rev().find(is_it) {
                published.responded_ns = Some(now_ns);
            }
        }
        let fresh = self.counters.take_fresh();
        if fresh > 0 {
            self.shared.delivered.fetch_add(fresh, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the pending bytes of all sessions and publishers.
    fn write_all_unwritten(&mut self) {
        for index in &self.unwritten {
            // A write error is ignored: the next read reports how the session ended.
            self.sessions[*index].pipe.flush();
        }
        self.unwritten.clear();
        self.publishers.iter_mut().for_each(Publisher::flush);
    }

    fn serve_session(&mut self, index: usize, flags: EventFlags) -> Outcome<()> {
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(()); // removed since the event was queued
        };
        let was_open = session.is_open();
        let (setup, shared, counters) = (&self.setup, &*self.shared, &mut self.counters);
        let mut context = Context::new(setup, shared, self.number, counters);
        session.serve(flags, &mut self.scratch, &mut context);
        match (was_open, session.is_open()) {
            (false, true) => {
                self.open += 1;
                self.shared.open.fetch_add(1, Ordering::Relaxed);
                let now_ns = clock::now_ns();
                self.opening.saturating_record(now_ns - session.begun_ns());
                session.state.connected(now_ns, &self.setup);
                session.pipe.acknowledge_at_once()?;
            }
            (true, false) => {
                self.open -= 1;
                self.shared.open.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    fn serve_publisher(&mut self, index: usize, flags: EventFlags) -> Outcome<()> {
        let publisher = &mut self.publishers[index];
        let (setup, shared, counters) = (&self.setup, &*self.shared, &mut self.counters);
        let mut context = Context::new(setup, shared, self.number, counters);
        let has_ended = publisher.serve(flags, &mut self.scratch, &mut context);
        for (published, now_ns) in std::mem::take(&mut self.counters.responses) {
            if let Some(published) = self.published.get_mut(published) {
                published.responded_ns = Some(now_ns);
            }
        }
        if has_ended {
            let pipe = self.connect(PUBLISHER_BIT | count(index), None)?;
            self.publishers[index].reconnected(pipe);
        }
        Ok(())
    }
}

fn index(data: u64) -> usize {
    usize::try_from(data).expect("the epoll data was made from an index")
}

/// A nonzero number to add to an eventfd, the same in either byte order.
const EVENTFD_ONE: [u8; 8] = [1; 8];
/// The epoll data of the engine's eventfd.
const WAKE_EVENT: u64 = u64::MAX;
/// Set in the epoll data of publishing connections, whose other bits are the index.
const PUBLISHER_BIT: u64 = 1 << 63;
const EVENTS_MAX: usize = 512;
const SCRATCH_BYTES: usize = 256 * 1024;
/// The interval between heartbeats of one session.
const HEARTBEAT_NS: u64 = 10 * SECOND_NS;
/// The timeout for opening, probing and single steps.
const TIMEOUT_NS: u64 = 10 * SECOND_NS;
/// The largest window of one engine, in publications.
pub(crate) const SLOTS_MAX: usize = 1024;
