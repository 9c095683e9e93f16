//! What must be true before any thread starts, and the threads themselves (io.md 7).
//!
//! Limits are raised, the ring is tried out, the port is taken, and only then is anything started:
//! whatever is missing is one [`StartError`] that names the cause and the cure.

use super::accept::Listener;
use super::cgroup;
use super::listen::listen;
use super::run::{Loop, LoopState};
use super::stop::{Ending, StopFlag, StopPlan};
use super::uring::ring::{DataRing, RingSize};
use super::watchdog::{WatchSeats, Watchdog};
use super::{TurnLimits, start_error::StartError};
use crate::config::{Config, Ring};
use crate::embedder::{Embedder, Fault};
use crate::gateway::{Error, Setups};
use crate::handler::{Handle, HandleCore, Label, Setup, SetupError, Watch};
use crate::host::{Host, HostParts, HostSettings, Seeds};
use crate::mailbox::Exchange;
use crate::runtime::entropy::{random_bytes, random_keys};
use crate::shard::hash::HashSeed;
use crate::vocabulary::id::{SHARDS_MAX, ShardId};
use crate::vocabulary::limits::ProcessLimits;
use crate::vocabulary::metrics::Counters;
use rustix::event::EventfdFlags;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// The number of shards of a gateway, and why they are fewer than the cores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShardCount {
    /// The number of shards.
    pub count: usize,
    /// The number of cores that the process may run on, if its CPU quota is what allows fewer
    /// shards; `None` if there are as many as cores, or as the config says.
    pub cores_beyond_quota: Option<usize>,
}

/// What every shard of a process has in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) host: HostSettings,
    pub(crate) turn_limits: TurnLimits,
    pub(crate) embedder: Arc<Embedder>,
    pub(crate) setups: Setups,
    pub(crate) core: Arc<HandleCore>,
    pub(crate) watch: WatchSeats,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) stop: Arc<StopFlag>,
}

/// Raises limits, tries the ring and takes the port.
pub(crate) fn prepare(config: &Config) -> Result<Prepared, StartError> {
    let files = raise_open_files();
    let sessions_max = sessions_max(config, Some(files as u64));
    if sessions_max == 0 || sessions_max + FILES_RESERVED > files {
        return Err(StartError::OpenFiles {
            have: files,
            need: sessions_max.max(1) + FILES_RESERVED,
        });
    }

    let cpus = allowed_cpus();
    let shard_count = shard_count(config);
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
    let mut ringers: Vec<Box<dyn Fn() + Send + Sync>> = Vec::new();
    for bell in &bells {
        let bell = bell.try_clone().map_err(StartError::Thread)?;
        ringers.push(Box::new(move || ring_bell(&bell)));
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

impl ShardCount {
    /// As many shards as are wanted; else one for each core, but not more than the quota is worth.
    fn of(wanted: Option<usize>, cores: usize, quota_cores: Option<usize>) -> Self {
        let quota = quota_cores.filter(|&quota| wanted.is_none() && quota < cores);
        let count = wanted.or(quota).unwrap_or(cores);
        Self {
            count: count.clamp(1, SHARDS_MAX - 1),
            cores_beyond_quota: quota.map(|_| cores),
        }
    }
}

impl From<usize> for ShardCount {
    fn from(count: usize) -> Self {
        Self {
            count,
            cores_beyond_quota: None,
        }
    }
}

impl Prepared {
    /// Starts one thread for each shard, and returns when all of them accept connections.
    pub(crate) fn start(self, common: &Common) -> Result<Vec<JoinHandle<()>>, Error> {
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
                seeds: random_seeds().map_err(|error| Error::Start(StartError::Thread(error)))?,
                common: common.clone(),
            };
            let ready = ready.clone();
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || seat.run(&ready));
            threads.push(thread.map_err(|error| Error::Start(StartError::Thread(error)))?);
        }
        drop(ready);
        let started: Vec<Result<(), Error>> = readies.iter().take(threads.len()).collect();
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
    fn run(self, ready: &Sender<Result<(), Error>>) {
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
                drop(ready.send(Err(Error::Start(StartError::ring(error)))));
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
    async fn serve(self, ring: DataRing, ready: &Sender<Result<(), Error>>) -> Counters {
        let Common {
            host: settings,
            turn_limits,
            embedder,
            setups,
            core,
            watch,
            exchange,
            stop,
        } = self.common;
        let parts = HostParts {
            id: self.id,
            core: Arc::clone(&core),
            embedder: Arc::clone(&embedder),
            seeds: self.seeds,
            settings,
        };
        let slot = Arc::clone(&watch.slots[self.id.index()]);
        let watch = Watch::new(slot, watch.began, watch.stall);
        let host = match make_host(parts, &setups, watch) {
            Ok(host) => host,
            Err(error) => {
                drop(ready.send(Err(Error::Setup(error))));
                // A setup may have given its handle away.
                core.commands.close(self.id);
                exchange.shard_done();
                return Counters::default();
            }
        };
        drop(ready.send(Ok(())));
        if embedder.wants(Fault::Task) {
            let embedder = Arc::clone(&embedder);
            drop(tokio_uring::spawn(
                async move { embedder.provoke(Fault::Task) },
            ));
        }
        let shard_loop = Loop {
            ring,
            id: self.id,
            host,
            listeners: self.listeners.into_iter().map(Listener::from).collect(),
            exchange: Arc::clone(&exchange),
            embedder,
            stop,
            limits: turn_limits,
            state: LoopState::new(),
        };
        let result = shard_loop.run().await;
        core.commands.close(self.id);
        result.expect("the data ring goes on working once it was made")
    }
}

/// A host with everything that the embedder sets up on its shard.
pub(crate) fn make_host(
    parts: HostParts,
    setups: &Setups,
    watch: Watch,
) -> Result<Host, SetupError> {
    let mut parts = parts;
    let mut setup = Setup::new(Handle::new(Arc::clone(&parts.core), parts.id));
    for set_up in setups.iter() {
        if watch.run(Label::SETUP, || set_up(&mut setup)).is_err() {
            return Err(SetupError::panicked());
        }
    }
    let routes_count = parts.settings.shard.routes.len();
    let mut program = setup.finish(routes_count)?;
    let mut settings = (*parts.settings.shard).clone();
    program.settle(&mut settings)?;
    parts.settings.shard = Arc::new(settings);
    watch.name(std::mem::take(&mut program.labels));
    Ok(Host::new(parts, program, watch))
}

/// A watch that nobody looks at, for a simulation.
pub(crate) fn watch_of_nobody(config: &Config) -> Watch {
    let seats = Watchdog::new(config, 1).seats();
    Watch::new(Arc::clone(&seats.slots[0]), seats.began, seats.stall)
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

/// Raises the soft limit of open files to the hard one, and returns it.
fn raise_open_files() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(FILES_UNLIMITED);
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    let current = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(most),
    };
    usize::try_from(current).unwrap_or(usize::MAX)
}

