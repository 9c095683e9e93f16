//! When each publication is due: fixed before the first is sent, whatever becomes of them.
//!
//! An open loop. A closed one sends the next after the last was answered and so stops asking
//! exactly when the server stalls; here a stall shows in the latency of everything that was due.
//! Pure: times are nanoseconds, randomness comes from a seed.

use clap::ValueEnum;

use crate::clock::SECOND_NS;
use crate::stats::{SplitMix, float};

/// How publications follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// At equal distances
    Constant,
    /// As if each came from somebody else: exponential distances
    Poisson,
}

/// Publications at a rate.
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
    /// `rate` publications a second from `begin_ns` on.
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

    /// When the next is due.
    pub(super) const fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Goes on to the one after it.
    pub(super) fn advance(&mut self) {
        self.index += 1;
        self.due_ns = match self.arrivals {
            // From the start, so that rounding does not add up.
            Arrivals::Constant => self.begin_ns + whole(float(self.index) * 1e9 / self.rate),
            Arrivals::Poisson => {
                let distance = -(1.0 - self.prng.unit()).ln() * 1e9 / self.rate;
                self.due_ns + whole(distance)
            }
        };
    }
}

/// Nanoseconds, at most a century.
fn whole(ns: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and clamped to what fits"
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
    fn poisson_arrivals_keep_the_rate_and_differ_in_distance() {
        let mut schedule = Schedule::new(0, 1000.0, Arrivals::Poisson, 5);
        let mut distances = Vec::new();
        for _ in 0..100_000 {
            let before = schedule.due_ns();
            schedule.advance();
            distances.push(schedule.due_ns() - before);
        }
        let mean_ns = schedule.due_ns() / 100_000;
        assert!((980_000..1_020_000).contains(&mean_ns), "{mean_ns}");
        // Of exponential distances 1 - 1/e are below the mean.
        let short = distances.iter().filter(|ns| **ns < 1_000_000).count();
        assert!((62_000..64_500).contains(&short), "{short}");
    }
}
