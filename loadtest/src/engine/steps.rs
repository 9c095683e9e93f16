//! Publishing step by step, for those who count what the server does for each.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{Engine, PATIENCE_NS, Tally};
use crate::clock::{self, MILLISECOND_NS};
use crate::failure::{Failure, Outcome};
use crate::stamp::NO_SLOT;

/// For what a step waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// That all has been answered.
    Answered,
    /// That all has been received, too.
    Delivered,
}

impl Engine {
    /// Publishes `each` messages to each of `groups` by HTTP, all of one group on one connection.
    ///
    /// # Errors
    ///
    /// One is refused, or does not come within ten seconds.
    pub(crate) fn step(&mut self, groups: Range<usize>, each: usize, until: Until) -> Outcome<()> {
        for group in groups {
            for _ in 0..each {
                let number = group % self.publishers.len();
                self.publish_to(number, group, clock::now_ns(), NO_SLOT);
            }
        }
        self.wait_for(until)
    }

    /// Waits until all that was published has come so far.
    ///
    /// # Errors
    ///
    /// As [`Engine::step`].
    pub(crate) fn wait_for(&mut self, until: Until) -> Outcome<()> {
        let deadline = clock::now_ns() + PATIENCE_NS;
        loop {
            let is_answered = self.publishers.iter().all(super::Publisher::is_idle);
            let delivered = self.shared.delivered.load(Ordering::Relaxed);
            let is_delivered = delivered >= self.shared.owed.load(Ordering::Relaxed);
            if let Some(complaint) = self.tally.first_complaint() {
                return Err(Failure::new(complaint));
            }
            if is_answered && (until == Until::Answered || is_delivered) {
                return Ok(());
            }
            if clock::now_ns() > deadline {
                return Err(Failure::new("what was published does not come"));
            }
            self.wait(10 * MILLISECOND_NS)?;
        }
    }

    /// Checks that nothing was lost, duplicated or misdelivered so far.
    ///
    /// # Errors
    ///
    /// Something was.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        let verdict = self.accounts().verdict();
        self.tally = Tally::new(0);
        if verdict.is_clean() {
            Ok(())
        } else {
            Err(Failure::new(format!("messages went wrong: {verdict:?}")))
        }
    }
}
