//! What a shard does with a publication: names it, routes it, applies it.

use super::batches::{Batches, Span};
use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::core::Shard;
use super::dirty::DirtyQueues;
use super::input::opcode;
use super::outbox::{Outboxes, Overflow};
use super::presence::WATCHERS;
use super::publication::{
    Audience, DropTarget, MailboxMessage, OwnedPublication, Publication, PublicationId, Ticket,
};
use super::settings::{EncodingId, RouteSettings, ShardSettings};
use crate::close::End;
use crate::content::Content;
use crate::id::{ConnectionId, SessionId, ShardId};
use crate::ws::encoder;
use rand_core::RngCore;
use smallvec::SmallVec;
use std::sync::Arc;

/// A publication as it is worded in one encoding.
#[derive(Clone, Copy)]
struct Wording {
    encoding: EncodingId,
    frame: Span,
    payload_len: u32,
}

/// A publication in every encoding that somebody needed so far. Holds the batches of its frames:
/// whoever needs one later finds it even if nobody before had room for it.
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
        let bytes_needed = self.publication.content.data.bytes().len() + HEAD_BYTES_MAX;
        let mut payload_len = 0;
        let frame = batches.put(bytes_needed, |out| {
            let start = encoder::begin(out);
            let payload_at = out.len();
            let kind = route.dialect.encode(self.publication, &route.options, out);
            payload_len = out.len() - payload_at;
            encoder::end(out, start, opcode(kind));
        });
        let word = Wording {
            encoding: route.encoding,
            frame,
            payload_len: u32::try_from(payload_len).expect("a message is far below 4 GiB"),
        };
        batches.hold(frame.batch);
        self.words.push(word);
        word
    }

    /// Everybody has been given what they need.
    fn release(&mut self, batches: &mut Batches) {
        for word in self.words.drain(..) {
            batches.release(word.frame.batch);
        }
    }
}

/// What each session of one route is owed now, and how many have been given it.
#[derive(Clone, Copy)]
struct Parcel {
    /// `None` while nobody has been given anything.
    route: Option<u16>,
    frame: Span,
    payload_len: u32,
    outbox_bytes_max: u32,
    /// How many hold the frame's batch since it was last told so.
    holders: u32,
}

impl Parcel {
    const NONE: Self = Self {
        route: None,
        frame: Span {
            batch: 0,
            start: 0,
            end: 0,
        },
        payload_len: 0,
        outbox_bytes_max: 0,
        holders: 0,
    };
}

/// The parts of a shard that delivering a publication touches.
struct Delivery<'s> {
    settings: &'s ShardSettings,
    connections: &'s mut ConnectionTable<Connection>,
    outboxes: &'s mut Outboxes,
    dirty: &'s mut DirtyQueues,
    wordings: Wordings<'s>,
    parcel: Parcel,
    reached: u32,
    slow: SmallVec<[u32; 8]>,
}

