//! Command queues: closures that handles enqueue and that a shard's own loop runs in FIFO order.
//!
//! A command sees its shard only as [`ShardCommands`]. Each queue is limited to `commands_max`
//! commands. When a shard ends, its queued commands are dropped and their callers receive
//! [`HandleError::Stopped`].

use super::context::CloseRequest;
use super::handle_error::HandleError;
use super::info::{NameCounts, SessionInfo};
use crate::mailbox::Exchange;
use crate::shard::message::DropTarget;
use crate::shard::{HostResponse, JoinResult, Location, OwnedPublish};
use crate::vocabulary::content::{Correlation, Message, Outcome, Reply};
use crate::vocabulary::id::{SessionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::OwnedAudience;
use crossbeam_queue::SegQueue;
use std::any::{Any, TypeId};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use tokio::sync::oneshot;

/// A command that a shard's loop runs.
pub(crate) type Command = Box<dyn FnOnce(&mut dyn ShardCommands) + Send>;

/// The operations of a shard that commands may use.
pub(crate) trait ShardCommands {
    /// Returns the shard's id.
    fn shard_id(&self) -> ShardId;

    /// Returns whether changes are rejected because the gateway is stopping.
    fn rejects_commands(&self) -> bool;

    /// Runs the completion of the task that ended first.
    fn run_next_completion(&mut self);

    /// Returns the session with this public id, and where it is; `None` if it has ended.
    fn locate(&self, session: PublicId) -> Option<(SessionId, Location)>;

    /// Enqueues a command about a session that is on another shard. It follows all messages that
    /// this shard has sent there.
    fn forward(&mut self, to: ShardId, command: Command);

    /// Handles the messages that were in the shard's mailbox before a command that another shard
    /// has forwarded.
    fn handle_sent_before(&mut self);

    /// Applies what a function of an embedder's decided about a session, if the session is here.
    fn respond_here(&mut self, session: SessionId, response: SessionResponse, pass: Pass);

    /// Ends an action in a client's name on which its channel's rule has decided.
    fn end_action(&mut self, session: SessionId, action: ClientAction, pass: Pass);

    /// Returns a session's info; `None` if the session has ended or is a tap.
    fn session_info(&self, session: SessionId) -> Option<SessionInfo>;

    /// Returns the counters of the shard and of its HTTP side.
    fn all_counters(&self) -> Counters;

    /// Returns the number of sessions of all routes.
    fn sessions_count(&self) -> usize;

    /// Returns the shared values of this type of a route's sessions.
    fn shared_values(&self, route: u16, of_type: TypeId) -> Vec<(PublicId, SharedValue)>;

    /// Passes the listed sessions to `show`, from `slot` on, until `show` breaks or `count`
    /// sessions were shown. The order is that of the slots, unless `count` is [`usize::MAX`].
    fn each_session(
        &self,
        of: &SessionsOf,
        slot: u32,
        count: usize,
        show: &mut dyn FnMut(SessionInfo) -> ControlFlow<()>,
    );

    /// Passes every listed name of a namespace to `show`, with its counts on this shard.
    fn each_name(&self, of: NamesOf, namespace: u16, show: &mut dyn FnMut(&[u8], NameCounts));

    /// Publishes a message and replies with the number of sessions reached on all shards.
    fn publish(&mut self, audience: &OwnedAudience, message: &Message, reply: ReplyTo<u64>);

    /// Publishes to all of these audiences and replies with the total number of sessions reached.
    /// On an error, nothing is published.
    fn publish_to_each(
        &mut self,
        audiences: &[OwnedAudience],
        message: &Message,
        reply: ReplyTo<u64>,
    );

    /// Publishes to a channel for a session's client, if the session is on the channel and the
    /// channel's rule allows it. `to_others` excludes the session.
    fn publish_as_client(
        &mut self,
        session: SessionId,
        channel: Box<str>,
        message: Message,
        to_others: bool,
        reply: ReplyTo<()>,
    );

    /// Closes the sessions of all of these users and replies with their total number. On an error,
    /// no session is closed.
    fn drop_each(&mut self, targets: Vec<DropTarget>, reply: ReplyTo<u64>);

    /// Adds a session to a channel without checking the channel's rule.
    fn join(&mut self, session: SessionId, channel: &str) -> JoinResult;

    /// Adds a session to a channel if the channel's rule allows it, and replies with the reply of
    /// the channel's validator.
    fn join_as_client(&mut self, session: SessionId, channel: Box<str>, reply: ReplyTo<Reply>);

    /// Removes a session from a channel. Returns `false` if it was not on it.
    fn leave(&mut self, session: SessionId, channel: &str) -> bool;

    /// Closes a session after its pending bytes.
    fn close(&mut self, session: SessionId, code: u16, reason: &str);
}

/// A decision of an embedder's function about a session.
#[derive(Debug)]
pub(crate) struct SessionResponse {
    /// A message that precedes the response; `None` for none.
    pub(crate) greeting: Option<(Correlation, Outcome)>,
    pub(crate) response: HostResponse,
    /// The close behind the response; `None` for none.
    pub(crate) close_request: Option<CloseRequest>,
}

/// An action on a channel in a client's name, on which the channel's rule has decided.
#[derive(Debug)]
pub(crate) enum ClientAction {
    /// A join; `allowed` is `None` if it is denied.
    Join {
        channel: Box<str>,
        allowed: Option<Reply>,
        reply: ReplyTo<Reply>,
    },
    /// A publication.
    Publish {
        channel: Box<str>,
        publish: Box<OwnedPublish>,
        is_allowed: bool,
        reply: ReplyTo<()>,
    },
}

/// How something that is addressed to a session has come to a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pass {
    /// Not from the shard on which the session opened. If the session is elsewhere, it goes there.
    First,
    /// From the shard on which the session opened. If the session is not here, it has ended.
    Last,
}

