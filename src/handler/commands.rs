//! What handles have a shard do: closures in its queue, which its own loop runs in their order.
//!
//! A command sees its shard as [`ShardCommands`] and nothing else of it. The queues are bounded in
//! commands; what a shard does not come to before it ends is dropped, and whoever waits hears so.

use super::handle_error::HandleError;
use super::info::SessionInfo;
use crate::mailbox::Exchange;
use crate::shard::Joined;
use crate::shard::message::DropTarget;
use crate::vocabulary::content::Message;
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

/// Something that a shard is to do, by its own loop.
pub(crate) type Command = Box<dyn FnOnce(&mut dyn ShardCommands) + Send>;

/// What a command may ask of its shard.
pub(crate) trait ShardCommands {
    /// Which shard it is.
    fn shard_id(&self) -> ShardId;

    /// Whether changes are not made any more, since the gateway is stopping.
    fn refuses_commands(&self) -> bool;

    /// Does what is to be done after the task that has ended first.
    fn do_next(&mut self);

    /// The session that a public id names; `None` if it is gone.
    fn find(&self, session: PublicId) -> Option<SessionId>;

    /// A session of a route of the config; `None` if it is gone, or shown the traffic of others.
    fn session_info(&self, session: SessionId) -> Option<SessionInfo>;

    /// What it has counted, with its HTTP side.
    fn all_counters(&self) -> Counters;

    /// How many sessions there are, of all routes.
    fn sessions_count(&self) -> usize;

    /// The values of this type that sessions of a route share.
    fn shared_values(&self, route: u16, of_type: TypeId) -> Vec<(PublicId, SharedValue)>;

    /// Shows the sessions of a list in this slot and the later ones, until enough were shown, which
    /// is after `count` at the latest; in slot order, unless `count` is [`usize::MAX`].
    fn each_session(
        &self,
        of: &SessionsOf,
        slot: u32,
        count: usize,
        show: &mut dyn FnMut(SessionInfo) -> ControlFlow<()>,
    );

    /// Shows every name of a list in one namespace, with how many sessions of this shard are there.
    fn each_name(&self, of: NamesOf, namespace: u16, show: &mut dyn FnMut(&[u8], usize));

    /// Publishes, and tells how many sessions it reached on all shards.
    fn publish(&mut self, audience: &OwnedAudience, message: &Message, reply: ReplyTo<u64>);

    /// Publishes to each of these audiences, and tells the total of all; or to none of them.
    fn publish_to_each(
        &mut self,
        audiences: &[OwnedAudience],
        message: &Message,
        reply: ReplyTo<u64>,
    );

    /// Publishes to a channel that a session is on, if the channel's rule lets its client.
    fn publish_as_client(
        &mut self,
        session: SessionId,
        channel: Box<str>,
        message: Message,
        to_others: bool,
        reply: ReplyTo<()>,
    );

    /// Ends the sessions of each of these users, and tells the total of all; or of none of them.
    fn drop_each(&mut self, targets: Vec<DropTarget>, reply: ReplyTo<u64>);

    /// Puts a session on a channel, whatever the channel's rule.
    fn join(&mut self, session: SessionId, channel: &str) -> Joined;

    /// Puts a session on a channel if the channel's rule lets its client.
    fn join_as_client(&mut self, session: SessionId, channel: Box<str>, reply: ReplyTo<()>);

    /// Takes a session off a channel; `false`: it was not there.
    fn leave(&mut self, session: SessionId, channel: &str) -> bool;

    /// Closes a session behind what it is owed.
    fn close(&mut self, session: SessionId, code: u16, reason: &str);
}

/// A value that a session shares with other threads.
pub(crate) type SharedValue = Arc<dyn Any + Send + Sync>;

/// The sessions that a list is of.
#[derive(Clone, Debug)]
pub(crate) enum SessionsOf {
    /// Those of these routes.
    Routes(Box<[u16]>),
    /// Those on a channel of this name in any of these namespaces.
    Channel(Box<[u16]>, Box<str>),
}

/// The names that a list is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamesOf {
    /// Channels that somebody is on.
    Channels,
    /// Users that somebody speaks for.
    Users,
}

/// Whoever waits for what comes of a command, if they still do.
#[derive(Debug)]
pub(crate) struct ReplyTo<T>(pub(super) oneshot::Sender<Result<T, HandleError>>);

impl<T> ReplyTo<T> {
    pub(crate) fn answer(self, result: Result<T, HandleError>) {
        drop(self.0.send(result)); // nobody need wait for it
    }

    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

/// The commands of every shard.
pub(crate) struct CommandQueues {
    exchange: Arc<Exchange>,
    /// By shard.
    queues: Box<[CommandQueue]>,
    /// Of each shard.
    commands_max: usize,
}

#[derive(Default)]
struct CommandQueue {
    commands: SegQueue<Command>,
    /// The shard's loop has ended, and does nothing any more.
    is_closed: AtomicBool,
}

impl CommandQueues {
    /// Empty queues for the shards of `exchange`, each with room for `commands_max`.
    pub(crate) fn new(exchange: &Arc<Exchange>, commands_max: usize) -> Self {
        let queues = (0..exchange.shards()).map(|_| CommandQueue::default());
        Self {
            exchange: Arc::clone(exchange),
            queues: queues.collect(),
            commands_max,
        }
    }

    /// Has a shard do something.
    ///
    /// # Errors
    ///
    /// If it has too much to do already, or has ended.
    pub(crate) fn put(&self, shard: ShardId, command: Command) -> Result<(), HandleError> {
        let queue = self.of(shard);
        if queue.is_closed.load(Ordering::Acquire) {
            return Err(HandleError::Stopped);
        }
        if queue.commands.len() >= self.commands_max {
            return Err(HandleError::Busy);
        }
        self.put_in_any_case(shard, command);
        Ok(())
    }

    /// [`CommandQueues::put`] for what must not be lost and is bounded elsewhere. If the shard has
    /// ended, nothing happens.
    pub(crate) fn put_in_any_case(&self, shard: ShardId, command: Command) {
        let queue = self.of(shard);
        queue.commands.push(command);
        self.exchange.wake(shard);
        // Pairs with the fence of `close`: the shard sees it, or we see that it has ended.
        fence(Ordering::SeqCst);
        if queue.is_closed.load(Ordering::Acquire) {
            while queue.commands.pop().is_some() {}
        }
    }

    /// The next thing that a shard is to do.
    pub(crate) fn take(&self, shard: ShardId) -> Option<Command> {
        self.of(shard).commands.pop()
    }

    /// Whether a shard is to do something.
    pub(crate) fn has_some(&self, shard: ShardId) -> bool {
        !self.of(shard).commands.is_empty()
    }

    /// How many things a shard is to do.
    pub(crate) fn count(&self, shard: ShardId) -> usize {
        self.of(shard).commands.len()
    }

    /// A shard's loop has ended: what it was to do will not be done, and whoever waits for it hears
    /// so.
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