impl Delivery<'_> {
    /// Adds the publication to the outbox of each of these sessions: the loop of a fan-out.
    ///
    /// What is the same from one session to the next is in `parcel` and not looked up again.
    #[inline]
    fn give(&mut self, slots: impl Iterator<Item = u32>) {
        let (mut parcel, mut reached) = (self.parcel, 0);
        for slot in slots {
            let connection = self.connections.slot_mut(slot).expect("listed while open");
            if parcel.route != Some(connection.route) {
                let route = connection.route;
                parcel = self.parcel_for(route, parcel);
            }
            let connection = self.connections.slot_mut(slot).expect("listed while open");
            let outbox = &mut connection.outbox;
            let pushed = self
                .outboxes
                .push_unheld(outbox, parcel.frame, parcel.outbox_bytes_max);
            let Ok(holds) = pushed else {
                self.slow.push(slot);
                continue;
            };
            parcel.holders += u32::from(holds);
            reached += 1;
            self.dirty.mark(outbox, slot);
            connection.messages_sent = connection.messages_sent.wrapping_add(1);
            connection.bytes_sent += u64::from(parcel.payload_len);
        }
        self.parcel = parcel;
        self.reached += reached;
    }

    /// What a session of another route than the one before is owed.
    #[inline(never)]
    fn parcel_for(&mut self, route: u16, before: Parcel) -> Parcel {
        self.hold(before);
        let settings = &self.settings.routes[usize::from(route)];
        let word = self.wordings.of(settings, &mut self.outboxes.batches);
        Parcel {
            route: Some(route),
            frame: word.frame,
            payload_len: word.payload_len,
            outbox_bytes_max: settings.outbox_bytes_max,
            holders: 0,
        }
    }

    /// Counts those who hold a parcel's batch, all at once.
    fn hold(&mut self, parcel: Parcel) {
        if parcel.holders > 0 {
            let batches = &mut self.outboxes.batches;
            batches.hold_by(parcel.frame.batch, parcel.holders);
        }
    }

    /// [`Delivery::give`] to all but some.
    fn give_except(&mut self, slots: impl Iterator<Item = u32>, except: &[u32]) {
        if except.is_empty() {
            self.give(slots);
        } else {
            self.give(slots.filter(|slot| !except.contains(slot)));
        }
    }

    /// The same for one session, if it is open.
    fn give_one(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some_and(Connection::is_open) {
            self.give(std::iter::once(id.slot()));
        }
    }

    /// The same for every session of a namespace, except some. `slots` is empty, and is so again.
    fn give_everyone(&mut self, namespace: u16, except: &[u32], slots: &mut Vec<u32>) {
        let routes = &self.settings.routes[..];
        let is_there = |connection: &Connection| {
            let route = &routes[usize::from(connection.route)];
            connection.is_open() && route.namespace == namespace && !route.watches
        };
        let all = self.connections.iter();
        let there = all.filter(|(_, connection)| is_there(connection));
        slots.extend(there.map(|(id, _)| id.slot()));
        self.give_except(slots.drain(..), except);
    }
}

impl Shard {
    /// Accepts a publication: applies it here, and has every other shard apply it.
    ///
    /// Returns how many sessions of this shard it was added to. The others report to `ticket`, if
    /// there is one; they are as many as there are shards besides this one, or none if the audience
    /// is one session.
    pub fn publish(
        &mut self,
        audience: Audience<'_>,
        content: &Content<'_>,
        ticket: Option<Ticket>,
    ) -> u32 {
        let id = PublicationId {
            origin: self.id,
            sequence: self.sequence,
        };
        self.sequence += 1;
        let publication = Publication {
            id,
            position: None,
            audience,
            content: *content,
            nonce: self.random.next_u64(),
        };
        let is_for_one = matches!(audience, Audience::Session(_));
        if self.shards > 1 && !is_for_one {
            let copy = Arc::new(OwnedPublication::copy(&publication));
            self.tell_others(|| MailboxMessage::Publication {
                publication: Arc::clone(&copy),
                ticket,
            });
        }
        let reached = self.deliver(&publication);
        self.show_publication(&publication);
        reached
    }

