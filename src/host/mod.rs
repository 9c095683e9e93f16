//! The host of a shard: its HTTP connections, its mailbox and the calls of an embedder's code.
//!
//! The host uses no ring and no socket. A driver gives it received bytes, ends of input and the
//! time, and takes from it bytes to send, reads to pause and sockets to close. `src/driver` does so
//! with `io_uring`, the simulator in `tests/` without the kernel.

mod build;
mod calls;
mod clients;
mod commands;
mod deferred_input;
mod events;
mod export;
mod pushes;
mod reports;
mod requests;
mod stopping;
mod taps;
mod time;
mod upgrades;

use self::deferred_input::DeferredInput;
pub use self::export::{HandlersExport, HostedSession};
use self::pushes::TotalReceiver;
pub(crate) use self::stopping::Pace;
pub use self::time::Moment;
use crate::api::Api;
use crate::auth::Keyless;
use crate::codec::json::Scratch;
use crate::handler::{Handle, HandleCore, Registry, SessionState, Watch};
use crate::http::{
    EvictionQueues, HttpConnection, HttpContext, HttpRoute, ResultSlot, ServedPath, UpgradeRules,
    WakeList,
};
use crate::mailbox::{MailboxEndpoint, ShardWaker};
use crate::runtime::fault::Fault;
use crate::shard::hash::HashSeed;
use crate::shard::settings::ShardSettings;
use crate::shard::{CloseStep, EventLevel, Shard};
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::time::{Tick, Ticks};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A shard with its HTTP connections and its end of the mailboxes.
#[derive(derive_more::Debug)]
#[debug("Host {{ id: {id:?}, shard: {shard:?}, .. }}")]
pub struct Host {
    id: ShardId,
    shard: Shard,
    settings: Arc<ShardSettings>,
    registry: Rc<Registry>,
    handle: Handle,
    watch: Watch,
    /// By slot: the state of a session on a route with handlers; `None` elsewhere.
    sessions: Vec<Option<Rc<SessionState>>>,
    /// By slot: input of sessions that wait for a response.
    deferred: BTreeMap<u32, DeferredInput>,
    /// Bytes of all deferred input.
    deferred_bytes: usize,
    /// Bytes held by running calls.
    calls_bytes: usize,
    /// Calls have ended that made sessions wait.
    is_unloaded: bool,
    /// By slot: upgrade requests that wait for a decision.
    upgrades: BTreeMap<u32, WaitingUpgrade>,
    /// Functions to run after ended tasks, one for each command that asks for it.
    done: Rc<RefCell<VecDeque<AfterTask>>>,
    /// Tasks of the runtime may be ready.
    tasks_ready: bool,
    /// Number of tasks that have not ended.
    tasks_count: usize,
    /// By slot: the HTTP state of a connection, while it has one.
    http: Vec<Option<Box<HttpConnection>>>,
    eviction: EvictionQueues,
    context: Rc<HttpContext>,
    limits: HostLimits,
    wakes: Arc<WakeList>,
    /// HTTP connections with bytes to send.
    http_sends: VecDeque<ConnectionId>,
    /// Sockets to read again (`true`) or to pause (`false`).
    readings: VecDeque<(ConnectionId, bool)>,
    mailbox: MailboxEndpoint,
    pushes: Slab<PendingPush>,
    /// Start and index of each of `pushes`, oldest first. Completed ones may still be in it.
    pushes_order: VecDeque<(Tick, u32)>,
    scratch: Scratch,
    now: Tick,
    /// Time at which the process last resumed after a pause.
    resumed_at: Tick,
    has_resumed: bool,
    shrank: bool,
    is_stopping: bool,
    /// Queued commands from before the stop began.
    commands_before_stop: usize,
    /// HTTP connections are closed as soon as they are idle.
    closes_idle: bool,
    /// Slots of HTTP connections that have ended during the stop.
    http_ends: BTreeSet<u32>,
    fault: Option<Fault>,
}

