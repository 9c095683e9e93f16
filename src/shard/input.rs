//! Input of sessions: decodes a client's bytes and applies the messages.

use super::connection::{ConnectionFlags, Phase};
use super::core::Shard;
use super::events::{Event as ShardEvent, MessageSize};
use super::host_request::{HostRequest, HostRequestKind, OwnedCall};
use super::outbox::OutboxFullError;
use super::settings::TokenLookup;
use super::users::BindUserError;
use crate::dialect::{Call, Framing, Intent, Intents, OnInvalid, ReplyAction};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Correlation, Denial, Outcome, SessionFacts};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::limits::OUTBOX_BYTES_CEILING;
use crate::vocabulary::metrics::RejectionKind;
use crate::ws::{Event, MessageType, Payload};
use bytes::Bytes;
use std::sync::Arc;

impl Shard {
    /// Decodes and applies input of a session. Returns how many bytes were read.
    ///
    /// Fewer bytes are read if the session's input is paused, for instance by a host request. Pass
    /// the rest again once [`Shard::is_read_paused`] is false. The bytes are unmasked in place and
    /// not kept.
    pub fn handle_received(&mut self, id: ConnectionId, input: &mut [u8]) -> usize {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return input.len();
        };
        let route = &self.settings.routes[usize::from(connection.route)];
        if !route.dialect.spec().alive_by_messages {
            connection.last_input = now;
        }

