//! What a shard counts, in plain integers that only it touches.

use crate::vocabulary::close::CloseCause;
use std::collections::BTreeMap;

/// The counts of one shard since it started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Sockets accepted.
    pub connections_accepted: u64,
    /// Upgrades granted.
    pub sessions_opened: u64,
    /// Messages that came from clients.
    pub messages_received: u64,
    /// Publications applied on this shard.
    pub publications: u64,
    /// Outboxes that a publication was added to.
    pub deliveries: u64,
    /// Pings sent.
    pub pings: u64,
    /// Bytes owed to slow consumers that were never sent.
    pub bytes_dropped: u64,
    /// Outboxes copied out of shared batches because those held too much.
    pub outboxes_copied: u64,
    /// Connections whose cancelled operations did not end in time.
    pub cancels_late: u64,
    /// HTTP connections closed to make room for another one.
    pub connections_evicted: u64,
    /// HTTP connections reset because they took none of their answers for too long.
    pub answers_unread: u64,
    /// How sessions ended, by [`CloseCause::label`].
    pub ends: BTreeMap<&'static str, u64>,
    /// What was rejected, and why.
    pub rejections: Rejections,
}

/// Counts of rejections, by what was rejected and the reason.
pub type Rejections = BTreeMap<(Rejected, &'static str), u64>;

/// What can be rejected.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rejected {
    /// An upgrade to a session.
    Upgrade,
    /// A session's wish to be on a channel.
    Join,
    /// A session's publication.
    Publish,
    /// A command that its own rule, or a handler in the gateway's words, was against.
    Command,
    /// A token, or another registration for a user, in a session's message.
    Token,
    /// Any other HTTP request: a push, a drop, one to the server API or to nowhere.
    Request,
}

impl Rejected {
    /// Its name in the log.
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
    /// Counts one end.
    pub fn count_end(&mut self, end: CloseCause) {
        *self.ends.entry(end.label()).or_default() += 1;
    }

    /// Counts one rejection.
    pub fn count_rejection(&mut self, rejected: Rejected, reason: &'static str) {
        *self.rejections.entry((rejected, reason)).or_default() += 1;
    }

    /// How often this was rejected, by reason.
    #[must_use]
    pub fn rejections_of(&self, rejected: Rejected) -> BTreeMap<&'static str, u64> {
        let all = self.rejections.iter();
        all.filter(|((what, _), _)| *what == rejected)
            .map(|(&(_, reason), &count)| (reason, count))
            .collect()
    }

    /// How many sessions ended under this label.
    #[must_use]
    pub fn ended(&self, label: &str) -> u64 {
        self.ends.get(label).copied().unwrap_or(0)
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        self.connections_accepted += other.connections_accepted;
        self.sessions_opened += other.sessions_opened;
        self.messages_received += other.messages_received;
        self.publications += other.publications;
        self.deliveries += other.deliveries;
        self.pings += other.pings;
        self.bytes_dropped += other.bytes_dropped;
        self.outboxes_copied += other.outboxes_copied;
        self.cancels_late += other.cancels_late;
        self.connections_evicted += other.connections_evicted;
        self.answers_unread += other.answers_unread;
        for (label, count) in &other.ends {
            *self.ends.entry(label).or_default() += count;
        }
        for (&rejection, count) in &other.rejections {
            *self.rejections.entry(rejection).or_default() += count;
        }
    }
}
