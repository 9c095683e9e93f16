//! How long a connection may take to end.
//!
//! ```text
//!   the end begins                                      at most GRACES_MAX graces in all
//!   |------ grace ------|                               |
//!          '-- progress: |------ grace ------|          |
//!                                           '-- none: is the kernel still delivering?
//! ```
//!
//! The grace begins anew with each progress: with bytes that the socket takes of what is pending.
//! What the socket has taken before may still be on its way to a slow peer, which only the kernel
//! knows, so the driver is asked when a grace is over ([`CloseStep::Measure`]), and not before: a
//! connection whose socket still holds bytes has one more grace, in which some of them must go. A
//! slow consumer, whose socket is full when it is closed, therefore begins with two.
//!
//! Input is no progress. Neither side's trickle makes an end last longer than the whole bound.

use super::connection::{Connection, HttpPhase, Phase};
use super::core::{CloseStep, Shard};
use super::settings::ShardSettings;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::{Tick, Ticks};

impl Connection {
    /// Starts the grace, and the bound on all of them together.
    pub(super) fn begin_to_end(&mut self, now: Tick) {
        self.since = now;
        self.last_ping = now;
    }

    /// Whether the connection ends, and the grace counts.
    pub(super) fn is_ending(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last)
        )
    }

    /// When the present grace is over, or all of them are. Both begin again at `resumed_at`.
    pub(super) fn end_due(&self, settings: &ShardSettings, resumed_at: Tick) -> Tick {
        let grace_ends = self.since.max(resumed_at).after(settings.close_grace);
        grace_ends.min(self.ends_at_last(settings, resumed_at))
    }

    fn ends_at_last(&self, settings: &ShardSettings, resumed_at: Tick) -> Tick {
        let graces = settings.close_grace.0.saturating_mul(GRACES_MAX);
        self.last_ping.max(resumed_at).after(Ticks(graces))
    }
}

impl Shard {
    /// The peer of a connection that ends has taken something: its grace begins anew.
    pub(super) fn note_progress(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(id).expect("it still ends");
        connection.since = self.now;
        // Measured before more was taken, it says nothing about what is there now.
        self.unacknowledged.remove(&id.slot());
    }

    /// The last answers of an HTTP connection are being sent: nothing comes after them. Does
    /// nothing if that is known.
    pub fn handle_http_last(&mut self, id: ConnectionId) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id)
            && matches!(connection.phase, Phase::Http(_))
            && !connection.is_ending()
        {
            connection.phase = Phase::Http(HttpPhase::Last);
            connection.begin_to_end(now);
            self.schedule(id);
        }
    }

    /// The socket of an HTTP connection has taken some of its last answers.
    pub fn handle_http_progress(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some_and(Connection::is_ending) {
            self.note_progress(id);
        }
    }

    /// A grace may be over at `until`. If it is, the connection goes on only if the kernel says so.
    pub(super) fn look_at_end(&mut self, id: ConnectionId, until: Tick) {
        let (now, resumed_at) = (self.now, self.resumed_at);
        let connection = self.connections.get_mut(id).expect("it has a deadline");
        if connection.ends_at_last(&self.settings, resumed_at) <= until {
            self.finish_by(id, CloseStep::Reset);
            return;
        }
        if connection.end_due(&self.settings, resumed_at) <= until {
            connection.since = now;
            self.closes.push_back((id, CloseStep::Measure));
        }
        self.schedule(id);
    }

    /// What [`CloseStep::Measure`] has found: how many bytes the kernel holds of what it was given
    /// for a connection, sent or not, that the peer has not acknowledged.
    ///
    /// If they are as many as a grace ago, or none, the connection is closed.
    pub fn handle_unacknowledged(&mut self, id: ConnectionId, bytes: u32) {
        if !self.connections.get(id).is_some_and(Connection::is_ending) {
            return;
        }
        let before = self.unacknowledged.insert(id.slot(), bytes);
        if bytes == 0 {
            self.finish(id);
        } else if before.is_some_and(|before| bytes >= before) {
            self.finish_by(id, CloseStep::Reset);
        }
    }
}

