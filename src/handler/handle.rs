//! The gateway handle: push, join, close and list, from any thread.
//!
//! Every operation is enqueued at once as a command of one shard, whether or not the caller waits
//! for its result ([`Pending`]). A handle publishes through one shard, so its publications to one
//! channel, user or session arrive in order.

use super::commands::{Command, CommandQueues, NamesOf, Pass, ReplyTo, SessionsOf, ShardCommands};
use super::handle_error::HandleError;
use super::info::{MemberCount, SessionInfo};
use super::pending::{Gathered, Pending};
use super::route_handle::{RouteHandle, RouteInfo};
use crate::mailbox::Exchange;
use crate::shard::{JoinResult, Location};
use crate::vocabulary::close::may_close;
use crate::vocabulary::content::{Denial, Message, Reply};
use crate::vocabulary::id::{SessionId, ShardId};
use crate::vocabulary::public_id::{IdCipher, PublicId};
use crate::vocabulary::publication::OwnedAudience;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// A handle to the gateway. Cheap to clone, and usable from any thread.
#[derive(Clone, derive_more::Debug)]
#[debug("Handle {{ home: {home:?}, .. }}")]
pub struct Handle {
    pub(super) core: Arc<HandleCore>,
    pub(super) home: ShardId,
    /// Whether commands about a session go to `home`, which passes them on: those of a session's
    /// handlers on a shard that has adopted the session. They and the handlers' outcomes then take
    /// the same way.
    asks_home: bool,
}

/// The state shared by all handles of one gateway.
#[derive(Debug)]
pub(crate) struct HandleCore {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) commands: CommandQueues,
    pub(crate) ids: IdCipher,
    pub(crate) routes: Vec<RouteInfo>,
    pub(crate) name_bytes_max: usize,
    pub(crate) user_bytes_max: usize,
    /// The channels that the config declares, with their namespaces.
    pub(crate) declared: Box<[(Box<str>, u16)]>,
    /// The shard that the next handle from outside publishes through, modulo the number of shards.
    pub(crate) next_home: AtomicUsize,
}

impl Handle {
    pub(crate) fn new(core: Arc<HandleCore>, home: ShardId) -> Self {
        Self {
            core,
            home,
            asks_home: false,
        }
    }

    /// Creates a handle for a thread that is not a shard's. Each one publishes through the next
    /// shard.
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

