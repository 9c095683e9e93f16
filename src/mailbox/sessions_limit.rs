//! Detection that the number of connections reaches `limits.sessions_max`, once per change.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the number of connections has reached the sessions limit, with hysteresis. Used for the
/// log.
#[derive(Debug, Default)]
pub(crate) struct SessionsLimit {
    is_reached: AtomicBool,
}

impl SessionsLimit {
    /// Records the number of connections. Returns `Some(true)` if the limit is reached now,
    /// `Some(false)` if the number has dropped 1/20 below it, and `None` without such a change.
    pub(crate) fn note(&self, connections: usize, sessions_max: usize) -> Option<bool> {
        let was_reached = self.is_reached.load(Ordering::Relaxed);
        let is_reached = if was_reached {
            connections > sessions_max - (sessions_max / HYSTERESIS).max(1)
        } else {
            connections >= sessions_max
        };
        let has_changed = is_reached != was_reached
            && self.is_reached.swap(is_reached, Ordering::Relaxed) == was_reached;
        has_changed.then_some(is_reached)
    }
}

/// One part in 20 of the limit, and at least one connection, must be free again.
const HYSTERESIS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_reported_once_per_change_and_does_not_flap() {
        let limit = SessionsLimit::default();
        let changes = [98, 99, 100, 101, 100, 99, 100, 96, 95, 96, 99, 100, 0];
        let changes_seen = changes.map(|connections| limit.note(connections, 100));
        let reached = changes_seen.iter().enumerate();
        let reached: Vec<(usize, bool)> = reached
            .filter_map(|(at, changes_seen)| Some((changes[at], (*changes_seen)?)))
            .collect();
        assert_eq!(reached, [(100, true), (95, false), (100, true), (0, false)]);
    }

    #[test]
    fn a_limit_of_one_is_reached_and_left() {
        let limit = SessionsLimit::default();
        let changes_seen = [1, 2, 1, 0, 1].map(|connections| limit.note(connections, 1));
        assert_eq!(
            changes_seen,
            [Some(true), None, None, Some(false), Some(true)]
        );
    }
}