/// How many graces the end of a connection may take, whatever progress there is.
pub(super) const GRACES_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::hash::HashSeed;
    use crate::vocabulary::content::{Content, Data};
    use crate::vocabulary::id::{SessionId, ShardId};
    use crate::vocabulary::publication::Audience;
    use std::sync::Arc;

    const GRACE: u32 = 10;
    const GREETING: &[u8] = b"greeting";
    const CLOSE: &[u8] = b"\x88\x0a\x03\xf0too slow";

    fn shard() -> Shard {
        let mut config = Config::default();
        config.heartbeat.close_grace_ms =
            GRACE * u32::try_from(crate::vocabulary::time::TICK_MS).expect("few");
        for route in &mut config.routes {
            route.limits.outbox_bytes_max = 64 << 10;
        }
        let settings = Arc::new(crate::gateway::shard_settings(&config));
        Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32])
    }

    /// A session that has taken its greeting.
    fn open(shard: &mut Shard) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, 0, GREETING, false);
        assert_eq!(shard.poll_send(), Some((id, GREETING)));
        shard.handle_sent(id, u32::try_from(GREETING.len()).expect("short"));
        id
    }

    fn publish(shard: &mut Shard, to: ConnectionId, payload: &[u8]) -> u32 {
        let content = Content {
            data: Data::Bytes(payload),
            ..Content::default()
        };
        let session = SessionId::new(shard.id, to);
        shard.publish(Audience::Session(session), &content, None)
    }

    /// A slow consumer whose socket has taken nothing of two frames of one send.
    fn slow_consumer(shard: &mut Shard) -> (ConnectionId, Vec<u8>) {
        let id = open(shard);
        let half = vec![b'x'; 30 << 10];
        assert_eq!(publish(shard, id, &half), 1);
        assert_eq!(publish(shard, id, &half), 1);
        let lent = shard.poll_send().expect("it is owed two frames").1.to_vec();
        assert!(lent.len() > 2 * half.len());
        assert_eq!(publish(shard, id, &half), 0, "it has fallen behind");
        (id, lent)
    }

    fn tick(shard: &mut Shard, ticks: u32) {
        let now = Tick(shard.now.0 + ticks);
        shard.set_time(now);
        shard.fire_deadlines(now);
        shard.invariants();
    }

    /// What the driver is told to do next, nothing of which it has to send first.
    fn next_step(shard: &mut Shard) -> Option<CloseStep> {
        shard.poll_close().map(|(_, step)| step)
    }

    #[test]
    fn the_close_of_a_slow_consumer_follows_the_frame_that_is_partly_sent() {
        let mut shard = shard();
        let (id, lent) = slow_consumer(&mut shard);
        let taken = lent.len() / 2 - 7;
        shard.handle_sent(id, u32::try_from(taken).expect("below 4 GiB"));
        shard.invariants();
        let rest = shard.poll_send().expect("the frame goes on").1.to_vec();
        let expected = [&lent[taken..lent.len() / 2], CLOSE].concat();
        assert_eq!(rest, expected, "and only that frame");
        assert_eq!(
            shard.counters().bytes_dropped,
            (lent.len() - lent.len() / 2) as u64
        );
        shard.handle_sent(id, u32::try_from(rest.len()).expect("below 4 GiB"));
        assert_eq!(next_step(&mut shard), Some(CloseStep::Shutdown));
        shard.invariants();
    }

    #[test]
    fn nothing_of_a_send_that_took_nothing_goes_before_the_close() {
        let mut shard = shard();
        let (id, lent) = slow_consumer(&mut shard);
        shard.handle_sent(id, u32::try_from(lent.len() / 2).expect("below 4 GiB"));
        assert_eq!(shard.poll_send(), Some((id, CLOSE)), "a frame has ended");
        shard.invariants();
    }

    #[test]
    fn progress_begins_the_grace_anew_and_ten_graces_are_all() {
        let mut shard = shard();
        let (id, _) = slow_consumer(&mut shard);
        let mut ticks = 0;
        let step = loop {
            shard.handle_sent(id, 1);
            assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
            tick(&mut shard, GRACE);
            ticks += GRACE;
            if let Some(step) = next_step(&mut shard) {
                break step;
            }
        };
        assert_eq!(step, CloseStep::Reset);
        let all = GRACE * GRACES_MAX;
        assert!((all..=all + GRACE).contains(&ticks), "{ticks}");
        shard.handle_sent(id, 0);
        shard.handle_closed(id);
    }

    #[test]
    fn bytes_that_the_kernel_delivers_are_progress() {
        let mut shard = shard();
        let (id, _) = slow_consumer(&mut shard);
        for bytes in [900, 800, 10] {
            tick(&mut shard, GRACE + 1);
            assert_eq!(next_step(&mut shard), Some(CloseStep::Measure));
            shard.handle_unacknowledged(id, bytes);
            assert_eq!(next_step(&mut shard), None);
        }
        tick(&mut shard, GRACE + 1);
        assert_eq!(next_step(&mut shard), Some(CloseStep::Measure));
        shard.handle_unacknowledged(id, 10);
        assert_eq!(next_step(&mut shard), Some(CloseStep::Reset));
        shard.invariants();
    }

    #[test]
    fn what_was_measured_before_more_was_taken_is_forgotten() {
        let mut shard = shard();
        let (id, _) = slow_consumer(&mut shard);
        for _ in 0..2 {
            tick(&mut shard, GRACE + 1);
            assert_eq!(next_step(&mut shard), Some(CloseStep::Measure));
            shard.handle_unacknowledged(id, 500);
            assert_eq!(next_step(&mut shard), None);
            shard.handle_sent(id, 300);
            assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
        }
    }

    #[test]
    fn a_peer_that_has_taken_everything_has_one_grace_to_end() {
        let mut shard = shard();
        let id = open(&mut shard);
        shard.close_session(id, crate::vocabulary::close::CloseCause::Shutdown);
        let close = shard.poll_send().expect("it is closed").1.len();
        shard.handle_sent(id, u32::try_from(close).expect("short"));
        assert_eq!(next_step(&mut shard), Some(CloseStep::Shutdown));
        tick(&mut shard, GRACE);
        assert_eq!(next_step(&mut shard), None);
        shard.handle_received(id, &mut [0]);
        tick(&mut shard, 1);
        assert_eq!(next_step(&mut shard), Some(CloseStep::Measure));
        shard.handle_unacknowledged(id, 0);
        assert_eq!(next_step(&mut shard), Some(CloseStep::Finish));
        shard.invariants();
    }

    #[test]
    fn the_last_answers_of_an_http_connection_are_bounded_with_what_follows() {
        let mut shard = shard();
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_http_last(id);
        for _ in 0..GRACES_MAX / 2 {
            tick(&mut shard, GRACE);
            shard.handle_http_progress(id);
        }
        shard.handle_http_done(id);
        assert_eq!(next_step(&mut shard), Some(CloseStep::Shutdown));
        let mut left = u32::MAX;
        for _ in 0..GRACES_MAX / 2 {
            tick(&mut shard, GRACE + 1);
            if let Some(step) = next_step(&mut shard) {
                if step == CloseStep::Reset {
                    return;
                }
                left -= 1;
                shard.handle_unacknowledged(id, left);
            }
        }
        panic!("it goes on for ever");
    }
}
