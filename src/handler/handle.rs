//! The gateway in an embedder's hand: push, join, close and list, from any thread.
//!
//! What is asked is left at once in the queue of one shard's commands, whether or not anybody
//! waits for the result ([`Pending`]). One handle publishes through one shard, so what it publishes
//! to one channel, user or session arrives in order.

use super::commands::{Command, CommandQueues, NamesOf, ReplyTo, SessionsOf, ShardCommands};
use super::handle_error::HandleError;
use super::info::{MemberCount, SessionInfo};
use super::pending::{Gathered, Pending};
use crate::dialect::Dialect;
use crate::mailbox::Exchange;
use crate::shard::Joined;
use crate::shard::settings::TokenRule;
use crate::vocabulary::close::may_close;
use crate::vocabulary::content::{Denial, Message};
use crate::vocabulary::id::{SessionId, ShardId};
use crate::vocabulary::public_id::{IdCipher, PublicId};
use crate::vocabulary::publication::OwnedAudience;
use std::any::TypeId;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// The gateway in an embedder's hand. Cheap to clone, and usable from any thread.
#[derive(Clone, derive_more::Debug)]
#[debug("Handle {{ home: {home:?}, .. }}")]
pub struct Handle {
    core: Arc<HandleCore>,
    home: ShardId,
}

/// One route of the gateway: [`Handle`] with the users and channels of the route's namespace.
#[derive(Clone, derive_more::Debug)]
#[debug("RouteHandle {{ path: {:?}, .. }}", self.path())]
pub struct RouteHandle {
    handle: Handle,
    index: usize,
}

/// What all handles of one gateway share.
#[derive(Debug)]
pub(crate) struct HandleCore {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) commands: CommandQueues,
    pub(crate) ids: IdCipher,
    pub(crate) routes: Vec<RouteInfo>,
    pub(crate) name_bytes_max: usize,
    pub(crate) user_bytes_max: usize,
    /// The channels that the config declares in advance, with their namespaces.
    pub(crate) declared: Box<[(Box<str>, u16)]>,
    /// Where the next handle from outside publishes through.
    pub(crate) next_home: AtomicUsize,
}

/// What a handle knows of a route.
#[derive(Debug)]
pub(crate) struct RouteInfo {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) namespace: u16,
    pub(crate) dialect: &'static dyn Dialect,
    /// Whom tokens name, as the config says.
    pub(crate) tokens: TokenRule,
    /// The languages of all routes of its namespace, whose sessions hear what is published there.
    pub(crate) languages: Box<[&'static dyn Dialect]>,
    /// How many sessions it has had.
    pub(crate) sessions: AtomicU64,
}

impl Handle {
    pub(crate) fn new(core: Arc<HandleCore>, home: ShardId) -> Self {
        Self { core, home }
    }

    /// A handle for whoever is on no shard; each publishes through the next one.
    pub(crate) fn outside(core: &Arc<HandleCore>) -> Self {
        let next = core.next_home.fetch_add(1, Ordering::Relaxed);
        let home = ShardId::new(next % core.exchange.shards());
        Self::new(Arc::clone(core), home)
    }

    pub(crate) fn routes(&self) -> &[RouteInfo] {
        &self.core.routes
    }

    pub(crate) fn home(&self) -> ShardId {
        self.home
    }

