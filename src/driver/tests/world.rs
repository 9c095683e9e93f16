//! A run: two shards on one thread, their machine and their clients.

use super::any_instant;
use super::client::{Client, Model, Role};
use super::kernel::{FakeClock, FakeKernel};
use super::machine::{Coverage, KernelState, Link, Machine};
use super::record_stage::RecordStage;
use crate::config::Config;
use crate::driver::TurnLimits;
use crate::driver::accept::Listener;
use crate::driver::run::{Loop, LoopState};
use crate::driver::stage::StageFactory;
use crate::driver::stop::{StopFlag, StopPlan};
use crate::gateway::{Builder, Gateway, Simulation};
use crate::handler::{Context, Reply};
use crate::host::Seeds;
use crate::mailbox::{Exchange, WakeHandle};
use crate::shard::hash::HashSeed;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::metrics::Counters;
use campanile_tests::prng::Prng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::task::LocalSet;

/// The parameters of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    /// The machine fails in unusual ways.
    has_faults: bool,
    /// Clients may stall, reset or end early.
    has_flaws: bool,
    /// Time jumps, as after a pause of the process.
    has_jumps: bool,
    /// The stop begins at this step, or after everything else.
    stops_at: Option<u32>,
    /// Connections have stages.
    is_staged: bool,
    listeners: usize,
    buffer_bytes: usize,
    mailbox_messages: usize,
    limits: TurnLimits,
}

type RunningLoop = Pin<Box<dyn Future<Output = io::Result<Counters>>>>;

/// A run.
pub(super) struct World {
    scenario: Scenario,
    machine: Rc<RefCell<Machine>>,
    /// `None` once it has ended.
    loops: Vec<Option<RunningLoop>>,
    clients: Vec<Client>,
    model: Model,
    exchange: Arc<Exchange>,
    stop: Arc<StopFlag>,
    tasks: LocalSet,
}

impl Scenario {
    pub(super) fn random(prng: &mut Prng, is_staged: bool) -> Self {
        Self {
            has_faults: prng.chance(2, 3),
            has_flaws: prng.chance(1, 2),
            has_jumps: prng.chance(1, 3),
            stops_at: prng.chance(1, 3).then(|| prng.range(0, STEPS)),
            is_staged,
            listeners: prng.range(1, 2) as usize,
            buffer_bytes: prng.range(16, 600) as usize,
            mailbox_messages: prng.range(1, 8) as usize,
            limits: TurnLimits {
                looks_per_turn_max: prng.range(1, 4),
                busy_poll: Duration::ZERO,
                sends_per_enter_max: prng.range(1, 8),
                sends_per_turn_max: prng.range(8, 16),
                cancel_timeout: Duration::from_secs(5),
                sessions_max: 1_000,
            },
        }
    }
}

impl Scenario {
    /// Returns the function that creates the stages of a shard's connections.
    fn stage(&self, seed: u64) -> Option<StageFactory> {
        let factory: StageFactory = Arc::new(move || Box::new(RecordStage::new(seed)));
        self.is_staged.then_some(factory)
    }
}

