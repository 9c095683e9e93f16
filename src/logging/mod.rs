//! The log: formatting, rate limits, and output that never blocks a shard.
//!
//! ```text
//!   tracing, limited! --> text or json.rs --> writer.rs: queue --> thread --> standard error
//! ```
//!
//! The binary starts it ([`start`]). An embedding program may do so too, or have its own
//! subscriber. Lines that clients or publishers can cause are logged at `debug` or go through
//! `limited!`.

mod json;
mod limit;
mod writer;

use crate::config::{Config, LogForm, LogLevel};
use std::cell::RefCell;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

pub(crate) use self::limit::{LinePlace, limited, report_left_out, set_lines_per_place_max};
pub use self::writer::{LogCounters, LogQueue, LogThread};

/// Writes the log of this process to standard error, with the config's level and format.
///
/// [`LogThread::finish`] writes the remaining lines at the end.
///
/// # Errors
///
/// If the thread cannot be started, or the process already has a subscriber.
pub fn start(config: &Config) -> io::Result<LogThread> {
    let logging = &config.logging;
    let lines_max = logging.lines_max as usize;
    let bytes_max = logging.bytes_max as usize;
    let thread = writer::start(io::stderr(), lines_max, bytes_max, Box::new(format_losses))?;
    let level = match config.log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(thread.queue().clone())
        .with_ansi(io::stderr().is_terminal())
        // These go to standard error directly, and would block.
        .log_internal_errors(false)
        .with_max_level(level);
    let set = match config.log.form {
        LogForm::Json => subscriber.event_format(json::JsonLines).try_init(),
        LogForm::Text => subscriber.try_init(),
    };
    set.map_err(io::Error::other)?;
    // Only the first log becomes the process's, so this cannot fail.
    drop(QUEUE.set(thread.queue().clone()));
    Ok(thread)
}

/// Returns the log's counters; `None` if [`start`] was not called.
#[must_use]
pub fn counters() -> Option<LogCounters> {
    QUEUE.get().map(LogQueue::counters)
}

/// Waits up to 200 ms for queued lines to be written, for a process that is about to abort. Does
/// nothing if [`start`] was not called.
pub fn flush_before_exit() {
    if let Some(queue) = QUEUE.get() {
        queue.wait_until_empty(ABORT_FLUSH);
    }
}

/// Formats the line about dropped lines, by logging it and catching it on the way to the queue.
fn format_losses(losses: LogCounters) -> Vec<u8> {
    CAUGHT.set(Some(Vec::new()));
    tracing::error!(
        lines = losses.lines_dropped,
        write_errors = losses.write_errors,
        "log lines were dropped"
    );
    CAUGHT.take().unwrap_or_default()
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// A writer of one log line to the queue. Writes never fail.
#[derive(Debug)]
pub struct Line<'q>(&'q LogQueue);

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_caught = CAUGHT.try_with(|caught| match &mut *caught.borrow_mut() {
            Some(caught) => {
                caught.extend_from_slice(bytes);
                true
            }
            None => false,
        });
        // A thread that is ending has no thread-locals left.
        if !is_caught.unwrap_or(false) {
            self.0.enqueue(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// The line being formatted by the writer's own thread; `None` otherwise.
    static CAUGHT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The queue of the process's log.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();
/// Shorter than the time for reporting a panic ([`crate::abort_on_panic`]).
const ABORT_FLUSH: Duration = Duration::from_millis(200);
