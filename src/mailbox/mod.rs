//! Communication between shards: bounded lock-free mailboxes, and atomics for session counts.
//!
//! A shard receives from its mailbox even while it cannot send, so two full mailboxes never block
//! each other. Messages for a full mailbox wait, in order, in an overflow queue of the sender.
//! Meanwhile the sender takes on no new work, so the overflow holds at most the messages of the
//! work that it has begun.
//!
//! A count is the number of sessions that an operation reached on one shard. Counts do not use
//! mailboxes: each shard adds its count to an atomic of the requesting shard, and the last shard to
//! do so wakes the requesting shard.

mod message_queue;
mod sessions_limit;
pub mod sleep;

use self::message_queue::MessageQueue;
use self::sessions_limit::SessionsLimit;
use self::sleep::SleepFlag;
use crate::shard::message::{CountRequestId, MailboxMessage};
use crate::vocabulary::id::ShardId;
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The state that all shards of a process share: mailboxes and counters.
#[derive(derive_more::Debug)]
#[debug("Exchange {{ .. }}")]
pub struct Exchange {
    inboxes: Box<[Inbox]>,
    /// Number of connections on all shards.
    connections: AtomicUsize,
    /// Number of shards that have not finished their work during a stop.
    working: AtomicUsize,
    sessions_limit: SessionsLimit,
}

/// The part of one shard that other shards use.
pub(crate) struct Inbox {
    messages: MessageQueue,
    /// By sender: whether the sender waits for room in this mailbox.
    blocked: Box<[AtomicBool]>,
    /// The count requests of this shard, by index.
    pending_counts: Box<[PendingCount]>,
    /// Indices of the complete counts. The queue has room for all indices of `pending_counts`.
    complete: ArrayQueue<u32>,
    pub(crate) flag: SleepFlag,
    wake_handle: WakeHandle,
}

/// A function that wakes a sleeping shard; `None` in a simulation, where no shard sleeps.
pub type WakeHandle = Option<Box<dyn Fn() + Send + Sync>>;

#[derive(Default)]
struct PendingCount {
    remaining: AtomicU32,
    total: AtomicU64,
}

impl Exchange {
    /// Creates an exchange for a simulation, in which no shard sleeps.
    #[must_use]
    pub fn simulated(
        shards: usize,
        messages_max: usize,
        bytes_max: u64,
        count_requests_max: usize,
    ) -> Arc<Self> {
        let wake_handles = (0..shards).map(|_| None).collect();
        Self::new(wake_handles, messages_max, bytes_max, count_requests_max)
    }

    /// Creates an exchange with one shard per wake handle.
    ///
    /// Each mailbox has room for `messages_max` messages of together `bytes_max` bytes. Each shard
    /// can have `count_requests_max` count requests open.
    #[must_use]
    pub fn new(
        wake_handles: Vec<WakeHandle>,
        messages_max: usize,
        bytes_max: u64,
        count_requests_max: usize,
    ) -> Arc<Self> {
        let shards = wake_handles.len();
        let inboxes = wake_handles.into_iter().map(|wake_handle| Inbox {
            messages: MessageQueue::new(messages_max, bytes_max),
            blocked: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            pending_counts: (0..count_requests_max)
                .map(|_| PendingCount::default())
                .collect(),
            complete: ArrayQueue::new(count_requests_max),
            flag: SleepFlag::new(),
            wake_handle,
        });
        Arc::new(Self {
            inboxes: inboxes.collect(),
            connections: AtomicUsize::new(0),
            working: AtomicUsize::new(shards),
            sessions_limit: SessionsLimit::default(),
        })
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// Adds one shard's count to a request. Wakes the requesting shard if no count is missing.
    ///
    /// # Panics
    ///
    /// If all other shards have responded already.
    pub(crate) fn add_count(&self, count_request: CountRequestId, count: u32) {
        let requester = self.inbox(count_request.requester);
        let pending = &requester.pending_counts[count_request.index as usize];
        pending.total.fetch_add(u64::from(count), Ordering::Relaxed);
        let before = pending.remaining.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "more counts than requested");
        if before == 1 {
            requester
                .complete
                .push(count_request.index)
                .expect("the queue has room for all requests");
            requester.wake();
        }
    }

    /// Wakes a shard, if it sleeps.
    pub fn wake(&self, shard: ShardId) {
        self.inbox(shard).wake();
    }

    /// Counts a connection as open. Returns the new number on all shards.
    pub(crate) fn connection_opened(&self) -> usize {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a connection as closed. Returns the number that remains on all shards.
    pub(crate) fn connection_closed(&self) -> usize {
        self.connections.fetch_sub(1, Ordering::Relaxed) - 1
    }

    /// Returns the number of connections on all shards.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns the state of the sessions limit.
    pub(crate) fn sessions_limit(&self) -> &SessionsLimit {
        &self.sessions_limit
    }

    /// Wakes all shards.
    pub(crate) fn wake_all(&self) {
        for index in 0..self.shards() {
            self.wake(ShardId::new(index));
        }
    }

    /// Records that one shard has no work left, during a stop. The last shard wakes all shards.
    pub(crate) fn shard_done(&self) {
        if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_all();
        }
    }

    /// Returns whether no shard has work left.
    pub(crate) fn all_done(&self) -> bool {
        self.working.load(Ordering::Acquire) == 0
    }

    /// Returns the sleep flag of a shard.
    pub(crate) fn sleep_flag(&self, shard: ShardId) -> &SleepFlag {
        &self.inbox(shard).flag
    }

    pub(crate) fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.inboxes[shard.index()]
    }
}

