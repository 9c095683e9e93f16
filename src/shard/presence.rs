//! Joining and leaving channels, with presence announcements; the channel of taps.

use super::channels::JoinError;
use super::core::Shard;
use super::events::Event;
use super::names_budget::{NamesBudget, NamesLimit};
use crate::dialect::Presence;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Content, Data, Denial};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::publication::Audience;
use rand_core::RngCore;
use std::sync::Arc;

/// The result of a join.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JoinResult {
    /// The session has joined the channel.
    Joined,
    /// The session was a member already.
    AlreadyJoined,
    /// The session is on the maximum number of channels.
    TooManyChannels,
    /// The channel's name exceeds a memory limit.
    NamesLimit(NamesLimit),
    /// The channel's name is empty or too long, or the session has ended.
    Invalid,
}

impl JoinResult {
    /// Returns the denial for the client that requested the join; `None` if it has joined.
    #[must_use]
    pub fn denial(self) -> Option<Denial> {
        match self {
            Self::Joined => None,
            Self::AlreadyJoined => Some(Denial::AlreadyJoined),
            Self::TooManyChannels => Some(Denial::TooManyChannels),
            Self::NamesLimit(limit) => Some(limit.denial()),
            Self::Invalid => Some(Denial::NoSuchChannel),
        }
    }
}

impl Shard {
    /// Adds a session to a channel, and announces it to the other members if its dialect announces
    /// presence. A session that is a member already is announced again.
    pub fn join(&mut self, id: ConnectionId, channel: &str) -> JoinResult {
        let Some(connection) = self.connections.get(id) else {
            return JoinResult::Invalid;
        };
        if !self.is_open(id) || channel.is_empty() || channel.len() > self.settings.name_bytes_max {
            return JoinResult::Invalid;
        }
        let namespace = self.settings.routes[usize::from(connection.route)].namespace;
        let channels_max = self.settings.channels_per_session_max;
        let budget = self.names_budget_for(id);
        let joined = self.channels.join(
            id.slot(),
            namespace,
            channel.as_bytes(),
            channels_max,
            budget,
        );
        let outcome = match joined {
            Ok(()) => JoinResult::Joined,
            Err(JoinError::AlreadyJoined) => JoinResult::AlreadyJoined,
            Err(JoinError::TooManyChannels) => return JoinResult::TooManyChannels,
            Err(JoinError::NamesLimit(limit)) => return JoinResult::NamesLimit(limit),
        };
        if outcome == JoinResult::Joined {
            self.report(id, |session| {
                Event::Joined(session, channel.as_bytes().into())
            });
        }
        self.announce(id, channel.as_bytes(), true);
        outcome
    }

    /// Removes a session from a channel, and announces that to the other members if its dialect
    /// announces presence. Returns `false` if it was not a member.
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
            self.report(id, |session| {
                Event::Left(session, channel.as_bytes().into())
            });
        }
        left
    }

    /// Returns whether the session is open and a member of a channel of its namespace.
    #[must_use]
    pub fn is_on_channel(&self, id: ConnectionId, channel: &str) -> bool {
        self.is_open(id) && self.is_member(id, channel.as_bytes())
    }

    /// Removes a closing session from all its channels, and announces that to the other members
    /// unless the gateway stops.
    pub(super) fn leave_channels(&mut self, id: ConnectionId, end: CloseCause) {
        let route = usize::from(self.connections.get(id).expect("it ends").route);
        let route = &self.settings.routes[route];
        let is_stopping = matches!(end, CloseCause::Shutdown | CloseCause::CloseGrace);
        let is_tap = route.is_tap;
        let is_announced = route.dialect.spec().announces && !is_stopping;
        if is_tap {
            self.change_taps(self.namespace_of(id), false);
        }
        let channels: Vec<Box<[u8]>> = if is_announced || self.is_everything_wanted() {
            self.channels.of_slot(id.slot()).map(Into::into).collect()
        } else {
            Vec::new()
        };
        self.channels.leave_all(id.slot());
        for channel in channels {
            if is_announced {
                self.announce(id, &channel, false);
            }
            self.report(id, |session| Event::Left(session, channel));
        }
    }

    /// Returns the name of a session as a sender: its user if the route has `named_by_user` and
    /// it is bound to one, else its public id. Returns `None` if it is not a session.
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
        let name = self.name_of(id).expect("just seen");
        let mut json = Vec::new();
        let presence = Presence {
            name: &name,
            connected,
        };
        let Some(event) = route.dialect.encode_presence(presence, &mut json) else {
            return;
        };
        let content = Content {
            event,
            data: Data::Json(&json),
            from: &name,
            ..Content::default()
        };
        let audience = Audience::Channel {
            namespace: route.namespace,
            name: channel,
            except: &[self.session_id(id)],
        };
        self.publish(audience, &content, None);
    }

    /// Makes a new session a tap of its namespace.
    pub(super) fn open_tap(&mut self, id: ConnectionId) {
        let namespace = self.namespace_of(id);
        self.change_taps(namespace, true);
        let joined = self.channels.join(
            id.slot(),
            namespace,
            TAP_CHANNEL,
            u32::MAX,
            NamesBudget::UNLIMITED,
        );
        joined.expect("a new session is on no channel");
    }

    /// Returns `count` random ASCII letters and digits.
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

/// The channel of a namespace's taps. No client can name it: it is not UTF-8.
pub(super) const TAP_CHANNEL: &[u8] = b"\xff";
