//! The shards' threads: preparation, start and end (docs/design/io.md 7).
//!
//! Limits are raised, the ring is tried and the port is bound before any thread starts. A failure
//! is one [`StartError`] with the cause and the remedy.

use super::accept::Listener;
use super::clock::{Clock as _, SystemClock};
use super::listen::listen;
use super::probe::{
    self, FILES_RESERVED, RUNTIME_ENTRIES, ShardCount, allowed_cpus, fitting_ring,
    raise_open_files, retry_for,
};
use super::run::{Loop, LoopState};
use super::stage::StageFactory;
use super::stop::{Ending, StopFlag, StopPlan};
use super::uring::ring::{DataRing, RingSize};
use super::watchdog::SharedWatch;
use super::{IdleFunction, TurnLimits, start_error::StartError};
use crate::config::Config;
use crate::handler::{HandleCore, SetupError, Setups, Watch};
use crate::host::{Host, HostParts, HostSettings, Seeds};
use crate::mailbox::{Exchange, WakeHandle};
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

/// The resources acquired before any thread starts.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) limits: ProcessLimits,
    pub(crate) shards: ShardCount,
    listeners: Vec<Vec<OwnedFd>>,
    eventfds: Vec<OwnedFd>,
    cpus: Vec<usize>,
    ring: RingSize,
}

/// The parts that all shards of a process share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) host: HostSettings,
    pub(crate) turn_limits: TurnLimits,
    /// Called when a shard has been idle for one second after it freed memory.
    pub(crate) on_idle: Option<Arc<IdleFunction>>,
    pub(crate) fault: Option<Fault>,
    /// Creates the stages of all connections; `None` if they have none.
    pub(crate) stage: Option<StageFactory>,
    pub(crate) setups: Setups,
    pub(crate) core: Arc<HandleCore>,
    pub(crate) watch: SharedWatch,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) stop: Arc<StopFlag>,
}

/// The reason that a shard did not start.
#[derive(Debug)]
pub(crate) enum ShardStartError {
    /// A resource of the machine is missing.
    Start(StartError),
    /// An embedder's setup failed.
    Setup(SetupError),
}

impl From<StartError> for ShardStartError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Raises limits, tries the ring and binds the port.
///
/// # Errors
///
/// [`StartError::OpenFiles`] if the limit of open files is too low; otherwise as [`fitting_ring`]
/// and [`listen`]; [`StartError::Thread`] if an eventfd cannot be made.
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
    // On a thread of its own: the kernel interrupts the thread that made a ring once more after the
    // ring is gone, and a system call of the embedder's thread would fail with EINTR.
    let probe = std::thread::scope(|scope| {
        scope
            .spawn(|| fitting_ring(&config.ring, shards))
            .join()
            .expect("the probe does not panic")
    });
    let ring = probe?;
    let listening = listen(config.listen, shards, &config.limits)?;

    let eventfds: Vec<OwnedFd> = (0..shards)
        .map(|_| new_eventfd())
        .collect::<Result<_, _>>()?;
    let mut wake_handles: Vec<WakeHandle> = Vec::new();
    for eventfd in &eventfds {
        let eventfd = eventfd.try_clone().map_err(StartError::Thread)?;
        wake_handles.push(Some(Box::new(move || signal_eventfd(&eventfd))));
    }
    let exchange = Exchange::new(
        wake_handles,
        config.limits.mailbox_messages_max as usize,
        config.limits.mailbox_bytes_max,
        config.limits.pushes_in_flight_max as usize,
    );
    // Under a quota the kernel limits time, not cores. If shards were pinned, gateways in several
    // containers would all share the machine's first cores.
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
        eventfds,
        cpus,
        ring,
    })
}

