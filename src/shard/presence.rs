//! Who is on which channel, who watches, and what the others are told.

use super::channels::NotJoined;
use super::core::{SessionStatistics, Shard};
use super::message::MailboxMessage;
use super::room::{NoRoom, Room};
use crate::dialect::Presence;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Content, Data, Denial, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::Audience;
use rand_core::RngCore;
use std::sync::Arc;

/// What became of a join.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Joined {
    /// The session is on the channel now.
    Now,
    /// It was there already.
    Before,
    /// It is on as many channels as it may be.
    TooManyChannels,
    /// There is no room for the channel's name.
    NoRoom(NoRoom),
    /// The channel's name is empty or too long, or the session has ended.
    Invalid,
}

/// A session, at one moment, as it is told of to those who are shown its namespace's traffic.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// The session.
    pub session: SessionId,
    /// Its public id.
    pub public_id: PublicId,
    /// Its namespace.
    pub namespace: u16,
    /// The user it speaks for; the first, if there are several.
    pub user: Option<Box<[u8]>>,
    /// What has gone through it.
    pub statistics: SessionStatistics,
}

impl From<Joined> for Outcome {
    fn from(joined: Joined) -> Self {
        match joined {
            Joined::Now => Self::Joined,
            Joined::Before => Self::Denied(Denial::AlreadyJoined),
            Joined::TooManyChannels => Self::Denied(Denial::TooManyChannels),
            Joined::NoRoom(no_room) => Self::Denied(no_room.denial()),
            Joined::Invalid => Self::Denied(Denial::NoSuchChannel),
        }
    }
}

impl Shard {
    /// Puts a session on a channel, and tells the others there if its language does so. One that
    /// is there already stays there, and the others are told again.
    pub fn join(&mut self, id: ConnectionId, channel: &str) -> Joined {
        let Some(connection) = self.connections.get(id) else {
            return Joined::Invalid;
        };
        if !self.is_open(id) || channel.is_empty() || channel.len() > self.settings.name_bytes_max {
            return Joined::Invalid;
        }
        let namespace = self.settings.routes[usize::from(connection.route)].namespace;
        let channels_max = self.settings.channels_per_session_max;
        let room = self.room_for(id);
        let joined =
            self.channels
                .join(id.slot(), namespace, channel.as_bytes(), channels_max, room);
        let outcome = match joined {
            Ok(_) => Joined::Now,
            Err(NotJoined::Already) => Joined::Before,
            Err(NotJoined::TooManyChannels) => return Joined::TooManyChannels,
            Err(NotJoined::NoRoom(no_room)) => return Joined::NoRoom(no_room),
        };
        self.announce(id, channel.as_bytes(), true);
        outcome
    }

    /// Takes a session off a channel, and tells the others there if its language does so. `false`:
    /// it was not there.
    pub fn leave_channel(&mut self, id: ConnectionId, channel: &str) -> bool {
        let Some(connection) = self.connections.get(id) else {
            return false;
        };
        let namespace = self.settings.routes[usize::from(connection.route)].namespace;
        let left = self
            .channels
            .leave(id.slot(), namespace, channel.as_bytes());
        if left {
            self.announce(id, channel.as_bytes(), false);
        }
        left
    }

    /// Whether an open session is on a channel of its namespace.
    #[must_use]
    pub fn is_on_channel(&self, id: ConnectionId, channel: &str) -> bool {
        self.is_open(id) && self.is_member(id, channel.as_bytes())
    }

    /// Takes a session that ends off all its channels, and tells the others there, unless everybody
    /// ends.
    pub(super) fn leave_channels(&mut self, id: ConnectionId, end: CloseCause) {
        let route = usize::from(self.connections.get(id).expect("it ends").route);
        let route = &self.settings.routes[route];
        let everybody_ends = matches!(end, CloseCause::Shutdown | CloseCause::CloseGrace);
        let is_watching = route.is_tap;
        let is_heard = route.dialect.spec().announces && !everybody_ends;
        if is_watching {
            self.change_taps(id, false);
        }
        let heard: Vec<Box<[u8]>> = if is_heard {
            self.channels.of_slot(id.slot()).map(Into::into).collect()
        } else {
            Vec::new()
        };
        self.channels.leave_all(id.slot());
        for channel in heard {
            self.announce(id, &channel, false);
        }
    }

