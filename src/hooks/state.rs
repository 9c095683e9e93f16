//! How one backend does, as all shards see it: whose turn it is, what was counted, whether it is
//! up.
//!
//! ```text
//!   a hook --> waiting (requests_waiting_max) --> in flight (requests_in_flight_max) --> answered
//!                 |  one more: busy, at once                                         \-> failed
//! ```
//!
//! All of it is shared by the shards. A hook that is given up, wherever it is, takes itself out of
//! the counts.

use super::HookError;
use crate::limits::BackendLimits;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// How one backend does.
#[derive(Debug)]
pub(super) struct BackendState {
    name: String,
    turns: Semaphore,
    in_flight_max: u32,
    waiting: AtomicU32,
    waiting_max: u32,
    answered: AtomicU64,
    failed: AtomicU64,
    tried_again: AtomicU64,
    /// The latest is all that counts, and whoever reads it need not wait long.
    standing: watch::Sender<Standing>,
}

/// What came of the last attempt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Standing {
    state: State,
    /// The last failure, also when there were successes since.
    last_error: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// The last attempt got an answer that can be used.
    Up,
    /// The last attempt got none.
    Down,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl BackendState {
    pub(super) fn new(name: &str, limits: &BackendLimits) -> Self {
        Self {
            name: name.to_owned(),
            turns: Semaphore::new(limits.requests_in_flight_max as usize),
            in_flight_max: limits.requests_in_flight_max,
            waiting: AtomicU32::new(0),
            waiting_max: limits.requests_waiting_max,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tried_again: AtomicU64::new(0),
            standing: watch::Sender::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a hook's turn, which lasts until what is returned is dropped; first come, first
    /// served. [`HookError::Busy`] if too many wait already.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, HookError> {
        if let Ok(permit) = self.turns.try_acquire() {
            return Ok(permit); // nobody waits for it
        }
        let _place = Place::among(&self.waiting, self.waiting_max).ok_or(HookError::Busy)?;
        Ok(self.turns.acquire().await.expect("it is never closed"))
    }

    /// An attempt has got an answer that can be used, or has not.
    pub(super) fn note_attempt(&self, error: Option<&HookError>) {
        let Some(error) = error else {
            if self.standing.borrow().state == State::Up {
                return; // as a rule
            }
            let mut was = State::Up;
            self.standing.send_modify(|standing| {
                was = std::mem::replace(&mut standing.state, State::Up);
            });
            if was == State::Down {
                tracing::info!(backend = self.name, "the backend answers again");
            }
            return;
        };
        let error = error.to_string();
        let mut was = State::Down;
        self.standing.send_modify(|standing| {
            was = std::mem::replace(&mut standing.state, State::Down);
            standing.last_error = Some(error.as_str().into());
        });
        if was != State::Down {
            tracing::warn!(backend = self.name, %error, "the backend does not answer");
        }
    }

    /// A hook is done, with an answer or without one.
    pub(super) fn note_hook(&self, is_answered: bool) {
        let count = if is_answered {
            &self.answered
        } else {
            &self.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A hook is tried again.
    pub(super) fn note_retry(&self) {
        self.tried_again.fetch_add(1, Ordering::Relaxed);
    }

    /// How it does, for an operator. Nothing in it is secret.
    pub(super) fn report(&self) -> Value {
        let free = self.turns.available_permits();
        let in_flight = (self.in_flight_max as usize).saturating_sub(free);
        let standing = self.standing.borrow().clone();
        json!({
            "name": self.name,
            "state": standing.state.as_str(),
            "in_flight": in_flight,
            "waiting": self.waiting.load(Ordering::Relaxed),
            "answered": self.answered.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed),
            "tried_again": self.tried_again.load(Ordering::Relaxed),
            "last_error": standing.last_error,
        })
    }
}

/// A place among those that wait, until it is dropped.
struct Place<'s>(&'s AtomicU32);

impl<'s> Place<'s> {
    /// `None`: there are `max` already.
    fn among(waiting: &'s AtomicU32, max: u32) -> Option<Self> {
        let one_more = |count| (count < max).then(|| count + 1);
        let before = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        before.ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn state(in_flight: u32, waiting: u32) -> BackendState {
        let limits = BackendLimits {
            requests_in_flight_max: in_flight,
            requests_waiting_max: waiting,
            ..BackendLimits::default()
        };
        BackendState::new("b", &limits)
    }

    fn counts(state: &BackendState) -> (Value, Value) {
        let report = state.report();
        (report["in_flight"].clone(), report["waiting"].clone())
    }

    #[test]
    fn turns_and_places_are_bounded_and_come_back() {
        let state = state(1, 1);
        let cx = &mut Context::from_waker(Waker::noop());
        let first = pin!(state.turn()).poll(cx);
        assert!(matches!(first, Poll::Ready(Ok(_))));
        {
            let mut second = pin!(state.turn());
            assert!(second.as_mut().poll(cx).is_pending());
            assert_eq!(counts(&state), (1.into(), 1.into()));
            let third = pin!(state.turn()).poll(cx);
            assert!(matches!(third, Poll::Ready(Err(HookError::Busy))));
            drop(first);
            let turn = second.poll(cx);
            assert!(matches!(turn, Poll::Ready(Ok(_))));
            assert_eq!(counts(&state), (1.into(), 0.into()));
        }
        assert_eq!(counts(&state), (0.into(), 0.into()));
    }

    #[test]
    fn who_gives_up_waiting_leaves_the_place_to_the_next() {
        let state = state(1, 1);
        let cx = &mut Context::from_waker(Waker::noop());
        let first = pin!(state.turn()).poll(cx);
        assert!(first.is_ready());
        for _ in 0..2 {
            let given_up = pin!(state.turn()).poll(cx);
            assert!(given_up.is_pending());
        }
        assert_eq!(counts(&state), (1.into(), 0.into()));
    }

    #[test]
    fn the_last_attempt_says_how_it_does_and_the_last_error_stays() {
        let state = state(1, 1);
        assert_eq!(state.report()["state"], "unknown");
        assert_eq!(state.report()["last_error"], Value::Null);
        state.note_attempt(Some(&HookError::Status(502)));
        assert_eq!(state.report()["state"], "down");
        state.note_attempt(None);
        let report = state.report();
        assert_eq!(report["state"], "up");
        assert_eq!(report["last_error"], HookError::Status(502).to_string());
    }
}
