//! What the kernel says about a process: CPU time, anonymous memory, threads; and the machine.
//!
//! The parsers are functions from text, tested on text; the readers open the file and say which one
//! could not be read. Times are nanoseconds on a CPU, the first field of `schedstat`, which the
//! kernel keeps exact at every switch of context.

use std::fs;

use crate::failure::{Attempt as _, Failure, Outcome};

/// Nanoseconds that all threads of `pid` have spent on a CPU.
///
/// A thread that has ended takes its time with it, so ask about processes whose threads stay.
///
/// # Errors
///
/// The process has ended, or the kernel was built without `CONFIG_SCHEDSTATS`.
pub(crate) fn cpu_ns(pid: u32) -> Outcome<u64> {
    let mut total = 0;
    for thread in threads(pid)? {
        let path = format!("/proc/{pid}/task/{thread}/schedstat");
        // A thread may end between the listing and the reading; its process is still there.
        if let Ok(text) = fs::read_to_string(&path) {
            total += parse_schedstat(&text)
                .ok_or_else(|| Failure::new(format!("{path} reads `{}`", text.trim())))?;
        }
    }
    Ok(total)
}

/// Nanoseconds that `pid` has spent on a CPU since it had spent `before_ns`.
///
/// # Errors
///
/// As [`cpu_ns`]; or a thread has ended in between, so that the difference means nothing.
pub(crate) fn cpu_since_ns(pid: u32, before_ns: u64) -> Outcome<u64> {
    cpu_ns(pid)?.checked_sub(before_ns).ok_or_else(|| {
        Failure::new(format!(
            "a thread of process {pid} ended during the measurement"
        ))
    })
}

/// Bytes of anonymous memory (`RssAnon`) that `pid` holds.
///
/// # Errors
///
/// The process has ended.
pub(crate) fn anonymous_bytes(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).attempt(&format!("read {path}"))?;
    parse_anonymous_bytes(&text)
        .ok_or_else(|| Failure::new(format!("{path} has no line RssAnon in kB")))
}

/// The thread of `pid` whose name is `name`.
///
/// # Errors
///
/// The process has ended.
pub(crate) fn thread_named(pid: u32, name: &str) -> Outcome<Option<u32>> {
    let of_that_name = |thread: &u32| {
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"))
            .is_ok_and(|comm| comm.trim_end() == name)
    };
    Ok(threads(pid)?.into_iter().find(of_that_name))
}

/// The kernel's release, the CPU's model and the number of CPUs, in one line.
pub(crate) fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let (model, count) = parse_cpus(&cpus);
    format!("Linux {}, {count} x {model}", kernel.trim())
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
    fn time_on_a_cpu_is_the_first_field() {
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
    fn cpus_are_counted_by_their_model_lines() {
        let text = "processor\t: 0\nmodel name\t: A CPU\n\nprocessor\t: 1\nmodel name\t: A CPU\n";
        assert_eq!(parse_cpus(text), ("A CPU", 2));
        assert_eq!(parse_cpus(""), ("unknown CPU", 0));
    }

    #[test]
    fn this_very_process_can_be_read() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).expect("this process is there") > 0);
        assert!(anonymous_bytes(pid).expect("this process is there") > 0);
        assert_eq!(thread_named(pid, "no thread"), Ok(None));
    }
}
