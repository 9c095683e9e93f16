//! Readings of `/proc`: CPU time, anonymous memory and threads of a process, and the machine.
//!
//! Parsers are pure functions of text. Readers open the file and name it in their errors. CPU times
//! are nanoseconds from the first field of `schedstat`, which the kernel updates at every context
//! switch.
//!
//! Some kernels account part of a thread's time to the `ksoftirqd` thread of its CPU: if
//! `ksoftirqd` is woken during a system call, all time of the call since the last tick (10 to 18 %
//! of a fan-out on Linux 6.18). Therefore the time of `ksoftirqd` on a CPU that a process has for
//! itself counts as that process's.

use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::clock::{self, MILLISECOND_NS, SECOND_NS};
use crate::failure::{Attempt as _, Failure, Outcome};

/// Returns the CPU time of all threads of `pid` and its descendants in nanoseconds, with the time
/// of `ksoftirqd` on CPUs that they may use and this process may not.
///
/// The time of threads that have ended is not included.
///
/// # Errors
///
/// The process has exited, or the kernel was built without `CONFIG_SCHEDSTATS`.
pub(crate) fn cpu_ns(pid: u32) -> Outcome<u64> {
    let mut total = 0;
    for task in tasks(pid)? {
        let path = format!("{task}/schedstat");
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(&path) {
            total += parse_schedstat(&text)
                .ok_or_else(|| Failure::new(format!("{path} reads `{}`", text.trim())))?;
        }
    }
    Ok(total + ksoftirqd_ns(&allowed(pid)?, &allowed(std::process::id())?))
}

/// Returns the CPU time of this process in nanoseconds, including threads that have ended, with the
/// time of `ksoftirqd` on CPUs that it may use and `server` may not.
///
/// # Errors
///
/// The server has exited.
pub(crate) fn own_cpu_ns(server: Option<u32>) -> Outcome<u64> {
    let own = clock::own_cpu_ns();
    let Some(server) = server else {
        return Ok(own);
    };
    Ok(own + ksoftirqd_ns(&allowed(std::process::id())?, &allowed(server)?))
}

/// Returns the CPU time of `ksoftirqd` on the CPUs in `these` but not in `others`, in nanoseconds.
/// It is 0 in containers, which hide kernel threads.
fn ksoftirqd_ns(these: &CpuSet, others: &CpuSet) -> u64 {
    static THREADS: OnceLock<BTreeMap<usize, u32>> = OnceLock::new();
    let threads = THREADS.get_or_init(ksoftirqd_threads);
    let alone = threads
        .iter()
        .filter(|(cpu, _)| these.is_set(**cpu) && !others.is_set(**cpu));
    let booked = alone.filter_map(|(_, thread)| {
        let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).ok()?;
        parse_schedstat(&text)
    });
    booked.sum()
}

/// Returns the `ksoftirqd` threads by CPU.
fn ksoftirqd_threads() -> BTreeMap<usize, u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let threads = numbers.filter_map(|number: u32| {
        let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
        let cpu = name.trim_end().strip_prefix("ksoftirqd/")?.parse().ok()?;
        Some((cpu, number))
    });
    threads.collect()
}

/// Returns the CPUs that a process may use.
fn allowed(pid: u32) -> Outcome<CpuSet> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    sched_getaffinity(process).attempt(&format!("read the CPU affinity of process {pid}"))
}

/// Returns the CPU time of `pid` in nanoseconds since [`cpu_ns`] returned `before_ns`.
///
/// # Errors
///
/// As [`cpu_ns`], or the time has decreased because a thread has ended.
pub(crate) fn cpu_since_ns(pid: u32, before_ns: u64) -> Outcome<u64> {
    cpu_ns(pid)?.checked_sub(before_ns).ok_or_else(|| {
        Failure::new(format!(
            "a thread of process {pid} ended during the measurement"
        ))
    })
}

/// Returns the time that this thread was runnable but waited for a CPU, in nanoseconds.
///
/// # Errors
///
/// The kernel was built without `CONFIG_SCHEDSTATS`.
pub(crate) fn own_waited_ns() -> Outcome<u64> {
    let path = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(path).attempt(&format!("read {path}"))?;
    let waited = text.split_ascii_whitespace().nth(1).map(str::parse);
    let unread = || Failure::new(format!("{path} reads `{}`", text.trim()));
    waited.and_then(Result::ok).ok_or_else(unread)
}

/// Waits until the process has used less than 1 % of a core for 500 ms.
///
/// # Errors
///
/// The process is not idle within 60 s, or has exited.
pub(crate) fn wait_until_idle(pid: u32) -> Outcome<()> {
    let deadline = clock::now_ns() + 60 * SECOND_NS;
    let mut still = 0;
    let mut last = cpu_ns(pid)?;
    while still < 5 {
        if clock::now_ns() > deadline {
            return Err(Failure::new("the server is not idle after 60 s"));
        }
        clock::pause(Duration::from_millis(100));
        let now = cpu_ns(pid)?;
        still = if now.abs_diff(last) < MILLISECOND_NS {
            still + 1
        } else {
            0
        };
        last = now;
    }
    Ok(())
}

/// Returns the voluntary and involuntary context switches of `pid` and its descendants.
///
/// # Errors
///
/// The process has exited.
pub(crate) fn switches(pid: u32) -> Outcome<(u64, u64)> {
    let mut total = (0, 0);
    for task in tasks(pid)? {
        let path = format!("{task}/status");
        let text = fs::read_to_string(&path).unwrap_or_default();
        total.0 += parse_number(&text, "voluntary_ctxt_switches:").unwrap_or_default();
        total.1 += parse_number(&text, "nonvoluntary_ctxt_switches:").unwrap_or_default();
    }
    Ok(total)
}

