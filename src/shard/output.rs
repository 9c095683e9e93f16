//! Fan-out of publications: from `deliver` (`publish.rs`) to the outboxes of the sessions.
//!
//! Deliveries dominate a gateway's work, so the code per session is minimal. Each of its three
//! steps (enqueue, send, complete the send) touches one cache line of the session: its table entry.
//!
//! ```text
//!   deliver              members [4][9][17]..    one list, found once
//!                          |
//!   enqueue_all            v     route and encoding of the previous session, and the outbox is
//!                          .     empty or ends at the frame's start?  else: enqueue_slow_path
//!                        entry 4 <-- span of the frame, flag: queued
//!                        queue  [..][4]
//!                          |
//!   poll_send              v     queue -> entry -> batch: the send of those bytes begins
//!                          .
//!   handle_sent            .     all taken: one reference less on the batch, the outbox is empty
//! ```
//!
//! Everything that sessions of one route and encoding have in common is in [`RouteFanOut`]: the
//! frame, its payload length, the outbox limit. The references to the batch are added in one step
//! after each run of such sessions. `scripts/instructions.sh` measures the instructions per
//! delivery and checks them against a limit.

use super::batches::{Batches, Span};
use super::channels::ChannelIndex;
use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::core::Shard;
use super::outbox::{OutboxFullError, Outboxes, Pushed};
use super::presence::TAP_CHANNEL;
use super::send_queues::SendQueues;
use super::settings::{EncodingId, RouteSettings, ShardSettings};
use super::users::Member;
use crate::dialect::framing::OVERHEAD_BYTES;
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::publication::{Audience, Publication};
use smallvec::SmallVec;

/// A publication's frame in one encoding.
#[derive(Clone, Copy)]
struct EncodedFrame {
    encoding: EncodingId,
    frame: Span,
    payload_len: u32,
}

/// The frames of a publication, by encoding; each is encoded at first use.
///
/// The cache holds a reference to each frame's batch, so that a frame stays valid even if no outbox
/// had room for it.
struct FrameCache<'p> {
    publication: &'p Publication<'p>,
    encoded: SmallVec<[EncodedFrame; 2]>,
}

impl FrameCache<'_> {
    /// Returns the frame in an encoding. Encodes it if it is not cached.
    fn of(
        &mut self,
        id: EncodingId,
        settings: &ShardSettings,
        batches: &mut Batches,
    ) -> EncodedFrame {
        let known = self.encoded.iter().find(|encoded| encoded.encoding == id);
        if let Some(known) = known {
            return *known;
        }
        let encoding = settings.encoding(id);
        let bytes_needed = self.publication.content.data.bytes().len() + OVERHEAD_BYTES;
        let mut payload_len = 0;
        let frame = batches.put(bytes_needed, |out| {
            let (dialect, options) = (encoding.dialect, &encoding.options);
            payload_len = encoding.framing.put_with(out, |out| {
                dialect.encode_publication(self.publication, options, out)
            });
        });
        let encoded = EncodedFrame {
            encoding: id,
            frame,
            payload_len: u32::try_from(payload_len).expect("a message is far below 4 GiB"),
        };
        batches.retain(frame.batch);
        self.encoded.push(encoded);
        encoded
    }

    /// Releases the references to the batches.
    fn release(&mut self, batches: &mut Batches) {
        for encoded in self.encoded.drain(..) {
            batches.release(encoded.frame.batch);
        }
    }
}

/// The part of a fan-out that the sessions of one route and encoding share. The loop looks it up
/// once for them, and only the session for each delivery.
#[derive(Clone, Copy)]
struct RouteFanOut {
    /// [`Connection::fan_out_key`] of the sessions, or [`NO_KEY`] before the first one.
    key: u32,
    frame: Span,
    payload_len: u32,
    outbox_bytes_max: u32,
    /// Number of outboxes to which the frame was enqueued.
    enqueued: u32,
    /// Number of these outboxes that already held a reference to the frame's batch.
    merged: u32,
}

/// The fan-out of one publication: the parts of the shard that it uses, besides the sessions.
struct FanOut<'s> {
    settings: &'s ShardSettings,
    outboxes: &'s mut Outboxes,
    send_queues: &'s mut SendQueues,
    frames: FrameCache<'s>,
    current: RouteFanOut,
    /// Number of sessions to which the publication was enqueued, without those of the current
    /// route and encoding.
    reached: u32,
    /// Slots of the sessions whose outbox was full.
    slow: SlowSlots,
}

