//! Sessions as plain data: copying one out of a shard, and making the copy a session of another.
//!
//! ```text
//!   shard A                  shard B
//!   a on 3#1
//!      | export --> data --> adopt: a on 17#4      refused: nothing has changed, a is still on 3#1
//!      | forget
//!   3#1 is free
//! ```
//!
//! **When.** Between a publication's steps on the two shards, a session that moves could get it
//! twice or not at all: shard A has applied it, or has not, and B is about to. So all shards stop,
//! and apply what is in the mailboxes and command queues, until both are empty; then each shard has
//! applied the same publications:
//!
//! ```text
//!   mailboxes  A: P Q   B: Q      apply      A: -   B: -
//!   applied    A: O     B: P O    ----->     A: O P Q   B: P O Q    move a; then empty them again,
//!                                                                   since B tells of the move
//! ```
//!
//! Nothing else has to rest: calls, joins and tokens that the host has not answered yet, messages
//! and frames of which a part was received or taken, full outboxes, claims and evictions. Delivery
//! does not know of moves. `moves.rs` tells how what is addressed to the session finds it.
//!
//! **What changes.** Nobody is told. The session's id stays, and with it its public id; its
//! connection, shard and slot are new. Counters of opened and ended sessions do not move. Deadlines
//! travel as ages. Limits count as if the session had always been on the new shard.

use super::channels::JoinError;
use super::connection::{Connection, ConnectionFlags, Phase};
use super::core::{SessionProfile, Shard};
use super::names_budget::{NamesBudget, NamesLimit};
use super::partial_messages::{PartialMessage, partial_bytes_of};
use super::presence::TAP_CHANNEL;
use super::settings::EncodingId;
use super::users::BindUserError;
use crate::dialect::{MessageReader, PartialInput};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::public_id::Tag;
use crate::vocabulary::time::{Tick, Ticks};
use crate::ws::TextCheck;

/// A session as plain data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionExport {
    /// The session's id.
    pub session: SessionId,
    /// With the session's id, its public id.
    pub tag: Tag,
    /// Index of the route.
    pub route: u16,
    /// The format in the route's dialect.
    pub format: u8,
    /// The phase.
    pub phase: SessionPhase,
    /// The users that it is bound to, in the order of binding.
    pub users: Vec<UserExport>,
    /// The channels that it is on, in the order of joining; of a tap, that of the taps.
    pub channels: Vec<ChannelExport>,
    /// The exclusive user that it holds; `None` if it holds none.
    pub exclusive_user: Option<Box<[u8]>>,
    /// Bytes that the host stores for it.
    pub host_bytes: usize,
    /// Whether it is bound to a user.
    pub registered: bool,
    /// Whether the peer has ended its input.
    pub peer_ended: bool,
    /// Whether a response of the host must precede the next message.
    pub waiting: bool,
    /// Calls that the host has not responded to.
    pub calls_in_flight: u16,
    /// Traffic so far.
    pub traffic: Traffic,
    /// The running timers.
    pub ages: Ages,
    /// The message that it has begun and not completed; `None` between two messages.
    pub partial: Option<PartialExport>,
    /// The bytes that its socket has not taken.
    pub outbox: PendingBytes,
    /// Unacknowledged bytes when the last close grace ended; `None` before that.
    pub unacknowledged: Option<u32>,
}

/// A user that a session is bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserExport {
    /// The user's name.
    pub name: Box<[u8]>,
    /// The event, or [`ANY_EVENT`](super::users::ANY_EVENT).
    pub event: Box<[u8]>,
}

/// A channel that a session is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelExport {
    /// The channel's name.
    pub name: Box<[u8]>,
    /// The publications that were dropped for the session.
    pub dropped: u32,
}

/// The phases of a session that can be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionPhase {
    /// It takes part.
    Open,
    /// Its close frame is pending.
    Closing,
    /// Everything was sent and its socket's write side is shut down.
    Draining,
}

/// Traffic counters of a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Messages enqueued to it. Wraps.
    pub messages_sent: u32,
    /// Payload bytes of those.
    pub bytes_sent: u64,
    /// Messages received from the client.
    pub messages_received: u64,
    /// Payload bytes of those.
    pub bytes_received: u64,
}