impl World {
    /// Creates the shards of a run. They have not begun.
    pub(super) fn new(mut prng: Prng, scenario: Scenario, trace: bool) -> Self {
        let bells: Vec<Arc<AtomicBool>> = (0..SHARDS).map(|_| Arc::default()).collect();
        let wake = |bell: &Arc<AtomicBool>| -> WakeHandle {
            let bell = Arc::clone(bell);
            Some(Box::new(move || bell.store(true, Ordering::Relaxed)))
        };
        let exchange = Exchange::new(
            bells.iter().map(wake).collect(),
            scenario.mailbox_messages,
            1 << 20,
            16,
        );
        let simulation = Simulation::new(builder(), &exchange).expect("the config is valid");
        let kernels = bells.into_iter().map(|bell| {
            KernelState::new(&mut prng, scenario.listeners, bell, scenario.buffer_bytes)
        });
        let kernels = kernels.collect();
        let seeds = [0; SHARDS].map(|_| prng.below(u64::MAX));
        let clients = clients(&mut prng, &scenario);
        let machine = Rc::new(RefCell::new(Machine {
            prng,
            now: any_instant(),
            kernels,
            links: Vec::new(),
            descriptors: BTreeMap::new(),
            has_faults: scenario.has_faults,
            coverage: Coverage::default(),
            trace,
        }));
        let stop = Arc::new(StopFlag::new(SHARDS));
        let tasks = LocalSet::new();
        let within = tasks.enter();
        let loops = seeds.iter().enumerate().map(|(shard, &seed)| {
            let parts = (&simulation, &exchange, &stop);
            Some(begin(parts, &machine, &scenario, shard, seed))
        });
        let loops = loops.collect();
        drop(within);
        Self {
            scenario,
            machine,
            loops,
            clients,
            model: Model::default(),
            exchange,
            stop,
            tasks,
        }
    }

    /// Runs to the end of all connections and loops; returns what was covered.
    pub(super) fn run(mut self) -> Coverage {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.expect("a runtime");
        let tasks = std::mem::take(&mut self.tasks);
        let coverage = tasks.block_on(&runtime, async move {
            for step in 0..STEPS {
                if self.scenario.stops_at == Some(step) {
                    self.machine.borrow_mut().coverage.stops_under_way += 1;
                    self.begin_stop();
                }
                self.step().await;
            }
            if !self.model.is_stopping {
                self.settle().await;
                self.push_once_more().await;
                self.begin_stop();
            }
            self.settle().await;
            self.check_end()
        });
        drop(tasks);
        coverage
    }

    /// Makes one random step.
    async fn step(&mut self) {
        let (choice, shard) = {
            let prng = &mut self.machine.borrow_mut().prng;
            (prng.range(0, 99), prng.range(0, 1) as usize)
        };
        match choice {
            0..25 => drop(self.poll(shard)),
            25..55 => {
                let machine = &mut *self.machine.borrow_mut();
                if let Some(client) = machine.prng.pick(self.clients.iter_mut()) {
                    client.step(machine, &mut self.model);
                }
            }
            55..80 => {
                let machine = &mut *self.machine.borrow_mut();
                if let Some(link) = machine.prng.pick(0..machine.links.len()) {
                    machine.step_link(link);
                }
            }
            80..88 => {
                let machine = &mut *self.machine.borrow_mut();
                let listener = machine.prng.pick(0..self.scenario.listeners);
                machine.accept(shard, listener.expect("some"));
            }
            88..94 => tokio::task::yield_now().await,
            _ => {
                let machine = &mut *self.machine.borrow_mut();
                machine.pass_time(5);
                if self.scenario.has_jumps && machine.prng.chance(1, 20) {
                    machine.coverage.jumps += 1;
                    machine.now += JUMP;
                }
            }
        }
    }

    /// Polls a shard's loop if it is awake or woken; returns whether it did.
    fn poll(&mut self, shard: usize) -> bool {
        let Some(running) = &mut self.loops[shard] else {
            return false;
        };
        {
            let mut machine = self.machine.borrow_mut();
            let now = machine.now;
            let kernel = &mut machine.kernels[shard];
            let is_due = kernel.wake_at.is_some_and(|at| at <= now);
            if kernel.is_asleep && !kernel.bell.load(Ordering::Relaxed) && !is_due {
                return false;
            }
            kernel.is_asleep = false;
            kernel.wake_at = None;
        }
        let mut context = std::task::Context::from_waker(Waker::noop());
        if let Poll::Ready(counters) = running.as_mut().poll(&mut context) {
            counters.expect("the kernel can be entered");
            self.loops[shard] = None;
        }
        true
    }

