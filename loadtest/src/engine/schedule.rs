//! The due times of an open loop. They do not depend on deliveries.
//!
//! A closed loop stops publishing exactly when the server stalls, so the stall is measured once at
//! most. In an open loop the stall shows in the latency of every message that was due meanwhile.
//! The functions are pure: times are nanoseconds, random numbers come from a seed.

use clap::ValueEnum;

use crate::clock::SECOND_NS;
use crate::stats::{SplitMix, float};

/// The distribution of the intervals between publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Equal intervals
    Constant,
    /// Exponential intervals, as of independent publishers
    Poisson,
}

/// A sequence of due times.
#[derive(Debug)]
pub(super) struct Schedule {
    begin_ns: u64,
    rate: f64,
    arrivals: Arrivals,
    prng: SplitMix,
    index: u64,
    due_ns: u64,
}

impl Schedule {
    /// Creates a schedule of `rate` publications a second; the first is due at `begin_ns`.
    pub(super) fn new(begin_ns: u64, rate: f64, arrivals: Arrivals, seed: u64) -> Self {
        Self {
            begin_ns,
            rate,
            arrivals,
            prng: SplitMix(seed),
            index: 0,
            due_ns: begin_ns,
        }
    }

    /// Returns the due time of the next publication.
    pub(super) const fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Advances to the publication after it.
    pub(super) fn advance(&mut self) {
        self.index += 1;
        self.due_ns = match self.arrivals {
            // Computed from the start, so that rounding errors do not accumulate.
            Arrivals::Constant => self.begin_ns + whole(float(self.index) * 1e9 / self.rate),
            Arrivals::Poisson => {
                let distance = -(1.0 - self.prng.unit()).ln() * 1e9 / self.rate;
                self.due_ns + whole(distance)
            }
        };
    }
}

/// Rounds nanoseconds down, to at most 100 years.
fn whole(ns: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u64"
    )]
    let whole = ns.clamp(0.0, 3.2e18) as u64;
    whole.min(100 * 366 * 86_400 * SECOND_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_spread_evenly_and_do_not_drift() {
        let mut schedule = Schedule::new(7, 3.0, Arrivals::Constant, 1);
        let mut all = Vec::new();
        for _ in 0..3_000_001 {
            all.push(schedule.due_ns());
            schedule.advance();
        }
        assert_eq!(all[0], 7);
        assert_eq!(all[1], 7 + 333_333_333);
        assert_eq!(all[3_000_000], 7 + 1_000_000 * SECOND_NS);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_have_exponential_intervals() {
        let mut schedule = Schedule::new(0, 1000.0, Arrivals::Poisson, 5);
        let mut distances = Vec::new();
        for _ in 0..100_000 {
            let before = schedule.due_ns();
            schedule.advance();
            distances.push(schedule.due_ns() - before);
        }
        let mean_ns = schedule.due_ns() / 100_000;
        assert!((980_000..1_020_000).contains(&mean_ns), "{mean_ns}");
        // A share of 1 - 1/e of exponential intervals is below the mean.
        let short = distances.iter().filter(|ns| **ns < 1_000_000).count();
        assert!((62_000..64_500).contains(&short), "{short}");
    }
}