/// Limits of a host, besides those of its shard.
#[derive(Clone, Copy, Debug)]
pub struct HostLimits {
    /// Maximum concurrent HTTP connections.
    pub http_connections_max: usize,
    /// Bytes pending for hyper above which a socket is not read.
    pub http_in_bytes_max: usize,
    /// Maximum bytes that hyper may write ahead of the socket.
    pub http_out_bytes_max: usize,
    /// Maximum bytes of deferred input of one session. A session with more is closed.
    pub held_bytes_per_session_max: usize,
    /// Maximum bytes pending for all HTTP clients that do not read their responses.
    pub http_unread_bytes_max: usize,
    /// Maximum bytes of a request body, inclusive.
    pub body_bytes_max: usize,
    /// Maximum publications of this shard for which counts of other shards are pending.
    pub pushes_in_flight_max: usize,
    /// Time within which all shards must report the count of a publication.
    pub push_timeout: Ticks,
}

/// The parts of a host.
pub(crate) struct HostParts {
    pub(crate) id: ShardId,
    pub(crate) core: Arc<HandleCore>,
    /// A failure injected by a test.
    pub(crate) fault: Option<Fault>,
    pub(crate) seeds: Seeds,
    pub(crate) settings: HostSettings,
}

/// Secret random values of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// Seed of the shard's hash tables, so that clients cannot cause collisions.
    pub hash: HashSeed,
    /// Seed of the shard's random numbers.
    pub random: [u8; 32],
}

/// The settings of a host, the same on all shards of a process.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings {
    /// Settings of the shard.
    pub(crate) shard: Arc<ShardSettings>,
    /// The paths served over HTTP.
    pub(crate) paths: Arc<[ServedPath]>,
    /// By route: the rules for upgrade requests.
    pub(crate) upgrades: Arc<[UpgradeRules]>,
    /// The peers whose pushes and drops are accepted without a secret.
    pub(crate) keyless: Keyless,
    /// Limits of the host.
    pub(crate) limits: HostLimits,
    /// The server API.
    pub(crate) api: Arc<Api>,
}

/// A function to run on the loop after a task has ended.
type AfterTask = Box<dyn FnOnce(&mut Host)>;

/// An upgrade request that waits for a decision.
#[derive(Debug)]
struct WaitingUpgrade {
    id: ConnectionId,
    reply: Rc<ResultSlot>,
    since: Tick,
}

/// A publication or drop for which counts of other shards are pending.
#[derive(Debug)]
struct PendingPush {
    /// `None` once it has timed out. The counts are awaited all the same.
    reply: Option<TotalReceiver>,
    /// Sessions that it reached on this shard.
    here: u32,
    since: Tick,
}