impl Prepared {
    /// Starts one thread for each shard, and returns when all of them accept connections.
    ///
    /// # Errors
    ///
    /// The first failure of a shard. The other shards have been stopped by then.
    pub(crate) fn start(self, common: &Common) -> Result<Vec<JoinHandle<()>>, ShardStartError> {
        let (ready, readies) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        let per_shard = self.listeners.into_iter().zip(self.eventfds).enumerate();
        for (index, (listeners, eventfd)) in per_shard {
            let shard_thread = ShardThread {
                id: ShardId::new(index),
                listeners,
                eventfd,
                cpu: self.cpus.get(index % self.cpus.len().max(1)).copied(),
                ring: self.ring,
                seeds: random_seeds().map_err(StartError::Thread)?,
                common: common.clone(),
            };
            let ready = ready.clone();
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || shard_thread.run(&ready));
            threads.push(thread.map_err(StartError::Thread)?);
        }
        drop(ready);
        let started: Vec<Result<(), ShardStartError>> =
            readies.iter().take(threads.len()).collect();
        assert_eq!(
            started.len(),
            threads.len(),
            "each shard reports whether it is ready"
        );
        if let Some(error) = started.into_iter().find_map(Result::err) {
            common.stop.set(StopPlan::default());
            // Wake all before joining any: no shard ends before all are done.
            common.exchange.wake_all();
            for thread in threads {
                drop(thread.join());
            }
            return Err(error);
        }
        Ok(threads)
    }
}

/// The parts of one shard's thread.
struct ShardThread {
    id: ShardId,
    listeners: Vec<OwnedFd>,
    eventfd: OwnedFd,
    cpu: Option<usize>,
    ring: RingSize,
    seeds: Seeds,
    common: Common,
}

impl ShardThread {
    /// Runs the thread's body. A panic in it aborts the process: a gateway that has lost a shard
    /// still looks alive, which is worse than none.
    fn run(self, ready: &Sender<Result<(), ShardStartError>>) {
        let _guard = AbortOnPanic;
        if let Some(cpu) = self.cpu {
            pin_to(cpu);
        }
        let runtime = retry_for(RETRY_TIMEOUT, || {
            tokio_uring::Runtime::new(tokio_uring::builder().entries(RUNTIME_ENTRIES))
        });
        let made = runtime.and_then(|runtime| {
            let ring = retry_for(RETRY_TIMEOUT, || {
                DataRing::new(self.ring, self.eventfd.try_clone()?)
            });
            Ok((runtime, ring?))
        });
        let (runtime, ring) = match made {
            Ok(made) => made,
            Err(error) => {
                // The receiver stops the other shards.
                drop(ready.send(Err(StartError::ring(error).into())));
                self.common.core.commands.close(self.id);
                self.common.exchange.shard_done();
                return;
            }
        };
        let stop = Arc::clone(&self.common.stop);
        let counters = runtime.block_on(self.serve(ring, ready));
        stop.send_ending(Ending::Counted(counters));
        // This waits for blocking work, without a time limit.
        drop(runtime);
        stop.send_ending(Ending::Gone);
    }

    /// Sets up the shard and runs its loop; returns its counters. The setup runs inside the
    /// runtime, since an embedder may start tasks and timers in it.
    async fn serve(
        self,
        mut ring: DataRing,
        ready: &Sender<Result<(), ShardStartError>>,
    ) -> Counters {
        let Common {
            host: settings,
            turn_limits,
            on_idle,
            fault,
            stage,
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
                drop(ready.send(Err(ShardStartError::Setup(error))));
                // The setup may have passed its handle to other threads, which must not wait.
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
        let listeners = vec![Listener::open(stage); self.listeners.len()];
        ring.listen_on(self.listeners);
        let shard_loop = Loop {
            kernel: ring,
            clock: SystemClock,
            id: self.id,
            host,
            listeners,
            exchange: Arc::clone(&exchange),
            on_idle,
            fault,
            stop,
            limits: turn_limits,
            state: LoopState::new(SystemClock.now()),
        };
        let result = shard_loop.run().await;
        core.commands.close(self.id);
        result.expect("the data ring works once it was created")
    }
}

/// Aborts the process if its thread unwinds.
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

fn new_eventfd() -> Result<OwnedFd, StartError> {
    rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|error| StartError::Thread(error.into()))
}

fn signal_eventfd(eventfd: &OwnedFd) {
    // The eventfd is never read, so that it can only be full after 2^64 writes.
    rustix::io::write(eventfd, &1_u64.to_le_bytes()).expect("an eventfd takes a count");
}

fn random_seeds() -> io::Result<Seeds> {
    let [hash, _] = random_keys()?;
    Ok(Seeds {
        hash: HashSeed(hash),
        random: random_bytes()?,
    })
}

const RETRY_TIMEOUT: Duration = Duration::from_secs(1);