/// The timers of a session, as the times since they began. On a shard that has not run for so long,
/// they begin with that shard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ages {
    /// Since the last input, or the last pause of the process.
    pub input: Ticks,
    /// Since the last ping; of a closing session, since closing began.
    pub ping: Ticks,
    /// Since the phase began; of a closing session, since its present grace began.
    pub phase: Ticks,
}

/// A message that has not been received completely.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartialExport {
    /// The state of its reader, with the received bytes.
    pub input: PartialInput,
    /// The check of its text.
    pub text: TextCheck,
    /// The time since its first byte, or since reads of the session last resumed.
    pub age: Ticks,
}

/// The bytes pending for a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PendingBytes {
    /// The bytes, of the first frame perhaps only the rest.
    pub bytes: Vec<u8>,
    /// The offset after each frame.
    pub frame_ends: Vec<u32>,
    /// Whether the first frame must be sent: it was begun, or no later byte has a meaning without.
    pub keeps_first: bool,
}

/// The reason why a session cannot be exported now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// The connection is not a session, or is gone.
    #[error("not a session")]
    NoSession,
    /// A send is in flight: complete or cancel it first.
    #[error("a send is in flight")]
    Sending,
    /// Output of the shard names the connection: poll it first.
    #[error("its output was not polled")]
    NotPolled,
    /// The shard closes its sessions.
    #[error("its shard is closing all sessions")]
    Draining,
    /// An embedder's values or handler are kept with the session, and are no plain data.
    #[error("an embedder's values are kept with it")]
    HasValues,
}

/// The reason why a shard cannot adopt a session. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdoptError {
    /// All slots are in use.
    #[error("no slot is free")]
    NoSlot,
    /// The shard closes its sessions.
    #[error("the shard is closing all sessions")]
    Draining,
    /// Its names exceed a memory limit.
    #[error("its names exceed a limit")]
    Names(NamesLimit),
    /// Its partial message exceeds `limits.partial_bytes_max`.
    #[error("its partial message exceeds limits.partial_bytes_max")]
    PartialBytes,
    /// Its pending bytes exceed `limits.publication_bytes_max`.
    #[error("its pending bytes exceed limits.publication_bytes_max")]
    PublicationBytes,
}

impl Shard {
    /// Copies a session. It stays on this shard until [`Shard::forget`].
    ///
    /// # Errors
    ///
    /// Returns the reason if it cannot be exported now.
    pub fn export(&self, id: ConnectionId) -> Result<SessionExport, ExportError> {
        let connection = self.connections.get(id).ok_or(ExportError::NoSession)?;
        let phase = match connection.phase {
            Phase::Open => SessionPhase::Open,
            Phase::Closing => SessionPhase::Closing,
            Phase::Draining => SessionPhase::Draining,
            Phase::Http(_) | Phase::Gone => return Err(ExportError::NoSession),
        };
        let session = self.session_id(id);
        if connection.outbox.is_sending() {
            return Err(ExportError::Sending);
        }
        if self.closes.iter().any(|&(it, _)| it == id)
            || self.host_requests.iter().any(|it| it.session == session)
            || self.ended.contains(&session)
        {
            return Err(ExportError::NotPolled);
        }
        if self.is_draining() {
            return Err(ExportError::Draining);
        }
        let slot = id.slot();
        let profile = &self.profiles[id.index()];
        let users = self.users.users_of(slot);
        let channels = self.channels.memberships_of_slot(slot);
        let flags = connection.flags;
        Ok(SessionExport {
            session,
            tag: profile.tag,
            route: connection.route,
            format: self.settings.encoding(connection.encoding).options.format,
            phase,
            users: users
                .map(|(name, event)| UserExport {
                    name: name.into(),
                    event: event.into(),
                })
                .collect(),
            channels: channels
                .map(|(name, dropped)| ChannelExport {
                    name: name.into(),
                    dropped,
                })
                .collect(),
            exclusive_user: self.claimants.user_of_slot(slot).map(Into::into),
            host_bytes: self.host_bytes.of(slot),
            registered: flags.contains(ConnectionFlags::REGISTERED),
            peer_ended: flags.contains(ConnectionFlags::PEER_ENDED),
            waiting: flags.contains(ConnectionFlags::WAITING),
            calls_in_flight: connection.calls_in_flight,
            traffic: Traffic {
                messages_sent: connection.messages_sent,
                bytes_sent: connection.bytes_sent,
                messages_received: profile.messages_received,
                bytes_received: profile.bytes_received,
            },
            ages: self.ages_of(connection),
            partial: self.partial_messages[id.index()]
                .as_ref()
                .map(|partial| PartialExport {
                    input: partial.reader.export(),
                    text: partial.text,
                    age: self.age_of(partial.began.max(self.resumed_at)),
                }),
            outbox: self.outboxes.export(&connection.outbox),
            unacknowledged: self.unacknowledged.get(&slot).copied(),
        })
    }

