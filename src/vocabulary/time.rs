//! Time in ticks since the start of a shard.
//!
//! Deadlines are multiples of [`TICK_MS`] milliseconds, so that 15,000 sessions that connected
//! within one second wake their shard a few times per second instead of once each. A deadline is
//! never early and at most two ticks late. This module does not read a clock.

/// A point in time, in units of [`TICK_MS`] since the start of the shard.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tick(pub u32);

impl Tick {
    /// Returns the tick that contains the millisecond `ms` since the start.
    ///
    /// # Panics
    ///
    /// If the number of ticks exceeds 32 bits, after 8.7 years.
    #[must_use]
    pub fn containing(ms: u64) -> Self {
        Self(u32::try_from(ms / TICK_MS).expect("less than 8.7 years since the start"))
    }

    /// Returns the millisecond at which the tick begins.
    #[must_use]
    pub fn begins_at_ms(self) -> u64 {
        u64::from(self.0) * TICK_MS
    }

    /// Returns the first tick by which at least `ticks` have passed since any moment of this tick.
    #[must_use]
    pub fn after(self, ticks: Ticks) -> Self {
        Self(self.0.saturating_add(ticks.0).saturating_add(1))
    }

    /// Returns the number of ticks from `earlier` to this tick; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in ticks.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticks(pub u32);

impl Ticks {
    /// Returns `ms` milliseconds in ticks, rounded up.
    #[must_use]
    pub fn from_ms(ms: u32) -> Self {
        let ticks = u64::from(ms).div_ceil(TICK_MS);
        Self(u32::try_from(ticks).expect("fewer ticks than milliseconds"))
    }
}

/// Length of a tick in milliseconds.
pub const TICK_MS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        for now_ms in [0, 1, 63, 64, 1000, 123_456] {
            for span_ms in [0, 1, 63, 64, 65, 30_000] {
                let now = Tick::containing(now_ms);
                let due_ms = now.after(Ticks::from_ms(span_ms)).begins_at_ms();
                let wanted_ms = now_ms + u64::from(span_ms);
                assert!(due_ms >= wanted_ms, "{now_ms} + {span_ms} came at {due_ms}");
                assert!(due_ms <= wanted_ms + 2 * TICK_MS);
            }
        }
    }
}
