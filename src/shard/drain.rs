//! Paced close of a shard's sessions at a stop, so that their clients do not all reconnect at once.
//!
//! ```text
//!   began        |----|----|----|----|----|  began + over
//!   at once ###    #     #  #       #   #      one session in each part, at a random point of it
//! ```
//!
//! The order is random. The time is divided into one part per session, so any span of time closes
//! at most its share of the sessions and one more.

use super::connection::Phase;
use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::{Tick, Ticks};
use rand_core::RngCore as _;

/// The sessions that remain to be closed, and the time of the next close.
#[derive(Debug)]
pub(super) struct Drain {
    began: Tick,
    over: Ticks,
    /// Number of sessions at the start.
    count: usize,
    /// The sessions in reverse order of closing. A session that ends earlier stays here and is
    /// skipped.
    waiting: Vec<ConnectionId>,
    /// When the last session of `waiting` is closed.
    next: Tick,
}

impl Shard {
    /// Closes `at_once` sessions with [`CloseCause::Shutdown`] now, and the others one by one
    /// during `over`, in [`Shard::fire_deadlines`].
    ///
    /// If `over` is zero, all sessions are closed now. A second call replaces the first drain.
    pub fn drain(&mut self, at_once: usize, over: Ticks) {
        let mut waiting: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.phase == Phase::Open)
            .map(|(id, _)| id)
            .collect();
        for last in (1..waiting.len()).rev() {
            let other = below(self.random.next_u64(), last as u64 + 1);
            waiting.swap(last, usize::try_from(other).expect("at most `last`"));
        }
        let kept = if over == Ticks(0) {
            0
        } else {
            waiting.len().saturating_sub(at_once)
        };
        for id in waiting.split_off(kept) {
            self.close_session(id, CloseCause::Shutdown);
        }
        let drain = Drain {
            began: self.now,
            over,
            count: waiting.len(),
            waiting,
            next: self.now,
        };
        self.drain = Some(Box::new(drain)).filter(|drain| drain.count > 0);
        self.plan_next();
    }

    /// Returns whether a drain has sessions left to close.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Returns when the next session is closed; `None` without a drain.
    pub(super) fn drain_due(&self) -> Option<Tick> {
        self.drain.as_ref().map(|drain| drain.next)
    }

    /// Closes the sessions that are due at `until`.
    pub(super) fn close_drained(&mut self, until: Tick) {
        while let Some(drain) = &mut self.drain
            && drain.next <= until
        {
            if let Some(id) = drain.waiting.pop() {
                self.close_session(id, CloseCause::Shutdown);
            }
            self.plan_next();
        }
    }

    /// Draws the time of the next close. Ends the drain if no session is left.
    fn plan_next(&mut self) {
        let random = self.random.next_u64();
        self.drain = self.drain.take().filter(|drain| !drain.waiting.is_empty());
        if let Some(drain) = &mut self.drain {
            drain.next = drain.draw(random);
        }
    }
}

impl Drain {
    /// Returns a random tick in the next session's part of the time, rounded up.
    fn draw(&self, random: u64) -> Tick {
        let closed = (self.count - self.waiting.len()) as u64;
        // In units of `over / (count * PARTS)`.
        let at = u128::from(closed * PARTS + below(random, PARTS));
        let after = at * u128::from(self.over.0);
        let after = after.div_ceil(u128::from(self.count as u64 * PARTS));
        // Deadlines of the present tick have fired already, so the next one is the earliest.
        let after = u32::try_from(after).expect("at most `over`").max(1);
        Tick(self.began.0.saturating_add(after))
    }
}

/// Maps a random number to one below `count`. Its bias, below `count / 2^64`, does no harm here.
fn below(random: u64, count: u64) -> u64 {
    let product = u128::from(random) * u128::from(count);
    u64::try_from(product >> 64).expect("below `count`")
}

