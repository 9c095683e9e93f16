//! Publications and the messages that shards send each other: plain data, all of it.
//!
//! A publication is accepted, named and routed on one shard (`publish`), and applied on each
//! (`deliver`). What travels between them owns its bytes and holds no waker, closure or reference
//! count that is not atomic, so that the same message could cross a network.

use crate::id::ShardId;
use std::sync::Arc;

/// One event on its way to those it is for.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'p> {
    /// Which one it is, process-wide.
    pub id: PublicationId,
    /// Where it stands in a kept history; `None` while none is kept.
    pub position: Option<Position>,
    /// Whom it is for.
    pub audience: Audience<'p>,
    /// What it says, as the publisher said it.
    pub payload: &'p [u8],
}

/// The name of a publication: who accepted it, and how many that one had accepted before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicationId {
    /// The shard that accepted it.
    pub origin: ShardId,
    /// Counts from zero on that shard.
    pub sequence: u64,
}

/// A place in a history: an offset that means something within one epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// Changes when a history had to begin anew.
    pub epoch: u64,
    /// Grows by one with each publication.
    pub offset: u64,
}

/// Whom a publication is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audience<'p> {
    /// The sessions that speak for a user and registered for this event.
    User {
        /// Users of different namespaces do not know each other.
        namespace: u16,
        /// The user's name.
        name: &'p [u8],
        /// The event's name, exact and case-sensitive.
        event: &'p [u8],
    },
}

/// A publication that owns its bytes, on its way to another shard.
#[derive(Debug)]
pub struct OwnedPublication {
    id: PublicationId,
    position: Option<Position>,
    namespace: u16,
    name: Box<[u8]>,
    event: Box<[u8]>,
    payload: Box<[u8]>,
}

impl OwnedPublication {
    /// Copies a publication out of the buffers that it was read in.
    #[must_use]
    pub fn copy(publication: &Publication<'_>) -> Self {
        let Audience::User {
            namespace,
            name,
            event,
        } = publication.audience;
        Self {
            id: publication.id,
            position: publication.position,
            namespace,
            name: name.into(),
            event: event.into(),
            payload: publication.payload.into(),
        }
    }

    /// The publication.
    #[must_use]
    pub fn borrow(&self) -> Publication<'_> {
        Publication {
            id: self.id,
            position: self.position,
            audience: Audience::User {
                namespace: self.namespace,
                name: &self.name,
                event: &self.event,
            },
            payload: &self.payload,
        }
    }
}

/// What one shard tells another.
#[derive(Clone, Debug)]
pub enum MailboxMessage {
    /// Apply this publication.
    Publication {
        /// What to apply; one copy serves all shards.
        publication: Arc<OwnedPublication>,
        /// Where the number of sessions reached is to be reported.
        ticket: Ticket,
    },
    /// End the sessions of a user.
    Drop {
        /// Whose, and which of them.
        target: Arc<DropTarget>,
        /// Where the number of sessions ended is to be reported.
        ticket: Ticket,
    },
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
