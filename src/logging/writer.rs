//! Output of log lines: a bounded queue and the thread that writes it to standard error.
//!
//! ```text
//!   any thread --> queue (lines_max, bytes_max) --> its own thread --> standard error
//!                    \-- full: dropped, counted       \-- error: counted; the next line is tried
//! ```
//!
//! Logging never blocks and never fails. Lines that do not fit are dropped, and a line with their
//! number is written as soon as writing works again. Only this thread waits for a slow reader.

use crossbeam_queue::ArrayQueue;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// A handle to the queue, for any thread. Clones share the queue.
#[derive(Clone, Debug)]
pub struct LogQueue {
    shared: Arc<Shared>,
    thread: Thread,
}

/// The thread that writes. Dropping this leaves it running.
#[derive(Debug)]
pub struct LogThread {
    queue: LogQueue,
    ended: Receiver<()>,
}

/// Counters of the log since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogCounters {
    /// Lines written completely.
    pub lines_written: u64,
    /// Lines lost because the queue was full or a write failed.
    pub lines_dropped: u64,
    /// Failed writes.
    pub write_errors: u64,
}

/// Formats the line about dropped lines.
pub(super) type FormatLosses = Box<dyn FnMut(LogCounters) -> Vec<u8> + Send>;

#[derive(Debug)]
struct Shared {
    lines: ArrayQueue<Box<[u8]>>,
    /// Bytes of the queued lines and of the one being written.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The thread ends when the queue is empty.
    ending: AtomicBool,
    lines_written: AtomicU64,
    lines_dropped: AtomicU64,
    write_errors: AtomicU64,
}

/// The state of the writer's thread.
struct Writer<O> {
    shared: Arc<Shared>,
    output: O,
    format_losses: FormatLosses,
    /// Dropped lines that have been reported.
    reported: u64,
    /// Time of the last report.
    reported_at: Option<Instant>,
    /// The last line was cut off by an error.
    is_mid_line: bool,
    /// Disconnects when the thread ends.
    _ended: Sender<()>,
}

/// Starts the thread that writes to `output`. The queue holds `lines_max` lines and `bytes_max`
/// bytes.
///
/// # Errors
///
/// If the thread cannot be started.
pub(super) fn start(
    output: impl AsFd + Send + 'static,
    lines_max: usize,
    bytes_max: usize,
    format_losses: FormatLosses,
) -> io::Result<LogThread> {
    let shared = Arc::new(Shared {
        lines: ArrayQueue::new(lines_max),
        bytes: AtomicUsize::new(0),
        bytes_max,
        ending: AtomicBool::new(false),
        lines_written: AtomicU64::new(0),
        lines_dropped: AtomicU64::new(0),
        write_errors: AtomicU64::new(0),
    });
    let (sender, ended) = channel();
    let writer = Writer {
        shared: Arc::clone(&shared),
        output,
        format_losses,
        reported: 0,
        reported_at: None,
        is_mid_line: false,
        _ended: sender,
    };
    let thread: JoinHandle<()> = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer.run())?;
    let thread = thread.thread().clone();
    Ok(LogThread {
        queue: LogQueue { shared, thread },
        ended,
    })
}

