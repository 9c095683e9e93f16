//! What a shard does with a publication: names it, routes it, applies it.
//!
//! Nearly all that a gateway does is done once for each session that a publication reaches, so that
//! way is short. It goes through one cache line per session, that of its entry in the table, three
//! times: here, when it is sent, and when that send is over.
//!
//! ```text
//!   publish    members [4][9][17]..        one list, found once
//!                |
//!   give         v          same route as the one before, and owed nothing, or only what lies
//!                .          right before the frame?                  else: give_otherwise
//!              entry 4 <-- span of the frame, marked as queued
//!              queue  [..][4]
//!                |
//!   poll_send    v          queue -> entry -> batch: those bytes are lent
//!                .
//!   handle_sent  .          all taken: the batch has one holder less, the outbox is empty
//! ```
//!
//! What does not differ between sessions is found once for all of them and waits in a [`Parcel`]:
//! the frame, its length, the bound. The frame's batch is told once how many hold it.
//! `scripts/instructions.sh` counts what all of this takes and holds it to a bound.

use super::batches::{Batches, Span};
use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::core::Shard;
use super::dirty::DirtyQueues;
use super::input::opcode;
use super::message::{DropTarget, MailboxMessage, Ticket};
use super::outbox::{Outboxes, Overflow, Pushed};
use super::presence::WATCHERS;
use super::settings::{EncodingId, RouteSettings, ShardSettings};
use super::users::Member;
use crate::vocabulary::close::End;
use crate::vocabulary::content::{ChannelName, Content};
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::publication::{Audience, OwnedPublication, Publication, PublicationId};
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

/// What each session of one route is given, and how many have been: what is the same from one
/// session to the next, so that the loop of a fan-out looks nothing up but the session.
#[derive(Clone, Copy)]
struct Parcel {
    /// The route, or [`NO_ROUTE`] as long as nobody has been given anything.
    route: u32,
    frame: Span,
    payload_len: u32,
    outbox_bytes_max: u32,
    given: u32,
    /// How many of them held the frame's batch before.
    given_to_holders: u32,
}

/// The parts of a shard that giving a publication to a session touches, besides the session.
struct Delivery<'s> {
    settings: &'s ShardSettings,
    outboxes: &'s mut Outboxes,
    dirty: &'s mut DirtyQueues,
    wordings: Wordings<'s>,
    parcel: Parcel,
    reached: u32,
    slow: SmallVec<[u32; 8]>,
}

impl Delivery<'_> {
    /// Gives the publication to each of these sessions: the loop of a fan-out. Only what is usual
    /// is in it; everything else is behind one call.
    #[inline]
    fn give(
        &mut self,
        sessions: &mut ConnectionTable<Connection>,
        slots: impl Iterator<Item = u32>,
    ) {
        let mut sessions = sessions.slots_mut();
        for slot in slots {
            let session = sessions.get_mut(slot).expect("listed while open");
            let outbox = &mut session.outbox;
            if u32::from(session.route) != self.parcel.route {
                self.give_otherwise(session, slot);
            } else if outbox.is_idle() {
                outbox.begin(self.parcel.frame);
                self.dirty.mark_idle(outbox, slot);
                self.count(session);
            } else if outbox.extend(self.parcel.frame, self.parcel.outbox_bytes_max) {
                self.parcel.given_to_holders += 1;
                self.count(session);
            } else {
                self.give_otherwise(session, slot);
            }
        }
    }

    /// The same for a session of another route than the one before, or one that is behind.
    #[inline(never)]
    fn give_otherwise(&mut self, session: &mut Connection, slot: u32) {
        if u32::from(session.route) != self.parcel.route {
            self.end_parcel();
            let route = &self.settings.routes[usize::from(session.route)];
            let word = self.wordings.of(route, &mut self.outboxes.batches);
            self.parcel = Parcel::new(session.route, route, word);
        }
        let Parcel {
            frame,
            outbox_bytes_max,
            ..
        } = self.parcel;
        let outbox = &mut session.outbox;
        match self.outboxes.push_unheld(outbox, frame, outbox_bytes_max) {
            Ok(Pushed::Holds) => {}
            Ok(Pushed::HeldBefore) => self.parcel.given_to_holders += 1,
            Err(Overflow) => {
                self.slow.push(slot);
                return;
            }
        }
        self.dirty.mark(outbox, slot);
        self.count(session);
    }

    #[inline]
    fn count(&mut self, session: &mut Connection) {
        self.parcel.given += 1;
        session.messages_sent = session.messages_sent.wrapping_add(1);
        session.bytes_sent += u64::from(self.parcel.payload_len);
    }

    /// Counts those who hold the parcel's batch now, all at once.
    fn end_parcel(&mut self) {
        let Parcel {
            frame,
            given,
            given_to_holders,
            ..
        } = std::mem::replace(&mut self.parcel, Parcel::NONE);
        if given > 0 {
            let batches = &mut self.outboxes.batches;
            batches.hold_by(frame.batch, given - given_to_holders);
            self.reached += given;
        }
    }

    /// Everybody has been given what there was.
    fn end(mut self) -> (u32, SmallVec<[u32; 8]>) {
        self.end_parcel();
        self.wordings.release(&mut self.outboxes.batches);
        (self.reached, self.slow)
    }
}

