//! What a shard counts, in plain integers that only it touches.

use crate::close::End;
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
    /// Registrations ignored because a name was too long or there were too many.
    pub registrations_refused: u64,
    /// Connections whose cancelled operations did not end in time.
    pub cancels_late: u64,
    /// How sessions ended, by [`End::label`].
    pub ends: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Counts one end.
    pub fn count_end(&mut self, end: End) {
        *self.ends.entry(end.label()).or_default() += 1;
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
        self.registrations_refused += other.registrations_refused;
        self.cancels_late += other.cancels_late;
        for (label, count) in &other.ends {
            *self.ends.entry(label).or_default() += count;
        }
    }
}
