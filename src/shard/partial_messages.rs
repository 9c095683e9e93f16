//! Partial messages: their memory and their time limit.
//!
//! A session has a reader only in the middle of a message or frame. The tick at which that began
//! is stored with the reader, so that a session between two messages has no cost.

use super::connection::{Connection, Phase};
use super::core::Shard;
use crate::dialect::{Framing, MessageReader};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;
use crate::ws::{Event, TextCheck};

/// A message or control frame that has not been received completely.
#[derive(Debug)]
pub(super) struct PartialMessage {
    pub(super) reader: MessageReader,
    /// When its first byte was read, or when reads of the session last resumed.
    pub(super) began: Tick,
    /// The UTF-8 check of its text, for dialects with `checks_text`.
    pub(super) text: TextCheck,
}

impl Shard {
    /// Reads input with the session's reader; see [`MessageReader::step`]. The reader is stored
    /// while the input ends inside a message or frame.
    ///
    /// # Errors
    ///
    /// Returns the cause with which to close the session: a protocol error, or invalid text in a
    /// dialect that checks it. Text is checked before any later frame, so the result does not
    /// depend on how the input is split.
    pub(super) fn decode<'m>(
        &mut self,
        id: ConnectionId,
        framing: Framing,
        input: &'m mut [u8],
        bytes_max: usize,
    ) -> Result<(usize, Option<Event<'m>>), CloseCause> {
        let kept = &mut self.partial_messages[id.index()];
        let held = partial_bytes_of(kept.as_deref());
        let mut new = MessageReader::new(framing);
        let reader = kept.as_deref_mut().map_or(&mut new, |it| &mut it.reader);
        let step = reader.step(input, bytes_max);
        let mut begins = false;
        if reader.is_at_rest() {
            *kept = None;
        } else if kept.is_none() {
            *kept = Some(Box::new(PartialMessage {
                reader: new,
                began: self.now,
                text: TextCheck::default(),
            }));
            begins = true;
        }
        self.partial_bytes = self.partial_bytes - held + partial_bytes_of(kept.as_deref());
        if begins && step.is_ok() {
            self.schedule_message_timeout(id);
        }
        if self.partial_messages[id.index()].is_some() {
            self.check_text(id)?;
        }
        step.map_err(CloseCause::Protocol)
    }

    /// Checks the received part of a partial text message, if the session's dialect checks text.
    fn check_text(&mut self, id: ConnectionId) -> Result<(), CloseCause> {
        let connection = self.connections.get(id).expect("its input is being read");
        let route = &self.settings.routes[usize::from(connection.route)];
        let Some(partial) = &mut self.partial_messages[id.index()] else {
            return Ok(());
        };
        let is_wanted = route.dialect.spec().checks_text;
        let text = partial.reader.partial_text();
        if is_wanted && !partial.text.is_text(text) {
            return Err(CloseCause::InvalidText);
        }
        Ok(())
    }

    /// Files the deadline of a message that has just begun, if it is earlier than the present one.
    fn schedule_message_timeout(&mut self, id: ConnectionId) {
        let due = self.message_due(id);
        let filed = self.wheel.deadline(id.slot());
        if let Some(due) = due.filter(|due| filed.is_none_or(|filed| due.0 < filed)) {
            self.wheel.schedule(id.slot(), due.0);
        }
    }

    /// Returns when the session's partial message must be complete; `None` if it has none or there
    /// is no time limit.
    pub(super) fn message_due(&self, id: ConnectionId) -> Option<Tick> {
        let timeout = self.settings.message_timeout?;
        let partial = self.partial_messages[id.index()].as_ref()?;
        Some(partial.began.max(self.resumed_at).after(timeout))
    }

    /// Returns whether the session's partial message has exceeded its time limit at `until`. While
    /// reads of the session are paused, restarts the message's time instead.
    pub(super) fn is_message_late(&mut self, id: ConnectionId, until: Tick) -> bool {
        let now = self.now;
        let is_read = !self.are_reads_paused && !self.is_read_paused(id);
        match &mut self.partial_messages[id.index()] {
            Some(_) if is_read => self.message_due(id).is_some_and(|due| due <= until),
            Some(partial) => {
                partial.began = now;
                false
            }
            None => false,
        }
    }

    /// Returns the next deadline of a connection, that of a partial message included.
    pub(super) fn deadline_of(&self, id: ConnectionId, connection: &Connection) -> Option<Tick> {
        let due = connection.deadline(&self.settings, self.resumed_at);
        match connection.phase {
            Phase::Open => due.into_iter().chain(self.message_due(id)).min(),
            Phase::Http(_) | Phase::Closing | Phase::Draining | Phase::Gone => due,
        }
    }

    /// Enforces `limits.partial_bytes_max` on partial messages together with the `bodies_bytes` of
    /// partial request bodies outside the shard: closes the sessions with the largest partial
    /// messages.
    pub fn enforce_partial_limit(&mut self, bodies_bytes: usize) {
        while self.partial_bytes > 0
            && self.partial_bytes + bodies_bytes > self.settings.partial_bytes_max
        {
            let largest = self
                .connections
                .iter()
                .max_by_key(|(id, _)| {
                    partial_bytes_of(self.partial_messages[id.index()].as_deref())
                })
                .map(|(id, _)| id);
            self.end(
                largest.expect("some session holds those bytes"),
                CloseCause::PartialBytes,
            );
        }
    }
}

/// Returns the bytes that a partial message holds, with its reader; 0 for none.
pub(super) fn partial_bytes_of(partial: Option<&PartialMessage>) -> usize {
    partial.map_or(0, |it| {
        size_of::<PartialMessage>() + it.reader.partial_bytes()
    })
}

#[cfg(test)]
mod tests;