    /// Makes an exported session one of this shard's. Returns its connection. The caller tells the
    /// other shard to [`Shard::forget`] it before either handles another event.
    ///
    /// # Errors
    ///
    /// Returns the limit that leaves no room; nothing has changed.
    ///
    /// # Panics
    ///
    /// If the route or the format does not exist.
    pub fn adopt(&mut self, export: &SessionExport) -> Result<ConnectionId, AdoptError> {
        assert!(usize::from(export.route) < self.settings.routes.len());
        if self.is_draining() {
            return Err(AdoptError::Draining);
        }
        let partial = export.partial.as_ref();
        let encoding = self.encoding_of(export);
        let partial = partial.map(|it| Box::new(self.partial_of(it, encoding)));
        let partial_bytes = partial_bytes_of(partial.as_deref());
        if partial_bytes > 0 && self.partial_bytes + partial_bytes > self.settings.partial_bytes_max
        {
            return Err(AdoptError::PartialBytes);
        }
        let pending = export.outbox.bytes.len();
        let held = self.outboxes.batches.bytes_held();
        if pending > 0 && held + pending > self.settings.publication_bytes_max {
            return Err(AdoptError::PublicationBytes);
        }
        let inserted = self.connections.insert(self.connection_of(export));
        let id = inserted.map_err(|_| AdoptError::NoSlot)?;
        self.make_room_for(id);
        if let Err(limit) = self.adopt_names(id, export) {
            self.remove_names(id);
            self.connections.remove(id);
            return Err(AdoptError::Names(limit));
        }

        self.profiles[id.index()] = SessionProfile {
            tag: export.tag,
            messages_received: export.traffic.messages_received,
            bytes_received: export.traffic.bytes_received,
        };
        self.partial_messages[id.index()] = partial;
        self.partial_bytes += partial_bytes;
        self.unacknowledged
            .extend(export.unacknowledged.map(|bytes| (id.slot(), bytes)));
        self.sessions_count += usize::from(export.phase == SessionPhase::Open);
        let outbox = self.outboxes.adopt(&export.outbox);
        let connection = self.connections.get_mut(id).expect("just inserted");
        connection.outbox = outbox;
        if connection.outbox.can_send() {
            self.send_queues.queue(&mut connection.outbox, id.slot());
        }
        self.schedule(id);
        if SessionId::new(self.id, id) != export.session {
            self.connections.adopt(id, export.session);
        }
        self.report_move(export.session, Some(self.id));
        Ok(id)
    }

    /// Frees the slot of an exported session that another shard has adopted. Nobody is told.
    ///
    /// # Panics
    ///
    /// If it cannot be exported.
    pub fn forget(&mut self, id: ConnectionId) {
        let is_closing = self.connections.get(id).is_some_and(Connection::is_closing);
        assert!(is_closing || self.is_open(id), "{id} is no session");
        self.wheel.cancel(id.slot());
        let partial = self.partial_messages[id.index()].take();
        self.partial_bytes -= partial_bytes_of(partial.as_deref());
        self.unacknowledged.remove(&id.slot());
        self.remove_names(id);
        self.connections.disown(id);
        let mut connection = self.connections.remove(id).expect("just seen");
        self.outboxes.clear(&mut connection.outbox);
        self.sessions_count -= usize::from(!is_closing);
    }

    fn ages_of(&self, connection: &Connection) -> Ages {
        // Timers that a pause of the process has restarted began there.
        let resumed_at = self.resumed_at;
        let restarted = |tick: Tick| {
            if connection.is_open() {
                tick
            } else {
                tick.max(resumed_at)
            }
        };
        Ages {
            input: self.age_of(connection.last_input.max(resumed_at)),
            ping: self.age_of(restarted(connection.last_ping)),
            phase: self.age_of(restarted(connection.since)),
        }
    }

