//! The client: many sessions and publishing connections on one epoll, read as cheaply as can be.
//!
//! An engine belongs to one thread; [`crate::team`] runs several side by side. It opens sessions,
//! publishes on a schedule or in a window (`run.rs`), looks at every frame and judges every
//! message. Nothing in it waits but `epoll_wait`.
//!
//! ```text
//!              Engine
//!   sessions ----- Pipe ---- Frames ---- Protocol::read ---- Judge, Tally
//!   publishers --- Pipe ---- Answers --- Protocol::answered - Tally
//! ```

mod accounts;
mod pipe;
mod publisher;
mod run;
mod schedule;
mod session;
mod steps;
mod tally;
mod wander;

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

pub(crate) use self::accounts::{Accounts, SessionAccount};
use self::pipe::Pipe;
use self::publisher::Publisher;
pub(crate) use self::run::{Load, Mix, Phase};
pub(crate) use self::schedule::Arrivals;
pub(crate) use self::session::Pace;
use self::session::{Context, Session, State};
pub(crate) use self::steps::Until;
pub(crate) use self::tally::Tally;
pub(crate) use self::wander::{Membership, Published, Wandering};
use crate::clock::{self, SECOND_NS};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{Member, Protocol, Purpose};
use crate::stats::count;
use crate::wire::Target;

/// What every engine of a run needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Where the server listens.
    pub(crate) target: Target,
    /// How it is spoken to.
    pub(crate) protocol: Arc<dyn Protocol>,
    /// How many sessions each group has, over all engines.
    pub(crate) groups: Arc<[u32]>,
    /// Bytes in a message.
    pub(crate) bytes: usize,
    /// How many of the first engine's sessions publish, where clients do.
    pub(crate) speakers: usize,
    /// Local addresses to connect from, in turn; empty for the kernel's choice.
    pub(crate) sources: Vec<Ipv4Addr>,
    /// Whether answers must tell as many receivers as the group has.
    pub(crate) counts_receivers: bool,
    /// Whether the times of publications are kept, for members come and go.
    pub(crate) keeps_times: bool,
    /// Whether sessions may end without a complaint.
    pub(crate) may_end: bool,
}

/// What the engines of a run tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    /// One per place in a window: receivers and answers that are still awaited.
    slots: Vec<AtomicU32>,
    /// Messages that sessions are owed by what has been published.
    owed: AtomicU64,
    /// Messages that sessions have received.
    pub(crate) delivered: AtomicU64,
    /// Engines that are still publishing.
    publishing: AtomicUsize,
    /// Sessions that have received a probe.
    probed: AtomicUsize,
    /// Sessions that are open, over all engines.
    pub(crate) open: AtomicUsize,
    /// One per engine, rung when a place in its window has become free elsewhere.
    bells: Vec<OwnedFd>,
}

impl Shared {
    /// For `engines` engines.
    ///
    /// # Errors
    ///
    /// There is no eventfd to be had.
    pub(crate) fn new(engines: usize) -> Outcome<Self> {
        let bells = (0..engines).map(|_| {
            eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).attempt("make an eventfd")
        });
        Ok(Self {
            slots: (0..engines * SLOTS_MAX)
                .map(|_| AtomicU32::new(0))
                .collect(),
            owed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            publishing: AtomicUsize::new(0),
            probed: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            bells: bells.collect::<Outcome<_>>()?,
        })
    }

    /// Says that all engines are about to run a phase.
    pub(crate) fn begin_phase(&self) {
        self.publishing.store(self.bells.len(), Ordering::SeqCst);
        // What the last phase lost is not owed by this one.
        let delivered = self.delivered.load(Ordering::SeqCst);
        self.owed.store(delivered, Ordering::SeqCst);
    }

    /// Notes that a publication is owed to `receivers` sessions and, besides, `answers` answers; a
    /// place in a window is taken until all have come.
    fn owe(&self, slot: u16, receivers: u32, answers: u32) {
        self.owed.fetch_add(u64::from(receivers), Ordering::Relaxed);
        if let Some(left) = self.slots.get(usize::from(slot)) {
            left.store(receivers + answers, Ordering::Relaxed);
        }
    }

    /// Takes one from what a place in a window waits for.
    fn arrive(&self, slot: u16, engine: usize) {
        let slot = usize::from(slot);
        let Some(left) = self.slots.get(slot) else {
            return;
        };
        let before = left.fetch_sub(1, Ordering::Relaxed);
        if before == 1 && slot / SLOTS_MAX != engine {
            // A bell that cannot be rung rings already.
            let _rung = rustix::io::write(&self.bells[slot / SLOTS_MAX], &RING);
        }
    }
}

