//! The handle of one route: push, join, close and list in the route's namespace.

use super::commands::{NamesOf, SessionsOf};
use super::handle::Handle;
use super::handle_error::HandleError;
use super::info::{MemberCount, SessionInfo};
use super::pending::{Gathered, Pending};
use crate::dialect::Dialect;
use crate::shard::settings::TokenRule;
use crate::vocabulary::content::Message;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::OwnedAudience;
use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A handle to one route: a [`Handle`] for the users and channels of the route's namespace.
#[derive(Clone, derive_more::Debug)]
#[debug("RouteHandle {{ path: {:?}, .. }}", self.path())]
pub struct RouteHandle {
    pub(super) handle: Handle,
    pub(super) index: usize,
}

/// A route's properties that handles need.
#[derive(Debug)]
pub(crate) struct RouteInfo {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) namespace: u16,
    pub(crate) dialect: &'static dyn Dialect,
    /// The config's rule that maps tokens to users.
    pub(crate) tokens: TokenRule,
    /// The dialects of all routes of its namespace: a publication reaches sessions of all of them.
    pub(crate) dialects: Box<[&'static dyn Dialect]>,
    /// Sessions opened on the route so far.
    pub(crate) sessions: AtomicU64,
}

impl RouteHandle {
    /// Returns the path of the route in the config.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.info().path
    }

    /// Returns the dialect of the route.
    #[must_use]
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.info().dialect
    }

    /// Returns a handle to the gateway.
    #[must_use]
    pub fn gateway(&self) -> &Handle {
        &self.handle
    }

    /// Publishes a message to all sessions that are on a channel when their shard delivers it. The
    /// result is the number of sessions reached.
    ///
    /// # Errors
    ///
    /// [`HandleError::BadName`] if the channel's name is empty or too long,
    /// [`HandleError::BadEvent`] if a dialect of the namespace cannot encode the event, and those
    /// of [`Pending`].
    pub fn publish(&self, channel: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.publish_except(channel, message, &[])
    }

    /// Publishes a message to a channel, except to some sessions.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::publish`].
    pub fn publish_except(
        &self,
        channel: impl Into<Box<str>>,
        message: Message,
        except: &[PublicId],
    ) -> Pending<u64> {
        let channel = channel.into();
        if !self.handle.is_name(&channel) {
            return Pending::failed(HandleError::BadName);
        }
        let audience = OwnedAudience::Channel {
            namespace: self.info().namespace,
            name: channel.into_boxed_bytes(),
            except: self.handle.sessions_of(except),
        };
        self.push(audience, message)
    }

    /// Pushes a message to all sessions of a user, whatever event they registered for. The result
    /// is the number of sessions reached.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::publish`], with the user's name for the channel's.
    pub fn push_user(&self, user: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.push_to_user(user.into(), None, message)
    }

    /// Pushes a message to the sessions of a user that registered for this event or for no
    /// particular event. The result is the number of sessions reached.
    ///
    /// # Errors
    ///
    /// [`HandleError::Empty`] if the user, the event or the message's data is empty, as in the
    /// original (`wserver`), and those of [`RouteHandle::push_user`].
    pub fn push_user_event(
        &self,
        user: impl Into<Box<str>>,
        event: impl Into<Box<str>>,
        message: Message,
    ) -> Pending<u64> {
        let (user, event): (Box<str>, Box<str>) = (user.into(), event.into());
        if let Err(error) = check_push(&user, &event, &message) {
            return Pending::failed(error);
        }
        self.push_to_user(user, Some(event.into_boxed_bytes()), message)
    }

    /// Pushes a message to all sessions of the route's namespace. The result is the number of
    /// sessions reached.
    ///
    /// # Errors
    ///
    /// [`HandleError::BadEvent`] if a dialect of the namespace cannot encode the event, and those
    /// of [`Pending`].
    pub fn broadcast(&self, message: Message) -> Pending<u64> {
        self.broadcast_except(message, &[])
    }

    /// Pushes a message to all sessions of the route's namespace, except to some.
    ///
    /// # Errors
    ///
    /// Those of [`RouteHandle::broadcast`].
    pub fn broadcast_except(&self, message: Message, except: &[PublicId]) -> Pending<u64> {
        let audience = OwnedAudience::Everyone {
            namespace: self.info().namespace,
            except: self.handle.sessions_of(except),
        };
        self.push(audience, message)
    }

    /// Pushes a message to one session, see [`Handle::push_session`]. The event must also be valid
    /// in the route's dialect.
    ///
    /// # Errors
    ///
    /// Those of [`Handle::push_session`].
    pub fn push_session(&self, session: PublicId, message: Message) -> Pending<u64> {
        if let Err(why) = self.info().dialect.check_event(&message.event) {
            return Pending::failed(HandleError::BadEvent(why));
        }
        self.handle.push_session(session, message)
    }

    /// Adds a session to a channel of its namespace, see [`Handle::join`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::join`].
    pub fn join(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.handle.join(session, channel)
    }

    /// Removes a session from a channel, see [`Handle::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::leave`].
    pub fn leave(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.handle.leave(session, channel)
    }

    /// Closes a session, see [`Handle::close`].
    ///
    /// # Errors
    ///
    /// Those of [`Handle::close`].
    pub fn close(&self, session: PublicId, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        self.handle.close(session, code, reason)
    }

    /// Closes all sessions of a user, or those that registered for `event`. The result is the
    /// number of sessions closed.
    ///
    /// # Errors
    ///
    /// [`HandleError::Empty`] if the user's name is empty, as in the original (`wserver`),
    /// [`HandleError::BadName`] if it is too long, and those of [`Pending`].
    pub fn drop_user(&self, user: impl Into<Box<str>>, event: Option<&str>) -> Pending<u64> {
        self.alone().drop_user(user, event)
    }

    /// Returns snapshots of all sessions of the route.
    pub fn sessions(&self) -> Gathered<SessionInfo> {
        let route = self.route_index();
        self.handle
            .gather_sessions(SessionsOf::Routes([route].into()))
    }

    /// Returns the channels of the route's namespace that have sessions, with the numbers of
    /// sessions. A channel has one item for each shard with sessions on it; [`MemberCount::merge`]
    /// adds them up.
    pub fn channels(&self) -> Gathered<MemberCount> {
        let namespace = self.info().namespace;
        self.handle.gather_names(NamesOf::Channels, namespace)
    }

    /// Returns snapshots of the sessions on a channel.
    pub fn members(&self, channel: impl Into<Box<str>>) -> Gathered<SessionInfo> {
        let (namespace, channel): (u16, Box<str>) = (self.info().namespace, channel.into());
        let of = SessionsOf::Channel([namespace].into(), channel);
        self.handle.gather_sessions(of)
    }

    /// Returns the users of the route's namespace that have sessions, with the numbers of sessions.
    /// A user has one item for each shard with sessions of it; [`MemberCount::merge`] adds them up.
    pub fn users(&self) -> Gathered<MemberCount> {
        let namespace = self.info().namespace;
        self.handle.gather_names(NamesOf::Users, namespace)
    }

    /// Returns the shared values of this type ([`Values::share`]) of the route's sessions, with the
    /// sessions' ids.
    ///
    /// [`Values::share`]: super::Values::share
    pub fn shared<T: Send + Sync + 'static>(&self) -> Gathered<(PublicId, Arc<T>)> {
        let route = self.route_index();
        self.handle.gather(move |shard| {
            let values = shard.shared_values(route, TypeId::of::<T>());
            let typed = values.into_iter().map(|(id, value)| {
                let value = value.downcast::<T>().expect("stored under its type");
                (id, value)
            });
            typed.collect()
        })
    }

    fn push_to_user(
        &self,
        user: Box<str>,
        event: Option<Box<[u8]>>,
        message: Message,
    ) -> Pending<u64> {
        if !self.handle.is_user(&user) {
            return Pending::failed(HandleError::BadName);
        }
        let audience = OwnedAudience::User {
            namespace: self.info().namespace,
            name: user.into_boxed_bytes(),
            event,
        };
        self.push(audience, message)
    }

    fn push(&self, audience: OwnedAudience, message: Message) -> Pending<u64> {
        if let Err(why) = self.check_event(&message.event) {
            return Pending::failed(HandleError::BadEvent(why));
        }
        let home = self.handle.home;
        self.handle.enqueue_change(home, move |shard, reply| {
            shard.publish(&audience, &message, reply);
        })
    }

    /// Checks that each dialect of the route's namespace can encode an event.
    ///
    /// # Errors
    ///
    /// The reason of the first dialect that cannot.
    pub(crate) fn check_event(&self, event: &str) -> Result<(), &'static str> {
        let mut dialects = self.info().dialects.iter();
        dialects.try_for_each(|language| language.check_event(event))
    }

    pub(crate) fn tokens(&self) -> &TokenRule {
        &self.info().tokens
    }

    fn info(&self) -> &RouteInfo {
        &self.handle.core.routes[self.index]
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn route_index(&self) -> u16 {
        u16::try_from(self.index).expect("routes are few")
    }
}

/// Checks that user, event and data of a push are not empty.
///
/// # Errors
///
/// [`HandleError::Empty`] if one is.
pub(super) fn check_push(user: &str, event: &str, message: &Message) -> Result<(), HandleError> {
    if user.is_empty() || event.is_empty() || message.data.bytes_count() == 0 {
        return Err(HandleError::EMPTY_PUSH);
    }
    Ok(())
}
