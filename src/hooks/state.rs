//! The state of one backend, shared by all shards: queues, counters and health.
//!
//! Each kind of hook has its own queue (`queue.rs`).

use super::HookError;
use super::queue::{HookQueue, Totals};
use super::requests::Hook;
use crate::logging::limited;
use crate::vocabulary::limits::BackendLimits;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// The queues, counters and health of one backend.
#[derive(Debug)]
pub(super) struct BackendState {
    name: String,
    /// In the order of [`Hook::ALL`].
    queues: [HookQueue; Hook::ALL.len()],
    /// The number of failed hooks, indexed by [`HookError::label_index`].
    failed: [AtomicU64; HookError::LABELS.len()],
    tried_again: AtomicU64,
    /// The health after the latest attempt. A watch channel, so that readers hardly wait.
    standing: watch::Sender<Standing>,
}

/// A backend's health.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Standing {
    state: State,
    /// The last error, even if later attempts succeeded.
    last_error: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// No attempt was made yet.
    #[default]
    Unknown,
    /// The last attempt got a valid response.
    Up,
    /// The last attempt failed.
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
            queues: Hook::ALL.map(|hook| HookQueue::new(name, hook, limits)),
            failed: Default::default(),
            tried_again: AtomicU64::new(0),
            standing: watch::Sender::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the queue of this kind of hook.
    pub(super) fn queue(&self, hook: Hook) -> &HookQueue {
        &self.queues[hook as usize]
    }

    /// Logs how many hooks were lost. Call it after the gateway has stopped.
    pub(super) fn log_lost(&self) {
        self.queues.iter().for_each(HookQueue::log_lost);
    }

    /// Records the result of an attempt; `None` means a valid response. Logs changes between up and
    /// down.
    pub(super) fn note_attempt(&self, error: Option<&HookError>) {
        let Some(error) = error else {
            if self.standing.borrow().state == State::Up {
                return; // the usual case
            }
            let mut was = State::Up;
            self.standing.send_modify(|standing| {
                was = std::mem::replace(&mut standing.state, State::Up);
            });
            if was == State::Down {
                limited!(INFO, "the backend responds again", backend = self.name);
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
            let error = error.as_str();
            limited!(
                WARN,
                "the backend does not respond, or its response is invalid",
                backend = self.name,
                error
            );
        }
    }

    /// Counts a hook's error, if it has one.
    pub(super) fn note_failure(&self, error: Option<&HookError>) {
        if let Some(error) = error {
            self.failed[error.label_index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of failed hooks, in the order of [`HookError::LABELS`].
    pub(super) fn failures(&self) -> [u64; HookError::LABELS.len()] {
        self.failed
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a retry.
    pub(super) fn note_retry(&self) {
        self.tried_again.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the health report for operators. It contains no secrets.
    pub(super) fn report(&self) -> Value {
        let mut totals = Totals::default();
        for queue in &self.queues {
            queue.add_to(&mut totals);
        }
        let hooks = self.queues.iter().filter_map(HookQueue::report);
        let hooks: Map<String, Value> = hooks.map(|(hook, it)| (hook.to_owned(), it)).collect();
        let standing = self.standing.borrow().clone();
        json!({
            "name": self.name,
            "state": standing.state.as_str(),
            "in_flight": totals.in_flight,
            "waiting": totals.waiting,
            "answered": totals.answered,
            "failed": totals.failed,
            "refused": totals.rejected,
            "abandoned": totals.abandoned,
            "tried_again": self.tried_again.load(Ordering::Relaxed),
            "last_error": standing.last_error,
            "hooks": hooks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_hook_has_the_queue_of_its_name() {
        let state = BackendState::new("b", &BackendLimits::default());
        for hook in Hook::ALL {
            state.queue(hook).begin().end(true);
            let report = state.report();
            assert_eq!(report["hooks"][hook.as_str()]["answered"], 1, "{hook:?}");
        }
        assert_eq!(state.report()["answered"], Hook::ALL.len());
    }

    #[test]
    fn the_last_attempt_says_how_it_does_and_the_last_error_stays() {
        let state = BackendState::new("b", &BackendLimits::default());
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
