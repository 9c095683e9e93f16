//! What a shard does with bytes from a client.

use super::connection::Phase;
use super::core::Shard;
use super::outbox::HEADROOM_BYTES;
use super::question::{Ask, Question, Request};
use super::settings::{MayJoin, Named};
use super::users::NotBound;
use crate::dialect::{Answered, Call, Intent, Intents, Then};
use crate::vocabulary::close::End;
use crate::vocabulary::content::{ChannelName, Content, Correlation, Data, Denial, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::limits::OUTBOX_BYTES_CEILING;
use crate::vocabulary::metrics::Rejected;
use crate::ws::{Event, Kind, OpCode, Payload, encoder};
use bytes::Bytes;
use std::sync::Arc;

impl Shard {
    /// Reads what a session's client sent, and returns how much of it was read.
    ///
    /// Less than all of it is read when a question came up that the rest must wait for; answer it,
    /// then hand in the rest. The bytes are unmasked in place and not kept.
    pub fn handle_received(&mut self, id: ConnectionId, input: &mut [u8]) -> usize {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return input.len();
        };
        let route = &self.settings.routes[usize::from(connection.route)];
        if !route.dialect.habits().alive_by_messages {
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
            let applied = match self.decode(id, &mut input[at..], bytes_max) {
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

    /// Acts on one message or control frame; an error ends the session.
    fn apply(&mut self, id: ConnectionId, event: Event<'_>) -> Result<(), End> {
        match event {
            Event::Pong => Ok(()),
            Event::Close(code) => Err(End::ClientClosed(code)),
            Event::Ping(payload) => self.reply(id, OpCode::Pong, payload.bytes()),
            Event::Message { kind, payload, .. } => self.read_message(id, kind, payload),
        }
    }

    fn read_message(
        &mut self,
        id: ConnectionId,
        kind: Kind,
        mut payload: Payload<'_>,
    ) -> Result<(), End> {
        self.counters.messages_received += 1;
        let profile = &mut self.profiles[id.index()];
        profile.messages_received += 1;
        profile.bytes_received += payload.bytes().len() as u64;
        let connection = self.connections.get_mut(id).expect("just seen");
        connection.last_input = self.now;
        let settings = Arc::clone(&self.settings);
        let route = &settings.routes[usize::from(connection.route)];
        let dialect = route.dialect;

        // Intents borrow from the scratch, and applying them needs the rest of the shard.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut intents = Intents::new();
        let decoded = dialect.decode(
            kind,
            payload.bytes_mut(),
            &route.options,
            &mut scratch,
            &mut intents,
        );
        let result = match decoded {
            Ok(()) => intents
                .iter()
                .try_for_each(|intent| self.carry_out(id, intent)),
            Err(refusal) => match dialect.object(refusal) {
                Then::Leave(end) => Err(end),
                Then::Stay => Ok(()),
            },
        };
        drop(intents);
        self.scratch = scratch;
        result
    }

    fn carry_out(&mut self, id: ConnectionId, intent: &Intent<'_>) -> Result<(), End> {
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
                self.ask_to_join(id, channel, Correlation::of(command, kind));
                Ok(())
            }
            Intent::Call(call) => {
                self.call(id, call);
                Ok(())
            }
            Intent::Reply { kind, payload } => self.reply(id, opcode(kind), payload),
        }
    }

    /// A client wants to be on a channel. Whether there is one is looked at first, then whether it
    /// may, then whether it is there already (wire.md 4.3).
    fn ask_to_join(&mut self, id: ConnectionId, channel: &str, correlation: Correlation) {
        let connection = self.connections.get_mut(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let outcome = match self.settings.may_join(route, channel) {
            MayJoin::Yes => self.join(id, channel).into(),
            MayJoin::No(denial) => Outcome::Denied(denial),
            MayJoin::Ask => {
                connection.waiting = true;
                self.questions.push_back(Question {
                    session: SessionId::new(self.id, id),
                    route: connection.route,
                    ask: Ask::Join {
                        channel: channel.into(),
                        correlation,
                    },
                });
                return;
            }
        };
        self.reject_join(id, &outcome);
        self.say(id, &correlation, &outcome);
    }

    /// Counts a join that came to nothing.
    pub(super) fn reject_join(&mut self, id: ConnectionId, outcome: &Outcome) {
        if let Outcome::Denied(denial) = outcome {
            self.reject(id, Rejected::Join, denial.label());
        }
    }

    fn call(&mut self, id: ConnectionId, call: Call<'_>) {
        self.show_call(id, &call);
        let connection = self.connections.get_mut(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let correlation = Correlation {
            command: call.command.into(),
            id: call.id.into(),
            channel: call.channel.into(),
            kind: call.kind,
        };
        if !route.handles_calls {
            self.say(id, &correlation, &Outcome::NotHandled);
            return;
        }
        connection.calls_in_flight += 1;
        self.questions.push_back(Question {
            session: SessionId::new(self.id, id),
            route: connection.route,
            ask: Ask::Call(Request {
                correlation,
                from: call.from.into(),
                data: call.data.map(Bytes::copy_from_slice),
            }),
        });
    }

    /// Shows what a client has said to whoever is shown the namespace's traffic.
    fn show_call(&mut self, id: ConnectionId, call: &Call<'_>) {
        let namespace = self.namespace_of(id);
        if !self.is_watched(namespace) {
            return;
        }
        let connection = self.connections.get(id).expect("just seen");
        let route = &self.settings.routes[usize::from(connection.route)];
        let data = match call.data {
            None => Data::None,
            Some(json) if route.dialect.habits().json_data => Data::Json(json),
            Some(bytes) => str::from_utf8(bytes).map_or(Data::Bytes(bytes), Data::Text),
        };
        let content = Content {
            event: call.command,
            data,
            from: call.from,
            channel: ChannelName::Given(call.channel),
            ..Content::default()
        };
        self.show(namespace, &content);
    }

    /// Tells a client what became of what it asked, in its language's words.
    pub fn say(&mut self, id: ConnectionId, correlation: &Correlation, outcome: &Outcome) {
        if !self.is_open(id) {
            return;
        }
        let connection = self.connections.get(id).expect("it is open");
        let route = &self.settings.routes[usize::from(connection.route)];
        let mut message = std::mem::take(&mut self.answer_bytes);
        let answered = route
            .dialect
            .answer(correlation, outcome, &route.options, &mut message);
        let result = match (answered, outcome) {
            // A client that hears nothing would take itself for a member.
            (Answered::Nothing, Outcome::Denied(Denial::TooManyNames)) => Err(End::TooManyNames),
            (Answered::Nothing, Outcome::Denied(Denial::NoRoomForNames)) => Err(End::NamesFull),
            (Answered::Nothing, _) => Ok(()),
            (Answered::Message(kind), _) => {
                let connection = self.connections.get_mut(id).expect("it is open");
                connection.messages_sent = connection.messages_sent.wrapping_add(1);
                connection.bytes_sent += message.len() as u64;
                self.show_reply(id, correlation, outcome);
                self.owe(id, opcode(kind), &message, OUTBOX_BYTES_CEILING)
            }
            (Answered::Leave(end), _) => Err(end),
        };
        message.clear();
        message.shrink_to(ANSWER_BYTES_KEPT_MAX);
        self.answer_bytes = message;
        if let Err(end) = result {
            self.end(id, end);
        }
    }

    /// Shows what a handler has replied to whoever is shown the namespace's traffic.
    fn show_reply(&mut self, id: ConnectionId, correlation: &Correlation, outcome: &Outcome) {
        let namespace = self.namespace_of(id);
        let Outcome::Replied(reply) = outcome else {
            return;
        };
        if !self.is_watched(namespace) {
            return;
        }
        let content = Content {
            event: reply.event().unwrap_or(&correlation.command),
            data: reply.data(),
            channel: ChannelName::Given(&correlation.channel),
            correlation: &correlation.id,
            ..Content::default()
        };
        self.show(namespace, &content);
    }

    fn identify(&mut self, id: ConnectionId, token: &str, event: &str) {
        let settings = &self.settings;
        if token.len() > settings.token_bytes_max || event.len() > settings.name_bytes_max {
            self.reject(id, Rejected::Token, "too_long");
            return;
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let settings = Arc::clone(&self.settings);
        let tokens = &settings.routes[usize::from(connection.route)].tokens;
        match tokens.user_of(token) {
            Named::Itself(user) | Named::User(user) => self.bind(id, user, event.as_bytes()),
            Named::Nobody => self.reject(id, Rejected::Token, "unknown"),
            Named::Ask => {
                connection.waiting = true;
                self.questions.push_back(Question {
                    session: SessionId::new(self.id, id),
                    route: connection.route,
                    ask: Ask::User {
                        token: token.into(),
                        event: event.into(),
                    },
                });
            }
        }
    }

    /// Binds a session to a user. What cannot be bound is as it was, but for a session that there
    /// is no room for, which ends. A session that has ended, as one may that was evicted before it
    /// had been upgraded, is never bound again.
    pub fn bind(&mut self, id: ConnectionId, user: &str, event: &[u8]) {
        if user.is_empty() || !self.is_open(id) {
            return;
        }
        let namespace = self.namespace_of(id);
        let users_max = self.settings.users_per_session_max;
        let (slot, user, room) = (id.slot(), user.as_bytes(), self.room_for(id));
        match self
            .users
            .bind(slot, namespace, user, event, (users_max, room))
        {
            Ok(()) => {
                let connection = self.connections.get_mut(id).expect("it is open");
                connection.registered = true;
            }
            Err(NotBound::Already) => {}
            Err(NotBound::TooManyUsers) => {
                self.reject(id, Rejected::Token, "too_many_users");
            }
            // No language has words for this.
            Err(NotBound::NoRoom(no_room)) => {
                self.end(id, no_room.end());
            }
        }
    }

    /// Asks a silent peer for a sign of life.
    pub(super) fn ping(&mut self, id: ConnectionId) {
        self.counters.pings += 1;
        if let Err(end) = self.reply(id, OpCode::Ping, b"") {
            self.end(id, end);
        }
    }

    /// Owes one session one frame; an error if its outbox is full.
    fn reply(&mut self, id: ConnectionId, opcode: OpCode, payload: &[u8]) -> Result<(), End> {
        let connection = self.connections.get(id).expect("just seen");
        let bytes_max = self.settings.routes[usize::from(connection.route)].outbox_bytes_max;
        self.owe(id, opcode, payload, bytes_max)
    }

    /// The same with a bound of the caller's. Answers may go beyond the route's: they are as few as
    /// calls in flight, and the session is read no further while it is owed more.
    fn owe(
        &mut self,
        id: ConnectionId,
        opcode: OpCode,
        payload: &[u8],
        bytes_max: u32,
    ) -> Result<(), End> {
        let len = encoder::head_len(payload.len()) + payload.len();
        let connection = self.connections.get_mut(id).expect("just seen");
        let owed = connection.outbox.bytes() as usize;
        if owed > HEADROOM_BYTES as usize && owed + len > bytes_max as usize {
            return Err(End::SlowConsumer);
        }
        let frame = self
            .outboxes
            .batches
            .put(len, |out| encoder::put_frame(out, opcode, payload));
        let pushed = self.outboxes.push(&mut connection.outbox, frame, bytes_max);
        pushed.expect("looked at a moment ago");
        self.dirty.mark_urgent(&mut connection.outbox, id.slot());
        Ok(())
    }
}

/// The most memory, in bytes, that is kept for wording the next answer.
const ANSWER_BYTES_KEPT_MAX: usize = 64 * 1024;

/// The frame type of a message type.
pub(super) fn opcode(kind: Kind) -> OpCode {
    match kind {
        Kind::Text => OpCode::Text,
        Kind::Binary => OpCode::Binary,
    }
}
