//! One shard and everything that its connections go through before they are sessions.
//!
//! The host knows no ring and no socket: bytes, ends and ticks come in, and what is to be sent,
//! paused and closed comes out. Whoever moves bytes between it and the kernel is a driver; the one
//! there is uses `io_uring`, and the simulator in `tests/` needs none.

mod build;
mod calls;
mod clients;
mod commands;
mod held;
mod pushes;
mod reports;
mod requests;
mod stopping;
mod taps;
mod time;
mod upgrades;

use self::held::HeldInput;
use self::pushes::TotalTo;
pub(crate) use self::stopping::Pace;
pub use self::time::Moment;
use crate::api::Api;
use crate::auth::Keyless;
use crate::codec::json::Scratch;
use crate::handler::{Handle, HandleCore, Program, SessionState, Watch};
use crate::http::{
    Context, Crowd, HttpConnection, HttpRoute, Reply, ServedPath, UpgradeRules, WakeList,
};
use crate::mailbox::{Post, ShardRing};
use crate::runtime::fault::Fault;
use crate::shard::hash::HashSeed;
use crate::shard::settings::ShardSettings;
use crate::shard::{CloseStep, Shard};
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::{Tick, Ticks};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A shard with its HTTP connections and its side of the mailboxes.
#[derive(derive_more::Debug)]
#[debug("Host {{ id: {id:?}, shard: {shard:?}, .. }}")]
pub struct Host {
    id: ShardId,
    shard: Shard,
    settings: Arc<ShardSettings>,
    program: Rc<Program>,
    handle: Handle,
    watch: Watch,
    /// By slot: what is kept of a session for the embedder, on routes with handlers.
    sessions: Vec<Option<Rc<SessionState>>>,
    /// By slot: what came from sessions that wait for an answer.
    held: BTreeMap<u32, HeldInput>,
    held_bytes: usize,
    /// What the calls hold that are at work.
    calls_bytes: usize,
    /// Calls have ended that had others wait.
    is_unloaded: bool,
    /// By slot: requests that wait for what decides about their upgrade, and until when.
    upgrades: BTreeMap<u32, WaitingUpgrade>,
    /// What is to be done after tasks that have ended, one for each command that says so.
    done: Rc<RefCell<VecDeque<AfterTask>>>,
    /// Tasks may have something to do.
    tasks_ready: bool,
    /// Tasks that have not ended.
    tasks_count: usize,
    /// By slot: the HTTP side of a connection, while it has one.
    http: Vec<Option<Box<HttpConnection>>>,
    crowd: Crowd,
    context: Rc<Context>,
    limits: HostLimits,
    wakes: Arc<WakeList>,
    answers: VecDeque<ConnectionId>,
    readings: VecDeque<(ConnectionId, bool)>,
    post: Post,
    pushes: Slab<PendingPush>,
    pushes_order: VecDeque<(Tick, u32)>,
    scratch: Scratch,
    now: Tick,
    /// When the process last went on after a pause.
    resumed_at: Tick,
    has_resumed: bool,
    shrank: bool,
    is_stopping: bool,
    /// Commands in the queue that were there before the stop began.
    commands_before_stop: usize,
    /// HTTP connections are closed as soon as they are idle.
    closes_idle: bool,
    /// The slots of HTTP connections that have come to their end during the stop.
    http_ends: BTreeSet<u32>,
    fault: Option<Fault>,
}

/// The bounds of a host that are not its shard's.
#[derive(Clone, Copy, Debug)]
pub struct HostLimits {
    /// HTTP connections at one time.
    pub http_connections_max: usize,
    /// Bytes that wait for hyper before a socket is read no further.
    pub http_in_bytes_max: usize,
    /// Bytes that hyper may write ahead of the socket.
    pub http_out_bytes_max: usize,
    /// What came from one session and waits for an answer, in bytes.
    pub held_bytes_per_session_max: usize,
    /// What strangers who do not read their answers hold together, in bytes.
    pub http_unread_bytes_max: usize,
    /// One request's body, in bytes, that many included.
    pub body_bytes_max: usize,
    /// Pushes that other shards have not answered yet.
    pub pushes_in_flight_max: usize,
    /// For all shards to answer a push.
    pub push_timeout: Ticks,
}

/// What a host is made of.
pub(crate) struct HostParts {
    pub(crate) id: ShardId,
    pub(crate) core: Arc<HandleCore>,
    /// What a test wants to fail.
    pub(crate) fault: Option<Fault>,
    pub(crate) seeds: Seeds,
    pub(crate) settings: HostSettings,
}

