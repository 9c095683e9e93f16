//! Counters of a shard: plain integers, written only by the shard.

use crate::vocabulary::close::CloseCause;
use std::collections::BTreeMap;

/// The counters of one shard since its start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Messages received from clients.
    pub messages_received: u64,
    /// Publications delivered on this shard.
    pub publications: u64,
    /// Outboxes to which a publication was enqueued.
    pub deliveries: u64,
    /// Publications to channels that members with a full outbox missed; by member, so a publication
    /// that two members missed counts twice.
    pub publications_dropped: u64,
    /// Pings enqueued.
    pub pings: u64,
    /// Pending bytes of slow consumers that were dropped.
    pub bytes_dropped: u64,
    /// Outboxes copied out of shared batches, to free those.
    pub outboxes_copied: u64,
    /// Connections whose cancelled operations did not complete in time.
    pub cancels_late: u64,
    /// HTTP connections closed to make room for others.
    pub connections_evicted: u64,
    /// HTTP connections reset because their peer did not read the responses in time.
    pub responses_unread: u64,
    /// Ended sessions and timed-out HTTP connections, by [`CloseCause::label`].
    pub ends: BTreeMap<&'static str, u64>,
    /// Rejections, by kind and reason.
    pub rejections: Rejections,
}

/// Numbers of rejections, by kind and reason.
pub type Rejections = BTreeMap<(RejectionKind, &'static str), u64>;

/// The kinds of request that can be rejected.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RejectionKind {
    /// An upgrade to a session.
    Upgrade,
    /// A session's join of a channel.
    Join,
    /// A session's publication.
    Publish,
    /// A command, denied by its rule or by a handler with a denial of the gateway.
    Command,
    /// A token, or another registration for a user, in a session's message.
    Token,
    /// Any other HTTP request: a push, a drop, a server API call, or an unknown path.
    Request,
}

impl RejectionKind {
    /// Returns the name for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Command => "command",
            Self::Token => "token",
            Self::Request => "request",
        }
    }
}

impl Counters {
    /// Counts the end of a session, or the time-out of an HTTP connection.
    pub fn count_end(&mut self, end: CloseCause) {
        *self.ends.entry(end.label()).or_default() += 1;
    }

    /// Counts a rejection.
    pub fn count_rejection(&mut self, rejected: RejectionKind, reason: &'static str) {
        *self.rejections.entry((rejected, reason)).or_default() += 1;
    }

    /// Returns the numbers of rejections of a kind, by reason.
    #[must_use]
    pub fn rejections_of(&self, rejected: RejectionKind) -> BTreeMap<&'static str, u64> {
        let all = self.rejections.iter();
        all.filter(|((what, _), _)| *what == rejected)
            .map(|(&(_, reason), &count)| (reason, count))
            .collect()
    }

    /// Returns the number of ends with this label.
    #[must_use]
    pub fn ended(&self, label: &str) -> u64 {
        self.ends.get(label).copied().unwrap_or(0)
    }

    /// Adds the counters of another shard.
    pub fn add(&mut self, other: &Self) {
        self.connections_accepted += other.connections_accepted;
        self.sessions_opened += other.sessions_opened;
        self.messages_received += other.messages_received;
        self.publications += other.publications;
        self.deliveries += other.deliveries;
        self.publications_dropped += other.publications_dropped;
        self.pings += other.pings;
        self.bytes_dropped += other.bytes_dropped;
        self.outboxes_copied += other.outboxes_copied;
        self.cancels_late += other.cancels_late;
        self.connections_evicted += other.connections_evicted;
        self.responses_unread += other.responses_unread;
        for (label, count) in &other.ends {
            *self.ends.entry(label).or_default() += count;
        }
        for (&rejection, count) in &other.rejections {
            *self.rejections.entry(rejection).or_default() += count;
        }
    }
}
