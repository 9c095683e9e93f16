//! What time it is, and waiting for it: the only file of the loadtest that asks the clock.
//!
//! Moments are nanoseconds of `CLOCK_MONOTONIC`, which every process of the machine shares, so a
//! difference between two processes' moments means something. They are never wall-clock times; the
//! one exception is the date under which a table of figures is printed.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::failure::{Attempt as _, Outcome};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("a timespec's nanoseconds are positive");
    seconds * SECOND_NS + nanoseconds
}

/// Waits on this thread; for the measuring commands, which have nothing else to do meanwhile.
pub(crate) fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a measuring process has no shard to block"
    )]
    std::thread::sleep(time);
}

/// `ns` nanoseconds from the origin, as the kernel wants them.
pub(crate) fn timespec(ns: u64) -> Timespec {
    let seconds = i64::try_from(ns / SECOND_NS).expect("centuries at most");
    let nanoseconds = i64::try_from(ns % SECOND_NS).expect("below a second");
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }
}

/// Has this thread woken when it is due, not when it suits the kernel within 50 microseconds.
///
/// # Errors
///
/// The kernel refuses.
pub(crate) fn be_punctual() -> Outcome<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).attempt("set the timer's slack")
}

/// Nanoseconds that this process has spent on a CPU, threads that have ended included.
pub(crate) fn own_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("time on a CPU is positive");
    let nanoseconds = u64::try_from(time.tv_nsec).expect("a timespec's nanoseconds are positive");
    seconds * SECOND_NS + nanoseconds
}

/// Seconds since 1970, for protocols that sign the time.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or_default()
}

/// Today's date in UTC, as `YYYY-MM-DD`.
pub(crate) fn date() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a table of figures says when it was made"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    date_of_day(since.as_secs() / SECONDS_PER_DAY)
}

/// The Gregorian date of the day `day` after 1970-01-01.
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
    fn days_become_dates_across_leap_years_and_centuries() {
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
