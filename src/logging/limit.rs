//! A rate limit for log lines that clients, publishers and backends can cause.
//!
//! Each place in the code, that is each `limited!`, logs a limited number of lines per second and
//! counts the rest. The count is logged with the place's next line, or else with the log summary
//! ([`report_left_out`]).

use crossbeam_queue::SegQueue;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// A place that logs, with its counts.
#[derive(Debug)]
pub(crate) struct LinePlace {
    /// The message of its lines.
    message: &'static str,
    /// Upper half: the second of the last line. Lower half: the number of lines of that second.
    window: AtomicU64,
    /// Lines left out since the last line that was logged.
    left_out: AtomicU64,
    /// It is one of [`PLACES`].
    is_known: AtomicBool,
}

/// The places that have left out lines.
static PLACES: SegQueue<&'static LinePlace> = SegQueue::new();
static LINES_PER_PLACE_MAX: AtomicU32 = AtomicU32::new(LINES_PER_PLACE_DEFAULT);
/// Lines per place and second if the config does not set `logging.lines_per_place_max`.
const LINES_PER_PLACE_DEFAULT: u32 = 10;

/// Logs as `tracing::event!` does, but at most `logging.lines_per_place_max` lines per second. The
/// arguments are the level, the message and the fields. If lines were left out before this one, it
/// has the field `left_out`, their number.
macro_rules! limited {
    ($level:ident, $message:literal $(, $($fields:tt)+)?) => {{
        static PLACE: $crate::logging::LinePlace = $crate::logging::LinePlace::new($message);
        if tracing::enabled!(tracing::Level::$level)
            && let Some(left_out) = PLACE.admit()
        {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::event!(tracing::Level::$level, left_out, $($($fields)+,)? $message);
        }
    }};
}
pub(crate) use limited;

/// Sets the maximum lines per place and second, for the whole process.
pub(crate) fn set_lines_per_place_max(max: u32) {
    LINES_PER_PLACE_MAX.store(max, Ordering::Relaxed);
}

/// Logs the lines left out by each place that has logged none since, except in the current second.
pub(crate) fn report_left_out() {
    let second = second();
    for _ in 0..PLACES.len() {
        let Some(place) = PLACES.pop() else { return };
        if let Some(left_out) = place.take_left_out(second) {
            tracing::warn!(left_out, of = place.message, "log lines were left out");
        }
        PLACES.push(place);
    }
}

impl LinePlace {
    pub(crate) const fn new(message: &'static str) -> Self {
        Self {
            message,
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
        }
    }

    /// Returns the number of lines left out before this one; `None` if this line is to be left out
    /// too.
    pub(crate) fn admit(&'static self) -> Option<u64> {
        let admitted = self.admit_at(second(), LINES_PER_PLACE_MAX.load(Ordering::Relaxed));
        if admitted.is_none() && !self.is_known.swap(true, Ordering::Relaxed) {
            PLACES.push(self);
        }
        admitted
    }

    fn admit_at(&self, second: u32, lines_max: u32) -> Option<u64> {
        let next = |window: u64| {
            let (of, count) = ((window >> 32) as u32, (window & 0xffff_ffff) as u32);
            match count {
                // Another thread may have read the clock a little later.
                _ if second > of => Some(u64::from(second) << 32 | 1),
                _ if count < lines_max => Some(window + 1),
                _ => None,
            }
        };
        let counted = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        if counted.is_ok() {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// Takes the number of lines left out; `None` if it is zero or the place's second is not over.
    fn take_left_out(&self, second: u32) -> Option<u64> {
        let of = (self.window.load(Ordering::Relaxed) >> 32) as u32;
        let left_out = (second > of).then(|| self.left_out.swap(0, Ordering::Relaxed));
        left_out.filter(|&count| count > 0)
    }
}

/// Returns the seconds since the first call, plus one.
#[expect(
    clippy::disallowed_methods,
    reason = "lines are dated by the clock; nothing but their number depends on it"
)]
fn second() -> u32 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGAN.get_or_init(Instant::now).elapsed().as_secs();
    u32::try_from(elapsed).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_of_a_second_pass_and_the_rest_is_counted() {
        let place = LinePlace::new("m");
        let admitted: Vec<_> = (0..5).map(|_| place.admit_at(7, 3)).collect();
        assert_eq!(admitted, [Some(0), Some(0), Some(0), None, None]);
        assert_eq!(place.take_left_out(7), None, "its second is not over");
        assert_eq!(place.admit_at(6, 3), None, "a clock that was read earlier");
        assert_eq!(place.admit_at(8, 3), Some(3));
        assert_eq!(place.admit_at(8, 3), Some(0));
        assert_eq!(place.take_left_out(9), None);
        assert_eq!(place.admit_at(8, 2), None);
        assert_eq!(place.take_left_out(9), Some(1));
        assert_eq!(place.take_left_out(9), None);
    }
}