impl Parcel {
    const NONE: Self = Self {
        route: NO_ROUTE,
        frame: Span::EMPTY,
        payload_len: 0,
        outbox_bytes_max: 0,
        given: 0,
        given_to_holders: 0,
    };

    fn new(index: u16, route: &RouteSettings, word: Wording) -> Self {
        Self {
            route: u32::from(index),
            frame: word.frame,
            payload_len: word.payload_len,
            outbox_bytes_max: route.outbox_bytes_max,
            ..Self::NONE
        }
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
    pub(super) fn deliver(&mut self, publication: &Publication<'_>) -> u32 {
        if let ChannelName::Own = publication.content.channel {
            return self.deliver_on_own_channels(publication);
        }
        let shown = as_shown(publication);
        let mut delivery = Delivery {
            settings: &self.settings,
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
        let sessions = &mut self.connections;
        match publication.audience {
            Audience::User {
                namespace,
                name,
                event,
            } => {
                for members in self.users.reached(namespace, name, event) {
                    delivery.give(sessions, slots_of(members));
                }
            }
            Audience::Channel {
                namespace,
                name,
                except,
            } => {
                let slots = slots_of(self.channels.members(namespace, name));
                let except = slots_here(self.id, sessions, except);
                if except.is_empty() {
                    delivery.give(sessions, slots);
                } else {
                    delivery.give(sessions, slots.filter(|slot| !is_among(&except, *slot)));
                }
            }
            Audience::Session(session) => {
                let id = session.connection();
                if sessions.get(id).is_some_and(Connection::is_open) {
                    delivery.give(sessions, std::iter::once(id.slot()));
                }
            }
            Audience::Everyone { namespace, except } => {
                let except = slots_here(self.id, sessions, except);
                let routes = &self.settings.routes;
                let slots = slots_of_everyone(sessions, routes, namespace, &except);
                self.slots.extend(slots);
                delivery.give(sessions, self.slots.drain(..));
            }
        }
        let (reached, slow) = delivery.end();
        self.end_delivery(reached, &slow);
        reached
    }

    /// Counts a publication, and ends the sessions that had no room for it.
    pub(super) fn end_delivery(&mut self, reached: u32, slow: &[u32]) {
        self.counters.publications += 1;
        self.counters.deliveries += u64::from(reached);
        if !slow.is_empty() {
            self.end_slow(slow);
        }
    }

    /// Gives a publication to these sessions, worded as it is. Returns how many had room for it,
    /// and which had not: those are still to be ended.
    pub(super) fn give_to(
        &mut self,
        publication: &Publication<'_>,
        slots: impl Iterator<Item = u32>,
    ) -> (u32, SmallVec<[u32; 8]>) {
        let mut delivery = Delivery {
            settings: &self.settings,
            outboxes: &mut self.outboxes,
            dirty: &mut self.dirty,
            wordings: Wordings {
                publication,
                words: SmallVec::new(),
            },
            parcel: Parcel::NONE,
            reached: 0,
            slow: SmallVec::new(),
        };
        delivery.give(&mut self.connections, slots);
        delivery.end()
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
        if content.channel.given().is_empty() {
            content.channel = str::from_utf8(channel).unwrap_or_default().into();
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

pub(super) fn slots_of(members: &[Member]) -> impl Iterator<Item = u32> {
    members.iter().map(|member| member.slot)
}

/// The slots of everyone in a namespace: its open sessions, but for those that watch and these.
#[inline]
pub(super) fn slots_of_everyone<'s>(
    sessions: &'s ConnectionTable<Connection>,
    routes: &'s [RouteSettings],
    namespace: u16,
    except: &'s [u32],
) -> impl Iterator<Item = u32> + 's {
    let is_there = move |&(id, session): &(ConnectionId, &Connection)| {
        let route = &routes[usize::from(session.route)];
        let listens = route.namespace == namespace && !route.watches;
        session.is_open() && listens && !is_among(except, id.slot())
    };
    sessions.iter().filter(is_there).map(|(id, _)| id.slot())
}

/// The slots of those sessions that are on this shard, in order and each once: whoever names many,
/// or one many times, is not to have each session compared with all of them.
pub(super) fn slots_here(
    shard: ShardId,
    connections: &ConnectionTable<Connection>,
    sessions: &[SessionId],
) -> SmallVec<[u32; 4]> {
    let mut slots: SmallVec<[u32; 4]> = sessions
        .iter()
        .filter(|session| session.shard() == shard)
        .map(|session| session.connection())
        .filter(|&id| connections.get(id).is_some())
        .map(ConnectionId::slot)
        .collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// Whether a slot is among these, which [`slots_here`] has found.
fn is_among(slots: &[u32], slot: u32) -> bool {
    slots.binary_search(&slot).is_ok()
}

/// No route has this index.
const NO_ROUTE: u32 = u32::MAX;
/// What the head of a server's frame takes at most.
const HEAD_BYTES_MAX: usize = 10;