/// What keeps strangers from guessing.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// Of the hashes of a shard.
    pub hash: HashSeed,
    /// Of the random numbers of a shard.
    pub random: [u8; 32],
}

/// What a host runs with; the same on every shard of a process.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings {
    /// For the shard itself.
    pub(crate) shard: Arc<ShardSettings>,
    /// What is served over HTTP.
    pub(crate) paths: Arc<[ServedPath]>,
    /// By route: what an upgrade request must show.
    pub(crate) upgrades: Arc<[UpgradeRules]>,
    /// Whose pushes and drops are trusted where no secret is asked for.
    pub(crate) keyless: Keyless,
    /// The host's own bounds.
    pub(crate) limits: HostLimits,
    /// The server API.
    pub(crate) api: Arc<Api>,
}

/// What is to be done on the loop after a task has ended.
type AfterTask = Box<dyn FnOnce(&mut Host)>;

/// A request that waits for what decides about its upgrade.
#[derive(Debug)]
struct WaitingUpgrade {
    id: ConnectionId,
    reply: Rc<Reply>,
    since: Tick,
}

/// A push or drop that other shards are still working on.
#[derive(Debug)]
struct PendingPush {
    /// `None` once it has timed out; its answers are still awaited.
    reply: Option<TotalTo>,
    here: u32,
    since: Tick,
}

impl Host {
    /// A host for one shard of `exchange`.
    #[must_use]
    pub(crate) fn new(parts: HostParts, program: Program, watch: Watch) -> Self {
        let context = Rc::new(context_of(&parts, program, watch));
        let HostParts {
            id,
            core,
            seeds,
            settings,
            fault,
        } = parts;
        let (settings, limits) = (settings.shard, settings.limits);
        let exchange = &core.exchange;
        let ring = ShardRing {
            exchange: Arc::clone(exchange),
            shard: id,
        };
        let mut shard = Shard::new(
            id,
            exchange.shards(),
            Arc::clone(&settings),
            seeds.hash,
            seeds.random,
        );
        shard.set_reporting(context.wants_reports);
        Self {
            id,
            shard,
            settings,
            program: Rc::clone(&context.program),
            handle: context.handle.clone(),
            watch: context.watch.clone(),
            sessions: Vec::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            calls_bytes: 0,
            is_unloaded: false,
            upgrades: BTreeMap::new(),
            done: Rc::default(),
            tasks_ready: false,
            tasks_count: 0,
            http: Vec::new(),
            crowd: Crowd::new(limits.http_connections_max, limits.http_unread_bytes_max),
            context,
            limits,
            wakes: Arc::new(WakeList::new(ring)),
            answers: VecDeque::new(),
            readings: VecDeque::new(),
            post: Post::new(id, Arc::clone(exchange)),
            pushes: Slab::new(),
            pushes_order: VecDeque::new(),
            scratch: Scratch::new(),
            now: Tick::default(),
            resumed_at: Tick::default(),
            has_resumed: false,
            shrank: false,
            is_stopping: false,
            commands_before_stop: 0,
            closes_idle: false,
            http_ends: BTreeSet::new(),
            fault,
        }
    }

    /// A socket was accepted. `None`: there is no slot for it, close it.
    pub fn handle_accepted(&mut self, _now: &Moment) -> Option<ConnectionId> {
        let id = self.shard.handle_accepted()?;
        if self.closes_idle {
            self.shard.end_http(|other| other == id);
        }
        if self.http.len() <= id.index() {
            self.http.resize_with(id.index() + 1, || None);
        }
        Some(id)
    }

    /// Bytes came from a connection; they are read in place and not kept.
    pub fn handle_received(&mut self, _now: &Moment, id: ConnectionId, bytes: &mut [u8]) {
        if !self.shard.is_http(id) {
            self.feed_session(id, bytes);
            return;
        }
        if self.http[id.index()].is_none() {
            self.open_http(id);
        }
        if let Some(http) = &mut self.http[id.index()] {
            http.receive(bytes);
            self.poll_http(id);
        }
    }

