//! One thread for each shard: what they are made of, how they start, how they end (io.md 7).
//!
//! Limits are raised, the ring is tried out, the port is taken, and only then is anything started:
//! whatever is missing is one [`StartError`] that names the cause and the cure.

use super::accept::Listener;
use super::listen::listen;
use super::probe::{
    self, FILES_RESERVED, RUNTIME_ENTRIES, ShardCount, allowed_cpus, fitting_ring, patiently,
    raise_open_files,
};
use super::run::{Loop, LoopState};
use super::stop::{Ending, StopFlag, StopPlan};
use super::uring::ring::{DataRing, RingSize};
use super::watchdog::WatchSeats;
use super::{IdleFunction, TurnLimits, start_error::StartError};
use crate::config::Config;
use crate::handler::{HandleCore, SetupError, Setups, Watch};
use crate::host::{Host, HostParts, HostSettings, Seeds};
use crate::mailbox::{Bell, Exchange};
use crate::runtime::entropy::{random_bytes, random_keys};
use crate::runtime::fault::Fault;
use crate::shard::hash::HashSeed;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::limits::ProcessLimits;
use crate::vocabulary::metrics::Counters;
use rustix::event::EventfdFlags;
use rustix::thread::CpuSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

/// What was found and taken before any thread started.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) limits: ProcessLimits,
    pub(crate) shards: ShardCount,
    listeners: Vec<Vec<OwnedFd>>,
    bells: Vec<OwnedFd>,
    cpus: Vec<usize>,
    ring: RingSize,
}

/// What every shard of a process has in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) host: HostSettings,
    pub(crate) turn_limits: TurnLimits,
    /// Called when a shard has been idle for a second after it gave up memory.
    pub(crate) on_idle: Option<Arc<IdleFunction>>,
    pub(crate) fault: Option<Fault>,
    pub(crate) setups: Setups,
    pub(crate) core: Arc<HandleCore>,
    pub(crate) watch: WatchSeats,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) stop: Arc<StopFlag>,
}

/// Why a shard has not started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The machine does not give what it needs.
    Start(StartError),
    /// What is set up on it cannot be.
    Setup(SetupError),
}

impl From<StartError> for NotStarted {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Raises limits, tries the ring and takes the port.
pub(crate) fn prepare(config: &Config) -> Result<Prepared, StartError> {
    let files = raise_open_files();
    let sessions_max = probe::sessions_max(config, Some(files as u64));
    if sessions_max == 0 || sessions_max + FILES_RESERVED > files {
        return Err(StartError::OpenFiles {
            have: files,
            need: sessions_max.max(1) + FILES_RESERVED,
        });
    }

    let cpus = allowed_cpus();
    let shard_count = probe::shard_count(config);
    let shards = shard_count.count;
    // On a thread of its own: the kernel interrupts whoever has made a ring once more when it is
    // gone, and an embedder's thread would see a system call fail with EINTR.
    let probe = std::thread::scope(|scope| {
        scope
            .spawn(|| fitting_ring(&config.ring, shards))
            .join()
            .expect("a panic there is ours")
    });
    let ring = probe?;
    let listening = listen(config.listen, shards, &config.limits)?;

    let bells: Vec<OwnedFd> = (0..shards).map(|_| new_bell()).collect::<Result<_, _>>()?;
    let mut ringers: Vec<Bell> = Vec::new();
    for bell in &bells {
        let bell = bell.try_clone().map_err(StartError::Thread)?;
        ringers.push(Some(Box::new(move || ring_bell(&bell))));
    }
    let exchange = Exchange::new(
        ringers,
        config.limits.mailbox_messages_max as usize,
        config.limits.mailbox_bytes_max,
        config.limits.pushes_in_flight_max as usize,
    );
    // Under a quota the kernel shares out time, not cores: gateways of several containers would all
    // be pinned to the first cores of the machine.
    let is_pinned = config.pin && shard_count.cores_beyond_quota.is_none();
    let cpus = if is_pinned { cpus } else { Vec::new() };
    Ok(Prepared {
        addresses: listening.addresses,
        exchange,
        limits: ProcessLimits {
            sessions_max,
            http_connections_max: config.http.http_connections_max as usize,
            open_files_max: files,
        },
        shards: shard_count,
        listeners: listening.shards,
        bells,
        cpus,
        ring,
    })
}

impl Prepared {
    /// Starts one thread for each shard, and returns when all of them accept connections.
    pub(crate) fn start(self, common: &Common) -> Result<Vec<JoinHandle<()>>, NotStarted> {
        let (ready, readies) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        let seats = self.listeners.into_iter().zip(self.bells).enumerate();
        for (index, (listeners, bell)) in seats {
            let seat = Seat {
                id: ShardId::new(index),
                listeners,
                bell,
                cpu: self.cpus.get(index % self.cpus.len().max(1)).copied(),
                ring: self.ring,
                seeds: random_seeds().map_err(StartError::Thread)?,
                common: common.clone(),
            };
            let ready = ready.clone();
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || seat.run(&ready));
            threads.push(thread.map_err(StartError::Thread)?);
        }
        drop(ready);
        let started: Vec<Result<(), NotStarted>> = readies.iter().take(threads.len()).collect();
        assert_eq!(
            started.len(),
            threads.len(),
            "each shard says whether it is ready"
        );
        if let Some(error) = started.into_iter().find_map(Result::err) {
            common.stop.set(StopPlan::default());
            // All of them before any is waited for: none leaves until all are done.
            common.exchange.wake_all();
            for thread in threads {
                drop(thread.join());
            }
            return Err(error);
        }
        Ok(threads)
    }
}

