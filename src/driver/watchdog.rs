//! The watchdog: logs an embedder's function that blocks its shard, while the function still runs.
//!
//! A blocked shard cannot log, so a separate thread does. It wakes once per
//! `limits.handler_stall_ms` and reads which function each shard runs ([`WatchSlot`]), nothing else
//! of a shard.

use super::start_error::StartError;
use crate::config::Config;
use crate::handler::{Watch, WatchSlot};
use crate::logging::limited;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The state that the watchdog and the shards share.
#[derive(Clone, Debug)]
pub(crate) struct SharedWatch {
    pub(crate) slots: Arc<[Arc<WatchSlot>]>,
    pub(crate) began: Instant,
    pub(crate) stall: Duration,
}

/// A watchdog. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: SharedWatch,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watchdog {
    /// Creates a watchdog of `shards` shards. [`Watchdog::start`] starts its thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    pub(crate) fn new(config: &Config, shards: usize) -> Self {
        let slots = (0..shards).map(|_| Arc::default()).collect();
        Self {
            shared: SharedWatch {
                slots,
                began: Instant::now(),
                stall: Duration::from_millis(u64::from(config.limits.handler_stall_ms)),
            },
            running: None,
        }
    }

    pub(crate) fn shared(&self) -> SharedWatch {
        self.shared.clone()
    }

    /// Starts the watchdog's thread.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] if the thread cannot be started.
    pub(crate) fn start(mut self) -> Result<Self, StartError> {
        let (end, ended) = std::sync::mpsc::channel();
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut logged = vec![0; shared.slots.len()];
                while ended.recv_timeout(shared.stall) == Err(RecvTimeoutError::Timeout) {
                    shared.check(&mut logged);
                }
            });
        self.running = Some((end, thread.map_err(StartError::Thread)?));
        Ok(self)
    }
}

/// Returns a watch without a watchdog, for a simulation.
pub(crate) fn detached_watch(config: &Config) -> Watch {
    let shared = Watchdog::new(config, 1).shared();
    Watch::new(Arc::clone(&shared.slots[0]), shared.began, shared.stall)
}

impl SharedWatch {
    /// Logs each function that has blocked a shard for longer than `stall`, once per call.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn check(&self, logged: &mut [u64]) {
        let now = Instant::now().duration_since(self.began);
        for (shard, (slot, logged)) in self.slots.iter().zip(logged).enumerate() {
            let Some(running) = slot.running() else {
                continue;
            };
            let held = now.saturating_sub(running.since);
            if held > self.stall && *logged != running.turn {
                *logged = running.turn;
                let (handler, held_ms) = (running.label, held.as_millis());
                limited!(
                    WARN,
                    "a handler blocks its shard; move blocking work to Context::blocking",
                    shard,
                    %handler,
                    held_ms
                );
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // The panic hook has reported a panic of the watchdog.
            drop(thread.join());
        }
    }
}
