//! Mailbox messages between shards: plain data.
//!
//! A message owns its bytes and holds no waker, no closure and no non-atomic reference count.

use crate::vocabulary::id::{SessionId, ShardId};
use crate::vocabulary::publication::OwnedPublication;
use std::sync::Arc;

/// A message from one shard to another.
#[derive(Clone, Debug)]
pub enum MailboxMessage {
    /// Deliver a publication.
    Publication {
        /// The publication; all shards share one copy.
        publication: Arc<OwnedPublication>,
        /// The request to which the number of sessions reached is reported; `None` if it is not
        /// needed.
        count_request: Option<CountRequestId>,
    },
    /// A step of a claim to an exclusive user.
    Claim(ClaimMessage),
    /// A tap of a namespace opened or closed.
    Taps {
        /// The namespace.
        namespace: u16,
        /// `true` for an opened tap, `false` for a closed one.
        more: bool,
    },
    /// To the shard on which a session opened: where the session is now.
    Moved {
        /// The session.
        session: SessionId,
        /// The shard that has adopted it; `None` once it has ended.
        shard: Option<ShardId>,
    },
    /// Close the sessions of a user.
    Drop {
        /// The sessions to close.
        target: Arc<DropTarget>,
        /// The request to which the number of sessions closed is reported; `None` if it is not
        /// needed.
        count_request: Option<CountRequestId>,
    },
}

impl MailboxMessage {
    /// Returns the bytes that the message holds on the heap, without up to a few KiB of names. A
    /// publication counts in each mailbox, though the shards share it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Publication { publication, .. } => publication.bytes(),
            Self::Claim(_) | Self::Taps { .. } | Self::Moved { .. } | Self::Drop { .. } => 0,
        }
    }
}

/// A step of a claim to an exclusive user, who may have only one session. The user's *home* shard,
/// found by the user's name, decides which.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMessage {
    /// The namespace of the user.
    pub namespace: u16,
    /// The user's name.
    pub user: Arc<[u8]>,
    /// The session that claims or holds the user.
    pub session: SessionId,
    /// The step.
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
    /// To the home: the session claims the user.
    Claim {
        /// Whether the claim is denied if another session holds the user.
        yields: bool,
    },
    /// To the home: the session gives up its claim or the user.
    Release,
    /// To the session's shard: the session holds the user.
    Granted,
    /// To the session's shard: another session holds the user, or too many wait.
    Denied {
        /// Whether the claim yielded to a holder; otherwise too many sessions wait.
        is_held: bool,
    },
    /// To the session's shard: the home has no memory budget for the user's name.
    NamesLimit,
    /// To the session's shard: another session gets the user; close this one and release it.
    Evict,
}

/// The sessions that a drop closes.
#[derive(Debug)]
pub struct DropTarget {
    /// The user's namespace.
    pub namespace: u16,
    /// The user's name.
    pub name: Box<[u8]>,
    /// Only the sessions registered for this event; `None` for all of the user's.
    pub event: Option<Box<[u8]>>,
}

/// The id of a request to all other shards, to which each responds with a number of sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CountRequestId {
    /// The requesting shard.
    pub requester: ShardId,
    /// Index among that shard's open requests.
    pub index: u32,
}