    /// The route of the config with this path.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<RouteHandle> {
        let index = self.core.routes.iter().position(|info| info.path == path)?;
        Some(self.route_at(index))
    }

    pub(crate) fn route_at(&self, index: usize) -> RouteHandle {
        assert!(index < self.core.routes.len());
        RouteHandle {
            handle: self.clone(),
            index,
        }
    }

    /// Pushes to one session, of whatever route. [`HandleError::NoSession`] if it is gone.
    pub fn push_session(&self, session: PublicId, message: Message) -> Pending<u64> {
        self.change_session(session, move |shard, id, reply| {
            shard.publish(&OwnedAudience::Session(id), &message, reply);
        })
    }

    /// One session; [`HandleError::NoSession`] if it is gone.
    pub fn session(&self, id: PublicId) -> Pending<SessionInfo> {
        self.at_session(id, |shard, id, reply| {
            reply.answer(shard.session_info(id).ok_or(HandleError::NoSession));
        })
    }

    /// Puts a session on a channel of its namespace, whatever the channel's rule; `false`: it was
    /// there already.
    pub fn join(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        let channel = channel.into();
        if !self.is_name(&channel) {
            return Pending::failed(HandleError::BadName);
        }
        self.change_session(session, move |shard, id, reply| {
            reply.answer(match shard.join(id, &channel) {
                Joined::Now => Ok(true),
                Joined::Before => Ok(false),
                Joined::TooManyChannels => Err(HandleError::TooManyChannels),
                Joined::NoRoom(no_room) => Err(no_room.into()),
                Joined::Refused => Err(HandleError::NoSession),
            });
        })
    }

    /// See [`Context::join_as_client`](super::Context::join_as_client).
    pub(crate) fn join_as_client(&self, session: PublicId, channel: Box<str>) -> Pending<()> {
        if !self.is_name(&channel) {
            return Pending::failed(HandleError::Denied(Denial::NoChannelNamed));
        }
        self.at_session(session, move |shard, id, reply| {
            shard.join_as_client(id, channel, reply);
        })
    }

    /// See [`Context::publish_as_client`](super::Context::publish_as_client).
    pub(crate) fn publish_as_client(
        &self,
        session: PublicId,
        channel: Box<str>,
        message: Message,
        to_others: bool,
    ) -> Pending<()> {
        if !self.is_name(&channel) {
            return Pending::failed(HandleError::Denied(Denial::NoChannelNamed));
        }
        self.at_session(session, move |shard, id, reply| {
            shard.publish_as_client(id, channel, message, to_others, reply);
        })
    }

    /// Takes a session off a channel; `false`: it was not there.
    pub fn leave(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        let channel = channel.into();
        self.on_session(session, move |shard, id| shard.leave(id, &channel))
    }

    /// Closes a session with this code and reason. The code is 1000, 1001, 1003, 1007 to 1013 or
    /// 3000 to 4999; the reason has at most 123 bytes.
    pub fn close(&self, session: PublicId, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        let reason = reason.into();
        if !may_close(code, &reason) {
            return Pending::failed(HandleError::BadClose);
        }
        self.on_session(session, move |shard, id| shard.close(id, code, &reason))
    }

    /// How many sessions there are, of all routes.
    pub fn sessions_count(&self) -> Gathered<usize> {
        self.gather(|shard| vec![shard.sessions_count()])
    }

    /// The longest name of a channel or an event, in bytes.
    pub(crate) fn name_bytes_max(&self) -> usize {
        self.core.name_bytes_max
    }

    /// How many shards there are.
    pub(crate) fn shards_count(&self) -> usize {
        self.core.exchange.shards()
    }

    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.core.exchange
    }

    /// The commands of every shard.
    pub(crate) fn commands(&self) -> &CommandQueues {
        &self.core.commands
    }

    pub(super) fn ids(&self) -> &IdCipher {
        &self.core.ids
    }

    /// The channels that the config declares in advance, with their namespaces.
    pub(super) fn declared(&self) -> &[(Box<str>, u16)] {
        &self.core.declared
    }

    pub(super) fn sessions_of(&self, ids: &[PublicId]) -> Box<[SessionId]> {
        let sessions = ids.iter().filter_map(|&id| self.core.ids.open(id));
        sessions.map(|(session, _)| session).collect()
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        (1..=self.core.name_bytes_max).contains(&name.len())
    }

    pub(super) fn is_user(&self, name: &str) -> bool {
        (1..=self.core.user_bytes_max).contains(&name.len())
    }

    /// Has a session's shard change something about it.
    fn on_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId) -> T + Send + 'static,
    ) -> Pending<T> {
        self.change_session(session, move |shard, id, reply: ReplyTo<T>| {
            let value = act(shard, id);
            reply.answer(Ok(value));
        })
    }

    /// [`Handle::at_session`] for a change, see [`Handle::change`].
    fn change_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        match self.shard_of(session) {
            Some(shard) => self.change(shard, on_found(session, act)),
            None => Pending::failed(HandleError::NoSession),
        }
    }

    /// Has a session's shard do something with it, also during a stop.
    fn at_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        match self.shard_of(session) {
            Some(shard) => self.ask(shard, on_found(session, act)),
            None => Pending::failed(HandleError::NoSession),
        }
    }

    /// The shard of a session, if it is one of this gateway's.
    pub(crate) fn shard_of(&self, id: PublicId) -> Option<ShardId> {
        self.session_of(id).map(SessionId::shard)
    }

    /// The session that a public id names, if it is one of this gateway's.
    pub(super) fn session_of(&self, id: PublicId) -> Option<SessionId> {
        let (session, _) = self.core.ids.open(id)?;
        (session.shard().index() < self.shards_count()).then_some(session)
    }

    /// Has a shard change something. [`HandleError::Stopping`] if the shard comes to it after it
    /// has begun to stop; what was asked before that is done.
    pub(super) fn change<T: Send + 'static>(
        &self,
        shard: ShardId,
        act: impl FnOnce(&mut dyn ShardCommands, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        self.ask(shard, move |shard, reply: ReplyTo<T>| {
            if shard.refuses_commands() {
                reply.answer(Err(HandleError::Stopping));
            } else {
                act(shard, reply);
            }
        })
    }

    /// Has a shard do something.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        act: impl FnOnce(&mut dyn ShardCommands, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let command: Command = Box::new(move |shard| act(shard, ReplyTo(sender)));
        match self.core.commands.put(shard, command) {
            Ok(()) => Pending(Ok(receiver)),
            Err(error) => Pending::failed(error),
        }
    }

    /// Has every shard look something up.
    pub(super) fn gather<T: Send + 'static>(
        &self,
        look: impl Fn(&dyn ShardCommands) -> Vec<T> + Clone + Send + 'static,
    ) -> Gathered<T> {
        let shards = (0..self.core.exchange.shards()).map(ShardId::new);
        let parts = shards.map(|shard| {
            let look = look.clone();
            self.ask(shard, move |shard, reply: ReplyTo<Vec<T>>| {
                reply.answer(Ok(look(shard)));
            })
        });
        Gathered {
            parts: parts.collect(),
            all: Vec::new(),
        }
    }

    fn gather_sessions(&self, of: SessionsOf) -> Gathered<SessionInfo> {
        self.gather(move |shard| {
            let mut all = Vec::new();
            shard.each_session(&of, 0, usize::MAX, &mut |session| {
                all.push(session);
                ControlFlow::Continue(())
            });
            all
        })
    }

    fn gather_names(&self, of: NamesOf, namespace: u16) -> Gathered<MemberCount> {
        self.gather(move |shard| {
            let mut all = Vec::new();
            shard.each_name(of, namespace, &mut |name, count| {
                all.push(MemberCount::new(name, count));
            });
            all
        })
    }
}