    fn age_of(&self, tick: Tick) -> Ticks {
        self.now.since(tick)
    }

    fn began(&self, age: Ticks) -> Tick {
        Tick(self.now.0.saturating_sub(age.0))
    }

    fn encoding_of(&self, export: &SessionExport) -> EncodingId {
        let route = &self.settings.routes[usize::from(export.route)];
        route.formats[usize::from(export.format)].encoding
    }

    fn partial_of(&self, export: &PartialExport, encoding: EncodingId) -> PartialMessage {
        let framing = self.settings.encoding(encoding).framing;
        PartialMessage {
            reader: MessageReader::adopt(framing, export.input.clone()),
            began: self.began(export.age),
            text: export.text,
        }
    }

    /// Returns the connection of an exported session, with an empty outbox.
    fn connection_of(&self, export: &SessionExport) -> Connection {
        let mut flags = ConnectionFlags::NONE;
        flags.set(ConnectionFlags::REGISTERED, export.registered);
        flags.set(ConnectionFlags::PEER_ENDED, export.peer_ended);
        flags.set(ConnectionFlags::WAITING, export.waiting);
        Connection {
            last_input: self.began(export.ages.input),
            last_ping: self.began(export.ages.ping),
            since: self.began(export.ages.phase),
            bytes_sent: export.traffic.bytes_sent,
            messages_sent: export.traffic.messages_sent,
            route: export.route,
            encoding: self.encoding_of(export),
            calls_in_flight: export.calls_in_flight,
            phase: match export.phase {
                SessionPhase::Open => Phase::Open,
                SessionPhase::Closing => Phase::Closing,
                SessionPhase::Draining => Phase::Draining,
            },
            flags,
            ..Connection::accepted(self.now)
        }
    }

    /// Stores the names of an exported session.
    ///
    /// # Errors
    ///
    /// Returns the limit that they exceed. The caller removes those stored before.
    fn adopt_names(&mut self, id: ConnectionId, export: &SessionExport) -> Result<(), NamesLimit> {
        let (slot, namespace) = (id.slot(), self.namespace_of(id));
        if let Some(user) = &export.exclusive_user {
            self.claimants.adopt(slot, export.session, namespace, user);
            self.check_names(id)?;
        }
        self.names_budget_for(id)
            .check(export.host_bytes, export.host_bytes)?;
        self.host_bytes.add(slot, export.host_bytes);
        for UserExport { name, event } in &export.users {
            let limits = (u32::MAX, self.names_budget_for(id));
            match self.users.bind(slot, namespace, name, event, limits) {
                Ok(()) => {}
                Err(BindUserError::NamesLimit(limit)) => return Err(limit),
                Err(BindUserError::AlreadyBound | BindUserError::TooManyUsers) => {
                    unreachable!("the users of a session differ, and their number has no limit")
                }
            }
        }
        for ChannelExport { name, dropped } in &export.channels {
            let budget = match &**name {
                TAP_CHANNEL => NamesBudget::UNLIMITED,
                _ => self.names_budget_for(id),
            };
            match self.channels.join(slot, namespace, name, u32::MAX, budget) {
                Ok(()) => self.channels.set_dropped_of_last(slot, *dropped),
                Err(JoinError::NamesLimit(limit)) => return Err(limit),
                Err(JoinError::AlreadyJoined | JoinError::TooManyChannels) => {
                    unreachable!("the channels of a session differ, and their number has no limit")
                }
            }
        }
        Ok(())
    }

    /// Checks that the names that are stored exceed no limit.
    ///
    /// # Errors
    ///
    /// Returns the limit that they exceed.
    fn check_names(&self, id: ConnectionId) -> Result<(), NamesLimit> {
        let settings = &self.settings;
        let limits = NamesBudget {
            session: settings.names_bytes_per_session_max,
            shard: settings.names_bytes_max,
        };
        limits.check(self.names_bytes_of(id), self.names_bytes())
    }

    fn remove_names(&mut self, id: ConnectionId) {
        self.channels.leave_all(id.slot());
        self.users.unbind_all(id.slot());
        self.host_bytes.release(id.slot());
        self.claimants.remove(id.slot());
    }
}

#[cfg(test)]
mod tests;
