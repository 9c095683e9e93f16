//! A host's time: when it is told, what a pause of the process does, and what is due.
//!
//! Telling the time fires nothing. Every event is handed over with the [`Moment`] that was told
//! after it arrived, and [`Host::fire_deadlines`] comes last.

use super::Host;
use crate::vocabulary::time::{Tick, Ticks};

/// A time that a host was told. Whoever has one may hand over what had arrived before it was made;
/// for what arrives later another one is needed.
#[derive(Debug)]
pub struct Moment(Tick);

impl Host {
    /// Sets the time. Nothing is due by that: what has already arrived is handed over first.
    ///
    /// If the host should have been called more than [`PAUSE_TICKS_MIN`] earlier, the process was
    /// paused (a stopped process, a frozen virtual machine) or something blocked its thread. Then
    /// every timer that runs begins again, and sessions are pinged instead of closed.
    pub fn set_time(&mut self, now: Tick) -> Moment {
        if now > self.now {
            if now.since(self.now) > PAUSE_TICKS_MIN {
                self.look_for_pause(now);
            }
            self.now = now;
            self.shard.set_time(now);
        }
        Moment(now)
    }

    fn look_for_pause(&mut self, now: Tick) {
        let awaited = self.poll_wake().map(|due| due.max(self.now));
        if awaited.is_some_and(|awaited| now.since(awaited) > PAUSE_TICKS_MIN) {
            self.resumed_at = now;
            self.has_resumed = true;
            self.shard.restart_timers(now);
        }
    }

    /// Whether the process has gone on after a pause since the last call.
    pub fn take_resumed(&mut self) -> bool {
        std::mem::take(&mut self.has_resumed)
    }

    /// Does what is due at this moment or was before it.
    pub fn fire_deadlines(&mut self, until: &Moment) {
        // Of sessions that are not read nobody can say that they are silent.
        let is_held = self.is_blocked() || self.is_overloaded();
        self.shard.set_input_held(is_held);
        self.shard.fire_deadlines(until.0);
        self.end_expired();
        self.time_out_pushes(until.0);
        self.time_out_upgrades(until.0);
        self.bound_partial_bytes();
        self.notice_ends();
        let held = self.held_bytes + self.calls_bytes;
        self.context
            .messages_bytes
            .set(self.shard.partial_bytes() + held);
    }
}

/// How late a host must have been called for its process to have been paused: about a second.
const PAUSE_TICKS_MIN: Ticks = Ticks(16);
