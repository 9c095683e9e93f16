//! The gateway's notion of time: ticks since a shard started.
//!
//! Deadlines are kept in ticks of [`TICK_MS`] milliseconds, so that fifteen thousand sessions that
//! arrived within a second wake their shard a few times a second and not once each. A deadline may
//! therefore come up to two ticks late and never early. Nothing here reads a clock.

/// A tick: a point in time, counted from the start of the shard in units of [`TICK_MS`].
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick that contains the millisecond `ms` since the start.
    ///
    /// # Panics
    ///
    /// After 8.7 years, when the count of ticks no longer fits.
    #[must_use]
    pub fn containing(ms: u64) -> Self {
        Self(u32::try_from(ms / TICK_MS).expect("less than 8.7 years since the start"))
    }

    /// The millisecond at which this tick begins.
    #[must_use]
    pub fn begins_at_ms(self) -> u64 {
        u64::from(self.0) * TICK_MS
    }

    /// The tick by which at least `ticks` have passed, whatever moment of this one it is now.
    #[must_use]
    pub fn after(self, ticks: Ticks) -> Self {
        Self(self.0.saturating_add(ticks.0).saturating_add(1))
    }

    /// How many whole ticks lie between `earlier` and this one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

/// A span of time in ticks.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticks(pub u32);

impl Ticks {
    /// The span of `ms` milliseconds, rounded up.
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