impl RouteHandle {
    /// The path of the route in the config.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.info().path
    }

    /// The language that is spoken there.
    #[must_use]
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.info().dialect
    }

    /// The gateway that it is a route of.
    #[must_use]
    pub fn gateway(&self) -> &Handle {
        &self.handle
    }

    /// Publishes to a channel: to every session there when its shard applies it. The result is how
    /// many they were.
    pub fn publish(&self, channel: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.publish_except(channel, message, &[])
    }

    /// Publishes to a channel, passing over some of those on it.
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

    /// Pushes to every session of a user, whatever event it registered for. The result is how many
    /// they were.
    pub fn push_user(&self, user: impl Into<Box<str>>, message: Message) -> Pending<u64> {
        self.push_to_user(user.into(), None, message)
    }

    /// Pushes to those sessions of a user that registered for this event, or for none in
    /// particular. The result is how many they were.
    ///
    /// [`HandleError::Empty`] if the user, the event or the message's data is empty, as in the
    /// original (`wserver`).
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

    /// Pushes to every session of the route's namespace. The result is how many they were.
    pub fn broadcast(&self, message: Message) -> Pending<u64> {
        self.broadcast_except(message, &[])
    }

    /// Pushes to every session of the route's namespace, passing over some.
    pub fn broadcast_except(&self, message: Message, except: &[PublicId]) -> Pending<u64> {
        let audience = OwnedAudience::Everyone {
            namespace: self.info().namespace,
            except: self.handle.sessions_of(except),
        };
        self.push(audience, message)
    }

    /// See [`Handle::push_session`].
    pub fn push_session(&self, session: PublicId, message: Message) -> Pending<u64> {
        if let Err(why) = self.info().dialect.check_event(&message.event) {
            return Pending::failed(HandleError::BadEvent(why));
        }
        self.handle.push_session(session, message)
    }

    /// See [`Handle::join`].
    pub fn join(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.handle.join(session, channel)
    }

    /// See [`Handle::leave`].
    pub fn leave(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        self.handle.leave(session, channel)
    }

    /// See [`Handle::close`].
    pub fn close(&self, session: PublicId, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        self.handle.close(session, code, reason)
    }

    /// Ends the sessions of a user, or those that registered for one event. The result is how many
    /// they were.
    ///
    /// [`HandleError::Empty`] if the user is empty, as in the original (`wserver`).
    pub fn drop_user(&self, user: impl Into<Box<str>>, event: Option<&str>) -> Pending<u64> {
        self.alone().drop_user(user, event)
    }

    /// The sessions of the route.
    pub fn sessions(&self) -> Gathered<SessionInfo> {
        let route = self.route_index();
        self.handle
            .gather_sessions(SessionsOf::Routes([route].into()))
    }

    /// The channels of the route's namespace that somebody is on, each with how many sessions are,
    /// once for every shard that has one of them.
    pub fn channels(&self) -> Gathered<MemberCount> {
        let namespace = self.info().namespace;
        self.handle.gather_names(NamesOf::Channels, namespace)
    }

    /// The sessions on a channel.
    pub fn members(&self, channel: impl Into<Box<str>>) -> Gathered<SessionInfo> {
        let (namespace, channel): (u16, Box<str>) = (self.info().namespace, channel.into());
        let of = SessionsOf::Channel([namespace].into(), channel);
        self.handle.gather_sessions(of)
    }

    /// The users of the route's namespace that somebody speaks for, each with how many sessions do,
    /// once for every shard that has one of them.
    pub fn users(&self) -> Gathered<MemberCount> {
        let namespace = self.info().namespace;
        self.handle.gather_names(NamesOf::Users, namespace)
    }

    /// The sessions of the route that share a value of this type, with the value
    /// ([`Values::share`]).
    ///
    /// [`Values::share`]: super::Values::share
    pub fn shared<T: Send + Sync + 'static>(&self) -> Gathered<(PublicId, Arc<T>)> {
        let route = self.route_index();
        self.handle.gather(move |shard| {
            let values = shard.shared_values(route, TypeId::of::<T>());
            let typed = values.into_iter().map(|(id, value)| {
                let value = value.downcast::<T>().expect("filed under its type");
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
        self.handle.change(home, move |shard, reply| {
            shard.publish(&audience, &message, reply);
        })
    }

    /// Whether each language in which it may be heard has words for an event that is published.
    pub(crate) fn check_event(&self, event: &str) -> Result<(), &'static str> {
        let mut languages = self.info().languages.iter();
        languages.try_for_each(|language| language.check_event(event))
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

/// Does something with a session if its shard finds it.
fn on_found<T>(
    session: PublicId,
    act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>),
) -> impl FnOnce(&mut dyn ShardCommands, ReplyTo<T>) {
    move |shard, reply| match shard.find(session) {
        Some(id) => act(shard, id, reply),
        None => reply.answer(Err(HandleError::NoSession)),
    }
}

/// Checks that nothing of a push by user and event is empty.
pub(super) fn check_push(user: &str, event: &str, message: &Message) -> Result<(), HandleError> {
    if user.is_empty() || event.is_empty() || message.data.bytes_count() == 0 {
        return Err(HandleError::EMPTY_PUSH);
    }
    Ok(())
}
