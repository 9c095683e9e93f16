//! What a gateway tells about its sessions, channels and users.

use crate::shard::SessionStatistics;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::time::Tick;

/// A session, as it was when it was asked about.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its public id.
    pub id: PublicId,
    /// The path of its route.
    pub path: String,
    /// Counts the sessions of its route, where an embedder has handlers there; zero elsewhere.
    pub number: u64,
    /// The users it speaks for.
    pub users: Vec<String>,
    /// What its profile calls it; empty where it has none.
    pub name: String,
    /// The channels it is on, in the order in which it joined them.
    pub channels: Vec<String>,
    /// What has gone through it.
    pub statistics: SessionStatistics,
    /// When it opened, in milliseconds since 1970; exact to 64 ms.
    pub opened_unix_ms: u64,
}

/// A channel or a user, and how many sessions are on it or speak for it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct MemberCount {
    /// The channel's or user's name.
    pub name: String,
    /// How many sessions there are.
    pub sessions: usize,
}

/// A channel or a user on a page of them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListedName {
    /// The channel's or user's name.
    pub name: String,
    /// How many sessions are on it or speak for it, on all shards; a channel that was declared in
    /// advance may have none.
    pub sessions: usize,
    /// The paths of the routes that share its namespace.
    pub routes: Vec<String>,
}

impl MemberCount {
    pub(crate) fn new(name: &[u8], sessions: usize) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            sessions,
        }
    }

    /// The counts of several shards added up, in the order of the names.
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
    /// What its names take, in bytes.
    pub(super) fn names_bytes(&self) -> usize {
        let names = self.users.iter().chain(&self.channels);
        names.map(String::len).sum::<usize>() + self.name.len()
    }

    /// When it opened, in milliseconds since its shard started.
    #[must_use]
    pub fn opened_ms(&self) -> u64 {
        Tick::begins_at_ms(self.statistics.opened)
    }
}
