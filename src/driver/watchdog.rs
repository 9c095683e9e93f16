//! Names whatever of an embedder's holds a shard for too long, while it does.
//!
//! A shard that is held says nothing itself, so a thread looks at what all shards have said about
//! what they run ([`WatchSlot`]). It touches nothing of a shard's and costs one wake-up in each
//! period.

use super::start_error::StartError;
use crate::config::Config;
use crate::handler::{Watch, WatchSlot};
use crate::logging::limited;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the watchdog and the shards agree on.
#[derive(Clone, Debug)]
pub(crate) struct WatchSeats {
    pub(crate) slots: Arc<[Arc<WatchSlot>]>,
    pub(crate) began: Instant,
    pub(crate) stall: Duration,
}

/// A watchdog; dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Watchdog {
    seats: WatchSeats,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watchdog {
    /// A watchdog of so many shards, which does not run yet.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    pub(crate) fn new(config: &Config, shards: usize) -> Self {
        let slots = (0..shards).map(|_| Arc::default()).collect();
        Self {
            seats: WatchSeats {
                slots,
                began: Instant::now(),
                stall: Duration::from_millis(u64::from(config.limits.handler_stall_ms)),
            },
            running: None,
        }
    }

    pub(crate) fn seats(&self) -> WatchSeats {
        self.seats.clone()
    }

    /// Begins to watch.
    pub(crate) fn start(mut self) -> Result<Self, StartError> {
        let (end, ended) = std::sync::mpsc::channel();
        let seats = self.seats.clone();
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut named = vec![0; seats.slots.len()];
                while ended.recv_timeout(seats.stall) == Err(RecvTimeoutError::Timeout) {
                    seats.look(&mut named);
                }
            });
        self.running = Some((end, thread.map_err(StartError::Thread)?));
        Ok(self)
    }
}

/// A watch that nobody looks at, for a simulation.
pub(crate) fn watch_of_nobody(config: &Config) -> Watch {
    let seats = Watchdog::new(config, 1).seats();
    Watch::new(Arc::clone(&seats.slots[0]), seats.began, seats.stall)
}

impl WatchSeats {
    /// Names what has held a shard for too long, once each.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from"
    )]
    fn look(&self, named: &mut [u64]) {
        let now = Instant::now().duration_since(self.began);
        for (shard, (slot, named)) in self.slots.iter().zip(named).enumerate() {
            let Some(running) = slot.running() else {
                continue;
            };
            let held = now.saturating_sub(running.since);
            if held > self.stall && *named != running.turn {
                *named = running.turn;
                let (handler, held_ms) = (running.label, held.as_millis());
                limited!(WARN, "a handler is holding its shard", shard, %handler, held_ms);
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // A panic of the watchdog's own has been reported.
            drop(thread.join());
        }
    }
}
