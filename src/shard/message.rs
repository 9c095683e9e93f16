//! What shards tell each other: plain data, all of it.
//!
//! What travels between shards owns its bytes and holds no waker, closure or reference count that
//! is not atomic, so that the same message could cross a network.

use crate::vocabulary::id::{SessionId, ShardId};
use crate::vocabulary::publication::OwnedPublication;
use std::sync::Arc;

/// What one shard tells another.
#[derive(Clone, Debug)]
pub enum MailboxMessage {
    /// Apply this publication.
    Publication {
        /// What to apply; one copy serves all shards.
        publication: Arc<OwnedPublication>,
        /// Where the number of sessions reached is to be reported; `None` if nobody asks.
        ticket: Option<Ticket>,
    },
    /// About an exclusive user.
    Claim(ClaimMessage),
    /// So many more sessions watch a namespace's traffic.
    Watchers {
        /// The namespace.
        namespace: u16,
        /// One more, or one less.
        more: bool,
    },
    /// End the sessions of a user.
    Drop {
        /// Whose, and which of them.
        target: Arc<DropTarget>,
        /// Where the number of sessions ended is to be reported; `None` if nobody asks.
        ticket: Option<Ticket>,
    },
}

impl MailboxMessage {
    /// What it holds beside itself, in bytes, of which a few kibibytes of names are not counted. A
    /// publication's are counted in each mailbox, though all share them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Publication { publication, .. } => publication.bytes(),
            Self::Claim(_) | Self::Watchers { .. } | Self::Drop { .. } => 0,
        }
    }
}

/// What shards tell each other about a user who may have one session only: the user's *home*
/// shard, found by its name, decides who that is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMessage {
    /// The namespace of the user.
    pub namespace: u16,
    /// The user's name.
    pub user: Arc<[u8]>,
    /// The session that it is about.
    pub session: SessionId,
    /// What is said about it.
    pub step: ClaimStep,
}

/// The steps of a claim.
///
/// ```text
///   newcomer's shard             home                 present holder's shard
///        | Claim                   |                            |
///        |------------------------>|  Evict                     |
///        |                         |--------------------------->|  unbound, 4001
///        |                         |                   Release  |
///        |                 Granted |<---------------------------|
///        |<------------------------|                            |
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimStep {
    /// To the home: the session wants to be the user's.
    Claim {
        /// Whether it is refused if there is another.
        yields: bool,
    },
    /// To the home: the session is not, or no longer wants to be, the user's.
    Release,
    /// To the session's shard: it is the user's.
    Granted,
    /// To the session's shard: there is another, or too many wait.
    Refused {
        /// Whether the user is there, and not only others who wait.
        is_held: bool,
    },
    /// To the session's shard: there is no room for the user's name.
    NoRoom,
    /// To the session's shard: it is the user's no longer, close it.
    Evict,
}

/// Which sessions a drop ends.
#[derive(Debug)]
pub struct DropTarget {
    /// The user's namespace.
    pub namespace: u16,
    /// The user's name.
    pub name: Box<[u8]>,
    /// Only those registered for this event; `None` is all of them.
    pub event: Option<Box<[u8]>>,
}

/// The name of a question that other shards answer with a number.
///
/// It says who asked and which of its questions it was, and keeps nothing alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// The shard that wants to know.
    pub asker: ShardId,
    /// Which of its questions.
    pub index: u32,
}