/// Returns the kernel's slab memory and TCP buffers in bytes, for the whole machine.
///
/// # Errors
///
/// `/proc/meminfo` or `/proc/net/sockstat` cannot be read or lacks the line.
pub(crate) fn kernel_bytes() -> Outcome<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).attempt("read /proc/meminfo")?;
    let slabs = parse_number(&text, "Slab:")
        .ok_or_else(|| Failure::new(format!("{path} has no line Slab")))?;
    let path = "/proc/net/sockstat";
    let text = fs::read_to_string(path).attempt("read /proc/net/sockstat")?;
    let pages = parse_tcp_pages(&text)
        .ok_or_else(|| Failure::new(format!("{path} has no pages of TCP")))?;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Ok(slabs * 1024 + pages * page)
}

/// Returns the anonymous memory (`RssAnon`) of `pid` and its descendants in bytes.
///
/// # Errors
///
/// The process has exited.
pub(crate) fn anonymous_bytes(pid: u32) -> Outcome<u64> {
    let own = anonymous_bytes_of(pid)?;
    // A child may exit between the listing and the reading.
    let children = descendants(pid)
        .into_iter()
        .filter_map(|child| anonymous_bytes_of(child).ok());
    Ok(own + children.sum::<u64>())
}

fn anonymous_bytes_of(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).attempt(&format!("read {path}"))?;
    parse_anonymous_bytes(&text)
        .ok_or_else(|| Failure::new(format!("{path} has no line RssAnon in kB")))
}

/// Returns the id of the thread of `pid` named `name`; `None` if there is none.
///
/// # Errors
///
/// The process has exited.
pub(crate) fn thread_named(pid: u32, name: &str) -> Outcome<Option<u32>> {
    let of_that_name = |thread: &u32| {
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"))
            .is_ok_and(|comm| comm.trim_end() == name)
    };
    Ok(threads(pid)?.into_iter().find(of_that_name))
}

/// Returns the kernel's release, the number of CPUs and their model in one line.
pub(crate) fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let (model, count) = parse_cpus(&cpus);
    format!("Linux {}, {count} x {model}", kernel.trim())
}

/// Returns the `/proc` folders of all threads of `pid` and its descendants. Some servers fork.
fn tasks(pid: u32) -> Outcome<Vec<String>> {
    let mut tasks = Vec::new();
    let folder = |pid: u32, thread: u32| format!("/proc/{pid}/task/{thread}");
    tasks.extend(threads(pid)?.into_iter().map(|thread| folder(pid, thread)));
    for child in descendants(pid) {
        let threads = threads(child).unwrap_or_default(); // The child may have exited.
        tasks.extend(threads.into_iter().map(|thread| folder(child, thread)));
    }
    Ok(tasks)
}

/// Returns all descendants of `pid`.
fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        for thread in threads(parent).unwrap_or_default() {
            let path = format!("/proc/{parent}/task/{thread}/children");
            let text = fs::read_to_string(path).unwrap_or_default();
            let children = text
                .split_ascii_whitespace()
                .filter_map(|word| word.parse().ok());
            for child in children {
                all.push(child);
                next.push(child);
            }
        }
    }
    all
}

fn threads(pid: u32) -> Outcome<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).attempt(&format!("list {path}"))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn parse_anonymous_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the number in the line that begins with `name`.
fn parse_number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn parse_tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

fn parse_cpus(cpuinfo: &str) -> (&str, usize) {
    let models = cpuinfo.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim())
    });
    let model = models.clone().next().unwrap_or("unknown CPU");
    (model, models.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_first_field() {
        assert_eq!(parse_schedstat("4912345678 1203 77\n"), Some(4_912_345_678));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_schedstat("no 1 2"), None);
    }

    #[test]
    fn anonymous_memory_is_in_kibibytes() {
        let status = "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t     512 kB\nRssFile:\t 388 kB\n";
        assert_eq!(parse_anonymous_bytes(status), Some(512 * 1024));
        assert_eq!(parse_anonymous_bytes("RssFile:\t 388 kB\n"), None);
        assert_eq!(parse_anonymous_bytes("RssAnon:\t 388 pages\n"), None);
    }

    #[test]
    fn numbers_are_found_by_the_prefix_of_their_line() {
        let text = "voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\nSlab:   77 kB\n";
        assert_eq!(parse_number(text, "voluntary_ctxt_switches:"), Some(12));
        assert_eq!(parse_number(text, "nonvoluntary_ctxt_switches:"), Some(3));
        assert_eq!(parse_number(text, "Slab:"), Some(77));
        assert_eq!(parse_number(text, "Other:"), None);
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 6 mem 42\nUDP: mem 1\n";
        assert_eq!(parse_tcp_pages(sockstat), Some(42));
        assert_eq!(parse_tcp_pages("UDP: mem 1\n"), None);
    }

    #[test]
    fn cpus_are_counted_by_their_model_lines() {
        let text = "processor\t: 0\nmodel name\t: A CPU\n\nprocessor\t: 1\nmodel name\t: A CPU\n";
        assert_eq!(parse_cpus(text), ("A CPU", 2));
        assert_eq!(parse_cpus(""), ("unknown CPU", 0));
    }

    #[test]
    fn the_files_of_this_process_can_be_read() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).expect("this process is there") > 0);
        assert!(own_cpu_ns(Some(pid)).expect("this process is there") > 0);
        let own = allowed(pid).expect("this process is there");
        assert_eq!(
            ksoftirqd_ns(&own, &own),
            0,
            "the time of a shared CPU counts for neither"
        );
        assert!(anonymous_bytes(pid).expect("this process is there") > 0);
        assert_eq!(thread_named(pid, "no thread"), Ok(None));
    }
}
