//! What one engine counts during one phase.

use hdrhistogram::Histogram;

use crate::clock::MILLISECOND_NS;
use crate::stats::{self, count};

/// The counts.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// What was due before this is the warm-up: judged, and not measured.
    from_ns: u64,
    /// From the moment a message was due to its arrival at a session, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// From the moment a message was due to the moment it was written.
    pub(crate) lateness: Histogram<u64>,
    /// Measured messages that sessions received.
    pub(crate) delivered: u64,
    /// Messages published while measuring.
    pub(crate) published: u64,
    /// Messages published, in the warm-up too.
    pub(crate) published_all: u64,
    /// Publications that were answered as they should be.
    pub(crate) answered: u64,
    /// Publications that are answered at all.
    pub(crate) asked: u64,
    /// When the last message came.
    pub(crate) last_ns: u64,
    /// Measured deliveries in each tenth of a second since measuring began.
    pub(crate) series: Vec<u64>,
    /// Deliveries that the other engines have not been told of.
    fresh: u64,
    /// Nanoseconds that this engine's thread waited for a CPU that others had.
    pub(crate) waited_ns: u64,
    /// For how long the phase ran, warm-up included.
    pub(crate) ran_ns: u64,
    /// Grows with everything that happens.
    pub(super) events: u64,
    /// Publications, by index, that were answered, and when.
    pub(super) answers: Vec<(usize, u64)>,
    /// Publications, by publisher and number, that came back to who published them, and when.
    pub(super) returns: Vec<(u32, u32, u64)>,
    complaints: Vec<String>,
    complaints_count: u64,
}

impl Tally {
    /// Nothing yet, of a phase that measures from `from_ns` on.
    pub(crate) fn new(from_ns: u64) -> Self {
        Self {
            from_ns,
            latency: stats::latencies(),
            lateness: stats::latencies(),
            delivered: 0,
            published: 0,
            published_all: 0,
            answered: 0,
            asked: 0,
            last_ns: 0,
            series: Vec::new(),
            fresh: 0,
            waited_ns: 0,
            ran_ns: 0,
            events: 0,
            answers: Vec::new(),
            returns: Vec::new(),
            complaints: Vec::new(),
            complaints_count: 0,
        }
    }

    /// When measuring began.
    pub(crate) const fn measured_from_ns(&self) -> u64 {
        self.from_ns
    }

    /// Notes a message that was due at `due_ns` and came at `now_ns`.
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

    /// Notes a publication that was due at `due_ns` and written at `now_ns`.
    pub(super) fn publish(&mut self, due_ns: u64, now_ns: u64) {
        self.published_all += 1;
        if due_ns >= self.from_ns {
            self.published += 1;
            self.lateness
                .saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Deliveries since it was last asked.
    pub(super) const fn take_fresh(&mut self) -> u64 {
        let fresh = self.fresh;
        self.fresh = 0;
        fresh
    }

    /// Keeps a complaint; the first few are shown, all are counted.
    pub(super) fn complain(&mut self, complaint: impl FnOnce() -> String) {
        self.complaints_count += 1;
        if self.complaints.len() < COMPLAINTS_SHOWN_MAX {
            self.complaints.push(complaint());
        }
    }

    pub(super) fn first_complaint(&self) -> Option<&str> {
        self.complaints.first().map(String::as_str)
    }

    /// The first complaints, and how many there were.
    pub(crate) fn complaints(&self) -> (&[String], u64) {
        (&self.complaints, self.complaints_count)
    }

    /// Adds what another engine has counted in the same phase.
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
        self.answered += other.answered;
        self.asked += other.asked;
        self.last_ns = self.last_ns.max(other.last_ns);
        self.waited_ns += other.waited_ns;
        self.ran_ns += other.ran_ns;
        if self.series.len() < other.series.len() {
            self.series.resize(other.series.len(), 0);
        }
        for (sum, more) in self.series.iter_mut().zip(&other.series) {
            *sum += more;
        }
        let room = COMPLAINTS_SHOWN_MAX.saturating_sub(self.complaints.len());
        self.complaints
            .extend(other.complaints.iter().take(room).cloned());
        self.complaints_count += other.complaints_count;
    }

    /// Complaints beyond those that are kept.
    pub(crate) fn complaints_more(&self) -> u64 {
        self.complaints_count - count(self.complaints.len())
    }
}

const COMPLAINTS_SHOWN_MAX: usize = 5;
/// An hour.
const TENTHS_MAX: usize = 36_000;