/// Steps into which a session's part of the time is divided.
const PARTS: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Route};
    use crate::dialect::echo::Echo;
    use crate::gateway::shard_settings;
    use crate::shard::hash::HashSeed;
    use crate::vocabulary::id::ShardId;
    use std::sync::Arc;

    fn shard(seed: u8) -> Shard {
        let config = Config {
            routes: vec![Route::new("/x", &Echo)],
            ..Config::default()
        };
        let settings = Arc::new(shard_settings(&config));
        let hash = HashSeed([u64::from(seed); 2]);
        Shard::new(ShardId::new(0), 1, settings, hash, [seed; 32])
    }

    /// Opens sessions and returns them in order.
    fn open(shard: &mut Shard, count: usize) -> Vec<ConnectionId> {
        let open_one = |_| {
            let id = shard.handle_accepted().expect("there is room");
            shard.handle_upgraded(id, 0, 0, b"101", false);
            id
        };
        (0..count).map(open_one).collect()
    }

    fn tick_to(shard: &mut Shard, now: Tick) {
        shard.set_time(now);
        shard.fire_deadlines(now);
    }

    fn open_count(shard: &Shard, ids: &[ConnectionId]) -> usize {
        ids.iter().filter(|&&id| shard.is_open(id)).count()
    }

    #[test]
    fn sessions_are_closed_evenly_and_the_last_in_time() {
        const OVER: u32 = 40;
        for (seed, count, at_once) in [(1, 1, 0), (2, 7, 3), (3, 500, 100), (4, 4_000, 100)] {
            let mut shard = shard(seed);
            let ids = open(&mut shard, count);
            tick_to(&mut shard, Tick(100));
            shard.drain(at_once, Ticks(OVER));
            assert_eq!(open_count(&shard, &ids), count - at_once);
            let paced = count - at_once;
            for tick in 1..=OVER {
                let due = shard.poll_wake().expect("sessions are to be closed");
                assert!(due > Tick(99 + tick), "nothing is late");
                tick_to(&mut shard, Tick(100 + tick));
                shard.invariants();
                let closed = paced - open_count(&shard, &ids);
                let share = paced * tick as usize / OVER as usize;
                assert!(
                    closed <= share + 1 && closed + 1 >= share,
                    "{closed} of {paced} at {tick}, {share} were to be"
                );
            }
            assert_eq!(open_count(&shard, &ids), 0);
            assert!(!shard.is_draining());
        }
    }

    #[test]
    fn the_order_is_not_that_of_opening_and_differs_between_shards() {
        let order = |seed| {
            let mut shard = shard(seed);
            let ids = open(&mut shard, 50);
            shard.drain(0, Ticks(1_000));
            let mut order = Vec::new();
            for tick in 1..=1_000 {
                tick_to(&mut shard, Tick(tick));
                let closed = (0..ids.len()).filter(|&at| !shard.is_open(ids[at]));
                let fresh: Vec<usize> = closed.filter(|at| !order.contains(at)).collect();
                order.extend(fresh);
            }
            order
        };
        let (one, other) = (order(1), order(2));
        assert!(!one.is_sorted() && !other.is_sorted());
        assert_ne!(one, other);
    }

    #[test]
    fn without_time_all_are_closed_at_once() {
        for (at_once, over) in [(0, 0), (30, 10), (usize::MAX, 10)] {
            let mut shard = shard(1);
            let ids = open(&mut shard, 30);
            shard.drain(at_once, Ticks(over));
            assert_eq!(open_count(&shard, &ids), 0);
            assert!(!shard.is_draining());
        }
    }

    #[test]
    fn a_session_that_ends_before_its_turn_is_skipped() {
        let mut shard = shard(1);
        let ids = open(&mut shard, 20);
        shard.drain(0, Ticks(20));
        for &id in &ids[..10] {
            shard.handle_hangup(id, true);
            shard.handle_closed(id);
        }
        // New sessions take the free slots; the drain does not close them.
        let fresh = open(&mut shard, 10);
        tick_to(&mut shard, Tick(20));
        assert_eq!(open_count(&shard, &ids), 0);
        assert_eq!(open_count(&shard, &fresh), 10);
        assert!(!shard.is_draining());
    }
}
