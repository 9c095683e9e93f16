//! What a shard remembers about one connection, and when it must look at it again.

use super::connection_table::ConnectionTable;
use super::outbox::Outbox;
use super::settings::{RouteSettings, ShardSettings};
use crate::vocabulary::time::Tick;

/// The part of a connection that a publication touches; the rest lies in arrays beside it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Outbox,
    /// When anything last came from the peer.
    pub(super) last_input: Tick,
    /// When the peer was last asked for a sign of life; of a connection that ends, when that began.
    pub(super) last_ping: Tick,
    /// When the present phase began; of a connection that ends, when its grace did.
    pub(super) since: Tick,
    /// Bytes of the messages that publications and replies have owed to it.
    pub(super) bytes_sent: u64,
    /// How many they were.
    pub(super) messages_sent: u32,
    /// Index of the route of a session; meaningless before the upgrade.
    pub(super) route: u16,
    /// Calls of its that are being handled.
    pub(super) calls_in_flight: u16,
    pub(super) phase: Phase,
    /// Whether the peer has said that nothing more will come.
    pub(super) peer_ended: bool,
    /// Whether a question about its last message is open; nothing more is read until the answer.
    pub(super) waiting: bool,
    /// Whether it speaks for some user.
    pub(super) registered: bool,
}

/// Where a connection stands between accept and close.
///
/// ```text
///   Http --upgraded--> Open --end()--> Closing --all sent--> Draining --peer's end, grace--> Gone
///    |                  \------------------ cut --------------------------------------------^
///    \--done--> Draining
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Http(HttpPhase),
    /// A session.
    Open,
    /// A close frame is on its way; what comes from the peer is not looked at.
    Closing,
    /// Everything has been sent and the sending side is shut; the peer's end is awaited.
    Draining,
    /// The driver was told to close; only [`super::Shard::handle_closed`] can follow.
    Gone,
}

/// What an HTTP connection is waiting for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpPhase {
    /// The rest of a request's head, or the first one.
    Head,
    /// The rest of a request's body.
    Body,
    /// Our own answer, which has its own time limit.
    Answer,
    /// The peer, which has not taken all of its answers.
    Unread,
    /// The next request.
    Idle,
    /// The peer, which has not taken the last answers; nothing comes after them.
    Last,
}

impl Connection {
    pub(super) fn accepted(now: Tick) -> Self {
        Self {
            outbox: Outbox::EMPTY,
            last_input: now,
            last_ping: now,
            since: now,
            bytes_sent: 0,
            messages_sent: 0,
            route: 0,
            calls_in_flight: 0,
            phase: Phase::Http(HttpPhase::Head),
            peer_ended: false,
            waiting: false,
            registered: false,
        }
    }

    /// The soonest tick at which something is due, as far as is known now. What has run since
    /// before `resumed_at` begins again there, but for pings.
    pub(super) fn deadline(&self, settings: &ShardSettings, resumed_at: Tick) -> Option<Tick> {
        let since = self.since.max(resumed_at);
        match self.phase {
            Phase::Http(HttpPhase::Head) => Some(since.after(settings.handshake_timeout)),
            Phase::Http(HttpPhase::Body) => Some(since.after(settings.body_timeout)),
            Phase::Http(HttpPhase::Unread) => Some(since.after(settings.send_timeout)),
            Phase::Http(HttpPhase::Idle) => Some(since.after(settings.keep_alive_timeout)),
            Phase::Http(HttpPhase::Answer) | Phase::Gone => None,
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last) => {
                Some(self.end_due(settings, resumed_at))
            }
            Phase::Open => {
                let route = &settings.routes[usize::from(self.route)];
                [
                    self.ping_due(route),
                    self.idle_due(route, resumed_at),
                    self.registration_due(route, resumed_at),
                ]
                .into_iter()
                .flatten()
                .min()
            }
        }
    }

    /// Whether it is a session that has not begun to end.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether nothing more may be read of it for now: it waits for an answer, or has not taken
    /// those that it got.
    pub(super) fn must_wait(&self, route: &RouteSettings) -> bool {
        self.waiting
            || self.calls_in_flight >= route.calls_in_flight_max
            || self.outbox.bytes() > route.outbox_bytes_max
    }

    /// Whether something that its client asked is not answered yet. It may not be read meanwhile,
    /// so nobody can say that it is silent.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting || self.calls_in_flight > 0
    }

    pub(super) fn ping_due(&self, route: &RouteSettings) -> Option<Tick> {
        let silent_since = self.last_input.max(self.last_ping);
        route
            .ping_interval
            .map(|interval| silent_since.after(interval))
    }

    pub(super) fn idle_due(&self, route: &RouteSettings, resumed_at: Tick) -> Option<Tick> {
        let silent_since = self.last_input.max(resumed_at);
        route
            .idle_timeout
            .map(|timeout| silent_since.after(timeout))
    }

    pub(super) fn registration_due(&self, route: &RouteSettings, resumed_at: Tick) -> Option<Tick> {
        let timeout = route.registration_timeout.filter(|_| !self.registered)?;
        Some(self.since.max(resumed_at).after(timeout))
    }
}

const _: () = assert!(
    ConnectionTable::<Connection>::ENTRY_BYTES == 64,
    "fan-out touches one cache line per session"
);
