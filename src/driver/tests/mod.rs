//! Tests of the loop with a kernel, a clock and clients of their own.

use std::time::Instant;

/// Returns an instant to count from.
#[expect(clippy::disallowed_methods, reason = "there is no other way to one")]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}
