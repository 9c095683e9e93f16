//! The wall clock: dates in logs and listings, and the expiry of tokens.

use std::time::{Duration, SystemTime};

/// Returns the Unix time in milliseconds; 0 if the clock is before 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "for dates in logs and listings, and the expiry of tokens"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Formats a Unix time in milliseconds as in RFC 3339, in UTC: `2026-06-25T08:05:09.064Z`.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_millis(moment).to_string()
}

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
}
