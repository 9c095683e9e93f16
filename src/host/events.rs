//! The listeners of the shard's events: the log at `debug`, and the taps.

use super::Host;
use crate::handler::Profile;

impl Host {
    /// Passes the shard's events to the listeners. `opening` is the profile of the session that is
    /// being opened, which has no state yet.
    #[inline]
    pub(super) fn pass_events(&mut self, opening: Option<&Profile>) {
        if self.shard.has_events() {
            self.pass_all_events(opening);
        }
    }

    #[cold]
    fn pass_all_events(&mut self, opening: Option<&Profile>) {
        while let Some(event) = self.shard.poll_event() {
            if self.context.wants_reports {
                self.log_event(&event);
            }
            self.tap_event(&event, opening);
        }
    }
}
