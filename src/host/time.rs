//! A host's clock: setting the time, detecting pauses of the process, firing deadlines.
//!
//! Setting the time fires nothing. Each event is handed over with a [`Moment`] from after its
//! arrival, and [`Host::fire_deadlines`] comes last.

use super::Host;
use crate::vocabulary::time::{Tick, Ticks};

/// A time set on a host. Events that arrived before it was made may be handed over with it; later
/// ones need a new one.
#[derive(Debug)]
pub struct Moment(Tick);

impl Host {
    /// Sets the time, without firing deadlines: events that have arrived come first.
    ///
    /// If the host is called more than [`PAUSE_TICKS_MIN`] later than its next deadline, the
    /// process was paused (SIGSTOP, a frozen virtual machine) or its thread was blocked. Then all
    /// running timers restart, and sessions are pinged instead of closed.
    pub fn set_time(&mut self, now: Tick) -> Moment {
        if now > self.now {
            if now.since(self.now) > PAUSE_TICKS_MIN {
                self.detect_pause(now);
            }
            self.now = now;
            self.shard.set_time(now);
        }
        Moment(now)
    }

    fn detect_pause(&mut self, now: Tick) {
        let awaited = self.poll_wake().map(|due| due.max(self.now));
        if awaited.is_some_and(|awaited| now.since(awaited) > PAUSE_TICKS_MIN) {
            self.resumed_at = now;
            self.has_resumed = true;
            self.shard.restart_timers(now);
        }
    }

    /// Returns whether the process has resumed after a pause since the last call.
    pub fn take_resumed(&mut self) -> bool {
        std::mem::take(&mut self.has_resumed)
    }

    /// Fires the deadlines up to `until`.
    pub fn fire_deadlines(&mut self, until: &Moment) {
        // A session that is not read must not time out as silent.
        let is_paused = self.is_blocked() || self.is_overloaded();
        self.shard.set_reads_paused(is_paused);
        self.shard.fire_deadlines(until.0);
        self.end_expired();
        self.time_out_pushes(until.0);
        self.time_out_upgrades(until.0);
        self.enforce_partial_limit();
        self.process_ended_sessions();
        let deferred = self.deferred_bytes + self.calls_bytes;
        self.context
            .messages_bytes
            .set(self.shard.partial_bytes() + deferred);
    }
}

/// Delay of a host's call that counts as a pause of the process: about one second.
const PAUSE_TICKS_MIN: Ticks = Ticks(16);
