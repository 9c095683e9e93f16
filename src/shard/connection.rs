//! The state of one connection, and its timers.

use super::connection_table::ConnectionTable;
use super::outbox::Outbox;
use super::settings::{EncodingId, RouteSettings, ShardSettings};
use crate::vocabulary::time::Tick;

/// The part of a connection that fan-out touches; the rest lies in arrays of the shard, by slot.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Outbox,
    /// The tick of the peer's last input. Some dialects count only whole messages.
    pub(super) last_input: Tick,
    /// The tick of the last ping. For a closing connection: the tick at which closing began.
    pub(super) last_ping: Tick,
    /// The tick at which the present phase began. For a closing connection: its present grace.
    pub(super) since: Tick,
    /// Payload bytes enqueued to the session so far, of publications and replies.
    pub(super) bytes_sent: u64,
    /// The number of those messages. Wraps.
    pub(super) messages_sent: u32,
    /// Index of the route of a session; meaningless before the upgrade.
    pub(super) route: u16,
    /// The encoding of the messages to a session; meaningless before the upgrade.
    pub(super) encoding: EncodingId,
    /// Calls in flight: the host has not responded yet.
    pub(super) calls_in_flight: u16,
    pub(super) phase: Phase,
    pub(super) flags: ConnectionFlags,
}

/// State bits of a connection, in one byte, as its entry has no room for three.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ConnectionFlags(u8);

/// The phase of a connection between accept and close.
///
/// ```text
///   Http --upgraded--> Open --end()--> Closing --all sent--> Draining --peer's end, grace--> Gone
///    |                  \------------------ abort ------------------------------------------^
///    \--done--> Draining
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Http(HttpPhase),
    /// A session.
    Open,
    /// The close frame is enqueued; input is discarded.
    Closing,
    /// Everything was sent and the write side is shut down; the peer's end of input is awaited.
    Draining,
    /// The driver closes the socket; only [`super::Shard::handle_closed`] can follow.
    Gone,
}

/// What an HTTP connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpPhase {
    /// The rest of a request's head, or the first one.
    Head,
    /// The rest of a request's body.
    Body,
    /// The server's own response. No limit of the shard applies.
    Response,
    /// The peer, which has not read all of its responses.
    Unread,
    /// The next request.
    Idle,
    /// The peer, which has not read the last responses; the connection ends after them.
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
            encoding: EncodingId(0),
            calls_in_flight: 0,
            phase: Phase::Http(HttpPhase::Head),
            flags: ConnectionFlags::NONE,
        }
    }

    /// Returns route and encoding of a session in one word: sessions with the same word share the
    /// frame of a publication and the limit of their outboxes.
    #[inline]
    pub(super) fn fan_out_key(&self) -> u32 {
        u32::from(self.route) | u32::from(self.encoding.0) << 16
    }

    /// Returns the tick of the connection's next timer; `None` if it has none. Timers that started
    /// before `resumed_at` start again there, except pings.
    pub(super) fn deadline(&self, settings: &ShardSettings, resumed_at: Tick) -> Option<Tick> {
        let since = self.since.max(resumed_at);
        match self.phase {
            Phase::Http(HttpPhase::Head) => Some(since.after(settings.handshake_timeout)),
            Phase::Http(HttpPhase::Body) => Some(since.after(settings.body_timeout)),
            Phase::Http(HttpPhase::Unread) => Some(since.after(settings.send_timeout)),
            Phase::Http(HttpPhase::Idle) => Some(since.after(settings.keep_alive_timeout)),
            Phase::Http(HttpPhase::Response) | Phase::Gone => None,
            Phase::Closing | Phase::Draining | Phase::Http(HttpPhase::Last) => {
                Some(self.close_due(settings, resumed_at))
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

    /// Returns whether the connection is a session that is not closing.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Returns whether input is paused: the session waits for a response, has the maximum of calls
    /// in flight, or has more than `outbox_bytes_max` bytes pending.
    pub(super) fn must_wait(&self, route: &RouteSettings) -> bool {
        self.flags.contains(ConnectionFlags::WAITING)
            || self.calls_in_flight >= route.calls_in_flight_max
            || self.outbox.bytes() > route.outbox_bytes_max
    }

    /// Returns whether a request of the client is open. Its input may be paused meanwhile, so it
    /// does not count as idle.
    pub(super) fn is_waiting(&self) -> bool {
        self.flags.contains(ConnectionFlags::WAITING) || self.calls_in_flight > 0
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
        let is_registered = self.flags.contains(ConnectionFlags::REGISTERED);
        let timeout = route.registration_timeout.filter(|_| !is_registered)?;
        Some(self.since.max(resumed_at).after(timeout))
    }
}

impl ConnectionFlags {
    /// No flag.
    pub(super) const NONE: Self = Self(0);
    /// The peer has ended its input.
    pub(super) const PEER_ENDED: Self = Self(1);
    /// A host request is open whose response must precede the next message.
    pub(super) const WAITING: Self = Self(2);
    /// The session is bound to a user.
    pub(super) const REGISTERED: Self = Self(4);

    /// Returns whether the flag is set.
    #[inline]
    pub(super) fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Sets or clears the flag.
    #[inline]
    pub(super) fn set(&mut self, flag: Self, is_set: bool) {
        if is_set {
            self.0 |= flag.0;
        } else {
            self.0 &= !flag.0;
        }
    }
}

const _: () = assert!(
    ConnectionTable::<Connection>::ENTRY_BYTES == 64,
    "fan-out touches one cache line per session"
);
