//! The log: how lines are made, how many there may be, and how they get out without hurting
//! anybody.
//!
//! ```text
//!   tracing, limited! --> text or json.rs --> writer.rs: queue --> thread --> standard error
//! ```
//!
//! The binary starts it ([`start`]); an embedding program may, or have a subscriber of its own. No
//! shard ever waits for the log. What a client, a stranger or a pusher can cause is a `debug` line,
//! or goes through `limited!`.

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

/// Has everything that is logged in this process written to standard error, as the config says.
///
/// [`LogThread::finish`] writes what is left at the end.
///
/// # Errors
///
/// If the thread cannot be started, or the process has a subscriber already.
pub fn start(config: &Config) -> io::Result<LogThread> {
    let logging = &config.logging;
    let lines_max = logging.lines_max as usize;
    let bytes_max = logging.bytes_max as usize;
    let thread = writer::start(io::stderr(), lines_max, bytes_max, Box::new(word_losses))?;
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
        // It would write that to standard error, and wait for it.
        .log_internal_errors(false)
        .with_max_level(level);
    let set = match config.log.form {
        LogForm::Json => subscriber.event_format(json::JsonLines).try_init(),
        LogForm::Text => subscriber.try_init(),
    };
    set.map_err(io::Error::other)?;
    // Only the first has become the process's.
    drop(QUEUE.set(thread.queue().clone()));
    Ok(thread)
}

/// What the log has counted, if [`start`] was called.
#[must_use]
pub fn counters() -> Option<LogCounters> {
    QUEUE.get().map(LogQueue::counters)
}

/// Gives the lines that wait a moment to get out, 200 ms at most, before the process ends at
/// once. Does nothing if [`start`] was not called.
pub fn flush_before_exit() {
    if let Some(queue) = QUEUE.get() {
        queue.wait_until_empty(ABORT_FLUSH);
    }
}

/// The line that tells of dropped ones, formatted like all others: it is logged, and caught on the
/// way to the queue.
fn word_losses(losses: LogCounters) -> Vec<u8> {
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

/// Takes one line, in one piece, and never fails.
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
        // A thread that ends has nothing of its own any more.
        if !is_caught.unwrap_or(false) {
            self.0.put(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// On the writer's thread, while it words a line of its own.
    static CAUGHT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The queue of the process's log.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();
/// Within the time that a panic has to be reported ([`crate::abort_on_panic`]).
const ABORT_FLUSH: Duration = Duration::from_millis(200);