/// Sessions and publishing connections, all watched by one epoll.
pub(crate) struct Engine {
    setup: Setup,
    shared: Arc<Shared>,
    /// Which of the run's engines this is.
    number: usize,
    address: SocketAddr,
    epoll: OwnedFd,
    scratch: Vec<u8>,
    sessions: Vec<Session>,
    publishers: Vec<Publisher>,
    /// Sessions with bytes to be written.
    unwritten: Vec<usize>,
    tally: Tally,
    /// From connect to member, in nanoseconds.
    opening: Histogram<u64>,
    /// Sessions that are open, of this engine.
    open: usize,
    /// Whose turn it is to publish, and to whom.
    turn: usize,
    /// The message being written.
    text: String,
    /// Where sessions connect from.
    next_source: usize,
    /// Publications, where members come and go.
    published: Vec<Published>,
    /// Sessions that come and go, and how often one did.
    wanderers: Vec<usize>,
    pub(crate) moved: u64,
    /// Whose heartbeat is next, and when the last was.
    beat: usize,
    beat_ns: u64,
    /// Sessions that do not read as they come, and when they next read their portion.
    paced: Vec<usize>,
    paced_ns: u64,
}

impl Engine {
    /// An engine without sessions.
    ///
    /// # Errors
    ///
    /// The host is unknown, or there is no epoll to be had.
    pub(crate) fn new(setup: &Setup, shared: &Arc<Shared>, number: usize) -> Outcome<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).attempt("make an epoll")?;
        let bell = EventData::new_u64(BELL);
        epoll::add(
            &epoll,
            &shared.bells[number],
            bell,
            EventFlags::IN | EventFlags::ET,
        )
        .attempt("watch an eventfd")?;
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
            tally: Tally::new(0),
            opening: crate::stats::latencies(),
            open: 0,
            turn: 0,
            text: String::new(),
            next_source: number,
            published: Vec::new(),
            wanderers: Vec::new(),
            moved: 0,
            beat: 0,
            beat_ns: clock::now_ns(),
            paced: Vec::new(),
            paced_ns: 0,
        })
    }

    /// Opens a session for each of `members`, `at_a_time` handshakes under way at once.
    ///
    /// # Errors
    ///
    /// One is refused, or nothing happens for ten seconds.
    pub(crate) fn open(
        &mut self,
        members: &[Member],
        purpose: Purpose,
        at_a_time: usize,
    ) -> Outcome<()> {
        let mut left = members.iter();
        let wanted = self.open + members.len();
        let mut opening = self.sessions.len() - self.open;
        let mut deadline = clock::now_ns() + PATIENCE_NS;
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
                deadline = clock::now_ns() + PATIENCE_NS;
            } else if let Some(why) = self.tally.first_complaint() {
                return Err(Failure::new(format!(
                    "a session could not be opened: {why}"
                )));
            } else if clock::now_ns() > deadline {
                return Err(Failure::new(format!(
                    "{} of {wanted} sessions are open, and nothing happens",
                    self.open
                )));
            }
        }
        Ok(())
    }

    /// Opens a session for each of `members` that reads at `pace` once it is open.
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
        let deadline = clock::now_ns() + PATIENCE_NS;
        while !self.sessions[from..].iter().all(Session::is_open) {
            if clock::now_ns() > deadline {
                return Err(Failure::new("the slow sessions do not get open"));
            }
            self.wait(SECOND_NS)?;
        }
        Ok(())
    }

    /// Opens `connections` publishing connections, each with up to `depth` requests unanswered.
    ///
    /// # Errors
    ///
    /// One cannot be made.
    pub(crate) fn add_publishers(&mut self, connections: usize, depth: usize) -> Outcome<()> {
        for _ in 0..connections {
            let number = self.publishers.len();
            let pipe = self.connect(PUBLISHER_BIT | count(number), None)?;
            let groups = self.setup.groups.len();
            self.publishers.push(Publisher::new(pipe, depth, groups));
        }
        Ok(())
    }

    /// How long opening took, session by session.
    pub(crate) const fn opening(&self) -> &Histogram<u64> {
        &self.opening
    }

    /// Takes what has come while there was nothing to do, so that no server takes us for gone.
    ///
    /// # Errors
    ///
    /// The kernel fails us.
    pub(crate) fn rest(&mut self) -> Outcome<()> {
        self.beat();
        self.wait(0)
    }

    /// Has sessions send the heartbeats that are due, evenly over the interval.
    fn beat(&mut self) {
        let Some(heartbeat) = self.setup.protocol.heartbeat() else {
            return;
        };
        let sessions = count(self.sessions.len());
        let since_ns = clock::now_ns() - self.beat_ns;
        let due = (since_ns.saturating_mul(sessions) / HEARTBEAT_NS).min(sessions);
        if due == 0 {
            return;
        }
        self.beat_ns += since_ns;
        let kind = self.setup.protocol.kind();
        for _ in 0..due {
            self.beat = (self.beat + 1) % self.sessions.len();
            if self.sessions[self.beat].is_open() {
                self.sessions[self.beat].say(heartbeat, kind);
                self.unwritten.push(self.beat);
            }
        }
    }

    /// Forgets all sessions, whatever they are doing; their connections are cut.
    pub(crate) fn forget_sessions(&mut self) {
        self.sessions.clear();
        self.unwritten.clear();
        self.wanderers.clear();
        self.paced.clear();
        self.shared.open.fetch_sub(self.open, Ordering::Relaxed);
        self.open = 0;
        self.opening.reset();
        self.tally = Tally::new(0);
    }

    /// Waits until the server has ended every session.
    ///
    /// # Errors
    ///
    /// It does not within ten seconds.
    pub(crate) fn wait_until_ended(&mut self) -> Outcome<()> {
        let deadline = clock::now_ns() + PATIENCE_NS;
        while self.open > 0 {
            if clock::now_ns() > deadline {
                return Err(Failure::new(format!("{} sessions do not end", self.open)));
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

    /// Opens session `index` again, with its books.
    fn reconnect_session(&mut self, index: usize) -> Outcome<()> {
        let pipe = self.connect(count(index), None)?;
        let old = &self.sessions[index].state;
        let mut state = State::new(index, old.member, old.purpose, old.pace);
        state.wandering = self.sessions[index].state.wandering.take();
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
        // Edge-triggered: one read per arrival, and none to find out that there is no more.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, pipe.stream(), EventData::new_u64(data), flags)
            .attempt("watch a socket")?;
        Ok(pipe)
    }

    /// Waits for what comes next and takes it; comes back after `timeout_ns` at the latest.
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
            if data == BELL {
                let mut rung = [0; 8];
                // Read dry or not: the window is looked at after each wait.
                let _read = rustix::io::read(&self.shared.bells[self.number], &mut rung);
            } else if data & PUBLISHER_BIT == 0 {
                self.serve_session(index(data), flags)?;
            } else {
                self.serve_publisher(index(data & !PUBLISHER_BIT), flags)?;
            }
        }
        for (publisher, sequence, now_ns) in std::mem::take(&mut self.tally.returns) {
            let is_it =
                |one: &&mut Published| one.publisher == publisher && one.sequence == sequence;
            if let Some(published) = self.published.iter_mut().rev().find(is_it) {
                published.answered_ns = Some(now_ns);
            }
        }
        let fresh = self.tally.take_fresh();
        if fresh > 0 {
            self.shared.delivered.fetch_add(fresh, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes what sessions and publishers have been given to say.
    fn write_all_unwritten(&mut self) {
        for index in &self.unwritten {
            // A session that has ended meanwhile is found out by reading.
            self.sessions[*index].pipe.flush();
        }
        self.unwritten.clear();
        self.publishers.iter_mut().for_each(Publisher::flush);
    }

    fn serve_session(&mut self, index: usize, flags: EventFlags) -> Outcome<()> {
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(()); // forgotten meanwhile
        };
        let was_open = session.is_open();
        let (setup, shared, tally) = (&self.setup, &*self.shared, &mut self.tally);
        let mut context = Context::new(setup, shared, self.number, tally);
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
        let (setup, shared, tally) = (&self.setup, &*self.shared, &mut self.tally);
        let mut context = Context::new(setup, shared, self.number, tally);
        let has_ended = publisher.serve(flags, &mut self.scratch, &mut context);
        for (published, now_ns) in std::mem::take(&mut self.tally.answers) {
            if let Some(published) = self.published.get_mut(published) {
                published.answered_ns = Some(now_ns);
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
    usize::try_from(data).expect("it was made from an index")
}

/// The number one, as an eventfd counts, which is so in either order of bytes.
const RING: [u8; 8] = [1; 8];
const BELL: u64 = u64::MAX;
const PUBLISHER_BIT: u64 = 1 << 63;
const EVENTS_MAX: usize = 512;
const SCRATCH_BYTES: usize = 256 * 1024;
const HEARTBEAT_NS: u64 = 10 * SECOND_NS;
const PATIENCE_NS: u64 = 10 * SECOND_NS;
/// The largest window of one engine.
pub(crate) const SLOTS_MAX: usize = 1024;
