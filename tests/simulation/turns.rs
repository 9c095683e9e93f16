//! Turns of simulated shards, and the clock.
//!
//! A turn is that of the driver's loop ([`campanile::driver::turn`]): a shard wakes up for an event
//! or a deadline, reads the clock, handles the event, and fires due deadlines.

use crate::client::Client;
use crate::scenario::CLOSE_GRACE;
use crate::simulator::Simulator;
use campanile::driver::turn::{self, TurnSteps};
use campanile::host::{Host, Moment};
use campanile::time::{Tick, Ticks};
use std::convert::Infallible;

/// An event that wakes a shard.
#[derive(Debug)]
pub(crate) enum Event {
    Connect(Box<Client>),
    /// Bytes or the end of the stream from a link's client.
    Input(usize),
    /// The completion of a link's send.
    Sent(usize),
    /// The close of a link's socket.
    Closed(usize),
    /// Mailbox messages, commands and woken requests of a shard.
    Arrivals(usize),
}

/// A turn of a shard.
struct Turn<'w> {
    simulator: &'w mut Simulator,
    shard: usize,
    event: Option<Event>,
    sends: Option<u32>,
    moved: bool,
}

impl TurnSteps for Turn<'_> {
    type Error = Infallible;

    fn look(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn read_clock(&mut self) -> Moment {
        self.simulator.hosts[self.shard].set_time(Tick(self.simulator.now))
    }

    fn handle(&mut self, now: &Moment) -> Result<usize, Infallible> {
        let simulator = &mut *self.simulator;
        let handled = match self.event.take() {
            None => false,
            Some(Event::Connect(client)) => {
                simulator.accept(now, self.shard, *client);
                true
            }
            Some(Event::Input(link)) => simulator.deliver(now, link),
            Some(Event::Sent(link)) => simulator.complete_send(now, link),
            Some(Event::Closed(link)) => simulator.close(now, link),
            Some(Event::Arrivals(shard)) => {
                let handled = simulator.hosts[shard].handle_arrivals(now) > 0;
                simulator.after(shard);
                handled
            }
        };
        self.moved |= handled;
        Ok(usize::from(handled))
    }

    fn fire_deadlines(&mut self, until: &Moment) -> Result<(), Infallible> {
        self.simulator.hosts[self.shard].fire_deadlines(until);
        // If the clock has not advanced, nothing was due.
        if std::mem::replace(&mut self.simulator.fired_at[self.shard], self.simulator.now)
            < self.simulator.now
        {
            self.simulator.after(self.shard);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        if let Some(sends) = self.sends {
            self.moved |= self.simulator.flush(self.shard, sends);
        }
        Ok(())
    }
}

impl Simulator {
    /// Stops every host, and advances the clock over the close grace.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        for shard in 0..self.hosts.len() {
            self.hosts[shard].begin_stop();
            self.after(shard);
        }
        // Publications that were accepted before are delivered before the first session closes.
        self.run_until_idle();
        for shard in 0..self.hosts.len() {
            self.hosts[shard].drain_over(DRAIN);
            self.after(shard);
        }
        for _ in 0..DRAIN.0 {
            self.now += 1;
            self.run_until_idle();
        }
        for shard in 0..self.hosts.len() {
            self.hosts[shard].close_idle();
            self.after(shard);
        }
        self.run_until_idle();
        self.now += CLOSE_GRACE + 2;
        self.run_until_idle();
    }

    /// Runs a turn with one event, without sending.
    pub(crate) fn turn_for(&mut self, event: Event) -> bool {
        let shard = match event {
            Event::Input(link) | Event::Sent(link) | Event::Closed(link) => self.links[link].shard,
            Event::Arrivals(shard) => shard,
            Event::Connect(_) => panic!("its shard is not known yet"),
        };
        self.turn(shard, Some(event), None)
    }

    /// Runs a turn of a shard with an optional event. It starts at most `sends` sends of sessions
    /// and as many of HTTP responses, none for `None`. Returns `true` if something happened.
    pub(crate) fn turn(&mut self, shard: usize, event: Option<Event>, sends: Option<u32>) -> bool {
        let mut steps = Turn {
            simulator: self,
            shard,
            event,
            sends,
            moved: false,
        };
        match turn::turn(&mut steps, 2) {
            Ok(()) => steps.moved,
            Err(never) => match never {},
        }
    }

    /// Advances the clock while shards are busy, so that their turns come late.
    pub(crate) fn pass_time(&mut self, shard: usize) {
        // Leap more often while a shard lags, so that its messages wait long.
        let often = if self.lagging.is_some() { 2 } else { 12 };
        let leap = self.scenario.has_faults && self.prng.chance(1, often);
        self.now += if leap {
            self.prng.range(1, LEAP_MAX)
        } else {
            self.prng.range(0, 3)
        };
        for other in 0..self.hosts.len() {
            if other == shard || leap {
                self.turn(other, None, None);
            }
        }
        self.show_witnesses_alive();
    }

    /// Simulates a pause of the process (SIGSTOP). No session may end by it.
    pub(crate) fn pause(&mut self) {
        let began = self.now;
        self.now += self.prng.range(1, QUIET_MAX);
        let silent_ends = |host: &Host| host.counters().ended("idle_timeout");
        for shard in 0..self.hosts.len() {
            let host = &self.hosts[shard];
            let pending_totals = host.poll_wake().map_or(self.now, |due| due.0.max(began));
            let before = silent_ends(host);
            self.turn(shard, None, Some(u32::MAX));
            let ended = silent_ends(&self.hosts[shard]) - before;
            let is_noticed = self.now > pending_totals + PAUSE_MIN;
            assert!(ended == 0 || !is_noticed, "a pause ended {ended} sessions");
        }
        self.show_witnesses_alive();
    }

    /// Runs until idle, then simulates up to 5 minutes in which shards wake up for deadlines only.
    pub(crate) fn sleep_long(&mut self) {
        self.run_until_idle();
        let until = self.now + self.prng.range(1, QUIET_MAX);
        for wakes in 0.. {
            assert!(wakes < WAKES_MAX, "a shard wakes up for nothing");
            let wake = self.hosts.iter().filter_map(Host::poll_wake).min();
            let Some(Tick(wake)) = wake.filter(|wake| wake.0 <= until) else {
                break;
            };
            self.now = self.now.max(wake);
            let mut moved = false;
            for shard in 0..self.hosts.len() {
                let is_due = |due: Tick| due.0 <= self.now;
                if self.hosts[shard].poll_wake().is_some_and(is_due) {
                    moved |= self.turn(shard, None, Some(u32::MAX));
                }
            }
            if moved {
                self.show_witnesses_alive();
                self.run_until_idle();
            }
        }
        self.now = until;
    }

    /// Sends a pong from every witness, so that its session is not idle.
    fn show_witnesses_alive(&mut self) {
        for witness in 0..self.hosts.len() {
            self.links[witness].client.pong();
            while self.turn_for(Event::Input(witness)) {}
        }
    }
}

/// The lateness, in ticks, from which a shard assumes a pause of the process: about 1 s.
const PAUSE_MIN: u32 = 16;
const LEAP_MAX: u32 = 150;
/// 5 minutes in ticks.
const QUIET_MAX: u32 = 300_000 / 64;
const WAKES_MAX: u32 = 100_000;

/// The time over which a stop closes sessions.
const DRAIN: Ticks = Ticks(8);
