//! Time limits of closing connections.
//!
//! ```text
//!   closing begins                                      at most GRACES_MAX graces in all
//!   |------ grace ------|                               |
//!          '-- progress: |------ grace ------|          |
//!                                           '-- none: is the kernel still delivering?
//! ```
//!
//! Each progress restarts the grace: bytes of the pending ones that the socket takes. Bytes that
//! the socket took before may still be in transit to a slow peer, which only the kernel knows. At
//! the end of a grace, and not earlier, the driver is asked for them ([`CloseStep::Measure`]). A
//! connection whose socket still holds bytes has one more grace, in which some must be
//! acknowledged. So a slow consumer, whose socket is full when it is closed, has at least two.
//!
//! Input is no progress. A trickle in either direction cannot exceed the total limit.

use super::connection::{Connection, HttpPhase, Phase};
use super::core::{CloseStep, Shard};
use super::settings::ShardSettings;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::{Tick, Ticks};

impl Connection {
    /// Starts the first grace and the total time limit.
    pub(super) fn begin_closing(&mut self, now: Tick) {
        self.since = now;
        self.last_ping = now;
    }

    /// Returns whether the connection is closing, so that the grace applies.
    pub(super) fn is_closing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last)
        )
    }

    /// Returns when the present grace or the total time limit is over. Both restart at
    /// `resumed_at`.
    pub(super) fn close_due(&self, settings: &ShardSettings, resumed_at: Tick) -> Tick {
        let grace_ends = self.since.max(resumed_at).after(settings.close_grace);
        grace_ends.min(self.closes_at_latest(settings, resumed_at))
    }

    fn closes_at_latest(&self, settings: &ShardSettings, resumed_at: Tick) -> Tick {
        let graces = settings.close_grace.0.saturating_mul(GRACES_MAX);
        self.last_ping.max(resumed_at).after(Ticks(graces))
    }
}

impl Shard {
    /// Records progress of a closing connection: restarts its grace.
    pub(super) fn note_progress(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(id).expect("it still ends");
        connection.since = self.now;
        // A measurement from before does not describe the bytes that the socket holds now.
        self.unacknowledged.remove(&id.slot());
    }

    /// Begins the end of an HTTP connection: its last responses are being sent. Does nothing if it
    /// is ending already.
    pub fn handle_http_last(&mut self, id: ConnectionId) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id)
            && matches!(connection.phase, Phase::Http(_))
            && !connection.is_closing()
        {
            connection.phase = Phase::Http(HttpPhase::Last);
            connection.begin_closing(now);
            self.schedule(id);
        }
    }

    /// Records that the socket of an ending HTTP connection has taken bytes of its last responses.
    pub fn handle_http_progress(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some_and(Connection::is_closing) {
            self.note_progress(id);
        }
    }

    /// Checks the time limits of a closing connection at `until`. After a grace, asks for a
    /// measurement; after the total limit, closes the connection with a reset.
    pub(super) fn check_close_grace(&mut self, id: ConnectionId, until: Tick) {
        let (now, resumed_at) = (self.now, self.resumed_at);
        let connection = self.connections.get_mut(id).expect("it has a deadline");
        if connection.closes_at_latest(&self.settings, resumed_at) <= until {
            self.finish_by(id, CloseStep::Reset);
            return;
        }
        if connection.close_due(&self.settings, resumed_at) <= until {
            connection.since = now;
            self.closes.push_back((id, CloseStep::Measure));
        }
        self.schedule(id);
    }

    /// Handles the result of [`CloseStep::Measure`]: the bytes in the kernel's send buffer, sent or
    /// not, that the peer has not acknowledged.
    ///
    /// Closes the connection if there are none, or, with a reset, if they are not fewer than one
    /// grace before.
    pub fn handle_unacknowledged(&mut self, id: ConnectionId, bytes: u32) {
        if !self.connections.get(id).is_some_and(Connection::is_closing) {
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

/// Maximum number of graces in which a connection may close, with any progress.
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

    /// Opens a session that has taken its greeting.
    fn open(shard: &mut Shard) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, 0, 0, GREETING, false);
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

    /// Makes a slow consumer whose socket has taken no byte of a send of two frames.
    fn slow_consumer(shard: &mut Shard) -> (ConnectionId, Vec<u8>) {
        let id = open(shard);
        let half = vec![b'x'; 30 << 10];
        assert_eq!(publish(shard, id, &half), 1);
        assert_eq!(publish(shard, id, &half), 1);
        let sending = shard
            .poll_send()
            .expect("two frames are pending")
            .1
            .to_vec();
        assert!(sending.len() > 2 * half.len());
        assert_eq!(publish(shard, id, &half), 0, "the outbox is full");
        (id, sending)
    }

    fn tick(shard: &mut Shard, ticks: u32) {
        let now = Tick(shard.now.0 + ticks);
        shard.set_time(now);
        shard.fire_deadlines(now);
        shard.invariants();
    }

    /// Returns the next close step.
    fn next_step(shard: &mut Shard) -> Option<CloseStep> {
        shard.poll_close().map(|(_, step)| step)
    }

    #[test]
    fn the_close_of_a_slow_consumer_follows_the_frame_that_is_partly_sent() {
        let mut shard = shard();
        let (id, sending) = slow_consumer(&mut shard);
        let taken = sending.len() / 2 - 7;
        shard.handle_sent(id, u32::try_from(taken).expect("below 4 GiB"));
        shard.invariants();
        let rest = shard.poll_send().expect("the frame goes on").1.to_vec();
        let expected = [&sending[taken..sending.len() / 2], CLOSE].concat();
        assert_eq!(rest, expected, "and only that frame");
        assert_eq!(
            shard.counters().bytes_dropped,
            (sending.len() - sending.len() / 2) as u64
        );
        shard.handle_sent(id, u32::try_from(rest.len()).expect("below 4 GiB"));
        assert_eq!(next_step(&mut shard), Some(CloseStep::Shutdown));
        shard.invariants();
    }

    #[test]
    fn frames_that_a_send_did_not_start_are_dropped_before_the_close() {
        let mut shard = shard();
        let (id, sending) = slow_consumer(&mut shard);
        shard.handle_sent(id, u32::try_from(sending.len() / 2).expect("below 4 GiB"));
        assert_eq!(shard.poll_send(), Some((id, CLOSE)), "a frame has ended");
        shard.invariants();
    }

    #[test]
    fn progress_restarts_the_grace_up_to_ten_graces() {
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
    fn a_measurement_from_before_progress_is_discarded() {
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
    fn the_last_responses_of_an_http_connection_share_the_total_limit() {
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
        panic!("the connection never ends");
    }
}
