//! Input of sessions: decodes a client's bytes and applies the messages.

use super::connection::{ConnectionFlags, Phase};
use super::core::Shard;
use super::host_request::{HostRequest, HostRequestKind, OwnedCall};
use super::outbox::OutboxFullError;
use super::settings::{JoinDecision, TokenLookup};
use super::users::BindUserError;
use crate::dialect::{Call, Framing, Intent, Intents, OnInvalid, ReplyAction};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{ChannelName, Content, Correlation, Data, Denial, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId};
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
        self.counters.messages_received += 1;
        let profile = &mut self.profiles[id.index()];
        profile.messages_received += 1;
        profile.bytes_received += payload.bytes().len() as u64;
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
            settings.options(route, connection.encoding),
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
            Intent::Identify { token, event } => {
                self.identify(id, token, event);
                Ok(())
            }
            Intent::Join {
                channel,
                command,
                kind,
            } => {
                self.decide_join(id, channel, Correlation::of(command, kind));
                Ok(())
            }
            Intent::Call(call) => {
                self.call(id, call);
                Ok(())
            }
            Intent::Reply { kind, payload } => {
                let (_, bytes_max) = self.framing_and_limit(id);
                self.enqueue_message(id, kind, payload, bytes_max)
            }
        }
    }

    /// Applies a client's request to join a channel. Checks that the channel exists, then that the
    /// client may join it, then that it has not joined already (docs/dialects/easyws.md, "Commands
    /// and errors").
    fn decide_join(&mut self, id: ConnectionId, channel: &str, correlation: Correlation) {
        let connection = self.connections.get_mut(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let outcome = match self.settings.may_join(route, channel) {
            JoinDecision::Allowed => self.join(id, channel).into(),
            JoinDecision::Denied(denial) => Outcome::Denied(denial),
            JoinDecision::AskHost => {
                connection.flags.set(ConnectionFlags::WAITING, true);
                self.host_requests.push_back(HostRequest {
                    session: SessionId::new(self.id, id),
                    route: connection.route,
                    kind: HostRequestKind::Join {
                        channel: channel.into(),
                        correlation,
                    },
                });
                return;
            }
        };
        self.reject_join(id, &outcome);
        self.enqueue_outcome(id, &correlation, &outcome);
    }

    /// Counts a denied join.
    pub(super) fn reject_join(&mut self, id: ConnectionId, outcome: &Outcome) {
        if let Outcome::Denied(denial) = outcome {
            self.reject(id, RejectionKind::Join, denial.label());
        }
    }

    fn call(&mut self, id: ConnectionId, call: Call<'_>) {
        self.tap_call(id, &call);
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
            session: SessionId::new(self.id, id),
            route: connection.route,
            kind: HostRequestKind::Call(OwnedCall {
                correlation,
                from: call.from.into(),
                data: call.data.map(Bytes::copy_from_slice),
            }),
        });
    }

    /// Copies a client's call to the taps of its namespace.
    fn tap_call(&mut self, id: ConnectionId, call: &Call<'_>) {
        let namespace = self.namespace_of(id);
        if !self.has_taps(namespace) {
            return;
        }
        let connection = self.connections.get(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let data = match call.data {
            None => Data::None,
            Some(json) if route.dialect.spec().json_data => Data::Json(json),
            Some(bytes) => str::from_utf8(bytes).map_or(Data::Bytes(bytes), Data::Text),
        };
        let content = Content {
            event: call.command,
            data,
            from: call.from,
            channel: ChannelName::Given(call.channel),
            ..Content::default()
        };
        self.publish_to_taps(namespace, &content);
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
        let options = self.settings.options(route, connection.encoding);
        let dialect = route.dialect;
        let action = dialect.encode_outcome(correlation, outcome, options, &mut message);
        let result = match (action, outcome) {
            // Without a response the client would take itself for a member, so close the session.
            (ReplyAction::Skip, Outcome::Denied(Denial::TooManyNames)) => {
                Err(CloseCause::TooManyNames)
            }
            (ReplyAction::Skip, Outcome::Denied(Denial::NoRoomForNames)) => {
                Err(CloseCause::NamesFull)
            }
            (ReplyAction::Skip, _) => Ok(()),
            (ReplyAction::Send(kind), _) => {
                let connection = self.connections.get_mut(id).expect("it is open");
                connection.messages_sent = connection.messages_sent.wrapping_add(1);
                connection.bytes_sent += message.len() as u64;
                self.tap_reply(id, correlation, outcome);
                self.enqueue_message(id, kind, &message, OUTBOX_BYTES_CEILING)
            }
            (ReplyAction::Close(end), _) => Err(end),
        };
        message.clear();
        message.shrink_to(ENCODE_BUFFER_KEPT_MAX);
        self.encode_buffer = message;
        if let Err(end) = result {
            self.end(id, end);
        }
    }

    /// Copies a handler's reply to the taps of its namespace.
    fn tap_reply(&mut self, id: ConnectionId, correlation: &Correlation, outcome: &Outcome) {
        let namespace = self.namespace_of(id);
        let Outcome::Replied(reply) = outcome else {
            return;
        };
        if !self.has_taps(namespace) {
            return;
        }
        let content = Content {
            event: reply.event().unwrap_or(&correlation.command),
            data: reply.data(),
            channel: ChannelName::Given(&correlation.channel),
            correlation: &correlation.id,
            ..Content::default()
        };
        self.publish_to_taps(namespace, &content);
    }

    fn identify(&mut self, id: ConnectionId, token: &str, event: &str) {
        let settings = &self.settings;
        if token.len() > settings.token_bytes_max || event.len() > settings.name_bytes_max {
            self.reject(id, RejectionKind::Token, "too_long");
            return;
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let settings = Arc::clone(&self.settings);
        let tokens = &settings.routes[usize::from(connection.route)].tokens;
        match tokens.look_up(token) {
            TokenLookup::Unverified(user) | TokenLookup::User(user) => {
                self.bind(id, user, event.as_bytes());
            }
            TokenLookup::Invalid => self.reject(id, RejectionKind::Token, "unknown"),
            TokenLookup::AskHost => {
                connection.flags.set(ConnectionFlags::WAITING, true);
                self.host_requests.push_back(HostRequest {
                    session: SessionId::new(self.id, id),
                    route: connection.route,
                    kind: HostRequestKind::User {
                        token: token.into(),
                        event: event.into(),
                    },
                });
            }
        }
    }

    /// Binds a session to a user for an event.
    ///
    /// Does nothing if the session is not open (as one evicted before its upgrade), is bound to the
    /// user already, or has the maximum of users. Closes the session if the names exceed a limit.
    pub fn bind(&mut self, id: ConnectionId, user: &str, event: &[u8]) {
        if user.is_empty() || !self.is_open(id) {
            return;
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
            }
            Err(BindUserError::AlreadyBound) => {}
            Err(BindUserError::TooManyUsers) => {
                self.reject(id, RejectionKind::Token, "too_many_users");
            }
            // No dialect has a message for this.
            Err(BindUserError::NamesLimit(limit)) => {
                self.end(id, limit.close_cause());
            }
        }
    }

    /// Enqueues a ping, if the session's framing has one.
    pub(super) fn ping(&mut self, id: ConnectionId) {
        self.counters.pings += 1;
        let (framing, bytes_max) = self.framing_and_limit(id);
        let limits = (framing.message_bytes(0), bytes_max);
        if let Err(end) = self.enqueue(id, limits, |out| framing.put_ping(out)) {
            self.end(id, end);
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
        kind: MessageType,
        payload: &[u8],
        bytes_max: u32,
    ) -> Result<(), CloseCause> {
        let connection = self.connections.get(id).expect("just seen");
        let framing = self.settings.encoding(connection.encoding).framing;
        let bytes_needed = framing.message_bytes(payload.len());
        self.enqueue(id, (bytes_needed, bytes_max), |out| {
            framing.put_message(out, kind, payload);
        })
    }

    /// Enqueues the bytes that `write` appends, if any: about `bytes_needed`, within `bytes_max` of
    /// the outbox.
    ///
    /// # Errors
    ///
    /// Returns [`CloseCause::SlowConsumer`] if the outbox is full.
    fn enqueue(
        &mut self,
        id: ConnectionId,
        (bytes_needed, bytes_max): (usize, u32),
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), CloseCause> {
        let Some(frame) = self.outboxes.batches.try_put(bytes_needed, write) else {
            return Ok(());
        };
        let connection = self.connections.get_mut(id).expect("just seen");
        let pushed = self.outboxes.push(&mut connection.outbox, frame, bytes_max);
        pushed.map_err(|OutboxFullError| CloseCause::SlowConsumer)?;
        self.send_queues
            .queue_urgent(&mut connection.outbox, id.slot());
        Ok(())
    }
}

/// Capacity of the outcome buffer that is kept for reuse, in bytes.
const ENCODE_BUFFER_KEPT_MAX: usize = 64 * 1024;
