//! Publishing in single steps, to count the server's system calls per step.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{Counters, Engine, TIMEOUT_NS};
use crate::clock::{self, MILLISECOND_NS};
use crate::failure::{Failure, Outcome};
use crate::stamp::NO_SLOT;

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// All requests have responses.
    Responded,
    /// All requests have responses and all messages are delivered.
    Delivered,
}

impl Engine {
    /// Publishes `each` messages to each of `groups` by HTTP, one connection per group, and waits.
    ///
    /// # Errors
    ///
    /// A request failed, or the step does not end within 10 s.
    pub(crate) fn step(&mut self, groups: Range<usize>, each: usize, until: Until) -> Outcome<()> {
        for group in groups {
            for _ in 0..each {
                let number = group % self.publishers.len();
                self.publish_to(number, group, clock::now_ns(), NO_SLOT);
            }
        }
        self.wait_for(until)
    }

    /// Waits until `until` holds for all publications so far.
    ///
    /// # Errors
    ///
    /// As [`Engine::step`].
    pub(crate) fn wait_for(&mut self, until: Until) -> Outcome<()> {
        let deadline = clock::now_ns() + TIMEOUT_NS;
        loop {
            let has_responses = self.publishers.iter().all(super::Publisher::is_idle);
            let delivered = self.shared.delivered.load(Ordering::Relaxed);
            let is_delivered = delivered >= self.shared.expected.load(Ordering::Relaxed);
            if let Some(error) = self.counters.first_error() {
                return Err(Failure::new(error));
            }
            if has_responses && (until == Until::Responded || is_delivered) {
                return Ok(());
            }
            if clock::now_ns() > deadline {
                return Err(Failure::new("publications are missing after 10 s"));
            }
            self.wait(10 * MILLISECOND_NS)?;
        }
    }

    /// Verifies all deliveries since the previous check.
    ///
    /// # Errors
    ///
    /// A message was lost, duplicated, reordered or misdelivered.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        let errors = self.accounts().errors();
        self.counters = Counters::new(0);
        if errors.is_clean() {
            Ok(())
        } else {
            Err(Failure::new(format!("delivery errors: {errors:?}")))
        }
    }
}
