//! What a shard does with a publication: names it, routes it, applies it.

use super::batches::FrameRef;
use super::core::{Shard, mark};
use super::input::opcode;
use super::publication::{
    Audience, DropTarget, MailboxMessage, OwnedPublication, Publication, PublicationId, Ticket,
};
use super::settings::EncodingId;
use crate::close::End;
use crate::id::ShardId;
use crate::ws::encoder;
use smallvec::SmallVec;
use std::sync::Arc;

/// A publication as it is worded in one encoding.
struct Wording {
    encoding: EncodingId,
    frame: FrameRef,
    len: u32,
}

impl Shard {
    /// Accepts a publication: applies it here, and has every other shard apply it.
    ///
    /// Returns how many sessions of this shard it was added to. The others report to `ticket`; they
    /// are as many as there are shards besides this one.
    pub fn publish(&mut self, audience: Audience<'_>, payload: &[u8], ticket: Ticket) -> u32 {
        let id = PublicationId {
            origin: self.id,
            sequence: self.sequence,
        };
        self.sequence += 1;
        let publication = Publication {
            id,
            position: None,
            audience,
            payload,
        };
        if self.shards > 1 {
            let copy = Arc::new(OwnedPublication::copy(&publication));
            self.tell_others(|| MailboxMessage::Publication {
                publication: Arc::clone(&copy),
                ticket,
            });
        }
        self.deliver(&publication)
    }

    /// Ends the sessions of a user, here and on every other shard; reports like
    /// [`Shard::publish`].
    pub fn drop_user(&mut self, target: DropTarget, ticket: Ticket) -> u32 {
        let target = Arc::new(target);
        self.tell_others(|| MailboxMessage::Drop {
            target: Arc::clone(&target),
            ticket,
        });
        self.drop_here(&target)
    }

    /// Another shard has said something.
    pub fn handle_message(&mut self, message: &MailboxMessage) {
        let (ticket, count) = match message {
            MailboxMessage::Publication {
                publication,
                ticket,
            } => (*ticket, self.deliver(&publication.borrow())),
            MailboxMessage::Drop { target, ticket } => (*ticket, self.drop_here(target)),
        };
        self.tallies.push_back((ticket, count));
    }

    /// Applies a publication to the sessions that are its audience now; returns how many.
    fn deliver(&mut self, publication: &Publication<'_>) -> u32 {
        let Audience::User {
            namespace,
            name,
            event,
        } = publication.audience;
        let mut wordings: SmallVec<[Wording; 2]> = SmallVec::new();
        let mut slow: SmallVec<[u32; 8]> = SmallVec::new();
        let mut reached = 0;

        for member in self.users.members(namespace, name, event) {
            let connection = self
                .connections
                .slot_mut(member.slot)
                .expect("bound while open");
            let route = &self.settings.routes[usize::from(connection.route)];
            let known = wordings.iter().position(|w| w.encoding == route.encoding);
            let at = known.unwrap_or_else(|| {
                let batches = &mut self.outboxes.batches;
                let mut len = 0;
                let frame = batches.put(publication.payload.len() + HEAD_BYTES_MAX, |out| {
                    let before = out.len();
                    let start = encoder::begin(out);
                    let kind = route.dialect.encode(publication, out);
                    encoder::end(out, start, opcode(kind));
                    len = out.len() - before;
                });
                let len = u32::try_from(len).expect("a message is far below 4 GiB");
                wordings.push(Wording {
                    encoding: route.encoding,
                    frame,
                    len,
                });
                wordings.len() - 1
            });
            let Wording { frame, len, .. } = wordings[at];
            let outbox = &mut connection.outbox;
            if self
                .outboxes
                .push(outbox, frame, len, route.outbox_bytes_max)
                .is_ok()
            {
                reached += 1;
                mark(
                    connection,
                    member.slot,
                    false,
                    &mut self.dirty,
                    &mut self.urgent,
                );
            } else {
                slow.push(member.slot);
            }
        }

        self.counters.publications += 1;
        self.counters.deliveries += u64::from(reached);
        for slot in slow {
            let id = self.connections.id_of(slot).expect("bound while open");
            self.end(id, End::SlowConsumer);
        }
        reached
    }

    fn drop_here(&mut self, target: &DropTarget) -> u32 {
        let mut slots = std::mem::take(&mut self.slots);
        let event = target.event.as_deref();
        self.users
            .slots(target.namespace, &target.name, event, &mut slots);
        let dropped = u32::try_from(slots.len()).expect("slots fit a u32");
        for slot in slots.drain(..) {
            let id = self.connections.id_of(slot).expect("bound while open");
            self.end(id, End::Dropped);
        }
        self.slots = slots;
        dropped
    }

    fn tell_others(&mut self, message: impl Fn() -> MailboxMessage) {
        for index in 0..self.shards {
            if index != self.id.index() {
                self.messages.push_back((ShardId::new(index), message()));
            }
        }
    }
}

/// What the head of a server's frame takes at most.
const HEAD_BYTES_MAX: usize = 10;
