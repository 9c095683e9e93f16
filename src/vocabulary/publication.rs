//! Publications: what is said, to whom, and which one it is. Plain data, all of it.
//!
//! A publication is accepted, named and routed on one shard (`publish`), and applied on each
//! (`deliver`). What travels between them owns its bytes.

use crate::vocabulary::content::{Content, Message};
use crate::vocabulary::id::{SessionId, ShardId};

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
    pub content: Content<'p>,
    /// Random, the same on every shard: for languages in which each push has a name of its own.
    pub nonce: u64,
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
    /// The sessions that speak for a user.
    User {
        /// Users of different namespaces do not know each other.
        namespace: u16,
        /// The user's name.
        name: &'p [u8],
        /// Only those that want to hear this event, exact and case-sensitive, or every event;
        /// `None` is all of them.
        event: Option<&'p [u8]>,
    },
    /// The sessions on a channel.
    Channel {
        /// Channels of different namespaces do not know each other.
        namespace: u16,
        /// The channel's name.
        name: &'p [u8],
        /// Those that are passed over.
        except: &'p [SessionId],
    },
    /// One session, which is on the shard that applies it.
    Session(SessionId),
    /// Every session of a namespace.
    Everyone {
        /// The namespace.
        namespace: u16,
        /// Those that are passed over.
        except: &'p [SessionId],
    },
}

/// An audience that owns its names, on its way to another shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnedAudience {
    /// See [`Audience::User`].
    User {
        /// The namespace.
        namespace: u16,
        /// The user's name.
        name: Box<[u8]>,
        /// The event.
        event: Option<Box<[u8]>>,
    },
    /// See [`Audience::Channel`].
    Channel {
        /// The namespace.
        namespace: u16,
        /// The channel's name.
        name: Box<[u8]>,
        /// Those that are passed over.
        except: Box<[SessionId]>,
    },
    /// See [`Audience::Session`].
    Session(SessionId),
    /// See [`Audience::Everyone`].
    Everyone {
        /// The namespace.
        namespace: u16,
        /// Those that are passed over.
        except: Box<[SessionId]>,
    },
}

impl OwnedAudience {
    /// A copy that owns its names.
    #[must_use]
    pub fn copy(audience: &Audience<'_>) -> Self {
        match *audience {
            Audience::User {
                namespace,
                name,
                event,
            } => Self::User {
                namespace,
                name: name.into(),
                event: event.map(Into::into),
            },
            Audience::Channel {
                namespace,
                name,
                except,
            } => Self::Channel {
                namespace,
                name: name.into(),
                except: except.into(),
            },
            Audience::Session(session) => Self::Session(session),
            Audience::Everyone { namespace, except } => Self::Everyone {
                namespace,
                except: except.into(),
            },
        }
    }

    /// The same, borrowed.
    #[must_use]
    pub fn borrow(&self) -> Audience<'_> {
        match self {
            Self::User {
                namespace,
                name,
                event,
            } => Audience::User {
                namespace: *namespace,
                name,
                event: event.as_deref(),
            },
            Self::Channel {
                namespace,
                name,
                except,
            } => Audience::Channel {
                namespace: *namespace,
                name,
                except,
            },
            Self::Session(session) => Audience::Session(*session),
            Self::Everyone { namespace, except } => Audience::Everyone {
                namespace: *namespace,
                except,
            },
        }
    }
}

/// A publication that owns its bytes, on its way to another shard.
#[derive(Debug)]
pub struct OwnedPublication {
    id: PublicationId,
    position: Option<Position>,
    audience: OwnedAudience,
    message: Message,
    nonce: u64,
}

impl OwnedPublication {
    /// Copies a publication out of the buffers that it was read in.
    #[must_use]
    pub fn copy(publication: &Publication<'_>) -> Self {
        Self {
            id: publication.id,
            position: publication.position,
            audience: OwnedAudience::copy(&publication.audience),
            message: Message::copy(&publication.content),
            nonce: publication.nonce,
        }
    }

    /// The publication.
    #[must_use]
    pub fn borrow(&self) -> Publication<'_> {
        Publication {
            id: self.id,
            position: self.position,
            audience: self.audience.borrow(),
            content: self.message.borrow(),
            nonce: self.nonce,
        }
    }

    /// What it holds, in bytes, of which a few kibibytes of names are not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let data = self.message.data.bytes_count() + self.message.status_text.len();
        (size_of::<Self>() + data) as u64
    }
}