impl Pass {
    /// Returns how a shard passes on what is addressed to a session.
    pub(crate) fn by(shard: ShardId, session: SessionId) -> Self {
        if shard == session.shard() {
            Self::Last
        } else {
            Self::First
        }
    }
}

/// A value that a session shares with other threads.
pub(crate) type SharedValue = Arc<dyn Any + Send + Sync>;

/// A selection of sessions to list.
#[derive(Clone, Debug)]
pub(crate) enum SessionsOf {
    /// The sessions of these routes.
    Routes(Box<[u16]>),
    /// The sessions on the channel of this name in any of these namespaces.
    Channel(Box<[u16]>, Box<str>),
}

/// A selection of names to list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamesOf {
    /// Channels with at least one session.
    Channels,
    /// Users with at least one session.
    Users,
}

/// The receiver of a command's result, which may have stopped waiting.
#[derive(Debug)]
pub(crate) struct ReplyTo<T>(pub(super) oneshot::Sender<Result<T, HandleError>>);

impl<T> ReplyTo<T> {
    pub(crate) fn send(self, result: Result<T, HandleError>) {
        drop(self.0.send(result)); // the receiver may be gone
    }

    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

/// The command queues of all shards.
pub(crate) struct CommandQueues {
    exchange: Arc<Exchange>,
    /// Indexed by shard.
    queues: Box<[CommandQueue]>,
    /// Maximum commands in each queue.
    commands_max: usize,
}

#[derive(Default)]
struct CommandQueue {
    commands: SegQueue<Command>,
    /// Whether the shard's loop has ended and runs no more commands.
    is_closed: AtomicBool,
}

impl CommandQueues {
    /// Creates empty queues for the shards of `exchange`, each for at most `commands_max` commands.
    pub(crate) fn new(exchange: &Arc<Exchange>, commands_max: usize) -> Self {
        let queues = (0..exchange.shards()).map(|_| CommandQueue::default());
        Self {
            exchange: Arc::clone(exchange),
            queues: queues.collect(),
            commands_max,
        }
    }

    /// Enqueues a command on a shard and wakes the shard.
    ///
    /// # Errors
    ///
    /// [`HandleError::Busy`] if the queue is full, [`HandleError::Stopped`] if the shard's loop has
    /// ended.
    pub(crate) fn enqueue(&self, shard: ShardId, command: Command) -> Result<(), HandleError> {
        let queue = self.of(shard);
        if queue.is_closed.load(Ordering::Acquire) {
            return Err(HandleError::Stopped);
        }
        if queue.commands.len() >= self.commands_max {
            return Err(HandleError::Busy);
        }
        self.enqueue_unchecked(shard, command);
        Ok(())
    }

    /// Enqueues a command without checking the queue's limit, for commands that must not be lost
    /// and are limited elsewhere. Drops the command if the shard's loop has ended.
    pub(crate) fn enqueue_unchecked(&self, shard: ShardId, command: Command) {
        let queue = self.of(shard);
        queue.commands.push(command);
        self.exchange.wake(shard);
        // Pairs with the fence in `close`: either the shard sees the command, or we see
        // `is_closed`.
        fence(Ordering::SeqCst);
        if queue.is_closed.load(Ordering::Acquire) {
            while queue.commands.pop().is_some() {}
        }
    }

    /// Removes and returns a shard's next command; `None` if its queue is empty.
    pub(crate) fn take(&self, shard: ShardId) -> Option<Command> {
        self.of(shard).commands.pop()
    }

    /// Returns whether a shard's queue has commands.
    pub(crate) fn has_commands(&self, shard: ShardId) -> bool {
        !self.of(shard).commands.is_empty()
    }

    /// Returns the number of commands in a shard's queue.
    pub(crate) fn count(&self, shard: ShardId) -> usize {
        self.of(shard).commands.len()
    }

    /// Closes a shard's queue after its loop has ended. Drops the queued commands; their callers
    /// receive [`HandleError::Stopped`].
    pub(crate) fn close(&self, shard: ShardId) {
        let queue = self.of(shard);
        queue.is_closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        while queue.commands.pop().is_some() {}
    }

    fn of(&self, shard: ShardId) -> &CommandQueue {
        &self.queues[shard.index()]
    }
}

impl fmt::Debug for CommandQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.queues.iter().map(|queue| queue.commands.len());
        f.debug_list().entries(counts).finish()
    }
}
