//! Publications: a message with an id and an audience. Plain data.
//!
//! One shard accepts a publication, gives it an id and sends it to the others (`publish`); each
//! shard applies it to its sessions (`deliver`). A publication in a mailbox owns its bytes.

use crate::vocabulary::content::{Content, Message};
use crate::vocabulary::id::{SessionId, ShardId};

/// A publication, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'p> {
    /// The id, unique in the process.
    pub id: PublicationId,
    /// The position in the history of its channel; `None` without a history.
    pub position: Option<Position>,
    /// The audience.
    pub audience: Audience<'p>,
    /// The content, as the publisher gave it.
    pub content: Content<'p>,
    /// A random number, the same on every shard, for dialects that encode an id of each push.
    pub nonce: u64,
}

/// The id of a publication.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicationId {
    /// The shard that accepted it.
    pub origin: ShardId,
    /// The number of publications that the shard accepted before.
    pub sequence: u64,
}

/// A position in a history: an offset within an epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// Changes when the history restarts.
    pub epoch: u64,
    /// Increases by one with each publication.
    pub offset: u64,
}

/// The sessions that receive a publication, borrowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audience<'p> {
    /// The sessions bound to a user.
    User {
        /// The user's namespace.
        namespace: u16,
        /// The user's name.
        name: &'p [u8],
        /// Only sessions registered for this event (exact, case-sensitive) or for any; `None` for
        /// all sessions of the user.
        event: Option<&'p [u8]>,
    },
    /// The sessions on a channel.
    Channel {
        /// The channel's namespace.
        namespace: u16,
        /// The channel's name.
        name: &'p [u8],
        /// Sessions that are skipped.
        except: &'p [SessionId],
    },
    /// One session, on the shard that delivers.
    Session(SessionId),
    /// Every session of a namespace.
    Everyone {
        /// The namespace.
        namespace: u16,
        /// Sessions that are skipped.
        except: &'p [SessionId],
    },
}

/// The sessions that receive a publication, owned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnedAudience {
    /// See [`Audience::User`].
    User {
        /// The user's namespace.
        namespace: u16,
        /// The user's name.
        name: Box<[u8]>,
        /// The event; `None` for all sessions of the user.
        event: Option<Box<[u8]>>,
    },
    /// See [`Audience::Channel`].
    Channel {
        /// The channel's namespace.
        namespace: u16,
        /// The channel's name.
        name: Box<[u8]>,
        /// Sessions that are skipped.
        except: Box<[SessionId]>,
    },
    /// See [`Audience::Session`].
    Session(SessionId),
    /// See [`Audience::Everyone`].
    Everyone {
        /// The namespace.
        namespace: u16,
        /// Sessions that are skipped.
        except: Box<[SessionId]>,
    },
}

impl OwnedAudience {
    /// Copies a borrowed audience.
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

    /// Borrows the audience.
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

/// A publication, owned.
#[derive(Debug)]
pub struct OwnedPublication {
    id: PublicationId,
    position: Option<Position>,
    audience: OwnedAudience,
    message: Message,
    nonce: u64,
}

impl OwnedPublication {
    /// Copies a borrowed publication.
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

    /// Borrows the publication.
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

    /// Returns the memory of the publication in bytes, without up to a few KiB of names.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let data = self.message.data.bytes_count() + self.message.status_text.len();
        (size_of::<Self>() + data) as u64
    }
}