    /// Returns the route with this path; `None` if the config has none.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<RouteHandle> {
        let index = self.core.routes.iter().position(|info| info.path == path)?;
        Some(self.route_at(index))
    }

    /// Returns a handle for the handlers of a session that its shard has adopted.
    pub(crate) fn for_adopted(&self) -> Self {
        Self {
            asks_home: true,
            ..self.clone()
        }
    }

    pub(crate) fn route_at(&self, index: usize) -> RouteHandle {
        assert!(index < self.core.routes.len());
        RouteHandle {
            handle: self.clone(),
            index,
        }
    }

    /// Pushes a message to one session of any route. The result is 1, or 0 if the session has ended
    /// since.
    ///
    /// # Errors
    ///
    /// [`HandleError::NoSession`] if there is no such session, [`HandleError::BadEvent`] if the
    /// session's dialect cannot encode the event, and those of [`Pending`].
    pub fn push_session(&self, session: PublicId, message: Message) -> Pending<u64> {
        self.change_session(session, move |shard, id, reply| {
            shard.publish(&OwnedAudience::Session(id), &message, reply);
        })
    }

    /// Returns a snapshot of one session.
    ///
    /// # Errors
    ///
    /// [`HandleError::NoSession`] if there is no such session, and those of [`Pending`].
    pub fn session(&self, id: PublicId) -> Pending<SessionInfo> {
        self.at_session(id, |shard, id, reply| {
            reply.send(shard.session_info(id).ok_or(HandleError::NoSession));
        })
    }

    /// Adds a session to a channel of its namespace without checking the channel's rule. The result
    /// is `false` if the session was on the channel already.
    ///
    /// # Errors
    ///
    /// [`HandleError::BadName`], [`HandleError::NoSession`], [`HandleError::TooManyChannels`],
    /// [`HandleError::TooManyNames`], [`HandleError::NoRoomForNames`], and those of [`Pending`].
    pub fn join(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        let channel = channel.into();
        if !self.is_name(&channel) {
            return Pending::failed(HandleError::BadName);
        }
        self.change_session(session, move |shard, id, reply| {
            reply.send(match shard.join(id, &channel) {
                JoinResult::Joined => Ok(true),
                JoinResult::AlreadyJoined => Ok(false),
                JoinResult::TooManyChannels => Err(HandleError::TooManyChannels),
                JoinResult::NamesLimit(limit) => Err(limit.into()),
                JoinResult::Invalid => Err(HandleError::NoSession),
            });
        })
    }

    /// Adds a session to a channel if the channel's rule allows it, see
    /// [`Context::join_as_client`](super::Context::join_as_client).
    pub(crate) fn join_as_client(&self, session: PublicId, channel: Box<str>) -> Pending<Reply> {
        if !self.is_name(&channel) {
            return Pending::failed(HandleError::Denied(Denial::NoChannelNamed));
        }
        self.at_session(session, move |shard, id, reply| {
            shard.join_as_client(id, channel, reply);
        })
    }

    /// Publishes a message for a session's client, see
    /// [`Context::publish_as_client`](super::Context::publish_as_client).
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

    /// Removes a session from a channel. The result is `false` if it was not on it.
    ///
    /// # Errors
    ///
    /// [`HandleError::NoSession`] if there is no such session, and those of [`Pending`].
    pub fn leave(&self, session: PublicId, channel: impl Into<Box<str>>) -> Pending<bool> {
        let channel = channel.into();
        self.on_session(session, move |shard, id| shard.leave(id, &channel))
    }

    /// Closes a session with this code and reason, after its pending bytes. The code is 1000, 1001,
    /// 1003, 1007 to 1013 or 3000 to 4999. The reason has at most 123 bytes.
    ///
    /// # Errors
    ///
    /// [`HandleError::BadClose`] for any other code or reason, [`HandleError::NoSession`] if there
    /// is no such session, and those of [`Pending`].
    pub fn close(&self, session: PublicId, code: u16, reason: impl Into<Box<str>>) -> Pending<()> {
        let reason = reason.into();
        if !may_close(code, &reason) {
            return Pending::failed(HandleError::BadClose);
        }
        self.on_session(session, move |shard, id| shard.close(id, code, &reason))
    }

    /// Returns the number of sessions of all routes, one item for each shard.
    pub fn sessions_count(&self) -> Gathered<usize> {
        self.gather(|shard| vec![shard.sessions_count()])
    }

    /// Returns the maximum length of a channel's or event's name, in bytes.
    pub(crate) fn name_bytes_max(&self) -> usize {
        self.core.name_bytes_max
    }

    /// Returns the number of shards.
    pub(crate) fn shards_count(&self) -> usize {
        self.core.exchange.shards()
    }

    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.core.exchange
    }

    /// Returns the command queues of all shards.
    pub(crate) fn commands(&self) -> &CommandQueues {
        &self.core.commands
    }

    pub(super) fn ids(&self) -> &IdCipher {
        &self.core.ids
    }

    /// Returns the channels that the config declares, with their namespaces.
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

    /// Runs `act` on a session's shard and returns its value. Rejected during a stop.
    pub(super) fn on_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId) -> T + Send + 'static,
    ) -> Pending<T> {
        self.change_session(session, move |shard, id, reply: ReplyTo<T>| {
            let value = act(shard, id);
            reply.send(Ok(value));
        })
    }

    /// Runs `act` on a session's shard. Rejected during a stop, see [`Handle::enqueue_change`].
    pub(super) fn change_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        match self.first_shard(session) {
            Some(shard) => self.enqueue_change(shard, move |shard, reply| {
                run_at(shard, session, act, reply, Pass::First);
            }),
            None => Pending::failed(HandleError::NoSession),
        }
    }

    /// Runs `act` on a session's shard, also during a stop.
    pub(super) fn at_session<T: Send + 'static>(
        &self,
        session: PublicId,
        act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        match self.first_shard(session) {
            Some(shard) => self.enqueue(shard, move |shard, reply| {
                run_at(shard, session, act, reply, Pass::First);
            }),
            None => Pending::failed(HandleError::NoSession),
        }
    }

    /// Returns the shard to which commands about a session go; `None` if this gateway did not issue
    /// the id.
    fn first_shard(&self, id: PublicId) -> Option<ShardId> {
        let shard = self.shard_of(id)?;
        Some(if self.asks_home { self.home } else { shard })
    }

    /// Returns the shard on which a session opened; `None` if this gateway did not issue the id.
    pub(crate) fn shard_of(&self, id: PublicId) -> Option<ShardId> {
        self.session_of(id).map(SessionId::shard)
    }

    /// Returns the session with this public id, which may have ended; `None` if this gateway did
    /// not issue the id.
    pub(super) fn session_of(&self, id: PublicId) -> Option<SessionId> {
        let (session, _) = self.core.ids.open(id)?;
        (session.shard().index() < self.shards_count()).then_some(session)
    }

    /// Enqueues a change on a shard. The result is [`HandleError::Stopping`] if the shard runs the
    /// command after its stop began; changes enqueued before the stop are still made.
    pub(super) fn enqueue_change<T: Send + 'static>(
        &self,
        shard: ShardId,
        act: impl FnOnce(&mut dyn ShardCommands, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        self.enqueue(shard, move |shard, reply: ReplyTo<T>| {
            if shard.rejects_commands() {
                reply.send(Err(HandleError::Stopping));
            } else {
                act(shard, reply);
            }
        })
    }

    /// Enqueues a command on a shard, also during a stop.
    pub(super) fn enqueue<T: Send + 'static>(
        &self,
        shard: ShardId,
        act: impl FnOnce(&mut dyn ShardCommands, ReplyTo<T>) + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let command: Command = Box::new(move |shard| act(shard, ReplyTo(sender)));
        match self.core.commands.enqueue(shard, command) {
            Ok(()) => Pending(Ok(receiver)),
            Err(error) => Pending::failed(error),
        }
    }

    /// Enqueues a query on every shard.
    pub(super) fn gather<T: Send + 'static>(
        &self,
        query: impl Fn(&dyn ShardCommands) -> Vec<T> + Clone + Send + 'static,
    ) -> Gathered<T> {
        let shards = (0..self.core.exchange.shards()).map(ShardId::new);
        let parts = shards.map(|shard| {
            let query = query.clone();
            self.enqueue(shard, move |shard, reply: ReplyTo<Vec<T>>| {
                reply.send(Ok(query(shard)));
            })
        });
        Gathered {
            parts: parts.collect(),
            all: Vec::new(),
        }
    }

    pub(super) fn gather_sessions(&self, of: SessionsOf) -> Gathered<SessionInfo> {
        self.gather(move |shard| {
            let mut all = Vec::new();
            shard.each_session(&of, 0, usize::MAX, &mut |session| {
                all.push(session);
                ControlFlow::Continue(())
            });
            all
        })
    }

    pub(super) fn gather_names(&self, of: NamesOf, namespace: u16) -> Gathered<MemberCount> {
        self.gather(move |shard| {
            let mut all = Vec::new();
            shard.each_name(of, namespace, &mut |name, counts| {
                all.push(MemberCount::new(name, counts));
            });
            all
        })
    }
}

/// Runs `act` if the session exists, on the session's shard, and replies
/// [`HandleError::NoSession`] if not.
fn run_at<T: Send + 'static>(
    shard: &mut dyn ShardCommands,
    session: PublicId,
    act: impl FnOnce(&mut dyn ShardCommands, SessionId, ReplyTo<T>) + Send + 'static,
    reply: ReplyTo<T>,
    pass: Pass,
) {
    match shard.locate(session) {
        Some((id, Location::Here(_))) => act(shard, id, reply),
        Some((id, Location::There(to))) if pass == Pass::First => {
            let pass = Pass::by(shard.shard_id(), id);
            let command: Command = Box::new(move |shard| run_at(shard, session, act, reply, pass));
            shard.forward(to, command);
        }
        Some(_) | None => reply.send(Err(HandleError::NoSession)),
    }
}