    /// The socket took `taken` bytes of what was lent for this connection; the send is over.
    #[inline]
    pub fn handle_sent(&mut self, _now: &Moment, id: ConnectionId, taken: u32) {
        match &mut self.http[id.index()] {
            Some(http) if http.is_flying() => {
                http.sent(taken as usize);
                if taken > 0 && http.is_ending() {
                    self.shard.handle_http_progress(id);
                }
                self.after_http_send(id);
            }
            _ => {
                self.shard.handle_sent(id, taken);
                if !self.held.is_empty() {
                    self.resume(id);
                }
            }
        }
    }

    /// Nothing more will come from the peer: its end of input, or, `broken`, its reset.
    pub fn handle_hangup(&mut self, _now: &Moment, id: ConnectionId, broken: bool) {
        self.hang_up(id, broken);
    }

    fn hang_up(&mut self, id: ConnectionId, broken: bool) {
        match &mut self.http[id.index()] {
            Some(http) if !broken => {
                http.receive_end();
                self.poll_http(id);
            }
            _ => match self.held.get_mut(&id.slot()) {
                // What it said before is handled first.
                Some(held) if !broken => held.ended = true,
                _ => {
                    self.shard.handle_hangup(id, broken);
                    self.notice_ends();
                }
            },
        }
    }

    /// What [`CloseStep::Measure`] has found: how many bytes the peer has not acknowledged.
    pub fn handle_unacknowledged(&mut self, id: ConnectionId, bytes: u32) {
        self.shard.handle_unacknowledged(id, bytes);
    }

    /// The socket is closed and no operation of it is left.
    pub fn handle_closed(&mut self, _now: &Moment, id: ConnectionId) {
        self.forget_http(id);
        self.shrank = true;
        self.log_reports();
        self.forget_held(id);
        self.upgrades.remove(&id.slot());
        self.http_ends.remove(&id.slot());
        self.shard.handle_closed(id);
    }

    /// Handles what other shards and woken requests want; returns how much there was.
    pub fn handle_arrivals(&mut self, _now: &Moment) -> usize {
        let mut count = self.handle_messages();
        count += self.do_commands();
        self.hear_verdicts();
        count += self.resume_all();
        self.notice_ends();
        while let Some((ticket, number)) = self.shard.poll_tally() {
            self.post.exchange().answer(ticket, number);
        }
        while let Some((index, total)) = self.post.poll_complete() {
            self.complete_push(index, total);
            count += 1;
        }
        while let Some(id) = self.wakes.pop() {
            count += 1;
            let http = self.http.get(id.index()).and_then(Option::as_ref);
            if http.is_some_and(|http| http.id() == id && http.take_woken()) {
                self.poll_http(id);
            }
        }
        count
    }

    /// Handles what other shards have told; returns how much it was.
    fn handle_messages(&mut self) -> usize {
        let mut count = 0;
        while count < ARRIVALS_PER_LOOK_MAX {
            let Some(message) = self.post.receive() else {
                break;
            };
            self.shard.handle_message(&message);
            count += 1;
        }
        count
    }

    /// Sends what the shard has to tell the others, and wakes them.
    pub fn flush_messages(&mut self) {
        self.post_messages();
        self.post.flush();
    }

    /// Sends what the shard has to tell the others, which may not wake up for it yet.
    fn post_messages(&mut self) {
        while let Some((to, message)) = self.shard.poll_message() {
            self.post.send(to, message);
        }
    }

