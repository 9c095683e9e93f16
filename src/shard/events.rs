//! Events of a shard: what happens to its connections and sessions, as one stream for listeners.
//!
//! The host polls the stream after each input and passes every event to its listeners: the taps
//! and the log (`src/host/events.rs`). Events come in the order in which they happened. A *level*
//! says which are wanted, so that nothing is built or copied for an event that nobody wants.
//!
//! ```text
//!   level        wanted                                         by
//!   Nothing      -
//!   Ends         ended, rejected                                the log at `debug`
//!   Everything   all                                            a recorder, later
//!
//!   with taps    opened, called, replied, published, ended      the taps of a namespace, whatever
//!                of that namespace                              the level
//! ```
//!
//! A publication is one event, not one for each session that it reaches.
//!
//! The stream is as long as what one input causes. Counters are always updated, whatever the level.

use super::connection::Phase;
use super::core::{SessionStatistics, Shard};
use super::message::MailboxMessage;
use super::presence::TAP_CHANNEL;
use crate::dialect::Call;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{ChannelName, Content, Correlation, Data, Message, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::metrics::RejectionKind;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::{Audience, Publication};
use crate::ws::MessageType;
use std::collections::VecDeque;

/// The events that are wanted of a shard, or of a namespace.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum EventLevel {
    /// None.
    Nothing,
    /// Ends and rejections.
    Ends,
    /// All.
    Everything,
}

/// An event. Those of taps are only their ends and rejections.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session has opened. It is bound to the user that it was admitted as.
    Opened(SessionSnapshot),
    /// A request of a client was rejected.
    Rejected {
        /// The client's connection.
        peer: EventPeer,
        /// The kind of the request.
        kind: RejectionKind,
        /// The reason.
        reason: &'static str,
    },
    /// A session has joined a channel.
    Joined(EventSession, Box<[u8]>),
    /// A session has left a channel.
    Left(EventSession, Box<[u8]>),
    /// A message of a client was received.
    MessageIn(EventSession, MessageSize),
    /// A message for one session was enqueued: an outcome, a greeting or an echo.
    MessageOut(EventSession, MessageSize),
    /// A client has called a command.
    Called(EventSession, Message),
    /// A client's call was answered with a reply.
    Replied(EventSession, Message),
    /// A publication was accepted and delivered on this shard.
    Published {
        /// The namespace of its audience.
        namespace: u16,
        /// Its content. It names the channel, if it is for one.
        message: Message,
    },
    /// A member of a channel missed a publication because its outbox was full.
    Dropped(EventSession, Box<[u8]>),
    /// A connection has ended, or a phase of HTTP has reached its time limit.
    Ended {
        /// The connection.
        peer: EventPeer,
        /// The cause.
        cause: CloseCause,
        /// The session as it was; `None` if it was none, if only ends are wanted of its namespace,
        /// or if the gateway stops.
        snapshot: Option<Box<SessionSnapshot>>,
    },
}

/// Type and size of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageSize {
    /// The type.
    pub kind: MessageType,
    /// Bytes of the payload.
    pub bytes: usize,
}

/// The connection of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventPeer {
    /// The connection.
    pub connection: ConnectionId,
    /// The session; `None` if it was not one.
    pub session: Option<EventSession>,
}

/// The session of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventSession {
    /// The session.
    pub session: SessionId,
    /// Its public id.
    pub public_id: PublicId,
    /// The index of its route.
    pub route: u16,
    /// Its namespace.
    pub namespace: u16,
}

/// A snapshot of a session.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// The session.
    pub session: EventSession,
    /// The first user that the session was bound to; `None` if it is bound to none.
    pub user: Option<Box<[u8]>>,
    /// The session's traffic counters.
    pub statistics: SessionStatistics,
}

/// The stream and its level.
#[derive(Debug)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    level: EventLevel,
    /// By namespace: the number of tap sessions on all shards.
    taps: Vec<u32>,
    /// Whether all events of some namespace are wanted.
    all_of_any: bool,
}

impl Events {
    pub(super) fn new(namespaces_count: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            level: EventLevel::Nothing,
            taps: vec![0; namespaces_count],
            all_of_any: false,
        }
    }

    /// Returns whether every event of a namespace is wanted.
    #[inline]
    pub(super) fn are_all_wanted(&self, namespace: u16) -> bool {
        self.all_of_any
            && (self.taps[usize::from(namespace)] > 0 || self.level == EventLevel::Everything)
    }

    fn update(&mut self) {
        let has_taps = self.taps.iter().any(|&count| count > 0);
        self.all_of_any = has_taps || self.level == EventLevel::Everything;
    }

    #[cold]
    pub(super) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }
}