impl Host {
    /// Creates the host of one shard.
    #[must_use]
    pub(crate) fn new(parts: HostParts, registry: Registry, watch: Watch) -> Self {
        let context = Rc::new(context_of(&parts, registry, watch));
        let HostParts {
            id,
            core,
            seeds,
            settings,
            fault,
        } = parts;
        let (settings, limits) = (settings.shard, settings.limits);
        let exchange = &core.exchange;
        let waker = ShardWaker {
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
        if context.wants_reports {
            shard.set_event_level(EventLevel::Ends);
        }
        Self {
            id,
            shard,
            settings,
            registry: Rc::clone(&context.registry),
            handle: context.handle.clone(),
            watch: context.watch.clone(),
            sessions: Vec::new(),
            deferred: BTreeMap::new(),
            deferred_bytes: 0,
            calls_bytes: 0,
            is_unloaded: false,
            upgrades: BTreeMap::new(),
            done: Rc::default(),
            tasks_ready: false,
            tasks_count: 0,
            http: Vec::new(),
            eviction: EvictionQueues::new(
                limits.http_connections_max,
                limits.http_unread_bytes_max,
            ),
            context,
            limits,
            wakes: Arc::new(WakeList::new(waker)),
            http_sends: VecDeque::new(),
            readings: VecDeque::new(),
            mailbox: MailboxEndpoint::new(id, Arc::clone(exchange)),
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

    /// Registers an accepted connection. `None` if there is no slot: the driver closes the socket.
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

    /// Handles received bytes. They are read in place and not kept by reference.
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

    /// Completes a send: the socket took `taken` of the bytes lent for this connection.
    #[inline]
    pub fn handle_sent(&mut self, _now: &Moment, id: ConnectionId, taken: u32) {
        match &mut self.http[id.index()] {
            Some(http) if http.is_sending() => {
                http.sent(taken as usize);
                if taken > 0 && http.is_ending() {
                    self.shard.handle_http_progress(id);
                }
                self.after_http_send(id);
            }
            _ => {
                self.shard.handle_sent(id, taken);
                if !self.deferred.is_empty() {
                    self.resume(id);
                }
            }
        }
    }

    /// Handles the end of a connection's input: the peer's end of stream, or with `broken` an error
    /// of the socket.
    pub fn handle_hangup(&mut self, _now: &Moment, id: ConnectionId, broken: bool) {
        self.handle_peer_end(id, broken);
    }

    fn handle_peer_end(&mut self, id: ConnectionId, broken: bool) {
        match &mut self.http[id.index()] {
            Some(http) if !broken => {
                http.receive_end();
                self.poll_http(id);
            }
            _ => match self.deferred.get_mut(&id.slot()) {
                // Its deferred input is handled first.
                Some(deferred) if !broken => deferred.ended = true,
                _ => {
                    self.shard.handle_hangup(id, broken);
                    self.process_ended_sessions();
                }
            },
        }
    }

    /// Handles the result of [`CloseStep::Measure`]: the bytes that the peer has not acknowledged.
    pub fn handle_unacknowledged(&mut self, id: ConnectionId, bytes: u32) {
        self.shard.handle_unacknowledged(id, bytes);
    }

    /// Frees a connection whose socket is closed and has no operation left.
    pub fn handle_closed(&mut self, _now: &Moment, id: ConnectionId) {
        self.remove_http(id);
        self.shrank = true;
        self.pass_events(None);
        self.remove_deferred(id);
        self.upgrades.remove(&id.slot());
        self.http_ends.remove(&id.slot());
        self.shard.handle_closed(id);
    }

    /// Handles mailbox messages, commands, decisions about upgrades, deferred input, counts and
    /// woken HTTP connections. Returns the number of events.
    pub fn handle_arrivals(&mut self, _now: &Moment) -> usize {
        let mut count = self.handle_messages();
        count += self.do_commands();
        self.handle_claim_results();
        count += self.resume_all();
        self.process_ended_sessions();
        while let Some((count_request, number)) = self.shard.poll_count() {
            self.mailbox.exchange().add_count(count_request, number);
        }
        while let Some((index, total)) = self.mailbox.poll_complete() {
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

    /// Handles messages of other shards; returns their number, at most [`ARRIVALS_PER_PASS_MAX`].
    fn handle_messages(&mut self) -> usize {
        let mut count = 0;
        while count < ARRIVALS_PER_PASS_MAX {
            let Some(message) = self.mailbox.receive() else {
                break;
            };
            self.shard.handle_message(&message);
            count += 1;
        }
        count
    }

    /// Sends the shard's messages to other shards and wakes them.
    pub fn flush_messages(&mut self) {
        self.pass_events(None);
        self.post_messages();
        self.mailbox.flush();
    }

    /// Sends the shard's messages to other shards without waking them.
    fn post_messages(&mut self) {
        while let Some((to, message)) = self.shard.poll_message() {
            self.mailbox.send(to, message);
        }
    }

    /// Returns the next session and bytes to send; `None` if there are none. The bytes stay in
    /// place until [`Host::handle_sent`].
    #[inline]
    pub fn poll_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        self.shard.poll_send()
    }

    /// Returns the next HTTP connection and bytes to send; `None` if there are none. The bytes stay
    /// in place until [`Host::handle_sent`].
    pub fn poll_http_send(&mut self) -> Option<(ConnectionId, &[u8])> {
        let id = loop {
            let id = self.http_sends.pop_front()?;
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
        http.begin_send().map(|bytes| (id, bytes))
    }

    /// Returns the next connection whose reads start (`true`) or pause (`false`).
    pub fn poll_reading(&mut self) -> Option<(ConnectionId, bool)> {
        self.readings.pop_front()
    }

    /// Returns the next connection to shut down or close, and how.
    pub fn poll_close(&mut self) -> Option<(ConnectionId, CloseStep)> {
        self.shard.poll_close()
    }

    /// Returns the time of the next deadline; `None` if there is none. The driver calls
    /// [`Host::set_time`] and [`Host::fire_deadlines`] then at the latest.
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

    /// Returns whether [`Host::handle_arrivals`] has something to do.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        !self.mailbox.exchange().inbox(self.id).is_empty()
            || !self.wakes.is_empty()
            || self.mailbox.can_unblock()
            || self.shard.has_output()
            || self.is_unloaded
            || (!self.is_blocked() && self.handle.commands().has_commands(self.id))
    }

    /// Returns whether bytes are pending that can be sent now.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.shard.wants_to_send() || !self.http_sends.is_empty()
    }

    /// Returns whether other shards' mailboxes are full, so that sessions are not read.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.mailbox.is_blocked()
    }

    /// Returns whether the connection has been upgraded.
    #[must_use]
    pub fn is_session(&self, id: ConnectionId) -> bool {
        !self.shard.is_http(id)
    }

    /// Returns whether the connection is a session that has not begun to close.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.shard.is_open(id)
    }

    /// Rejects upgrades while the process has as many connections as it may have.
    pub fn set_full(&mut self, is_full: bool) {
        self.context.is_full.set(is_full || self.is_stopping);
    }

    /// Limits the memory of publications that slow clients hold. Called after all sends of a turn.
    pub fn enforce_publication_limit(&mut self) {
        self.shard.enforce_publication_limit();
        self.process_ended_sessions();
    }

    /// Aborts all connections.
    pub fn abort_all(&mut self) {
        self.shard.abort_all();
        self.process_ended_sessions();
    }

    /// Returns the number of an embedder's tasks that have not ended.
    #[must_use]
    pub fn tasks_count(&self) -> usize {
        self.tasks_count
    }

    /// Returns whether tasks of the runtime may have become ready since the last call.
    pub fn take_tasks_ready(&mut self) -> bool {
        std::mem::take(&mut self.tasks_ready)
    }

    /// Returns whether memory was freed since the last call, so that returning it to the system may
    /// pay.
    pub fn take_shrank(&mut self) -> bool {
        std::mem::take(&mut self.shrank) | self.shard.take_shrank()
    }

    /// Frees memory kept for reuse. For a shard that has been idle for a while.
    pub fn free_spare(&mut self) {
        self.shard.free_spare();
        if self.http_sends.is_empty() {
            self.http_sends = VecDeque::new();
        }
    }

    /// Returns the number of connections.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.shard.connections_count()
    }

