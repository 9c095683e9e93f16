//! What a shard does with a publication: names it, routes it, applies it.

use super::batches::{Batches, FrameRef};
use super::core::{Shard, mark};
use super::input::opcode;
use super::outbox::{Outboxes, Overflow};
use super::publication::{
    Audience, DropTarget, MailboxMessage, OwnedPublication, Publication, PublicationId, Ticket,
};
use super::settings::{EncodingId, RouteSettings};
use crate::close::End;
use crate::id::ShardId;
use crate::ws::encoder;
use smallvec::SmallVec;
use std::sync::Arc;

/// A publication as it is worded in one encoding.
#[derive(Clone, Copy)]
struct Wording {
    encoding: EncodingId,
    frame: FrameRef,
    len: u32,
}

/// A publication in every encoding that somebody needed so far.
struct Wordings<'p> {
    publication: &'p Publication<'p>,
    words: SmallVec<[Wording; 2]>,
}

impl Wordings<'_> {
    /// The publication as the sessions of `route` receive it; encoded the first time.
    fn of(&mut self, route: &RouteSettings, batches: &mut Batches) -> Wording {
        let known = self
            .words
            .iter()
            .find(|word| word.encoding == route.encoding);
        if let Some(known) = known {
            return *known;
        }
        let bytes_needed = self.publication.payload.len() + HEAD_BYTES_MAX;
        let mut len = 0;
        let frame = batches.put(bytes_needed, |out| {
            let before = out.len();
            let start = encoder::begin(out);
            let kind = route.dialect.encode(self.publication, out);
            encoder::end(out, start, opcode(kind));
            len = out.len() - before;
        });
        let len = u32::try_from(len).expect("a message is far below 4 GiB");
        let word = Wording {
            encoding: route.encoding,
            frame,
            len,
        };
        self.words.push(word);
        word
    }
}

/// Counts those who hold a word's batch since the last call, all at once.
fn hold(outboxes: &mut Outboxes, word: Option<Wording>, holders: &mut u32) {
    if let Some(word) = word {
        outboxes
            .batches
            .hold_by(word.frame.batch, std::mem::take(holders));
    }
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
        let routes = &self.settings.routes[..];
        let mut wordings = Wordings {
            publication,
            words: SmallVec::new(),
        };
        let mut word: Option<Wording> = None;
        let mut slow: SmallVec<[u32; 8]> = SmallVec::new();
        let (mut reached, mut holders) = (0, 0);

        for member in self.users.members(namespace, name, event) {
            let connection = self
                .connections
                .slot_mut(member.slot)
                .expect("bound while open");
            let route = &routes[usize::from(connection.route)];
            let Wording { frame, len, .. } = match word {
                Some(word) if word.encoding == route.encoding => word,
                before => {
                    hold(&mut self.outboxes, before, &mut holders);
                    *word.insert(wordings.of(route, &mut self.outboxes.batches))
                }
            };
            let outbox = &mut connection.outbox;
            match self
                .outboxes
                .push_unheld(outbox, frame, len, route.outbox_bytes_max)
            {
                Ok(holds) => {
                    holders += u32::from(holds);
                    reached += 1;
                    mark(
                        connection,
                        member.slot,
                        false,
                        &mut self.dirty,
                        &mut self.urgent,
                    );
                }
                Err(Overflow) => slow.push(member.slot),
            }
        }
        hold(&mut self.outboxes, word, &mut holders);

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
