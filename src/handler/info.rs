//! Snapshots of sessions, channels and users.

use crate::shard::SessionStatistics;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::time::Tick;

/// A snapshot of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public id.
    pub id: PublicId,
    /// The path of its route.
    pub path: String,
    /// The session's number on its route, from 1. Zero on a route without an embedder's handlers.
    pub number: u64,
    /// The users that the session is bound to.
    pub users: Vec<String>,
    /// The display name of the profile; empty if there is none.
    pub name: String,
    /// The channels that the session is on, in the order of joining.
    pub channels: Vec<String>,
    /// The channels of which the session has missed publications because its outbox was full
    /// ([`SlowMembers::DropNewest`]), with their number since it joined, in the order of joining. A
    /// number stops at 2^32 - 1.
    ///
    /// [`SlowMembers::DropNewest`]: crate::channel_rules::SlowMembers::DropNewest
    pub dropped: Vec<(String, u32)>,
    /// Traffic counters.
    pub statistics: SessionStatistics,
    /// The time of opening, in milliseconds since 1970, with a resolution of 64 ms.
    pub opened_unix_ms: u64,
}

/// A channel or user and its number of sessions.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct MemberCount {
    /// The channel's or user's name.
    pub name: String,
    /// The number of sessions.
    pub sessions: usize,
    /// The publications that members of the channel missed because their outbox was full, by
    /// member, since the channel exists on the shard; 0 for a user.
    pub dropped: u64,
}

/// What is counted of a name on one shard: its sessions, and of a channel also the publications
/// that its members missed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameCounts {
    pub(crate) sessions: usize,
    pub(crate) dropped: u64,
}

/// A channel or user as an item of a [`Page`](super::Page).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListedName {
    /// The channel's or user's name.
    pub name: String,
    /// The number of sessions on all shards. Zero for a channel that the config declares and no
    /// session is on.
    pub sessions: usize,
    /// The publications that members of the channel missed, as in [`MemberCount::dropped`], on all
    /// shards; 0 for a user.
    pub dropped: u64,
    /// The paths of the routes that share the name's namespace.
    pub routes: Vec<String>,
}

impl MemberCount {
    pub(crate) fn new(name: &[u8], counts: NameCounts) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            sessions: counts.sessions,
            dropped: counts.dropped,
        }
    }

    /// Adds up the counts of several shards. Returns them in the order of the names.
    #[must_use]
    pub fn merge(mut counts: Vec<Self>) -> Vec<Self> {
        counts.sort_unstable();
        counts.dedup_by(|next, first| {
            let is_same = next.name == first.name;
            if is_same {
                first.sessions += next.sessions;
                first.dropped += next.dropped;
            }
            is_same
        });
        counts
    }
}

impl SessionInfo {
    /// Returns the bytes of all names in the snapshot.
    pub(super) fn names_bytes(&self) -> usize {
        let names = self.users.iter().chain(&self.channels);
        let dropped = self.dropped.iter().map(|(name, _)| name);
        names.chain(dropped).map(String::len).sum::<usize>() + self.name.len()
    }

    /// Returns the time of opening, in milliseconds since the shard's start.
    #[must_use]
    pub fn opened_ms(&self) -> u64 {
        Tick::begins_at_ms(self.statistics.opened)
    }
}
