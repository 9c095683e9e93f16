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
    /// The paths of the routes that share the name's namespace.
    pub routes: Vec<String>,
}

impl MemberCount {
    pub(crate) fn new(name: &[u8], sessions: usize) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            sessions,
        }
    }

    /// Adds up the counts of several shards. Returns them in the order of the names.
    #[must_use]
    pub fn merge(mut counts: Vec<Self>) -> Vec<Self> {
        counts.sort_unstable();
        counts.dedup_by(|next, first| {
            let is_same = next.name == first.name;
            first.sessions += if is_same { next.sessions } else { 0 };
            is_same
        });
        counts
    }
}

impl SessionInfo {
    /// Returns the bytes of all names in the snapshot.
    pub(super) fn names_bytes(&self) -> usize {
        let names = self.users.iter().chain(&self.channels);
        names.map(String::len).sum::<usize>() + self.name.len()
    }

    /// Returns the time of opening, in milliseconds since the shard's start.
    #[must_use]
    pub fn opened_ms(&self) -> u64 {
        Tick::begins_at_ms(self.statistics.opened)
    }
}
