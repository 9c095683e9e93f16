//! The counters of one engine in one phase.

use hdrhistogram::Histogram;

use crate::clock::MILLISECOND_NS;
use crate::stats::{self, count};

/// The counters. "Measured" excludes the warm-up.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// End of the warm-up. Messages due earlier are verified but not measured.
    from_ns: u64,
    /// Times from a message's due time to its arrival at a session, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Times from a message's due time to its write, in nanoseconds.
    pub(crate) lateness: Histogram<u64>,
    /// Measured messages that sessions received.
    pub(crate) delivered: u64,
    /// Measured messages that were published.
    pub(crate) published: u64,
    /// All messages that were published, including the warm-up.
    pub(crate) published_all: u64,
    /// HTTP publications with a correct response.
    pub(crate) succeeded: u64,
    /// HTTP publications, all of which should get a response.
    pub(crate) requests: u64,
    /// Time of the last measured delivery.
    pub(crate) last_ns: u64,
    /// Measured deliveries in each 100 ms since the end of the warm-up.
    pub(crate) series: Vec<u64>,
    /// Deliveries that are not yet in `Shared::delivered`.
    fresh: u64,
    /// Nanoseconds that this engine's thread was runnable but waited for a CPU.
    pub(crate) waited_ns: u64,
    /// Duration of the phase in nanoseconds, including the warm-up.
    pub(crate) ran_ns: u64,
    /// Number of events of all kinds; it shows progress.
    pub(super) events: u64,
    /// Responses: the index of the publication, and the time.
    pub(super) responses: Vec<(usize, u64)>,
    /// Publications received by their publisher: publisher, sequence number, time.
    pub(super) own_receipts: Vec<(u32, u32, u64)>,
    errors: Vec<String>,
    errors_count: u64,
}

impl Counters {
    /// Creates zero counters for a phase whose warm-up ends at `from_ns`.
    pub(crate) fn new(from_ns: u64) -> Self {
        Self {
            from_ns,
            latency: stats::latencies(),
            lateness: stats::latencies(),
            delivered: 0,
            published: 0,
            published_all: 0,
            succeeded: 0,
            requests: 0,
            last_ns: 0,
            series: Vec::new(),
            fresh: 0,
            waited_ns: 0,
            ran_ns: 0,
            events: 0,
            responses: Vec::new(),
            own_receipts: Vec::new(),
            errors: Vec::new(),
            errors_count: 0,
        }
    }

    /// Returns the end of the warm-up.
    pub(crate) const fn measured_from_ns(&self) -> u64 {
        self.from_ns
    }

    /// Counts the delivery at `now_ns` of a message that was due at `due_ns`.
    pub(super) fn deliver(&mut self, due_ns: u64, now_ns: u64) {
        self.fresh += 1;
        self.events += 1;
        if due_ns < self.from_ns {
            return;
        }
        self.delivered += 1;
        self.last_ns = now_ns;
        self.latency
            .saturating_record(now_ns.saturating_sub(due_ns));
        let tenth = now_ns.saturating_sub(self.from_ns) / (100 * MILLISECOND_NS);
        let tenth = usize::try_from(tenth).unwrap_or(usize::MAX).min(TENTHS_MAX);
        if self.series.len() <= tenth {
            self.series.resize(tenth + 1, 0);
        }
        self.series[tenth] += 1;
    }

    /// Counts a publication that was due at `due_ns` and written at `now_ns`.
    pub(super) fn publish(&mut self, due_ns: u64, now_ns: u64) {
        self.published_all += 1;
        if due_ns >= self.from_ns {
            self.published += 1;
            self.lateness
                .saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Returns the number of deliveries since the previous call.
    pub(super) const fn take_fresh(&mut self) -> u64 {
        let fresh = self.fresh;
        self.fresh = 0;
        fresh
    }

    /// Counts an error. The texts of the first five are kept.
    pub(super) fn record_error(&mut self, error: impl FnOnce() -> String) {
        self.errors_count += 1;
        if self.errors.len() < ERRORS_SHOWN_MAX {
            self.errors.push(error());
        }
    }

    /// Returns the text of the first error.
    pub(super) fn first_error(&self) -> Option<&str> {
        self.errors.first().map(String::as_str)
    }

    /// Returns the texts of the first errors, and the number of all.
    pub(crate) fn errors(&self) -> (&[String], u64) {
        (&self.errors, self.errors_count)
    }

    /// Adds the counters of another engine for the same phase.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latency
            .add(&other.latency)
            .expect("the bounds are the same");
        self.lateness
            .add(&other.lateness)
            .expect("the bounds are the same");
        self.delivered += other.delivered;
        self.published += other.published;
        self.published_all += other.published_all;
        self.succeeded += other.succeeded;
        self.requests += other.requests;
        self.last_ns = self.last_ns.max(other.last_ns);
        self.waited_ns += other.waited_ns;
        self.ran_ns += other.ran_ns;
        if self.series.len() < other.series.len() {
            self.series.resize(other.series.len(), 0);
        }
        for (sum, more) in self.series.iter_mut().zip(&other.series) {
            *sum += more;
        }
        let room = ERRORS_SHOWN_MAX.saturating_sub(self.errors.len());
        self.errors.extend(other.errors.iter().take(room).cloned());
        self.errors_count += other.errors_count;
    }

    /// Returns the number of errors whose texts were not kept.
    pub(crate) fn more_errors(&self) -> u64 {
        self.errors_count - count(self.errors.len())
    }
}

const ERRORS_SHOWN_MAX: usize = 5;
/// The length of `series` in tenths of a second: one hour.
const TENTHS_MAX: usize = 36_000;