/// Slots of sessions whose outbox had no room for a publication.
pub(super) type SlowSlots = SmallVec<[u32; 8]>;

impl<'s> FanOut<'s> {
    #[inline]
    fn new(
        settings: &'s ShardSettings,
        outboxes: &'s mut Outboxes,
        send_queues: &'s mut SendQueues,
        publication: &'s Publication<'s>,
    ) -> Self {
        Self {
            settings,
            outboxes,
            send_queues,
            frames: FrameCache {
                publication,
                encoded: SmallVec::new(),
            },
            current: RouteFanOut::NONE,
            reached: 0,
            slow: SmallVec::new(),
        }
    }

    /// Enqueues the publication to each session in `slots`. The loop contains the common cases; all
    /// others are in [`FanOut::enqueue_slow_path`].
    #[inline]
    fn enqueue_all(
        &mut self,
        sessions: &mut ConnectionTable<Connection>,
        slots: impl Iterator<Item = u32>,
    ) {
        let mut sessions = sessions.slots_mut();
        for slot in slots {
            let session = sessions.get_mut(slot).expect("listed sessions are open");
            let key = session.fan_out_key();
            let outbox = &mut session.outbox;
            if key != self.current.key {
                self.enqueue_slow_path(session, slot);
            } else if outbox.is_idle() {
                outbox.set_first(self.current.frame);
                self.send_queues.queue_idle(outbox, slot);
                self.count(session);
            } else if outbox.try_extend(self.current.frame, self.current.outbox_bytes_max) {
                self.current.merged += 1;
                self.count(session);
            } else {
                self.enqueue_slow_path(session, slot);
            }
        }
    }

    /// Enqueues the publication to a session whose route or encoding differs from the previous
    /// session's, or whose outbox needs another span.
    #[inline(never)]
    fn enqueue_slow_path(&mut self, session: &mut Connection, slot: u32) {
        if session.fan_out_key() != self.current.key {
            self.finish_route();
            let (settings, batches) = (self.settings, &mut self.outboxes.batches);
            let encoded = self.frames.of(session.encoding, settings, batches);
            self.current = RouteFanOut {
                key: session.fan_out_key(),
                frame: encoded.frame,
                payload_len: encoded.payload_len,
                outbox_bytes_max: settings.routes[usize::from(session.route)].outbox_bytes_max,
                ..RouteFanOut::NONE
            };
        }
        let RouteFanOut {
            frame,
            outbox_bytes_max,
            ..
        } = self.current;
        let outbox = &mut session.outbox;
        match self
            .outboxes
            .push_unretained(outbox, frame, outbox_bytes_max)
        {
            Ok(Pushed::NeedsReference) => {}
            Ok(Pushed::Merged) => self.current.merged += 1,
            Err(OutboxFullError) => {
                self.slow.push(slot);
                return;
            }
        }
        self.send_queues.queue(outbox, slot);
        self.count(session);
    }

    #[inline]
    fn count(&mut self, session: &mut Connection) {
        self.current.enqueued += 1;
        session.messages_sent = session.messages_sent.wrapping_add(1);
        session.bytes_sent += u64::from(self.current.payload_len);
    }

    /// Adds the references of the current outboxes to the batch, all at once.
    fn finish_route(&mut self) {
        let RouteFanOut {
            frame,
            enqueued,
            merged,
            ..
        } = std::mem::replace(&mut self.current, RouteFanOut::NONE);
        if enqueued > 0 {
            let batches = &mut self.outboxes.batches;
            batches.retain_many(frame.batch, enqueued - merged);
            self.reached += enqueued;
        }
    }

    /// Ends the fan-out. Returns the number of sessions reached, and the slots of those whose
    /// outbox was full.
    fn finish(mut self) -> (u32, SlowSlots) {
        self.finish_route();
        self.frames.release(&mut self.outboxes.batches);
        (self.reached, self.slow)
    }
}

impl RouteFanOut {
    const NONE: Self = Self {
        key: NO_KEY,
        frame: Span::EMPTY,
        payload_len: 0,
        outbox_bytes_max: 0,
        enqueued: 0,
        merged: 0,
    };
}