impl Inbox {
    fn wake(&self) {
        if self.flag.take_sleeping()
            && let Some(wake) = &self.wake_handle
        {
            wake();
        }
    }

    /// Returns the number of messages in the mailbox.
    pub(crate) fn messages_count(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether there are no messages and no complete counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.complete.is_empty()
    }
}

/// A handle that wakes one shard of an exchange.
#[derive(Debug)]
pub(crate) struct ShardWaker {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) shard: ShardId,
}

impl ShardWaker {
    /// Wakes the shard, if it sleeps.
    pub(crate) fn wake(&self) {
        self.exchange.wake(self.shard);
    }
}

/// One shard's endpoint of the exchange.
#[derive(Debug)]
pub struct MailboxEndpoint {
    me: ShardId,
    exchange: Arc<Exchange>,
    /// By receiver: the messages that wait for room in its mailbox, in order.
    overflow: Box<[VecDeque<MailboxMessage>]>,
    /// By receiver: whether messages were put into its mailbox since the last wake.
    touched: Box<[bool]>,
    /// Number of overflow queues that are not empty.
    overflowing: usize,
}

impl MailboxEndpoint {
    /// Creates the endpoint of shard `me`.
    #[must_use]
    pub fn new(me: ShardId, exchange: Arc<Exchange>) -> Self {
        let shards = exchange.shards();
        Self {
            me,
            exchange,
            overflow: (0..shards).map(|_| VecDeque::new()).collect(),
            touched: vec![false; shards].into_boxed_slice(),
            overflowing: 0,
        }
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Puts a message into the receiver's mailbox, or into the overflow queue while the mailbox is
    /// full. The receiver is woken by [`MailboxEndpoint::flush`].
    pub fn send(&mut self, to: ShardId, message: MailboxMessage) {
        let overflow = &mut self.overflow[to.index()];
        if overflow.is_empty() {
            match self.exchange.inbox(to).messages.push(message) {
                Ok(()) => self.touched[to.index()] = true,
                Err(message) => {
                    overflow.push_back(message);
                    self.overflowing += 1;
                }
            }
        } else {
            overflow.push_back(message);
        }
    }

    /// Moves waiting messages into mailboxes that have room, and wakes all shards that got
    /// messages.
    pub fn flush(&mut self) {
        if self.overflowing > 0 {
            for index in 0..self.overflow.len() {
                self.flush_overflow(ShardId::new(index));
            }
        }
        for (index, touched) in self.touched.iter_mut().enumerate() {
            if std::mem::take(touched) {
                self.exchange.wake(ShardId::new(index));
            }
        }
    }

    /// Takes the next message from this shard's mailbox; `None` if it is empty. Wakes the senders
    /// that wait for room once the mailbox is half empty.
    pub fn receive(&self) -> Option<MailboxMessage> {
        let inbox = self.exchange.inbox(self.me);
        let message = inbox.messages.pop()?;
        if inbox.messages.is_half_empty() {
            // Pairs with the fence in `flush_overflow`: either the sender sees the room, or this
            // shard sees the sender's flag.
            fence(Ordering::SeqCst);
            for (index, blocked) in inbox.blocked.iter().enumerate() {
                if blocked.load(Ordering::Relaxed) && blocked.swap(false, Ordering::AcqRel) {
                    self.exchange.wake(ShardId::new(index));
                }
            }
        }
        Some(message)
    }

    /// Returns whether messages wait in an overflow queue, so that no new work may be taken on.
    pub(crate) fn is_blocked(&self) -> bool {
        self.overflowing > 0
    }

    /// Returns whether a mailbox has room for a waiting message.
    pub(crate) fn can_unblock(&self) -> bool {
        self.overflowing > 0
            && self.overflow.iter().enumerate().any(|(index, waiting)| {
                let inbox = self.exchange.inbox(ShardId::new(index));
                let first = waiting.front();
                first.is_some_and(|message| inbox.messages.has_room_for(message))
            })
    }

    /// Opens a count request to all other shards, under `index`.
    ///
    /// # Panics
    ///
    /// If the previous request with this index is not complete.
    pub(crate) fn open_count_request(&self, index: u32) -> CountRequestId {
        let pending = &self.exchange.inbox(self.me).pending_counts[index as usize];
        assert_eq!(
            pending.remaining.load(Ordering::Relaxed),
            0,
            "the previous request with this index is not complete"
        );
        let others = u32::try_from(self.exchange.shards() - 1).expect("a few shards");
        pending.total.store(0, Ordering::Relaxed);
        pending.remaining.store(others, Ordering::Release);
        CountRequestId {
            requester: self.me,
            index,
        }
    }

    /// Returns a complete count request and its total; `None` if there is none.
    pub(crate) fn poll_complete(&self) -> Option<(u32, u64)> {
        let inbox = self.exchange.inbox(self.me);
        let index = inbox.complete.pop()?;
        Some((
            index,
            inbox.pending_counts[index as usize]
                .total
                .load(Ordering::Relaxed),
        ))
    }

    fn flush_overflow(&mut self, to: ShardId) {
        let waiting = &mut self.overflow[to.index()];
        if waiting.is_empty() {
            return;
        }
        let inbox = self.exchange.inbox(to);
        // Set the flag before the first push: then either that push finds room that the receiver
        // has made, or the receiver sees the flag and wakes this shard.
        inbox.blocked[self.me.index()].store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        while let Some(message) = waiting.pop_front() {
            if let Err(message) = inbox.messages.push(message) {
                waiting.push_front(message);
                return;
            }
            self.touched[to.index()] = true;
        }
        self.overflowing -= 1;
        inbox.blocked[self.me.index()].store(false, Ordering::Release);
    }
}