    /// Returns the number of sessions.
    #[must_use]
    pub fn sessions_count(&self) -> usize {
        self.shard.sessions_count()
    }

    /// Returns the shard's counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.shard.counters()
    }

    /// Counts a connection whose cancelled operations did not complete in time.
    pub fn count_late_cancel(&mut self) {
        self.shard.count_late_cancel();
    }

    /// Asserts the invariants of shard and host, for tests and the simulator.
    ///
    /// # Panics
    ///
    /// If an invariant is broken.
    pub fn invariants(&self) {
        self.shard.invariants();
        self.deferred_invariants();
        self.eviction.invariants();
        let places = self
            .http
            .iter()
            .flatten()
            .filter(|http| http.place.is_some());
        assert_eq!(places.count(), self.eviction.len());
    }

    fn http_ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.http.iter().flatten().map(|http| http.id())
    }
}

/// Creates the context that the HTTP requests of a host share.
fn context_of(parts: &HostParts, registry: Registry, watch: Watch) -> HttpContext {
    let settings = &parts.settings;
    let paths = settings.paths.iter();
    HttpContext {
        routes: paths.map(|path| HttpRoute::new(path, &registry)).collect(),
        settings: Arc::clone(&settings.shard),
        registry: Rc::new(registry),
        handle: Handle::new(Arc::clone(&parts.core), parts.id),
        watch,
        upgrades: Arc::clone(&settings.upgrades),
        keyless: settings.keyless,
        body_bytes_max: settings.limits.body_bytes_max,
        partial_bytes_max: settings.shard.partial_bytes_max,
        http_commands: RefCell::default(),
        bodies_bytes: Cell::new(0),
        messages_bytes: Cell::new(0),
        is_full: Cell::new(false),
        is_stopping: Cell::new(false),
        rejects_work: Cell::new(false),
        api: Arc::clone(&settings.api),
        wants_reports: tracing::enabled!(tracing::Level::DEBUG),
        peers: RefCell::default(),
        rejections: RefCell::default(),
    }
}

/// Mailbox messages handled before the kernel is entered again.
const ARRIVALS_PER_PASS_MAX: usize = 1024;
