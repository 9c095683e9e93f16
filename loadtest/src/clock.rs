//! Clocks and sleeping. No other file of the load test reads a clock.
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC`. All processes of the machine share it, so times of
//! two processes can be subtracted. Wall-clock time is only read for the date of a table of figures
//! and for protocols that sign the time.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::failure::{Attempt as _, Outcome};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("a timespec's nanoseconds are positive");
    seconds * SECOND_NS + nanoseconds
}

/// Blocks this thread for `time`.
pub(crate) fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a measuring process has no shard to block"
    )]
    std::thread::sleep(time);
}

/// Converts `ns` nanoseconds to the kernel's `timespec`.
pub(crate) fn timespec(ns: u64) -> Timespec {
    let seconds = i64::try_from(ns / SECOND_NS).expect("centuries at most");
    let nanoseconds = i64::try_from(ns % SECOND_NS).expect("below a second");
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }
}

/// Reduces this thread's timer slack from 50 us (the kernel's default) to 1 ns.
///
/// # Errors
///
/// `prctl` failed.
pub(crate) fn set_timer_slack() -> Outcome<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).attempt("set the timer's slack")
}

/// Returns the CPU time of this process in nanoseconds, including threads that have ended.
pub(crate) fn own_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("time on a CPU is positive");
    let nanoseconds = u64::try_from(time.tv_nsec).expect("a timespec's nanoseconds are positive");
    seconds * SECOND_NS + nanoseconds
}

/// Returns the seconds since 1970-01-01, for protocols that sign the time.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or_default()
}

/// Returns today's date in UTC as `YYYY-MM-DD`.
pub(crate) fn date() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a table of figures shows its date"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    date_of_day(since.as_secs() / SECONDS_PER_DAY)
}

/// Returns the Gregorian date `day` days after 1970-01-01.
fn date_of_day(day: u64) -> String {
    let mut year = 1970;
    let mut left = day;
    while left >= days_in_year(year) {
        left -= days_in_year(year);
        year += 1;
    }
    let february = if days_in_year(year) == 366 { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, left + 1)
}

fn days_in_year(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

const SECONDS_PER_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_across_leap_years_and_centuries() {
        assert_eq!(date_of_day(0), "1970-01-01");
        assert_eq!(date_of_day(58), "1970-02-28");
        assert_eq!(date_of_day(59), "1970-03-01");
        assert_eq!(date_of_day(11_016), "2000-02-29");
        assert_eq!(date_of_day(11_017), "2000-03-01");
        assert_eq!(date_of_day(20_453), "2025-12-31");
        assert_eq!(date_of_day(20_454), "2026-01-01");
    }

    #[test]
    fn a_timespec_carries_whole_seconds() {
        let time = timespec(3 * SECOND_NS + 7);
        assert_eq!((time.tv_sec, time.tv_nsec), (3, 7));
    }
}