impl Shard {
    /// Sets the level of events. A namespace with taps has [`EventLevel::Everything`] in any case.
    pub fn set_event_level(&mut self, level: EventLevel) {
        self.events.level = level;
        self.events.update();
    }

    /// Returns whether there are events to poll.
    #[must_use]
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.queue.is_empty()
    }

    /// Returns the next event.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.queue.pop_front()
    }

    /// Returns whether a namespace has taps on any shard.
    #[must_use]
    pub fn has_taps(&self, namespace: u16) -> bool {
        self.events.taps[usize::from(namespace)] > 0
    }

    /// Counts a tap that has opened (`more`) or closed, on this shard and the others.
    pub(super) fn change_taps(&mut self, namespace: u16, more: bool) {
        self.count_taps(namespace, more);
        self.send_to_other_shards(|| MailboxMessage::Taps { namespace, more });
    }

    pub(super) fn count_taps(&mut self, namespace: u16, more: bool) {
        let count = &mut self.events.taps[usize::from(namespace)];
        *count = if more { *count + 1 } else { *count - 1 };
        self.events.update();
    }

    /// Reports that a session is set up, once it is bound to its user. Does nothing if it has ended
    /// already.
    pub fn report_opened(&mut self, id: ConnectionId) {
        if let Some(snapshot) = self.snapshot(id) {
            self.events.push(Event::Opened(snapshot));
        }
    }

    /// Counts a rejection, and reports it.
    pub fn reject(&mut self, id: ConnectionId, kind: RejectionKind, reason: &'static str) {
        self.counters.count_rejection(kind, reason);
        if self.events.level >= EventLevel::Ends {
            let peer = self.event_peer(id);
            self.events.push(Event::Rejected { peer, kind, reason });
        }
    }

    /// Reports the end of a connection.
    pub(super) fn report_end(
        &mut self,
        id: ConnectionId,
        cause: CloseCause,
        snapshot: Option<SessionSnapshot>,
    ) {
        if self.events.level >= EventLevel::Ends || snapshot.is_some() {
            let (peer, snapshot) = (self.event_peer(id), snapshot.map(Box::new));
            self.events.push(Event::Ended {
                peer,
                cause,
                snapshot,
            });
        }
    }

    /// Reports an event of a session, if everything is wanted.
    #[inline]
    pub(super) fn report(&mut self, id: ConnectionId, event: impl FnOnce(EventSession) -> Event) {
        if self.is_everything_wanted()
            && let Some(session) = self.wanted_session(id)
        {
            self.events.push(event(session));
        }
    }

    /// Returns whether the events are wanted that only a recorder needs.
    #[inline]
    pub(super) fn is_everything_wanted(&self) -> bool {
        self.events.level == EventLevel::Everything
    }

    /// Reports a client's call.
    pub(super) fn report_call(&mut self, id: ConnectionId, call: &Call<'_>) {
        let Some(session) = self.wanted_session(id) else {
            return;
        };
        let route = &self.settings.routes[usize::from(session.route)];
        let content = Content {
            event: call.command,
            data: match call.data {
                None => Data::None,
                Some(json) if route.dialect.spec().json_data => Data::Json(json),
                Some(bytes) => str::from_utf8(bytes).map_or(Data::Bytes(bytes), Data::Text),
            },
            from: call.from,
            channel: ChannelName::Given(call.channel),
            ..Content::default()
        };
        let message = Message::copy(&content);
        self.events.push(Event::Called(session, message));
    }

    /// Reports a handler's reply.
    pub(super) fn report_reply(
        &mut self,
        id: ConnectionId,
        correlation: &Correlation,
        outcome: &Outcome,
    ) {
        let Outcome::Replied(reply) = outcome else {
            return;
        };
        if let Some(session) = self.wanted_session(id) {
            let content = Content {
                event: reply.event().unwrap_or(&correlation.command),
                data: reply.data(),
                channel: ChannelName::Given(&correlation.channel),
                correlation: &correlation.id,
                ..Content::default()
            };
            let message = Message::copy(&content);
            self.events.push(Event::Replied(session, message));
        }
    }

    /// Reports a publication. Those to taps are not reported: they come from events.
    #[inline]
    pub(super) fn report_publication(&mut self, publication: &Publication<'_>) {
        if self.events.all_of_any {
            self.report_if_wanted(publication);
        }
    }

    #[cold]
    fn report_if_wanted(&mut self, publication: &Publication<'_>) {
        let (namespace, channel): (u16, &[u8]) = match publication.audience {
            Audience::User { namespace, .. } | Audience::Everyone { namespace, .. } => {
                (namespace, b"")
            }
            Audience::Channel {
                namespace, name, ..
            } => (namespace, name),
            Audience::Session(session) => match self.find_session(session) {
                Some(id) => (self.namespace_of(id), b""),
                None => return,
            },
        };
        if !self.events.are_all_wanted(namespace) || channel == TAP_CHANNEL {
            return;
        }
        let mut content = publication.content;
        if content.channel.given().is_empty() {
            content.channel = str::from_utf8(channel).unwrap_or_default().into();
        }
        let message = Message::copy(&content);
        self.events.push(Event::Published { namespace, message });
    }

    /// Publishes to the taps of a namespace.
    pub fn publish_to_taps(&mut self, namespace: u16, content: &Content<'_>) {
        let audience = Audience::Channel {
            namespace,
            name: TAP_CHANNEL,
            except: &[],
        };
        self.publish(audience, content, None);
    }

    /// Returns a snapshot of an open session; `None` if not all events of its namespace are wanted,
    /// or if it is a tap.
    pub(super) fn snapshot(&self, id: ConnectionId) -> Option<SessionSnapshot> {
        let session = self.wanted_session(id)?;
        Some(SessionSnapshot {
            session,
            user: self.users.user_of(id.slot()).map(Into::into),
            statistics: self.statistics(id)?,
        })
    }

    /// Returns the session if all events of its namespace are wanted and it is no tap.
    #[inline]
    pub(super) fn wanted_session(&self, id: ConnectionId) -> Option<EventSession> {
        if self.events.all_of_any {
            self.session_if_wanted(id)
        } else {
            None
        }
    }

    #[cold]
    fn session_if_wanted(&self, id: ConnectionId) -> Option<EventSession> {
        let connection = self.connections.get(id)?;
        if matches!(connection.phase, Phase::Http(_)) {
            return None;
        }
        let route = &self.settings.routes[usize::from(connection.route)];
        if route.is_tap || !self.events.are_all_wanted(route.namespace) {
            return None;
        }
        self.event_session(id)
    }

    fn event_peer(&self, id: ConnectionId) -> EventPeer {
        EventPeer {
            connection: id,
            session: self.event_session(id),
        }
    }

    fn event_session(&self, id: ConnectionId) -> Option<EventSession> {
        let connection = self.connections.get(id)?;
        if matches!(connection.phase, Phase::Http(_)) {
            return None;
        }
        Some(EventSession {
            session: self.session_id(id),
            public_id: self.public_id(id)?,
            route: connection.route,
            namespace: self.settings.routes[usize::from(connection.route)].namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::classes::ChannelClass;
    use crate::shard::hash::HashSeed;
    use crate::vocabulary::channel_pattern::ChannelPattern;
    use crate::vocabulary::channel_rules::{ChannelRules, SlowMembers};
    use crate::vocabulary::content::Reply;
    use crate::vocabulary::id::ShardId;
    use std::sync::Arc;

    /// Indices of the default config's routes, and of the tap of the first.
    const PROJECTFORGE: u16 = 4;
    const EASYWS: u16 = 1;
    const TAP: u16 = 5;

    fn shard() -> Shard {
        let mut config = Config::default();
        config.routes.truncate(5);
        for route in &mut config.routes {
            route.channels.clear();
            route.limits.outbox_bytes_max = 2_000;
        }
        let route = &mut config.routes[usize::from(PROJECTFORGE)];
        route.tap_path = Some("/tap".to_owned());
        let mut settings = crate::gateway::shard_settings(&config);
        let mut rules = ChannelRules::default();
        let pattern = ChannelPattern::parse("room").expect("a name");
        let slow = SlowMembers::DropNewest;
        let declared = rules.declare(pattern, ChannelClass { slow });
        declared.expect("declared once");
        let namespace = settings.routes[usize::from(PROJECTFORGE)].namespace;
        Arc::make_mut(&mut settings.classes).assign(namespace, rules);
        let (seed, settings) = (HashSeed([1, 2]), Arc::new(settings));
        Shard::new(ShardId::new(0), 2, settings, seed, [3; 32])
    }

    fn open(shard: &mut Shard, route: u16) -> ConnectionId {
        let id = shard.handle_accepted().expect("there is room");
        shard.handle_upgraded(id, route, 0, b"greeting", false);
        shard.bind(id, "jack", b"e");
        shard.report_opened(id);
        id
    }

    /// A session of `route` does one of everything.
    fn act(shard: &mut Shard, route: u16) -> ConnectionId {
        let id = open(shard, route);
        assert_eq!(shard.join(id, "room"), super::super::JoinResult::Joined);
        let text: &[u8] = if route == EASYWS {
            b"hum: la"
        } else {
            br#"{"channel":"room","cmd":"hum","param":"la"}"#
        };
        let len = u8::try_from(text.len()).expect("short");
        let mut frame = [&[0x81, 0x80 | len, 0, 0, 0, 0], text].concat();
        assert_eq!(shard.handle_received(id, &mut frame), frame.len());
        let correlation = Correlation::of("hum", MessageType::Text);
        let outcome = Outcome::Replied(Reply::text("lo"));
        shard.enqueue_outcome(id, &correlation, &outcome);
        shard.reject(id, RejectionKind::Publish, "not_joined");
        let large = "x".repeat(1_990);
        let content = Content {
            event: "e",
            data: Data::Text(&large),
            ..Content::default()
        };
        let audience = Audience::Channel {
            namespace: shard.namespace_of(id),
            name: b"room",
            except: &[],
        };
        // The greeting fits in the headroom, so the first is enqueued and the second is not.
        shard.publish(audience, &content, None);
        shard.publish(audience, &content, None);
        shard.close_session(id, CloseCause::Dropped);
        shard.invariants();
        id
    }

    /// Takes all events, in words.
    fn events(shard: &mut Shard) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(event) = shard.poll_event() {
            let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let said = |message: &Message| {
                let content = message.borrow();
                let data = content.data.bytes();
                let data = name(&data[..data.len().min(4)]);
                format!("{}/{}/{data}", content.channel.given(), content.event)
            };
            words.push(match &event {
                Event::Opened(snapshot) => {
                    let user = snapshot.user.as_deref().map(name);
                    format!("opened {}", user.unwrap_or_default())
                }
                Event::Rejected { kind, reason, .. } => format!("rejected {kind:?} {reason}"),
                Event::Joined(_, channel) => format!("joined {}", name(channel)),
                Event::Left(_, channel) => format!("left {}", name(channel)),
                Event::MessageIn(_, message) => format!("in {}", message.bytes),
                Event::MessageOut(_, message) => format!("out {}", message.bytes),
                Event::Called(_, message) => format!("called {}", said(message)),
                Event::Replied(_, message) => format!("replied {}", said(message)),
                Event::Published { message, .. } => format!("published {}", said(message)),
                Event::Dropped(_, channel) => format!("dropped {}", name(channel)),
                Event::Ended {
                    cause, snapshot, ..
                } => {
                    let sent = snapshot.as_ref().map(|it| it.statistics.messages_sent);
                    format!("ended {} {sent:?}", cause.label())
                }
            });
        }
        words
    }

    #[test]
    fn no_event_is_made_that_nobody_wants() {
        let mut shard = shard();
        act(&mut shard, PROJECTFORGE);
        assert_eq!(events(&mut shard), Vec::<String>::new());
        shard.set_event_level(EventLevel::Ends);
        act(&mut shard, PROJECTFORGE);
        let expected = ["rejected Publish not_joined", "ended dropped None"];
        assert_eq!(events(&mut shard), expected);
    }

    #[test]
    fn events_come_in_the_order_of_happening() {
        let mut shard = shard();
        shard.set_event_level(EventLevel::Everything);
        act(&mut shard, PROJECTFORGE);
        let all = events(&mut shard);
        let expected = [
            "opened jack",
            "joined room",
            "published room/online-update/{\"us",
            "in 43",
            "called room/hum/\"la\"",
            "replied /hum/lo",
            "out 35",
            "rejected Publish not_joined",
            "published room/e/xxxx",
            "dropped room",
            "published room/e/xxxx",
            "published room/online-update/{\"us",
            "left room",
            "ended dropped Some(2)",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_tap_wants_the_events_of_its_namespace_and_is_no_event_itself() {
        let mut shard = shard();
        let tap = open(&mut shard, TAP);
        let (to, message) = shard.poll_message().expect("the other shard learns of it");
        assert_eq!(to, ShardId::new(1));
        assert!(shard.has_taps(shard.namespace_of(tap)));
        act(&mut shard, EASYWS);
        assert_eq!(
            events(&mut shard),
            Vec::<String>::new(),
            "of another namespace"
        );
        act(&mut shard, PROJECTFORGE);
        let expected = [
            "opened jack",
            "published room/online-update/{\"us",
            "called room/hum/\"la\"",
            "replied /hum/lo",
            "published room/e/xxxx",
            "published room/e/xxxx",
            "published room/online-update/{\"us",
            "ended dropped Some(2)",
        ];
        assert_eq!(events(&mut shard), expected);
        shard.publish_to_taps(shard.namespace_of(tap), &Content::default());
        shard.close_session(tap, CloseCause::Dropped);
        act(&mut shard, PROJECTFORGE);
        assert_eq!(events(&mut shard), Vec::<String>::new());

        // On a shard without a tap of its own the same events are wanted.
        let mut other = self::shard();
        other.handle_message(&message);
        act(&mut other, PROJECTFORGE);
        assert_eq!(events(&mut other), expected);
    }
}