    /// Runs until nothing moves any more and nobody waits.
    async fn settle(&mut self) {
        let began = self.machine.borrow().now;
        loop {
            while self.move_all().await {}
            let is_over = if self.model.is_stopping {
                self.loops.iter().all(Option::is_none)
            } else {
                !self.clients.iter().any(Client::waits)
            };
            if is_over {
                return;
            }
            self.check_sleepers();
            let mut machine = self.machine.borrow_mut();
            let waited = machine.now.duration_since(began);
            assert!(waited < WAIT_MAX, "nothing comes for: {}", self.waiting());
            machine.now += Duration::from_millis(50);
        }
    }

    fn waiting(&self) -> String {
        let waiting = self.clients.iter().filter(|client| client.waits());
        let waiting: Vec<String> = waiting.map(ToString::to_string).collect();
        waiting.join("\n")
    }

    /// Lets everybody make a step; returns whether anything moved.
    async fn move_all(&mut self) -> bool {
        let mut moved = false;
        for shard in 0..SHARDS {
            moved |= self.poll(shard);
            let machine = &mut *self.machine.borrow_mut();
            for listener in 0..self.scenario.listeners {
                moved |= machine.accept(shard, listener);
            }
        }
        {
            let machine = &mut *self.machine.borrow_mut();
            for link in 0..machine.links.len() {
                moved |= machine.step_link(link);
            }
            for client in &mut self.clients {
                moved |= client.step(machine, &mut self.model);
            }
        }
        for _ in 0..TASK_TURNS {
            tokio::task::yield_now().await;
        }
        moved
    }

    /// Asserts that no shard sleeps while there is something for it to do.
    fn check_sleepers(&self) {
        let machine = self.machine.borrow();
        for (shard, kernel) in machine.kernels.iter().enumerate() {
            if self.loops[shard].is_some() {
                let inbox = self.exchange.inbox(ShardId::new(shard));
                assert!(kernel.is_asleep && inbox.is_empty(), "shard {shard}");
                assert!(!kernel.wants_enter() && kernel.visible.is_empty());
            }
        }
    }

    /// Pushes one more message to each user. All that are registered must get it.
    async fn push_once_more(&mut self) {
        let first = self.clients.len();
        // Two publishers have no order between them.
        let is_over = |user: &usize| !self.clients.iter().any(|it| it.may_still_push_to(*user));
        let users: Vec<usize> = (0..USERS).filter(is_over).collect();
        for &user in &users {
            let number = self.model.next_push(user);
            let prng = &mut self.machine.borrow_mut().prng;
            let pusher = Client::last_pusher(prng, user, number, self.scenario.is_staged);
            self.clients.push(pusher);
        }
        self.settle().await;
        for (&user, pusher) in users.iter().zip(&self.clients[first..]) {
            let number = self.model.next_push(user) - 1;
            // It may have been rejected, or too late.
            if self.model.pushes[&(user, number)].is_some() {
                for client in &self.clients {
                    client.check_last(user, number);
                }
            }
            assert!(!pusher.waits());
        }
    }

    fn begin_stop(&mut self) {
        self.model.is_stopping = true;
        self.stop.set(StopPlan {
            delay: Duration::from_millis(200),
            grace: Duration::from_mins(1),
            drain: Duration::from_secs(1),
            close_grace: Duration::from_secs(5),
        });
        self.exchange.wake_all();
    }

    /// Asserts that nothing is left.
    fn check_end(mut self) -> Coverage {
        let machine = &mut *self.machine.borrow_mut();
        // What the gateway sent last may not have been read yet.
        for client in &mut self.clients {
            while client.step(machine, &mut self.model) {}
            client.check_end();
        }
        machine.kernels.iter().for_each(KernelState::check_end);
        assert!(machine.descriptors.is_empty(), "each socket is closed");
        assert!(!machine.links.iter().any(Link::is_open));
        assert_eq!(self.exchange.connections(), 0);
        let is_flawed = self.clients.iter().any(Client::is_flawed);
        self.model.has_losses =
            is_flawed || self.scenario.has_jumps || self.scenario.stops_at.is_some();
        self.model.check_end();
        machine.coverage.deliveries = self.model.received;
        machine.coverage.replies = self.model.replies;
        machine.coverage
    }
}