    /// What is to be sent next, to whom: sessions first. It stays until [`Host::handle_sent`].
    #[inline]
    pub fn poll_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        self.shard.poll_send()
    }

    /// The next HTTP answer to be sent. It stays until [`Host::handle_sent`].
    pub fn poll_answer(&mut self) -> Option<(ConnectionId, &[u8])> {
        let id = loop {
            let id = self.answers.pop_front()?;
            let Some(http) = &mut self.http[id.index()] else {
                continue;
            };
            if http.id() == id {
                http.queued = false;
                if http.wants_to_send() && self.shard.is_http(id) {
                    break id;
                }
            }
        };
        let http = self.http[id.index()].as_mut().expect("just seen");
        http.lend().map(|bytes| (id, bytes))
    }

    /// The next connection whose socket is to be read again (`true`) or not (`false`).
    pub fn poll_reading(&mut self) -> Option<(ConnectionId, bool)> {
        self.readings.pop_front()
    }

    /// The next connection to be shut or closed.
    pub fn poll_close(&mut self) -> Option<(ConnectionId, CloseStep)> {
        self.shard.poll_close()
    }

    /// When the host must be told the time, and [`Host::fire_deadlines`] be called, at the latest.
    #[must_use]
    pub fn poll_wake(&self) -> Option<Tick> {
        let push = self.pushes_order.front();
        let push = push.map(|&(since, _)| self.push_due(since));
        let upgrades = self.upgrades.values();
        let upgrade = upgrades.map(|waiting| self.upgrade_due(waiting.since));
        [self.shard.poll_wake(), push, upgrade.min()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether something has arrived that [`Host::handle_arrivals`] would handle.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        !self.post.exchange().inbox(self.id).is_empty()
            || !self.wakes.is_empty()
            || self.post.can_unblock()
            || self.shard.has_said()
            || self.is_unloaded
            || (!self.is_blocked() && self.handle.commands().has_some(self.id))
    }

    /// Whether sessions or requests are owed something that could be sent now.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.shard.wants_to_send() || !self.answers.is_empty()
    }

    /// Whether other shards' mailboxes are full, so that sessions are not to be read.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.post.is_blocked()
    }

    /// Whether the connection has been upgraded.
    #[must_use]
    pub fn is_session(&self, id: ConnectionId) -> bool {
        !self.shard.is_http(id)
    }

    /// Whether the connection is a session that has not begun to end.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.shard.is_open(id)
    }

    /// Refuses sessions while there are as many connections in the process as there may be.
    pub fn set_full(&mut self, is_full: bool) {
        self.context.is_full.set(is_full || self.is_stopping);
    }

    /// Keeps what slow readers hold within bounds; to be called after everything was sent.
    pub fn relieve(&mut self) {
        self.shard.relieve();
        self.notice_ends();
    }

    /// Cuts every connection.
    pub fn cut_all(&mut self) {
        self.shard.cut_all();
        self.notice_ends();
    }

    /// How many tasks of an embedder's have not ended.
    #[must_use]
    pub fn tasks_count(&self) -> usize {
        self.tasks_count
    }

    /// Whether tasks of the runtime may have something to do since the last call.
    pub fn take_tasks_ready(&mut self) -> bool {
        std::mem::take(&mut self.tasks_ready)
    }

    /// Whether memory was given up since the last call, so that collecting it may pay.
    pub fn take_shrank(&mut self) -> bool {
        std::mem::take(&mut self.shrank) | self.shard.take_shrank()
    }

    /// Frees what is kept for reuse; for a shard that has been idle for a while.
    pub fn free_spare(&mut self) {
        self.shard.free_spare();
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.shard.connections_count()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions_count(&self) -> usize {
        self.shard.sessions_count()
    }

    /// What the shard has counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.shard.counters()
    }

    /// Counts a connection whose cancelled operations did not end in time.
    pub fn count_late_cancel(&mut self) {
        self.shard.count_late_cancel();
    }

    /// Asserts what shard and host promise. For tests and the simulator.
    pub fn invariants(&self) {
        self.shard.invariants();
        self.held_invariants();
        self.crowd.invariants();
        let places = self
            .http
            .iter()
            .flatten()
            .filter(|http| http.place.is_some());
        assert_eq!(places.count(), self.crowd.len());
    }

    fn http_ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.http.iter().flatten().map(|http| http.id())
    }
}

/// What the requests of a host share.
fn context_of(parts: &HostParts, program: Program, watch: Watch) -> Context {
    let settings = &parts.settings;
    let paths = settings.paths.iter();
    Context {
        routes: paths.map(|path| HttpRoute::new(path, &program)).collect(),
        settings: Arc::clone(&settings.shard),
        program: Rc::new(program),
        handle: Handle::new(Arc::clone(&parts.core), parts.id),
        watch,
        upgrades: Arc::clone(&settings.upgrades),
        keyless: settings.keyless,
        body_bytes_max: settings.limits.body_bytes_max,
        partial_bytes_max: settings.shard.partial_bytes_max,
        asks: RefCell::default(),
        bodies_bytes: Cell::new(0),
        messages_bytes: Cell::new(0),
        is_full: Cell::new(false),
        is_stopping: Cell::new(false),
        refuses_work: Cell::new(false),
        api: Arc::clone(&settings.api),
        wants_reports: tracing::enabled!(tracing::Level::DEBUG),
        peers: RefCell::default(),
        rejections: RefCell::default(),
    }
}

/// Mailbox messages handled before the kernel is looked at again.
const ARRIVALS_PER_LOOK_MAX: usize = 1024;