/// Sessions and HTTP connections of the process where so many files may be open; `None` is any
/// number.
pub(super) fn sessions_max(config: &Config, files: Option<u64>) -> usize {
    let wanted = config.limits.sessions_max.map(|max| max.get() as usize);
    let files = usize::try_from(files.unwrap_or(FILES_UNLIMITED)).unwrap_or(usize::MAX);
    wanted.unwrap_or_else(|| files.saturating_sub(FILES_RESERVED))
}

/// How many shards there are, and why.
pub(super) fn shard_count(config: &Config) -> ShardCount {
    let quota = cgroup::quota_cores(Path::new("/"));
    let wanted = config.shards.map(|shards| usize::from(shards.get()));
    ShardCount::of(wanted, allowed_cpus().len(), quota)
}

fn allowed_cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "cannot pin a shard to its core");
    }
}

/// The largest ring, at most as large as the config says, of which one fits for each shard.
fn fitting_ring(ring: &Ring, shards: usize) -> Result<RingSize, StartError> {
    check_kernel()?;
    let mut size = RingSize {
        submission_entries: ring.submission_entries,
        completion_entries: ring.completion_entries,
        buffer_count: ring.buffer_count,
        buffer_bytes: ring.buffer_bytes,
    };
    while let Err(error) = try_rings(size, shards) {
        let is_memory = error.kind() == io::ErrorKind::OutOfMemory;
        if !is_memory || size.submission_entries / 2 < ring.entries_min {
            return Err(StartError::ring(error));
        }
        size.submission_entries /= 2;
        size.completion_entries /= 2;
    }
    if size.submission_entries < ring.submission_entries {
        tracing::warn!(
            entries = size.submission_entries,
            "little lockable memory: smaller rings than configured (ulimit -l, LimitMEMLOCK=)"
        );
    }
    Ok(size)
}

/// Makes as many rings at one time as there will be, the runtimes' own included. Those made are
/// kept while the next is waited for: the memory of larger ones, just closed, comes back late.
fn try_rings(size: RingSize, shards: usize) -> io::Result<()> {
    let mut rings = Vec::new();
    for _ in 0..shards {
        let runtime = patiently(PROBE_PATIENCE, || io_uring::IoUring::new(RUNTIME_ENTRIES))?;
        let ring = patiently(PROBE_PATIENCE, || {
            let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
            DataRing::new(size, bell)
        })?;
        rings.push((runtime, ring));
    }
    Ok(())
}

fn check_kernel() -> Result<(), StartError> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        return Err(StartError::Kernel {
            release: release.into_owned(),
        });
    }
    Ok(())
}

/// Tries again for a while: the memory of rings that were just closed, here by the probe, comes
/// back late.
#[expect(
    clippy::disallowed_methods,
    reason = "before the shard runs, its thread may wait"
)]
fn patiently<T>(patience: Duration, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match attempt() {
            Err(error)
                if error.kind() == io::ErrorKind::OutOfMemory && began.elapsed() < patience =>
            {
                // Longer each time: a failed attempt itself gives memory back late.
                std::thread::sleep(pause);
                pause *= 2;
            }
            result => return result,
        }
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

/// Descriptors for everything that is not a connection.
const FILES_RESERVED: usize = 256;
/// What is asked for where there is no hard limit; the kernel's own default bound.
const FILES_UNLIMITED: u64 = 1 << 20;
const KERNEL_MIN: (u32, u32) = (6, 1);
/// The runtime's ring carries no connection.
const RUNTIME_ENTRIES: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(1);
/// For each size that is tried.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_number_there_is_a_shard_for_each_core_that_the_quota_is_worth() {
        for (wanted, cores, quota, count, cores_beyond_quota) in [
            (None, 64, None, 64, None),
            (None, 64, Some(2), 2, Some(64)),
            (None, 2, Some(2), 2, None),
            (None, 2, Some(3), 2, None),
            (None, 4096, None, SHARDS_MAX - 1, None),
            (None, 4096, Some(2000), SHARDS_MAX - 1, Some(4096)),
            // Whoever says how many there are knows why.
            (Some(8), 64, Some(2), 8, None),
            (Some(8), 2, None, 8, None),
        ] {
            let expected = ShardCount {
                count,
                cores_beyond_quota,
            };
            let found = ShardCount::of(wanted, cores, quota);
            assert_eq!(found, expected, "{wanted:?} {cores} {quota:?}");
        }
    }
}