    /// How a session is named where its language says who speaks.
    #[must_use]
    pub fn name_of(&self, id: ConnectionId) -> Option<String> {
        let connection = self.connections.get(id)?;
        let route = &self.settings.routes[usize::from(connection.route)];
        if route.named_by_user
            && let Some(user) = self.users.user_of(id.slot())
        {
            return Some(String::from_utf8_lossy(user).into_owned());
        }
        self.public_id(id).map(|id| id.to_string())
    }

    fn announce(&mut self, id: ConnectionId, channel: &[u8], connected: bool) {
        let settings = Arc::clone(&self.settings);
        let connection = self.connections.get(id).expect("just seen");
        let route = &settings.routes[usize::from(connection.route)];
        if !route.dialect.spec().announces {
            return;
        }
        let who = self.name_of(id).expect("just seen");
        let mut json = Vec::new();
        let presence = Presence {
            who: &who,
            connected,
        };
        let Some(event) = route.dialect.encode_presence(presence, &mut json) else {
            return;
        };
        let content = Content {
            event,
            data: Data::Json(&json),
            from: &who,
            ..Content::default()
        };
        let audience = Audience::Channel {
            namespace: route.namespace,
            name: channel,
            except: &[SessionId::new(self.id, id)],
        };
        self.publish(audience, &content, None);
    }

    /// A session is shown the traffic of its namespace from now on.
    pub(super) fn open_tap(&mut self, id: ConnectionId) {
        self.change_taps(id, true);
        let namespace = self.namespace_of(id);
        let joined =
            self.channels
                .join(id.slot(), namespace, TAP_CHANNEL, u32::MAX, Room::UNBOUNDED);
        joined.expect("a new session is on no channel");
    }

    fn change_taps(&mut self, id: ConnectionId, more: bool) {
        let namespace = self.namespace_of(id);
        self.count_taps(namespace, more);
        self.send_to_other_shards(|| MailboxMessage::Taps { namespace, more });
    }

    pub(super) fn count_taps(&mut self, namespace: u16, more: bool) {
        let count = &mut self.taps[usize::from(namespace)];
        *count = if more { *count + 1 } else { *count - 1 };
    }

    /// Whether somebody, on any shard, is shown the traffic of a namespace.
    #[must_use]
    pub fn has_taps(&self, namespace: u16) -> bool {
        self.taps[usize::from(namespace)] > 0
    }

    /// An open session as it is now; `None` if nobody is shown its namespace's traffic, or it is
    /// itself somebody who is.
    #[must_use]
    pub fn snapshot(&self, id: ConnectionId) -> Option<SessionSnapshot> {
        let connection = self.connections.get(id)?;
        let route = &self.settings.routes[usize::from(connection.route)];
        if route.is_tap || !self.has_taps(route.namespace) {
            return None;
        }
        Some(SessionSnapshot {
            session: SessionId::new(self.id, id),
            public_id: self.public_id(id)?,
            namespace: route.namespace,
            user: self.users.user_of(id.slot()).map(Into::into),
            statistics: self.statistics(id)?,
        })
    }

    /// Shows something to whoever is shown the traffic of a namespace.
    pub fn publish_to_taps(&mut self, namespace: u16, content: &Content<'_>) {
        let audience = Audience::Channel {
            namespace,
            name: TAP_CHANNEL,
            except: &[],
        };
        self.publish(audience, content, None);
    }

    /// So many random letters and digits.
    pub fn random_text(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(count);
        while text.len() < count {
            let number = (self.random.next_u32() >> 26) as usize;
            if let Some(&letter) = LETTERS.get(number) {
                text.push(char::from(letter));
            }
        }
        text
    }

    pub(super) fn namespace_of(&self, id: ConnectionId) -> u16 {
        let connection = self.connections.get(id).expect("the caller has seen it");
        self.settings.routes[usize::from(connection.route)].namespace
    }
}

/// The channel of those who are shown all traffic. No client can name it: it is not UTF-8.
pub(super) const TAP_CHANNEL: &[u8] = b"\xff";
