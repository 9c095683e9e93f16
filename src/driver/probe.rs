//! Checks of the machine before anything starts: open files, cores, kernel, rings
//! (docs/design/io.md 7).

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

/// The number of shards of a gateway, and whether a CPU quota reduced it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShardCount {
    /// Number of shards, at least 1.
    pub count: usize,
    /// Number of cores that the process may run on, if its CPU quota allows fewer shards than that;
    /// otherwise `None`.
    pub cores_beyond_quota: Option<usize>,
}

impl ShardCount {
    /// Returns the configured number, or else one shard for each core up to the quota.
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

/// Raises the soft limit of open files to the hard limit, and returns the limit now in force.
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

/// Returns the limit of connections of the process, from the config or else from the number of
/// files that may be open. `None` means unlimited files.
pub(super) fn sessions_max(config: &Config, files: Option<u64>) -> usize {
    let wanted = config.limits.sessions_max.map(|max| max.get() as usize);
    let files = usize::try_from(files.unwrap_or(FILES_UNLIMITED)).unwrap_or(usize::MAX);
    wanted.unwrap_or_else(|| files.saturating_sub(FILES_RESERVED))
}

/// Returns the number of shards for this config on this machine.
pub(super) fn shard_count(config: &Config) -> ShardCount {
    let quota = cgroup::quota_cores(Path::new("/"));
    let wanted = config.shards.map(|shards| usize::from(shards.get()));
    ShardCount::of(wanted, allowed_cpus().len(), quota)
}

/// Returns the CPUs of this thread's affinity mask; CPU 0 if it cannot be read.
pub(super) fn allowed_cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Returns the largest ring size, at most the configured one, for which one ring per shard can be
/// made.
///
/// # Errors
///
/// [`StartError::Kernel`] before Linux 6.1; [`StartError::LockedMemory`] if not even
/// `ring.entries_min` entries fit; otherwise as [`StartError::ring`].
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
            "little lockable memory; using smaller rings than configured (raise `ulimit -l`, \
             LimitMEMLOCK= in systemd)"
        );
    }
    Ok(size)
}

/// Makes the rings of all shards and of their runtimes at the same time, and closes them. The
/// memory of rings just closed comes back late, so each ring is retried for [`PROBE_TIMEOUT`].
fn try_rings(size: RingSize, shards: usize) -> io::Result<()> {
    let mut rings = Vec::new();
    for _ in 0..shards {
        let runtime = retry_for(PROBE_TIMEOUT, || io_uring::IoUring::new(RUNTIME_ENTRIES))?;
        let ring = retry_for(PROBE_TIMEOUT, || {
            let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
            DataRing::new(size, eventfd)
        })?;
        rings.push((runtime, ring));
    }
    Ok(())
}

/// Fails with [`StartError::Kernel`] if the kernel is older than [`KERNEL_MIN`].
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

/// Retries an attempt that fails for want of memory, until `timeout` has passed: the memory of
/// rings that were just closed comes back late. Other errors are returned at once.
#[expect(
    clippy::disallowed_methods,
    reason = "before the shard runs, its thread may wait"
)]
pub(super) fn retry_for<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match attempt() {
            Err(error)
                if error.kind() == io::ErrorKind::OutOfMemory && began.elapsed() < timeout =>
            {
                // Double the pause: a failed attempt's own memory comes back late too.
                std::thread::sleep(pause);
                pause *= 2;
            }
            result => return result,
        }
    }
}

/// Descriptors reserved for everything that is not a connection.
pub(super) const FILES_RESERVED: usize = 256;
/// Assumed limit of open files where none is set: the kernel's default of `fs.nr_open`.
const FILES_UNLIMITED: u64 = 1 << 20;
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Entries of a runtime's ring, which carries no connection.
pub(super) const RUNTIME_ENTRIES: u32 = 16;
/// Maximum time to retry each ring.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

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
            // The quota does not change a configured number.
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
