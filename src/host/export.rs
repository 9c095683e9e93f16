//! Sessions as plain data: what a host has of them besides its shard.
//!
//! `shard/export.rs` tells when a session may move and what changes. Of an embedder, data moves and
//! values do not: a session that has any stays. Handlers that are running go on where they are;
//! what they do and return is passed on to the session.

use super::deferred_input::DeferredInput;
use super::{Host, Moment};
use crate::handler::{Command, Profile, SessionState};
use crate::shard::export::{AdoptError, ExportError, SessionExport};
use crate::vocabulary::id::{ConnectionId, ShardId};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// A session as plain data, with what its host has of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostedSession {
    /// The session.
    pub session: SessionExport,
    /// Received bytes that it has not read, since it waits; `None` if its socket is read.
    pub deferred: Option<Vec<u8>>,
    /// Whether the peer's end of input follows those bytes.
    pub deferred_end: bool,
    /// The peer's address; `None` unless each close is logged.
    pub address: Option<SocketAddr>,
    /// What handlers see of it; `None` on a route without handlers.
    pub handlers: Option<HandlersExport>,
}

/// What an embedder's handlers see of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandlersExport {
    /// Its number on its route.
    pub number: u64,
    /// The user that it was admitted as.
    pub user: Option<Box<str>>,
    /// The token that it connected with.
    pub token: Option<Box<str>>,
    /// The profile that it was admitted with.
    pub profile: Profile,
    /// Denials that were counted and that no call has returned.
    pub denials: u32,
    /// Functions that run for it on the exporting shard, and end there.
    pub running: u32,
}

impl Host {
    /// Returns whether no message, command or count for this host or from it is under way, so that
    /// sessions may move between hosts of which all are quiet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.mailbox.exchange().inbox(self.id).is_empty()
            && !self.is_blocked()
            && !self.shard.has_output()
            && !self.handle.commands().has_commands(self.id)
    }

    /// Copies a session. It stays on this host until [`Host::forget`].
    ///
    /// # Errors
    ///
    /// Returns the reason if it cannot be exported now.
    pub fn export(&self, _now: &Moment, id: ConnectionId) -> Result<HostedSession, ExportError> {
        let session = self.shard.export(id)?;
        let state = self.sessions.get(id.index()).and_then(Option::as_ref);
        let has_values = |state: &SessionState| !state.values.is_empty() || state.handler.is_some();
        if state.is_some_and(|state| has_values(state)) {
            return Err(ExportError::HasValues);
        }
        let deferred = self.deferred.get(&id.slot());
        Ok(HostedSession {
            session,
            deferred: deferred.map(|deferred| deferred.unread().to_vec()),
            deferred_end: deferred.is_some_and(|deferred| deferred.ended),
            address: self.context.peer(id),
            handlers: state.map(|state| HandlersExport {
                number: state.number,
                user: state.user.clone(),
                token: state.token.clone(),
                profile: state.profile.clone(),
                denials: state.denials.get(),
                running: state.tasks.get(),
            }),
        })
    }

    /// Makes an exported session one of this host's. Returns its connection, whose socket is read
    /// unless [`Host::poll_reading`] pauses it. The caller tells the other host to [`Host::forget`]
    /// the session before either handles another event.
    ///
    /// Functions of an embedder's that run for it on the other host do not delay `on_close` here.
    ///
    /// # Errors
    ///
    /// Returns the limit that leaves no room; nothing has changed.
    pub fn adopt(
        &mut self,
        _now: &Moment,
        export: &HostedSession,
    ) -> Result<ConnectionId, AdoptError> {
        let id = self.shard.adopt(&export.session)?;
        let slots = id.index() + 1;
        if self.http.len() < slots {
            self.http.resize_with(slots, || None);
        }
        if self.sessions.len() < slots {
            self.sessions.resize_with(slots, || None);
        }
        if let Some(address) = export.address {
            self.set_peer(id, address);
        }
        if let Some(bytes) = &export.deferred {
            self.insert_deferred(DeferredInput::adopted(id, bytes, export.deferred_end));
            // It may have waited for calls of other sessions.
            self.is_unloaded = true;
        }
        if let Some(handlers) = &export.handlers {
            let state = self.adopted_state(id, &export.session, handlers);
            self.sessions[id.index()] = Some(Rc::new(state));
        }
        Ok(id)
    }

    /// Returns the number of sessions that opened here and are on another host.
    #[must_use]
    pub fn away_count(&self) -> usize {
        self.shard.away_count()
    }

    /// Frees the slot of an exported session that another host has adopted. Nobody is told.
    pub fn forget(&mut self, id: ConnectionId) {
        self.remove_deferred(id);
        if let Some(state) = self.sessions.get_mut(id.index()) {
            *state = None;
        }
        self.shard.forget(id);
        self.shrank = true;
    }

    fn adopted_state(
        &self,
        id: ConnectionId,
        export: &SessionExport,
        handlers: &HandlersExport,
    ) -> SessionState {
        SessionState {
            session: export.session,
            public_id: self.shard.public_id(id).expect("just adopted"),
            address: self.context.peer(id).map(Box::new),
            number: handlers.number,
            route: self
                .handle
                .for_adopted()
                .route_at(usize::from(export.route)),
            user: handlers.user.clone(),
            token: handlers.token.clone(),
            profile: handlers.profile.clone(),
            values: Rc::default(),
            handler: None,
            tasks: Cell::new(0),
            calls_bytes: Cell::new(0),
            denials: Cell::new(handlers.denials),
            ended: Cell::new(false),
        }
    }

    /// Enqueues a command about a session on another shard. The other shard runs it after the
    /// messages that this shard has sent before.
    pub(super) fn pass_on(&mut self, to: ShardId, command: Command) {
        self.post_messages();
        self.handle.commands().enqueue_unchecked(
            to,
            Box::new(move |shard| {
                shard.handle_sent_before();
                command(shard);
            }),
        );
    }

    /// Handles the messages that are there now: other shards may keep sending.
    pub(super) fn handle_messages_so_far(&mut self) {
        let mut left = self.mailbox.exchange().inbox(self.id).messages_count();
        while left > 0 {
            let count = self.handle_messages();
            left = left.saturating_sub(count.max(1));
        }
    }
}
