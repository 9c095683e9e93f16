//! How one backend does, as all shards see it: its queues, what was counted, whether it is up.
//!
//! All of it is shared by the shards. Each kind of hook has a queue of its own (`queue.rs`).

use super::HookError;
use super::asks::Hook;
use super::queue::{HookQueue, Totals};
use crate::logging::limited;
use crate::vocabulary::limits::BackendLimits;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// How one backend does.
#[derive(Debug)]
pub(super) struct BackendState {
    name: String,
    /// In the order of [`Hook::ALL`].
    queues: [HookQueue; Hook::ALL.len()],
    /// How many hooks have failed, by [`HookError::label_index`].
    failed: [AtomicU64; HookError::LABELS.len()],
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
            queues: Hook::ALL.map(|hook| HookQueue::new(name, hook, limits)),
            failed: Default::default(),
            tried_again: AtomicU64::new(0),
            standing: watch::Sender::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The queue of this kind of hook.
    pub(super) fn queue(&self, hook: Hook) -> &HookQueue {
        &self.queues[hook as usize]
    }

    /// Logs what was lost. To be called when the gateway has stopped.
    pub(super) fn log_lost(&self) {
        self.queues.iter().for_each(HookQueue::log_lost);
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
                limited!(INFO, "the backend answers again", backend = self.name);
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
                "the backend does not answer, or not as it should",
                backend = self.name,
                error
            );
        }
    }

    /// A hook is done; counts why it has failed, if it has.
    pub(super) fn note_failure(&self, error: Option<&HookError>) {
        if let Some(error) = error {
            self.failed[error.label_index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many hooks have failed, in the order of [`HookError::LABELS`].
    pub(super) fn failures(&self) -> [u64; HookError::LABELS.len()] {
        self.failed
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// A hook is tried again.
    pub(super) fn note_retry(&self) {
        self.tried_again.fetch_add(1, Ordering::Relaxed);
    }

    /// How it does, for an operator. Nothing in it is secret.
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
            "refused": totals.refused,
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