/// What one shard's thread is given.
struct Seat {
    id: ShardId,
    listeners: Vec<OwnedFd>,
    bell: OwnedFd,
    cpu: Option<usize>,
    ring: RingSize,
    seeds: Seeds,
    common: Common,
}

impl Seat {
    /// The body of a shard's thread. A panic here ends the process: half a gateway that looks alive
    /// is worse than none.
    fn run(self, ready: &Sender<Result<(), NotStarted>>) {
        let _guard = AbortOnPanic;
        if let Some(cpu) = self.cpu {
            pin_to(cpu);
        }
        let runtime = patiently(PATIENCE, || {
            tokio_uring::Runtime::new(tokio_uring::builder().entries(RUNTIME_ENTRIES))
        });
        let made = runtime.and_then(|runtime| {
            let ring = patiently(PATIENCE, || {
                DataRing::new(self.ring, self.bell.try_clone()?)
            });
            Ok((runtime, ring?))
        });
        let (runtime, ring) = match made {
            Ok(made) => made,
            Err(error) => {
                // Whoever waits for it stops the others.
                drop(ready.send(Err(StartError::ring(error).into())));
                self.common.core.commands.close(self.id);
                self.common.exchange.shard_done();
                return;
            }
        };
        let stop = Arc::clone(&self.common.stop);
        let counters = runtime.block_on(self.serve(ring, ready));
        stop.say(Ending::Counted(counters));
        // Waits for work that blocks, however long that takes.
        drop(runtime);
        stop.say(Ending::Gone);
    }

    /// Sets the shard up and runs it. It is within the runtime: what an embedder sets up may be
    /// tasks and timers of its own.
    async fn serve(self, ring: DataRing, ready: &Sender<Result<(), NotStarted>>) -> Counters {
        let Common {
            host: settings,
            turn_limits,
            on_idle,
            fault,
            setups,
            core,
            watch,
            exchange,
            stop,
        } = self.common;
        let parts = HostParts {
            id: self.id,
            core: Arc::clone(&core),
            fault,
            seeds: self.seeds,
            settings,
        };
        let slot = Arc::clone(&watch.slots[self.id.index()]);
        let watch = Watch::new(slot, watch.began, watch.stall);
        let host = match Host::build(parts, &setups, watch) {
            Ok(host) => host,
            Err(error) => {
                drop(ready.send(Err(NotStarted::Setup(error))));
                // A setup may have given its handle away.
                core.commands.close(self.id);
                exchange.shard_done();
                return Counters::default();
            }
        };
        drop(ready.send(Ok(())));
        if fault == Some(Fault::Task) {
            drop(tokio_uring::spawn(
                async move { Fault::Task.provoke(fault) },
            ));
        }
        let shard_loop = Loop {
            ring,
            id: self.id,
            host,
            listeners: self.listeners.into_iter().map(Listener::from).collect(),
            exchange: Arc::clone(&exchange),
            on_idle,
            fault,
            stop,
            limits: turn_limits,
            state: LoopState::new(),
        };
        let result = shard_loop.run().await;
        core.commands.close(self.id);
        result.expect("the data ring goes on working once it was made")
    }
}

/// Ends the process if its thread unwinds.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "cannot pin a shard to its core");
    }
}

fn new_bell() -> Result<OwnedFd, StartError> {
    rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|error| StartError::Thread(error.into()))
}

fn ring_bell(bell: &OwnedFd) {
    // It is never read, so it can only be full after 2^64 rings.
    rustix::io::write(bell, &1_u64.to_le_bytes()).expect("an eventfd takes a count");
}

fn random_seeds() -> io::Result<Seeds> {
    let [hash, _] = random_keys()?;
    Ok(Seeds {
        hash: HashSeed(hash),
        random: random_bytes()?,
    })
}

const PATIENCE: Duration = Duration::from_secs(1);
