//! What a shard does with bytes from a client.

use super::connection::Phase;
use super::core::{Ask, Question, Shard, mark};
use super::outbox::HEADROOM_BYTES;
use super::settings::TokenRule;
use super::users::NotBound;
use crate::close::End;
use crate::dialect::{Intent, Intents, Then};
use crate::id::{ConnectionId, SessionId};
use crate::ws::{Event, Kind, OpCode, Payload, encoder};

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
        connection.last_input = now;

        let mut at = 0;
        while at < input.len() {
            let connection = self
                .connections
                .get(id)
                .expect("slots are freed by the driver");
            if connection.phase != Phase::Open {
                return input.len();
            }
            if connection.waiting {
                return at;
            }
            let route = usize::from(connection.route);
            let bytes_max = self.settings.routes[route].message_bytes_max;
            let decoder = &mut self.decoders[id.index()];
            let held = decoder.partial_bytes();
            let step = decoder.step(&mut input[at..], bytes_max);
            self.partial_bytes = self.partial_bytes - held + decoder.partial_bytes();
            let applied = match step {
                Ok((taken, event)) => {
                    at += taken;
                    event.map_or(Ok(()), |event| self.apply(id, event))
                }
                Err(error) => Err(End::Protocol(error)),
            };
            if let Err(end) = applied {
                self.end(id, end);
            }
        }
        at
    }

    /// Keeps what unfinished messages and, outside the shard, `bodies_bytes` of unfinished requests
    /// hold within bounds: the sessions with the largest are ended until it fits.
    pub fn bound_partial_bytes(&mut self, bodies_bytes: usize) {
        while self.partial_bytes > 0
            && self.partial_bytes + bodies_bytes > self.settings.partial_bytes_max
        {
            let largest = self
                .connections
                .iter()
                .max_by_key(|(id, _)| self.decoders[id.index()].partial_bytes())
                .map(|(id, _)| id);
            self.end(
                largest.expect("somebody holds those bytes"),
                End::PartialBytes,
            );
        }
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
        let connection = self.connections.get(id).expect("just seen");
        let dialect = self.settings.routes[usize::from(connection.route)].dialect;

        // Intents borrow from the scratch, and applying them needs the rest of the shard.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut intents = Intents::new();
        let decoded = dialect.decode(kind, payload.bytes_mut(), &mut scratch, &mut intents);
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
            Intent::Identify { token, event } => {
                self.identify(id, token, event);
                Ok(())
            }
            Intent::Reply { kind, payload } => self.reply(id, opcode(kind), payload),
        }
    }

    fn identify(&mut self, id: ConnectionId, token: &str, event: &str) {
        let names_max = self.settings.name_bytes_max;
        if token.len() > names_max || event.len() > names_max {
            self.counters.registrations_refused += 1;
            return;
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let settings = std::sync::Arc::clone(&self.settings);
        match &settings.routes[usize::from(connection.route)].tokens {
            TokenRule::Itself => self.bind(id, token, event),
            TokenRule::Table(users) => {
                if let Some(user) = users.get(token) {
                    self.bind(id, user, event);
                }
            }
            TokenRule::Ask => {
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

    /// Binds a session to a user. What cannot be bound is as it was.
    pub(super) fn bind(&mut self, id: ConnectionId, user: &str, event: &str) {
        if user.is_empty() {
            return;
        }
        let connection = self.connections.get_mut(id).expect("just seen");
        let namespace = self.settings.routes[usize::from(connection.route)].namespace;
        let users_max = self.settings.users_per_session_max;
        let (user, event) = (user.as_bytes(), event.as_bytes());
        match self
            .users
            .bind(id.slot(), namespace, user, event, users_max)
        {
            Ok(()) => connection.registered = true,
            Err(NotBound::Already) => {}
            Err(NotBound::TooManyUsers) => self.counters.registrations_refused += 1,
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
        let len = encoder::head_len(payload.len()) + payload.len();
        let connection = self.connections.get_mut(id).expect("just seen");
        let bytes_max = self.settings.routes[usize::from(connection.route)].outbox_bytes_max;
        let owed = connection.outbox.bytes() as usize;
        if owed > HEADROOM_BYTES as usize && owed + len > bytes_max as usize {
            return Err(End::SlowConsumer);
        }
        let frame = self
            .outboxes
            .batches
            .put(len, |out| encoder::put_frame(out, opcode, payload));
        let len = u32::try_from(len).expect("it fits the outbox");
        let pushed = self
            .outboxes
            .push(&mut connection.outbox, frame, len, bytes_max);
        pushed.expect("looked at a moment ago");
        mark(
            connection,
            id.slot(),
            true,
            &mut self.dirty,
            &mut self.urgent,
        );
        Ok(())
    }
}

/// The frame type of a message type.
pub(super) fn opcode(kind: Kind) -> OpCode {
    match kind {
        Kind::Text => OpCode::Text,
        Kind::Binary => OpCode::Binary,
    }
}
