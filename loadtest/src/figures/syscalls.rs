//! The figure `syscalls`: system calls of the shard thread per push to 1,000 sessions.
//!
//! `strace -c` counts them on the thread named `shard-0`, or in the whole process if no thread has
//! that name. The calls for HTTP are included.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::table::Row;
use super::{Bench, engine};
use crate::clock;
use crate::engine::{Engine, Until};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{Capability, Purpose};
use crate::scenario::{members, sizes};
use crate::stats::{count, float};
use crate::{gateway, limits, procfs};

/// The distribution of pushes over time.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// 16 pushes in one write; the next 16 after their responses.
    Pipelined,
    /// One push; the next after its response.
    Following,
    /// One push; the next 20 ms after its response, so that the shard sleeps in between.
    Apart,
}

/// Measures one row per pace on one gateway. Without `strace` the figure is missing.
///
/// # Errors
///
/// The gateway cannot be started, a push fails, or `strace` fails after it attached.
pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    const FIGURE: &str = "syscalls";
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(vec![Row::missing(FIGURE, "strace is not installed")]);
    }
    limits::raise_file_limit(SESSIONS)?;
    let gateway = bench.start_gateway()?;
    let all = members(0, SESSIONS, 1);
    let mut engine = engine(&gateway, sizes(&all, 1))?;
    engine.open(&all, Purpose::Receive, 64)?;
    engine.add_publishers(1, 16)?;
    engine.probe(Capability::Http, SESSIONS)?;

    let mut rows = Vec::new();
    for (pace, figure, limit) in [
        (Pace::Pipelined, "syscalls, 16 pipelined", 3.0),
        (Pace::Following, "syscalls, one after another", 3.0),
        (Pace::Apart, "syscalls, 20 ms apart", 5.0),
    ] {
        let trace = match Trace::start(gateway.pid()) {
            Ok(trace) => trace,
            Err(failure) => return Ok(vec![Row::missing(FIGURE, &failure.to_string())]),
        };
        let pushes = push_at(&mut engine, pace)?;
        let calls = trace.finish()?;
        let total: u64 = calls.iter().map(|(_, calls)| calls).sum();
        let kinds: Vec<String> = calls
            .iter()
            .map(|(name, calls)| format!("{name} {:.2}", float(*calls) / float(pushes)))
            .collect();
        let row = Row::count(figure, float(total) / float(pushes), "calls", limit);
        rows.push(row.with_note(&format!("{} per push, over {pushes}", kinds.join(", "))));
    }
    Ok(rows)
}

/// Pushes at `pace`, waits for all deliveries, and returns the number of pushes.
fn push_at(engine: &mut Engine, pace: Pace) -> Outcome<u64> {
    let per_batch = match pace {
        Pace::Pipelined => 16,
        Pace::Following | Pace::Apart => 1,
    };
    for _ in 0..BATCHES {
        if matches!(pace, Pace::Apart) {
            clock::pause(Duration::from_millis(20));
        }
        engine.step(0..1, per_batch, Until::Responded)?;
    }
    engine.wait_for(Until::Delivered)?;
    engine.check()?;
    Ok(count(BATCHES * per_batch))
}

/// A running `strace -c`.
struct Trace {
    child: Child,
    printed: BufReader<ChildStderr>,
}

impl Trace {
    /// Attaches to the shard thread of `pid`.
    fn start(pid: u32) -> Outcome<Self> {
        let mut command = Command::new("strace");
        match procfs::thread_named(pid, "shard-0")? {
            Some(thread) => command.args(["-c", "-p", &thread.to_string()]),
            None => command.args(["-c", "-f", "-p", &pid.to_string()]),
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().attempt("start strace")?;
        let printed = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut trace = Self { child, printed };
        let mut line = String::new();
        let read = trace.printed.read_line(&mut line);
        read.attempt("read from strace")?;
        if line.contains("attached") {
            Ok(trace)
        } else {
            Err(Failure::new(format!(
                "strace cannot attach: {}",
                line.trim()
            )))
        }
    }

    /// Detaches and returns the number of calls by name.
    fn finish(mut self) -> Outcome<Vec<(String, u64)>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        kill_process(pid, Signal::INT).attempt("interrupt strace")?;
        let mut summary = String::new();
        let read = self.printed.read_to_string(&mut summary);
        read.attempt("read from strace")?;
        self.child.wait().attempt("wait for strace")?;
        Ok(parse_summary(&summary))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
    }
}

/// Parses the number of calls (fourth column) by name (last column) from the table of `strace -c`.
fn parse_summary(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (name, calls) = (*words.last()?, words.get(3)?.parse().ok()?);
            (name != "total").then(|| (name.to_owned(), calls))
        })
        .collect()
}

const SESSIONS: usize = 1_000;
const BATCHES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_parsed_with_and_without_errors() {
        let text = "strace: Process 7 detached\n\
            % time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            \u{20}99.00    0.100000          10      1000         5 io_uring_enter\n\
            \u{20} 1.00    0.001000          10       100           epoll_wait\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.101000          10      1100         5 total\n";
        let expected = [
            ("io_uring_enter".to_owned(), 1000),
            ("epoll_wait".to_owned(), 100),
        ];
        assert_eq!(parse_summary(text), expected);
    }
}