impl Shard {
    /// Enqueues a publication to all sessions of its audience on this shard. `channel` is that of
    /// the audience, `None` if it has no members here. Returns how many had room, and the slots of
    /// the others.
    pub(super) fn fan_out(
        &mut self,
        publication: &Publication<'_>,
        channel: Option<ChannelIndex>,
    ) -> (u32, SlowSlots) {
        let tapped = for_taps(publication);
        let mut fan_out = FanOut::new(
            &self.settings,
            &mut self.outboxes,
            &mut self.send_queues,
            tapped.as_ref().unwrap_or(publication),
        );
        let sessions = &mut self.connections;
        match publication.audience {
            Audience::User {
                namespace,
                name,
                event,
            } => {
                for members in self.users.reached(namespace, name, event) {
                    fan_out.enqueue_all(sessions, slots_of(members));
                }
            }
            Audience::Channel { except, .. } => {
                let members = channel.map_or(&[][..], |channel| self.channels.members_of(channel));
                let slots = slots_of(members);
                let except = local_slots(self.id, sessions, except);
                if except.is_empty() {
                    fan_out.enqueue_all(sessions, slots);
                } else {
                    fan_out.enqueue_all(sessions, slots.filter(|slot| !is_among(&except, *slot)));
                }
            }
            Audience::Session(session) => {
                if let Some(id) = sessions.find(self.id, session)
                    && sessions.get(id).is_some_and(Connection::is_open)
                {
                    fan_out.enqueue_all(sessions, std::iter::once(id.slot()));
                }
            }
            Audience::Everyone { namespace, except } => {
                let except = local_slots(self.id, sessions, except);
                let routes = &self.settings.routes;
                let slots = slots_of_everyone(sessions, routes, namespace, &except);
                self.slots.extend(slots);
                fan_out.enqueue_all(sessions, self.slots.drain(..));
            }
        }
        fan_out.finish()
    }

    /// Enqueues a publication to the sessions in `slots`. Returns how many had room, and the slots
    /// of the others.
    pub(super) fn fan_out_to(
        &mut self,
        publication: &Publication<'_>,
        slots: impl Iterator<Item = u32>,
    ) -> (u32, SlowSlots) {
        let mut fan_out = FanOut::new(
            &self.settings,
            &mut self.outboxes,
            &mut self.send_queues,
            publication,
        );
        fan_out.enqueue_all(&mut self.connections, slots);
        fan_out.finish()
    }
}

/// If the audience is the tap channel, returns the publication with the audience `Everyone`, so
/// that the tap channel's name is not encoded. Otherwise returns `None`.
fn for_taps<'p>(publication: &Publication<'p>) -> Option<Publication<'p>> {
    match publication.audience {
        Audience::Channel {
            namespace,
            name: TAP_CHANNEL,
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

/// Returns the slots of the open sessions of a namespace, without taps and without those in
/// `except`.
#[inline]
pub(super) fn slots_of_everyone<'s>(
    sessions: &'s ConnectionTable<Connection>,
    routes: &'s [RouteSettings],
    namespace: u16,
    except: &'s [u32],
) -> impl Iterator<Item = u32> + 's {
    let receives = move |&(id, session): &(ConnectionId, &Connection)| {
        let route = &routes[usize::from(session.route)];
        let listens = route.namespace == namespace && !route.is_tap;
        session.is_open() && listens && !is_among(except, id.slot())
    };
    sessions.iter().filter(receives).map(|(id, _)| id.slot())
}

/// Returns the slots of those of `sessions` that are on this shard, sorted and without duplicates.
/// The order lets [`is_among`] search them by bisection.
pub(super) fn local_slots(
    shard: ShardId,
    connections: &ConnectionTable<Connection>,
    sessions: &[SessionId],
) -> SmallVec<[u32; 4]> {
    let mut slots: SmallVec<[u32; 4]> = sessions
        .iter()
        .filter_map(|&session| connections.find(shard, session))
        .map(ConnectionId::slot)
        .collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// Returns whether `slot` is in `slots`, which are sorted.
fn is_among(slots: &[u32], slot: u32) -> bool {
    slots.binary_search(&slot).is_ok()
}

/// No session has this key: neither 65,536 routes nor as many encodings fit a config.
const NO_KEY: u32 = u32::MAX;