    /// Ends the sessions of a user, here and on every other shard; reports like
    /// [`Shard::publish`].
    pub fn drop_user(&mut self, target: DropTarget, ticket: Option<Ticket>) -> u32 {
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
            MailboxMessage::Claim(claim) => {
                self.handle_claim(claim.clone());
                return;
            }
            MailboxMessage::Watchers { namespace, more } => {
                self.count_watchers(*namespace, *more);
                return;
            }
        };
        if let Some(ticket) = ticket {
            self.tallies.push_back((ticket, count));
        }
    }

    /// Applies a publication to the sessions that are its audience now; returns how many.
    fn deliver(&mut self, publication: &Publication<'_>) -> u32 {
        let shown = as_shown(publication);
        let mut delivery = Delivery {
            settings: &self.settings,
            connections: &mut self.connections,
            outboxes: &mut self.outboxes,
            dirty: &mut self.dirty,
            wordings: Wordings {
                publication: shown.as_ref().unwrap_or(publication),
                words: SmallVec::new(),
            },
            parcel: Parcel::NONE,
            reached: 0,
            slow: SmallVec::new(),
        };
        match publication.audience {
            Audience::User {
                namespace,
                name,
                event,
            } => {
                for members in self.users.reached(namespace, name, event) {
                    delivery.give(members.iter().map(|member| member.slot));
                }
            }
            Audience::Channel {
                namespace,
                name,
                except,
            } => {
                let except = slots_here(self.id, delivery.connections, except);
                let members = self.channels.members(namespace, name).iter();
                delivery.give_except(members.map(|member| member.slot), &except);
            }
            Audience::Session(session) => delivery.give_one(session.connection()),
            Audience::Everyone { namespace, except } => {
                let except = slots_here(self.id, delivery.connections, except);
                delivery.give_everyone(namespace, &except, &mut self.slots);
            }
        }
        delivery.hold(delivery.parcel);
        delivery.wordings.release(&mut delivery.outboxes.batches);
        let Delivery { reached, slow, .. } = delivery;

        self.counters.publications += 1;
        self.counters.deliveries += u64::from(reached);
        if !slow.is_empty() {
            self.end_slow(&slow);
        }
        reached
    }

    /// Ends sessions that do not read. The others on their channels may be told so, and may be as
    /// slow: those wait for their turn, whoever finds them.
    #[cold]
    fn end_slow(&mut self, slots: &[u32]) {
        let is_under_way = !self.slow.is_empty();
        self.slow.extend(slots);
        if is_under_way {
            return;
        }
        while let Some(&slot) = self.slow.front() {
            if let Some(id) = self.connections.id_of(slot).filter(|&id| self.is_open(id)) {
                self.end(id, End::SlowConsumer);
            }
            self.slow.pop_front();
        }
    }

    /// Shows a publication to whoever is shown the namespace's traffic.
    fn show_publication(&mut self, publication: &Publication<'_>) {
        let (namespace, channel): (u16, &[u8]) = match publication.audience {
            Audience::User { namespace, .. } | Audience::Everyone { namespace, .. } => {
                (namespace, b"")
            }
            Audience::Channel {
                namespace, name, ..
            } => (namespace, name),
            Audience::Session(session) => match self.connections.get(session.connection()) {
                Some(_) => (self.namespace_of(session.connection()), b""),
                None => return,
            },
        };
        if !self.is_watched(namespace) || channel == WATCHERS {
            return;
        }
        let mut content = publication.content;
        if content.channel.is_empty() {
            content.channel = str::from_utf8(channel).unwrap_or_default();
        }
        self.show(namespace, &content);
    }

    fn drop_here(&mut self, target: &DropTarget) -> u32 {
        let mut slots = std::mem::take(&mut self.slots);
        let event = target.event.as_deref();
        self.users
            .slots(target.namespace, &target.name, event, &mut slots);
        let dropped = u32::try_from(slots.len()).expect("slots fit a u32");
        for slot in slots.drain(..) {
            let id = self.connections.id_of(slot).expect("bound while open");
            // What was announced of the one before may have been too much for this one.
            self.end_session(id, End::Dropped);
        }
        self.slots = slots;
        dropped
    }

    pub(super) fn tell_others(&mut self, message: impl Fn() -> MailboxMessage) {
        for index in 0..self.shards {
            if index != self.id.index() {
                self.messages.push_back((ShardId::new(index), message()));
            }
        }
    }
}

/// What is shown to those who are shown all traffic, for their languages to word: it is not about
/// the channel by which it reaches them. `None` of any other publication, which is worded as it is.
fn as_shown<'p>(publication: &Publication<'p>) -> Option<Publication<'p>> {
    match publication.audience {
        Audience::Channel {
            namespace,
            name: WATCHERS,
            except,
        } => Some(Publication {
            audience: Audience::Everyone { namespace, except },
            ..*publication
        }),
        Audience::Channel { .. }
        | Audience::User { .. }
        | Audience::Session(_)
        | Audience::Everyone { .. } => None,
    }
}

/// The slots of those sessions that are on this shard.
fn slots_here(
    shard: ShardId,
    connections: &ConnectionTable<Connection>,
    sessions: &[SessionId],
) -> SmallVec<[u32; 4]> {
    sessions
        .iter()
        .filter(|session| session.shard() == shard)
        .map(|session| session.connection())
        .filter(|&id| connections.get(id).is_some())
        .map(ConnectionId::slot)
        .collect()
}

/// What the head of a server's frame takes at most.
const HEAD_BYTES_MAX: usize = 10;
