//! Progress of a run on standard error: a bar on a terminal, else one line a second.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{MILLISECOND_NS, SECOND_NS};

/// The progress display of one phase of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    /// `None` if standard error is not a terminal.
    bar: Option<ProgressBar>,
    /// Time of the last display, in nanoseconds.
    shown_ns: u64,
}

impl Progress {
    /// Creates a display of progress towards `total` items named `what`.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} [{wide_bar}] {pos}/{len} {prefix}, {msg}",
            )
            .expect("the template is a constant");
            ProgressBar::new(total).with_style(style).with_prefix(what)
        });
        Self {
            what,
            total,
            bar,
            shown_ns: 0,
        }
    }

    /// Shows that `done` items of the total are done. A bar is redrawn at most every 100 ms, a line
    /// is printed at most every second; only then `message` is called.
    pub(crate) fn at(&mut self, done: u64, now_ns: u64, message: impl Fn() -> String) {
        let interval = if self.bar.is_some() {
            100 * MILLISECOND_NS
        } else {
            SECOND_NS
        };
        if now_ns < self.shown_ns + interval {
            return;
        }
        self.shown_ns = now_ns;
        match &self.bar {
            Some(bar) => {
                bar.set_message(message());
                bar.set_position(done);
            }
            None => eprintln!("{done}/{} {}, {}", self.total, self.what, message()),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
