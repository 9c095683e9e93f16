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

/// A moment, in milliseconds since 1970, in UTC, as RFC 3339 has it: `2026-06-25T08:05:09.064Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / DAY_MS, unix_ms % DAY_MS);
    // Years begin in March here, so that the day that some lack is their last; 400 of them are an
    // era, and every era has as many days.
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0_TO_1970;
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let leaps = day / 1_460 + day / 146_096 - day / 36_524;
    let year_of_era = (day - leaps) / 365;
    let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month_from_march + 2) / 5 + 1;
    let (month, later) = match month_from_march {
        months @ ..10 => (months + 3, 0),
        months => (months - 9, 1),
    };
    let year = 400 * era + year_of_era + later;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let ms = ms % 1_000;
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

const DAY_MS: u64 = 86_400_000;
/// 400 years of the Gregorian calendar.
const ERA_DAYS: u64 = 146_097;
const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: u64 = 719_468;
/// Length of a tick in milliseconds.
pub const TICK_MS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (978_307_199, "2000-12-31T23:59:59"),
            (1_000_000_000, "2001-09-09T01:46:40"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(unix_s * 1_000), format!("{expected}.000Z"));
            assert_eq!(rfc3339(unix_s * 1_000 + 64), format!("{expected}.064Z"));
        }
    }

    #[test]
    fn every_day_is_the_one_after_the_day_before() {
        let mut before = rfc3339(0);
        for day in 1..200_000 {
            let today = rfc3339(day * DAY_MS);
            let parts = |text: &str| -> (u32, u32, u32) {
                let number =
                    |range: std::ops::Range<usize>| text[range].parse::<u32>().expect("digits");
                (number(0..4), number(5..7), number(8..10))
            };
            let ((year, month, day), next) = (parts(&before), parts(&today));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            assert_eq!(next, expected, "after {before}");
            before = today;
        }
    }

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