/// Creates the loop of a shard.
fn begin(
    (simulation, exchange, stop): (&Simulation, &Arc<Exchange>, &Arc<StopFlag>),
    machine: &Rc<RefCell<Machine>>,
    scenario: &Scenario,
    shard: usize,
    seed: u64,
) -> RunningLoop {
    let id = ShardId::new(shard);
    let seeds = Seeds {
        hash: HashSeed([seed, 1]),
        random: [seed.to_le_bytes()[0]; 32],
    };
    let shard_loop = Loop {
        kernel: FakeKernel {
            machine: Rc::clone(machine),
            shard,
            read: Vec::new(),
        },
        clock: FakeClock {
            machine: Rc::clone(machine),
            shard,
        },
        id,
        host: simulation.host(id, seeds).expect("it can be set up"),
        listeners: vec![Listener::open(scenario.stage(seed)); scenario.listeners],
        exchange: Arc::clone(exchange),
        on_idle: None,
        fault: None,
        stop: Arc::clone(stop),
        limits: scenario.limits,
        state: LoopState::new(machine.borrow().now),
    };
    Box::pin(shard_loop.run())
}

fn builder() -> Builder {
    let mut config = Config::default();
    config
        .routes
        .retain(|route| matches!(route.path.as_str(), "/ws" | "/easyws"));
    config.http.http_in_bytes_max = 4_096;
    config.http.http_out_bytes_max = 4_096;
    for route in &mut config.routes {
        route.limits.outbox_bytes_max = 16 << 10;
    }
    Gateway::builder(config).shard(|setup| {
        setup
            .route("/easyws")
            .handle("slow", |cx: Context| async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                Reply::text(cx.text().expect("a number"))
            });
    })
}

fn clients(prng: &mut Prng, scenario: &Scenario) -> Vec<Client> {
    let mut roles = vec![Role::Visitor; prng.range(0, 1) as usize];
    for user in 0..USERS {
        roles.push(Role::Pusher { user });
        roles.extend((0..prng.range(1, 2)).map(|_| Role::Subscriber { user }));
    }
    roles.extend((0..prng.range(0, 2)).map(|_| Role::Caller));
    let roles = roles.into_iter();
    roles
        .map(|role| {
            let shard = prng.range(0, 1) as usize;
            Client::new(prng, role, shard, scenario.has_flaws, scenario.is_staged)
        })
        .collect()
}

impl Coverage {
    /// Adds another run's.
    pub(super) fn add(&mut self, other: &Self) {
        self.short_sends += other.short_sends;
        self.cancelled_sends += other.cancelled_sends;
        self.data_after_cancel += other.data_after_cancel;
        self.without_buffer += other.without_buffer;
        self.overflows += other.overflows;
        self.failed_accepts += other.failed_accepts;
        self.rejected += other.rejected;
        self.lost_cancels += other.lost_cancels;
        self.resets += other.resets;
        self.jumps += other.jumps;
        self.stops_under_way += other.stops_under_way;
        self.deliveries += other.deliveries;
        self.replies += other.replies;
    }
}

const SHARDS: usize = 2;
const USERS: usize = 2;
const STEPS: u32 = 300;
/// More than any timeout, so that the host takes it for a pause of the process.
const JUMP: Duration = Duration::from_mins(5);
/// Turns of the runtime's tasks between two turns of the shards.
const TASK_TURNS: u32 = 2;
/// Time in which everything comes that is waited for, stalled clients' ends included.
const WAIT_MAX: Duration = Duration::from_secs(90);
