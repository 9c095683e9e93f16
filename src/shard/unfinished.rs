//! Messages that have begun and not ended: what they hold, and how long they may take.
//!
//! A session owns a decoder only while it is in the middle of something; the tick at which that
//! began lies beside the decoder, so that a session at rest pays nothing for it.

use super::connection::{Connection, Phase};
use super::core::Shard;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::time::Tick;
use crate::ws::{Decoder, Event, TextCheck};

/// A message, or a control frame, that has not come whole.
#[derive(Debug)]
pub(super) struct Unfinished {
    decoder: Decoder,
    /// When its first byte was read, or when the session last began to be read again.
    began: Tick,
    /// What is known of its text, in a language that wants to know.
    text: TextCheck,
}

impl Shard {
    /// [`Decoder::step`] with the session's decoder, which is made when something is begun that the
    /// input does not end, and goes with its end.
    ///
    /// Where text is checked, that of an unfinished message that is none comes before whatever is
    /// behind it: how the bytes are cut makes no difference.
    pub(super) fn decode<'m>(
        &mut self,
        id: ConnectionId,
        input: &'m mut [u8],
        bytes_max: usize,
    ) -> Result<(usize, Option<Event<'m>>), CloseCause> {
        let kept = &mut self.unfinished[id.index()];
        let held = kept_bytes(kept.as_deref());
        let mut new = Decoder::new();
        let decoder = kept.as_deref_mut().map_or(&mut new, |it| &mut it.decoder);
        let step = decoder.step(input, bytes_max);
        let mut begins = false;
        if decoder.is_at_rest() {
            *kept = None;
        } else if kept.is_none() {
            *kept = Some(Box::new(Unfinished {
                decoder: new,
                began: self.now,
                text: TextCheck::default(),
            }));
            begins = true;
        }
        self.partial_bytes = self.partial_bytes - held + kept_bytes(kept.as_deref());
        if begins && step.is_ok() {
            self.file_message_timeout(id);
        }
        if self.unfinished[id.index()].is_some() {
            self.check_text(id)?;
        }
        step.map_err(CloseCause::Protocol)
    }

    /// Looks at what has come of an unfinished text, if the session's language wants to know.
    fn check_text(&mut self, id: ConnectionId) -> Result<(), CloseCause> {
        let connection = self.connections.get(id).expect("its input is being read");
        let route = &self.settings.routes[usize::from(connection.route)];
        let Some(unfinished) = &mut self.unfinished[id.index()] else {
            return Ok(());
        };
        let is_wanted = route.dialect.spec().checks_text;
        let text = unfinished.decoder.unfinished_text();
        if is_wanted && !unfinished.text.is_text(text) {
            return Err(CloseCause::InvalidText);
        }
        Ok(())
    }

    /// Files the time-out of a message that has just begun, if that comes before what is filed.
    fn file_message_timeout(&mut self, id: ConnectionId) {
        let due = self.message_due(id);
        let filed = self.wheel.deadline(id.slot());
        if let Some(due) = due.filter(|due| filed.is_none_or(|filed| due.0 < filed)) {
            self.wheel.schedule(id.slot(), due.0);
        }
    }

    /// When the message that a session is in the middle of must be whole; `None` if it is in none,
    /// or if messages may take for ever.
    pub(super) fn message_due(&self, id: ConnectionId) -> Option<Tick> {
        let timeout = self.settings.message_timeout?;
        let unfinished = self.unfinished[id.index()].as_ref()?;
        Some(unfinished.began.max(self.resumed_at).after(timeout))
    }

    /// Whether the message that a session is in the middle of should be whole by now. While the
    /// session is not read, because something is to be answered or taken first, its time stands
    /// still: it begins anew each time that the session is looked at.
    pub(super) fn is_message_late(&mut self, id: ConnectionId, until: Tick) -> bool {
        let now = self.now;
        let is_read = !self.are_reads_paused && !self.is_read_paused(id);
        match &mut self.unfinished[id.index()] {
            Some(_) if is_read => self.message_due(id).is_some_and(|due| due <= until),
            Some(unfinished) => {
                unfinished.began = now;
                false
            }
            None => false,
        }
    }

    /// The soonest of a connection's timers, as far as is known now.
    pub(super) fn deadline_of(&self, id: ConnectionId, connection: &Connection) -> Option<Tick> {
        let due = connection.deadline(&self.settings, self.resumed_at);
        match connection.phase {
            Phase::Open => due.into_iter().chain(self.message_due(id)).min(),
            Phase::Http(_) | Phase::Closing | Phase::Draining | Phase::Gone => due,
        }
    }

    /// Keeps what unfinished messages and, outside the shard, `bodies_bytes` of unfinished requests
    /// hold within bounds: the sessions with the largest are ended until it fits.
    pub fn enforce_partial_limit(&mut self, bodies_bytes: usize) {
        while self.partial_bytes > 0
            && self.partial_bytes + bodies_bytes > self.settings.partial_bytes_max
        {
            let largest = self
                .connections
                .iter()
                .max_by_key(|(id, _)| kept_bytes(self.unfinished[id.index()].as_deref()))
                .map(|(id, _)| id);
            self.end(
                largest.expect("somebody holds those bytes"),
                CloseCause::PartialBytes,
            );
        }
    }
}

/// The bytes that an unfinished message holds, with all that is kept for it.
pub(super) fn kept_bytes(unfinished: Option<&Unfinished>) -> usize {
    unfinished.map_or(0, |it| size_of::<Unfinished>() + it.decoder.partial_bytes())
}

#[cfg(test)]
mod tests;
