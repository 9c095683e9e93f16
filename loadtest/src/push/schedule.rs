//! When each push is due: fixed before the first is sent, whatever becomes of them.
//!
//! An open loop. A closed one sends the next push after the last was answered and so stops asking
//! exactly when the server stalls; here a stall shows in the latency of every push that was due.
//! Pure: times are nanoseconds since the start of the run.

use crate::clock::SECOND_NS;

/// Pushes at equal distances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: u64,
    total: u64,
}

impl Schedule {
    /// `rate` pushes a second for `seconds` seconds.
    ///
    /// # Panics
    ///
    /// `rate` is zero.
    pub(super) fn new(rate: u64, seconds: u64) -> Self {
        assert!(rate > 0, "the command line allows no rate of zero");
        Self {
            rate,
            total: rate * seconds,
        }
    }

    /// How many pushes there are in all.
    pub(super) const fn total(self) -> u64 {
        self.total
    }

    /// When push number `index` (from zero) is due.
    pub(super) fn due_ns(self, index: u64) -> u64 {
        let due = u128::from(index) * u128::from(SECOND_NS) / u128::from(self.rate);
        u64::try_from(due).expect("a run of less than centuries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_spread_evenly_and_do_not_drift() {
        let schedule = Schedule::new(3, 1_000_000);
        assert_eq!(schedule.total(), 3_000_000);
        assert_eq!(schedule.due_ns(0), 0);
        assert_eq!(schedule.due_ns(1), 333_333_333);
        assert_eq!(schedule.due_ns(3), SECOND_NS);
        assert_eq!(schedule.due_ns(2_999_997), 999_999 * SECOND_NS);
    }
}