        let mut at = 0;
        while at < input.len() {
            let connection = self
                .connections
                .get(id)
                .expect("slots are freed by the driver");
            if connection.phase != Phase::Open {
                return input.len();
            }
            let route = &self.settings.routes[usize::from(connection.route)];
            if connection.must_wait(route) {
                return at;
            }
            let bytes_max = route.message_bytes_max;
            let framing = self.settings.encoding(connection.encoding).framing;
            let applied = match self.decode(id, framing, &mut input[at..], bytes_max) {
                Ok((taken, event)) => {
                    at += taken;
                    event.map_or(Ok(()), |event| self.apply(id, event))
                }
                Err(end) => Err(end),
            };
            if let Err(end) = applied {
                self.end(id, end);
            }
        }
        at
    }

    /// Applies one message or control frame.
    ///
    /// # Errors
    ///
    /// Returns the cause with which to close the session.
    fn apply(&mut self, id: ConnectionId, event: Event<'_>) -> Result<(), CloseCause> {
        match event {
            Event::Pong => Ok(()),
            Event::Close(code) => Err(CloseCause::ClientClosed(code)),
            Event::Ping(payload) => {
                let (framing, bytes_max) = self.framing_and_limit(id);
                let payload = payload.bytes();
                let bytes_needed = framing.message_bytes(payload.len());
                self.enqueue(id, (bytes_needed, bytes_max), |out| {
                    framing.put_pong(out, payload);
                })
                .map(drop)
            }
            Event::Message { kind, payload, .. } => self.read_message(id, kind, payload),
        }
    }

    fn read_message(
        &mut self,
        id: ConnectionId,
        kind: MessageType,
        mut payload: Payload<'_>,
    ) -> Result<(), CloseCause> {
        let bytes = payload.bytes().len();
        self.report(id, |session| {
            ShardEvent::MessageIn(session, MessageSize { kind, bytes })
        });
        self.counters.messages_received += 1;
        let profile = &mut self.profiles[id.index()];
        profile.messages_received += 1;
        profile.bytes_received += bytes as u64;
        let connection = self.connections.get_mut(id).expect("just seen");
        connection.last_input = self.now;
        let settings = Arc::clone(&self.settings);
        let route = &settings.routes[usize::from(connection.route)];
        let dialect = route.dialect;

        // The intents borrow from the scratch buffer, and applying them borrows all of the shard.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut intents = Intents::new();
        let decoded = dialect.decode(
            kind,
            payload.bytes_mut(),
            settings.encoding(connection.encoding).options_on(route),
            &mut scratch,
            &mut intents,
        );
        let result = match decoded {
            Ok(()) => intents
                .iter()
                .try_for_each(|intent| self.execute(id, intent)),
            Err(error) => match dialect.on_invalid(error) {
                OnInvalid::Close(end) => Err(end),
                OnInvalid::Ignore => Ok(()),
            },
        };
        drop(intents);
        self.scratch = scratch;
        result
    }

    fn execute(&mut self, id: ConnectionId, intent: &Intent<'_>) -> Result<(), CloseCause> {
        match *intent {
            Intent::Heartbeat => Ok(()),
            Intent::Identify {
                request,
                token,
                event,
            } => {
                self.identify(id, token, event, request.correlation());
                Ok(())
            }
            Intent::Join(ref request) => {
                self.request_join(id, request);
                Ok(())
            }
            Intent::Leave(ref request) => {
                self.request_leave(id, request);
                Ok(())
            }
            Intent::Publish(ref publish) => {
                self.request_publish(id, publish);
                Ok(())
            }
            Intent::Call(call) => {
                self.call(id, call);
                Ok(())
            }
            Intent::Reply { kind, payload } => {
                let (framing, bytes_max) = self.framing_and_limit(id);
                self.enqueue_message(id, framing, (kind, payload), bytes_max)
            }
        }
    }

    fn call(&mut self, id: ConnectionId, call: Call<'_>) {
        self.report_call(id, &call);
        let session = self.session_id(id);
        let connection = self.connections.get_mut(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let correlation = Correlation {
            command: call.command.into(),
            id: call.id.into(),
            channel: call.channel.into(),
            kind: call.kind,
        };
        if !route.handles_calls {
            self.enqueue_outcome(id, &correlation, &Outcome::NotHandled);
            return;
        }
        connection.calls_in_flight += 1;
        self.host_requests.push_back(HostRequest {
            session,
            route: connection.route,
            kind: HostRequestKind::Call(OwnedCall {
                correlation,
                from: call.from.into(),
                data: call.data.map(Bytes::copy_from_slice),
            }),
        });
    }

    /// Enqueues an outcome, encoded in the session's dialect. Has no effect on a session that is
    /// not open.
    pub fn enqueue_outcome(
        &mut self,
        id: ConnectionId,
        correlation: &Correlation,
        outcome: &Outcome,
    ) {
        if !self.is_open(id) {
            return;
        }
        let connection = self.connections.get(id).expect("it is open");
        let route = &self.settings.routes[usize::from(connection.route)];
        let mut message = std::mem::take(&mut self.encode_buffer);
        let encoding = self.settings.encoding(connection.encoding);
        let (dialect, framing) = (route.dialect, encoding.framing);
        let options = encoding.options_on(route);
        let action = dialect.encode_outcome(correlation, outcome, options, &mut message);
        let result = match (action, outcome) {
            // Without a response the client would take itself for a member.
            (ReplyAction::Skip, Outcome::Denied(denial)) => {
                close_without_response(*denial).map_or(Ok(()), Err)
            }
            (ReplyAction::Skip, _) => Ok(()),
            (ReplyAction::Send(kind), _) => {
                self.report_reply(id, correlation, outcome);
                self.enqueue_own(id, framing, (kind, &message))
            }
            (ReplyAction::Close(end), _) => Err(end),
        };
        self.keep_encode_buffer(message);
        if let Err(end) = result {
            self.end(id, end);
        }
    }

    /// Enqueues a message of the gateway's own, an outcome or a greeting, and counts it.
    ///
    /// # Errors
    ///
    /// Returns [`CloseCause::SlowConsumer`] if the outbox is full.
    fn enqueue_own(
        &mut self,
        id: ConnectionId,
        framing: Framing,
        (kind, message): (MessageType, &[u8]),
    ) -> Result<(), CloseCause> {
        let connection = self.connections.get_mut(id).expect("it is open");
        connection.messages_sent = connection.messages_sent.wrapping_add(1);
        connection.bytes_sent += message.len() as u64;
        self.enqueue_message(id, framing, (kind, message), OUTBOX_BYTES_CEILING)
    }

    /// Keeps the buffer of messages for one session for reuse, up to a size.
    fn keep_encode_buffer(&mut self, mut message: Vec<u8>) {
        message.clear();
        message.shrink_to(ENCODE_BUFFER_KEPT_MAX);
        self.encode_buffer = message;
    }

    fn identify(&mut self, id: ConnectionId, token: &str, event: &str, correlation: Correlation) {
        let settings = Arc::clone(&self.settings);
        if token.len() > settings.token_bytes_max || event.len() > settings.name_bytes_max {
            self.reject(id, RejectionKind::Token, "too_long");
            let outcome = Outcome::Denied(Denial::InvalidToken);
            self.enqueue_outcome(id, &correlation, &outcome);
            return;
        }
        let connection = self.connections.get(id).expect("just seen");
        let tokens = &settings.routes[usize::from(connection.route)].tokens;
        match tokens.look_up(token) {
            TokenLookup::Unverified(user) | TokenLookup::User(user) => {
                self.finish_identify(id, Some(user), event, &correlation);
            }
            TokenLookup::Invalid => self.finish_identify(id, None, event, &correlation),
            TokenLookup::AskHost => self.ask_host(
                id,
                HostRequestKind::User {
                    token: token.into(),
                    event: event.into(),
                    correlation,
                },
            ),
        }
    }

    /// Binds a session to the user of its client's token, and enqueues the outcome. `None` means
    /// that the token is invalid.
    pub(super) fn finish_identify(
        &mut self,
        id: ConnectionId,
        user: Option<&str>,
        event: &str,
        correlation: &Correlation,
    ) {
        let bound = if let Some(user) = user.filter(|user| !user.is_empty()) {
            self.try_bind(id, user, event.as_bytes())
        } else {
            self.reject(id, RejectionKind::Token, "unknown");
            Err(Denial::InvalidToken)
        };
        let outcome = match bound {
            Ok(()) if !self.answers_tokens(id) => return,
            Ok(()) => match self.facts_of(id) {
                Some(facts) => Outcome::Identified(facts),
                None => return,
            },
            Err(denial) => Outcome::Denied(denial),
        };
        self.enqueue_outcome(id, correlation, &outcome);
    }

    fn answers_tokens(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id).expect("its token was read");
        let route = &self.settings.routes[usize::from(connection.route)];
        route.dialect.spec().answers_tokens
    }

    /// Returns the facts about a session; `None` if it is none.
    fn facts_of(&self, id: ConnectionId) -> Option<SessionFacts> {
        let connection = self.connections.get(id)?;
        Some(SessionFacts {
            id: self.public_id(id)?,
            idle_timeout_ms: self.settings.routes[usize::from(connection.route)].idle_timeout_ms,
        })
    }

    /// Enqueues the greeting of a session, if its dialect has one. Has no effect on a session that
    /// is not open.
    pub fn greet(&mut self, id: ConnectionId) {
        if !self.is_open(id) {
            return;
        }
        let connection = self.connections.get(id).expect("it is open");
        let route = &self.settings.routes[usize::from(connection.route)];
        if !route.dialect.spec().greets {
            return;
        }
        let facts = self.facts_of(id).expect("it is open");
        let user = self.users.user_of(id.slot()).map(String::from_utf8_lossy);
        let mut message = std::mem::take(&mut self.encode_buffer);
        let encoding = self.settings.encoding(connection.encoding);
        let (dialect, framing) = (route.dialect, encoding.framing);
        let options = encoding.options_on(route);
        let greeting = dialect.encode_greeting(&facts, user.as_deref(), options, &mut message);
        let result = match greeting {
            Some(kind) => self.enqueue_own(id, framing, (kind, &message)),
            None => Ok(()),
        };
        self.keep_encode_buffer(message);
        if let Err(end) = result {
            self.end(id, end);
        }
    }

    /// Binds a session to a user for an event.
    ///
    /// Does nothing if the session is not open (as one evicted before its upgrade), is bound to the
    /// user already, or has the maximum of users. Closes the session if the names exceed a limit.
    pub fn bind(&mut self, id: ConnectionId, user: &str, event: &[u8]) {
        if let Err(denial) = self.try_bind(id, user, event)
            && let Some(end) = close_without_response(denial)
        {
            self.end(id, end);
        }
    }

    /// Binds a session to a user for an event. Does nothing if it is bound already.
    ///
    /// # Errors
    ///
    /// The denial if there is no user, the session is not open, or a limit is reached.
    fn try_bind(&mut self, id: ConnectionId, user: &str, event: &[u8]) -> Result<(), Denial> {
        if user.is_empty() || !self.is_open(id) {
            return Err(Denial::InvalidToken);
        }
        let namespace = self.namespace_of(id);
        let users_max = self.settings.users_per_session_max;
        let (slot, user, budget) = (id.slot(), user.as_bytes(), self.names_budget_for(id));
        match self
            .users
            .bind(slot, namespace, user, event, (users_max, budget))
        {
            Ok(()) => {
                let connection = self.connections.get_mut(id).expect("it is open");
                connection.flags.set(ConnectionFlags::REGISTERED, true);
                Ok(())
            }
            Err(BindUserError::AlreadyBound) => Ok(()),
            Err(BindUserError::TooManyUsers) => {
                self.reject(id, RejectionKind::Token, Denial::TooManyUsers.label());
                Err(Denial::TooManyUsers)
            }
            Err(BindUserError::NamesLimit(limit)) => Err(limit.denial()),
        }
    }

    /// Enqueues a ping, if the session's framing has one.
    pub(super) fn ping(&mut self, id: ConnectionId) {
        let (framing, bytes_max) = self.framing_and_limit(id);
        let limits = (framing.message_bytes(0), bytes_max);
        match self.enqueue(id, limits, |out| framing.put_ping(out)) {
            Ok(is_sent) => self.counters.pings += u64::from(is_sent),
            Err(end) => self.end(id, end),
        }
    }

    /// Returns the framing of a session and the limit of its outbox.
    fn framing_and_limit(&self, id: ConnectionId) -> (Framing, u32) {
        let connection = self.connections.get(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let framing = self.settings.encoding(connection.encoding).framing;
        (framing, route.outbox_bytes_max)
    }

    /// Enqueues one message, within a limit of the caller's. Outcomes may exceed the route's limit:
    /// they are at most as many as calls in flight, and input is paused while more is pending.
    ///
    /// # Errors
    ///
    /// Returns [`CloseCause::SlowConsumer`] if the outbox is full.
    fn enqueue_message(
        &mut self,
        id: ConnectionId,
        framing: Framing,
        (kind, payload): (MessageType, &[u8]),
        bytes_max: u32,
    ) -> Result<(), CloseCause> {
        let bytes_needed = framing.message_bytes(payload.len());
        self.enqueue(id, (bytes_needed, bytes_max), |out| {
            framing.put_message(out, kind, payload);
        })?;
        let bytes = payload.len();
        self.report(id, |session| {
            ShardEvent::MessageOut(session, MessageSize { kind, bytes })
        });
        Ok(())
    }

    /// Enqueues the bytes that `write` appends: about `bytes_needed`, within `bytes_max` of the
    /// outbox. Returns `false` if it appends none.
    ///
    /// # Errors
    ///
    /// Returns [`CloseCause::SlowConsumer`] if the outbox is full.
    fn enqueue(
        &mut self,
        id: ConnectionId,
        (bytes_needed, bytes_max): (usize, u32),
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<bool, CloseCause> {
        let Some(frame) = self.outboxes.batches.try_put(bytes_needed, write) else {
            return Ok(false);
        };
        let connection = self.connections.get_mut(id).expect("just seen");
        let pushed = self.outboxes.push(&mut connection.outbox, frame, bytes_max);
        pushed.map_err(|OutboxFullError| CloseCause::SlowConsumer)?;
        self.send_queues
            .queue_urgent(&mut connection.outbox, id.slot());
        Ok(true)
    }
}

/// Returns the cause with which to close a session whose dialect has no response for a denial;
/// `None` if it stays open.
fn close_without_response(denial: Denial) -> Option<CloseCause> {
    match denial {
        Denial::TooManyNames => Some(CloseCause::TooManyNames),
        Denial::NoRoomForNames => Some(CloseCause::NamesFull),
        Denial::AlreadyJoined
        | Denial::NoChannelNamed
        | Denial::NoSuchChannel
        | Denial::NotAuthorized
        | Denial::NotJoined
        | Denial::TooManyChannels
        | Denial::InvalidToken
        | Denial::TooManyUsers => None,
    }
}

/// Capacity of the encode buffer that is kept for reuse, in bytes.
const ENCODE_BUFFER_KEPT_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