impl LogQueue {
    /// Enqueues a line, which ends with a newline. Never blocks. A line that does not fit is
    /// dropped and counted.
    pub fn enqueue(&self, line: &[u8]) {
        let Shared { lines, bytes, .. } = &*self.shared;
        let add = |held: usize| {
            let sum = held.checked_add(line.len())?;
            (sum <= self.shared.bytes_max).then_some(sum)
        };
        let fits = bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if fits.is_err() {
            self.shared.lines_dropped.fetch_add(1, Ordering::Relaxed);
        } else if lines.push(line.into()).is_err() {
            bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.lines_dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Also after a drop, which the thread must report.
        self.thread.unpark();
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> LogCounters {
        self.shared.counters()
    }

    /// Waits until all lines have been written or dropped, at most `time_max`. Does not wait on the
    /// writer's own thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "called when the process ends, where waiting delays nothing"
    )]
    pub(super) fn wait_until_empty(&self, time_max: Duration) {
        let began = Instant::now();
        let is_own = std::thread::current().id() == self.thread.id();
        while !is_own && self.shared.bytes.load(Ordering::Acquire) > 0 && began.elapsed() < time_max
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl LogThread {
    /// Returns the queue.
    #[must_use]
    pub fn queue(&self) -> &LogQueue {
        &self.queue
    }

    /// Ends the thread once the queue is empty, and waits for that at most `time_max`. Lines
    /// enqueued later are lost. Returns the counters.
    pub fn finish(self, time_max: Duration) -> LogCounters {
        self.queue.shared.ending.store(true, Ordering::Release);
        self.queue.thread.unpark();
        match self.ended.recv_timeout(time_max) {
            // The thread has ended, or the time is up.
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
        self.queue.counters()
    }
}

impl Shared {
    fn counters(&self) -> LogCounters {
        LogCounters {
            lines_written: self.lines_written.load(Ordering::Relaxed),
            lines_dropped: self.lines_dropped.load(Ordering::Relaxed),
            write_errors: self.write_errors.load(Ordering::Relaxed),
        }
    }
}

impl<O: AsFd> Writer<O> {
    fn run(mut self) {
        let mut could_write = true;
        loop {
            if let Some(line) = self.shared.lines.pop() {
                could_write = self.write_line(&line);
                if could_write {
                    self.shared.lines_written.fetch_add(1, Ordering::Relaxed);
                    self.report_losses();
                } else {
                    self.shared.lines_dropped.fetch_add(1, Ordering::Relaxed);
                }
                self.shared.bytes.fetch_sub(line.len(), Ordering::Release);
                continue;
            }
            if could_write {
                self.report_losses();
            }
            // Lines enqueued before the end was requested are in the queue by now.
            if self.shared.ending.load(Ordering::Acquire) && self.shared.lines.is_empty() {
                return;
            }
            if self.shared.lines.is_empty() {
                std::thread::park();
            }
        }
    }

    /// Writes the number of newly dropped lines, if any: at once if the queue is empty, otherwise
    /// at most once a second.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, on which nothing depends on this clock"
    )]
    fn report_losses(&mut self) {
        let counters = self.shared.counters();
        let new = counters.lines_dropped - self.reported;
        let is_soon = self
            .reported_at
            .is_some_and(|at| at.elapsed() < REPORT_INTERVAL_MIN);
        if new == 0 || (is_soon && !self.shared.lines.is_empty()) {
            return;
        }
        let line = (self.format_losses)(LogCounters {
            lines_dropped: new,
            ..counters
        });
        if self.write_line(&line) {
            (self.reported, self.reported_at) = (counters.lines_dropped, Some(Instant::now()));
        }
    }

    /// Writes a line, waiting for a slow reader; `false` on an error. Ends a line that an error cut
    /// off first.
    fn write_line(&mut self, line: &[u8]) -> bool {
        if std::mem::take(&mut self.is_mid_line) && !self.write(b"\n") {
            self.is_mid_line = true;
            return false;
        }
        self.write(line)
    }

    /// Writes bytes, retrying interrupted writes; `false` if an error left some unwritten.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.output, rest) {
                Ok(0) => {
                    self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(len) => rest = &rest[len..],
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                    if error != Errno::AGAIN || !self.wait_for_room() {
                        break;
                    }
                }
            }
        }
        self.is_mid_line = rest.len() < bytes.len() && !rest.is_empty();
        rest.is_empty()
    }

    /// Waits until a non-blocking output can be written; `false` on an error.
    fn wait_for_room(&self) -> bool {
        let mut polled = [PollFd::new(&self.output, PollFlags::OUT)];
        match poll(&mut polled, None) {
            Ok(_) => {
                // Do not spin when a reader takes one byte at a time.
                std::thread::park_timeout(PAUSE);
                true
            }
            Err(Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

/// Least time between two reports of dropped lines while the queue is not empty.
const REPORT_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Pause after the output became writable.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat, open};
    use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn losses_format() -> FormatLosses {
        Box::new(|losses| format!("dropped {}\n", losses.lines_dropped).into_bytes())
    }

    fn pipe() -> (BufReader<PipeReader>, PipeWriter) {
        let (reader, writer) = io::pipe().expect("two descriptors");
        (BufReader::new(reader), writer)
    }

    #[track_caller]
    fn wait_for(condition: impl Fn() -> bool) {
        let (_sender, never) = channel::<()>();
        for _ in 0..PATIENCE.as_millis() {
            if condition() {
                return;
            }
            assert!(never.recv_timeout(Duration::from_millis(1)).is_err());
        }
        panic!("it does not happen");
    }

    #[track_caller]
    fn next_line(reader: &mut impl io::BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        line
    }

    /// A line of 1 KiB. A pipe holds 64 of them.
    fn kibibyte() -> Vec<u8> {
        [&[b'x'; 1023][..], b"\n"].concat()
    }

    #[test]
    fn lines_come_out_in_their_order_and_whole() {
        let (reader, output) = pipe();
        let thread = start(output, 1_000, 1 << 20, losses_format()).expect("a thread");
        for number in 0..500 {
            thread
                .queue()
                .enqueue(format!("line {number}\n").as_bytes());
        }
        let counters = thread.finish(PATIENCE);
        assert_eq!((counters.lines_written, counters.lines_dropped), (500, 0));
        let lines: Vec<String> = reader.lines().map(|line| line.expect("text")).collect();
        let expected: Vec<String> = (0..500).map(|number| format!("line {number}")).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_full_pipe_drops_lines_by_count_and_by_bytes_and_reports_them() {
        for (lines_max, bytes_max) in [(8, 1 << 30), (1_000_000, 8 << 10)] {
            let (mut reader, output) = pipe();
            let thread = start(output, lines_max, bytes_max, losses_format()).expect("a thread");
            let line = kibibyte();
            for _ in 0..1_000 {
                thread.queue().enqueue(&line);
            }
            let dropped = thread.queue().counters().lines_dropped;
            assert!((900..1_000).contains(&dropped), "{dropped}");
            let (mut read, mut reported) = (0, 0);
            while read + reported < 1_000 {
                let text = next_line(&mut reader);
                if let Some(count) = text.strip_prefix("dropped ") {
                    reported += count.trim_end().parse::<u64>().expect("a count");
                } else {
                    assert_eq!(text.as_bytes(), line);
                    read += 1;
                }
            }
            assert_eq!(reported, dropped);
            let counters = thread.finish(PATIENCE);
            assert_eq!(
                (counters.lines_written, counters.lines_dropped),
                (read, dropped)
            );
        }
    }

    #[test]
    fn a_reader_that_is_gone_costs_its_lines_and_nothing_else() {
        let (reader, output) = pipe();
        drop(reader);
        let thread = start(output, 8, 1 << 20, losses_format()).expect("a thread");
        for number in 1..=3 {
            thread.queue().enqueue(b"line\n");
            wait_for(|| thread.queue().counters().write_errors == number);
        }
        let counters = thread.finish(PATIENCE);
        assert_eq!((counters.lines_written, counters.lines_dropped), (0, 3));
    }

    #[test]
    fn lost_lines_are_reported_as_soon_as_writing_works_again() {
        let name = format!("campanile-fifo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a new name");
        let read = || {
            let opened = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
            std::fs::File::from(opened.expect("a fifo"))
        };
        let reader = read();
        let output = open(&path, OFlags::WRONLY, Mode::empty()).expect("it has a reader");
        let thread = start(output, 8, 1 << 20, losses_format()).expect("a thread");
        drop(reader);
        thread.queue().enqueue(b"lost\n");
        wait_for(|| thread.queue().counters().lines_dropped == 1);

        let reader = read();
        std::fs::remove_file(&path).expect("it is there");
        thread.queue().enqueue(b"written\n");
        let counters = thread.finish(PATIENCE);
        assert_eq!((counters.lines_written, counters.lines_dropped), (1, 1));
        let lines: Vec<_> = BufReader::new(reader)
            .lines()
            .map_while(Result::ok)
            .collect();
        assert_eq!(lines, ["written", "dropped 1"]);
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for_and_loses_nothing() {
        let (mut reader, output) = pipe();
        let flags = fcntl_getfl(&output).expect("it is open");
        fcntl_setfl(&output, flags | OFlags::NONBLOCK).expect("it is open");
        let thread = start(output, 1_000, 1 << 30, losses_format()).expect("a thread");
        let line = kibibyte();
        for _ in 0..200 {
            thread.queue().enqueue(&line);
        }
        wait_for(|| thread.queue().counters().write_errors > 0);
        for _ in 0..200 {
            assert_eq!(next_line(&mut reader).as_bytes(), line);
        }
        let counters = thread.finish(PATIENCE);
        assert_eq!((counters.lines_written, counters.lines_dropped), (200, 0));
    }

    #[test]
    fn at_the_end_a_reader_that_does_not_read_is_waited_for_no_longer_than_was_said() {
        let (reader, output) = pipe();
        let thread = start(output, 1_000, 1 << 30, losses_format()).expect("a thread");
        let line = kibibyte();
        for _ in 0..200 {
            thread.queue().enqueue(&line);
        }
        let counters = thread.finish(Duration::from_millis(10));
        assert!(counters.lines_written < 200);
        drop(reader);
    }
}
