//! Sessions that have moved to another shard, and what is addressed to them.
//!
//! A session keeps its [`SessionId`] when it moves. Public ids, claims, exclusions and responses
//! name it by that id, so none of them changes. What is addressed to a session comes to the shard
//! on which it opened, which passes it on:
//!
//! ```text
//!   push to a, eviction of a, response for a
//!                  |
//!                  v
//!        shard where a opened       Moved{a, C}        shard C
//!          away: a -> C   <--------------------------  adopted: a -> 17#4
//!                  |                                     ^
//!                  '-------- command, claim -------------'
//! ```
//!
//! So all of one publisher takes the same way, in its order, wherever the session is and however
//! often it has moved. `away` has one entry for each session that opened here and lives on another
//! shard, until that shard reports its end.

use super::core::Shard;
use super::message::{ClaimMessage, MailboxMessage};
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::public_id::PublicId;

/// Where a session is, as far as a shard knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Location {
    /// On this shard, on this connection.
    Here(ConnectionId),
    /// On another shard, or that shard knows where.
    There(ShardId),
}

impl Shard {
    /// Returns the connection of a session of this shard; `None` if the session has ended or is on
    /// another shard.
    #[must_use]
    #[inline]
    pub fn find_session(&self, session: SessionId) -> Option<ConnectionId> {
        self.connections.find(self.id, session)
    }

    /// Returns the id of the session on a connection, which may have opened on another one.
    #[must_use]
    #[inline]
    pub fn session_id(&self, id: ConnectionId) -> SessionId {
        self.connections.session(self.id, id)
    }

    /// Returns where a session is; `None` if it has ended.
    #[must_use]
    pub fn locate(&self, session: SessionId) -> Option<Location> {
        if let Some(id) = self.find_session(session) {
            return Some(Location::Here(id));
        }
        let opened_on = session.shard();
        if opened_on == self.id {
            return self.away.get(&session).copied().map(Location::There);
        }
        (opened_on.index() < self.shards).then_some(Location::There(opened_on))
    }

    /// Returns the session with a public id, and where it is; `None` if it has ended.
    #[must_use]
    pub fn locate_public(&self, public_id: PublicId) -> Option<(SessionId, Location)> {
        let (session, _) = self.settings.ids.open(public_id)?;
        let location = match self.locate(session)? {
            // Checks the tag, which only the session's own shard knows.
            Location::Here(_) => Location::Here(self.find(public_id)?),
            Location::There(shard) => Location::There(shard),
        };
        Some((session, location))
    }

    /// Records where a session is that opened on this shard.
    pub(super) fn note_move(&mut self, session: SessionId, shard: Option<ShardId>) {
        assert_eq!(session.shard(), self.id, "told where it opened");
        match shard {
            Some(shard) if shard != self.id => {
                self.away.insert(session, shard);
            }
            Some(_) | None => {
                self.away.remove(&session);
            }
        }
    }

    /// Tells the shard on which a session opened that it is here, or has ended.
    pub(super) fn report_move(&mut self, session: SessionId, shard: Option<ShardId>) {
        if session.shard() == self.id {
            self.note_move(session, shard);
        } else {
            let message = MailboxMessage::Moved { session, shard };
            self.messages.push_back((session.shard(), message));
        }
    }

    /// Forgets an adopted session whose connection is closed. Does nothing for others.
    pub(super) fn end_move(&mut self, id: ConnectionId) {
        if let Some(session) = self.connections.disown(id) {
            self.report_move(session, None);
        }
    }

    /// Passes a claim message on to the shard of a session that has moved away. Does nothing if the
    /// session has ended.
    pub(super) fn forward_claim(&mut self, message: &ClaimMessage) {
        if let Some(&shard) = self.away.get(&message.session) {
            let message = MailboxMessage::Claim(message.clone());
            self.messages.push_back((shard, message));
        }
    }

    /// Returns the number of sessions that opened here and are on another shard.
    #[must_use]
    pub fn away_count(&self) -> usize {
        self.away.len()
    }
}
