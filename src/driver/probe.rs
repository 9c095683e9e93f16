//! What the machine allows, found out before anything is started (io.md 7).

use super::cgroup;
use super::start_error::StartError;
use super::uring::ring::{DataRing, RingSize};
use crate::config::{Config, Ring};
use crate::vocabulary::id::SHARDS_MAX;
use rustix::event::EventfdFlags;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The number of shards of a gateway, and why they are fewer than the cores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShardCount {
    /// The number of shards.
    pub count: usize,
    /// The number of cores that the process may run on, if its CPU quota is what allows fewer
    /// shards; `None` if there are as many as cores, or as the config says.
    pub cores_beyond_quota: Option<usize>,
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

/// Raises the soft limit of open files to the hard one, and returns it.
pub(super) fn raise_open_files() -> usize {
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

pub(super) fn allowed_cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// The largest ring, at most as large as the config says, of which one fits for each shard.
pub(super) fn fitting_ring(ring: &Ring, shards: usize) -> Result<RingSize, StartError> {
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
pub(super) fn patiently<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
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

/// Descriptors for everything that is not a connection.
pub(super) const FILES_RESERVED: usize = 256;
/// What is asked for where there is no hard limit; the kernel's own default bound.
const FILES_UNLIMITED: u64 = 1 << 20;
const KERNEL_MIN: (u32, u32) = (6, 1);
/// The runtime's ring carries no connection.
pub(super) const RUNTIME_ENTRIES: u32 = 16;
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
