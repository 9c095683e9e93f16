//! How shards reach each other: bounded lock-free mailboxes, and totals that come back beside them.
//!
//! A shard drains its own mailbox whatever the state of the others', so two full mailboxes never
//! wait for each other. What does not fit into another's waits here, in order, and while it does
//! the shard takes on no new work: the wait is bounded by what one batch put out.
//!
//! Totals never enter a mailbox: they are added to two atomics that the asker owns, and the last
//! one to answer wakes it.

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

/// What all shards of a process share.
#[derive(derive_more::Debug)]
#[debug("Exchange {{ .. }}")]
pub struct Exchange {
    inboxes: Box<[Inbox]>,
    /// Connections of all shards.
    connections: AtomicUsize,
    /// Shards that have something left to do.
    working: AtomicUsize,
    sessions_limit: SessionsLimit,
}

/// What others may touch of one shard.
pub(crate) struct Inbox {
    messages: MessageQueue,
    /// By sender: whether it waits for room here.
    blocked: Box<[AtomicBool]>,
    /// The questions of this shard that others are answering.
    pending_counts: Box<[PendingCount]>,
    /// Tallies that are complete; has room for all of them.
    complete: ArrayQueue<u32>,
    pub(crate) flag: SleepFlag,
    wake_handle: WakeHandle,
}

/// How a sleeping shard is woken; `None` where nothing ever sleeps.
pub type WakeHandle = Option<Box<dyn Fn() + Send + Sync>>;

#[derive(Default)]
struct PendingCount {
    remaining: AtomicU32,
    total: AtomicU64,
}

impl Exchange {
    /// [`Exchange::new`] for a simulation in which nothing sleeps.
    #[must_use]
    pub fn simulated(
        shards: usize,
        messages_max: usize,
        bytes_max: u64,
        questions_max: usize,
    ) -> Arc<Self> {
        let wake_handles = (0..shards).map(|_| None).collect();
        Self::new(wake_handles, messages_max, bytes_max, questions_max)
    }

    /// Mailboxes for as many shards as there are `wake_handles`, each with room for `messages_max`
    /// messages of `bytes_max` bytes together and for `questions_max` open questions of each shard.
    #[must_use]
    pub fn new(
        wake_handles: Vec<WakeHandle>,
        messages_max: usize,
        bytes_max: u64,
        questions_max: usize,
    ) -> Arc<Self> {
        let shards = wake_handles.len();
        let inboxes = wake_handles.into_iter().map(|wake_handle| Inbox {
            messages: MessageQueue::new(messages_max, bytes_max),
            blocked: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            pending_counts: (0..questions_max)
                .map(|_| PendingCount::default())
                .collect(),
            complete: ArrayQueue::new(questions_max),
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

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// Adds one shard's answer to a question, and wakes the asker if it was the last.
    pub(crate) fn answer(&self, count_request: CountRequestId, count: u32) {
        let asker = self.inbox(count_request.asker);
        let pending = &asker.pending_counts[count_request.index as usize];
        pending.total.fetch_add(u64::from(count), Ordering::Relaxed);
        let before = pending.remaining.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "answered more often than asked");
        if before == 1 {
            asker
                .complete
                .push(count_request.index)
                .expect("it has room for all");
            asker.wake();
        }
    }

    /// Wakes a shard, for what is neither a message nor an answer.
    pub fn wake(&self, shard: ShardId) {
        self.inbox(shard).wake();
    }

    /// Counts a connection; returns how many there are now, on all shards.
    pub(crate) fn connection_opened(&self) -> usize {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a connection no more; returns how many are left.
    pub(crate) fn connection_closed(&self) -> usize {
        self.connections.fetch_sub(1, Ordering::Relaxed) - 1
    }

    /// How many connections there are, on all shards.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether there are as many connections as there may be sessions.
    pub(crate) fn sessions_limit(&self) -> &SessionsLimit {
        &self.sessions_limit
    }

    /// Wakes every shard, for what each of them must see.
    pub(crate) fn wake_all(&self) {
        for index in 0..self.shards() {
            self.wake(ShardId::new(index));
        }
    }

    /// One shard has nothing left to do; the last one wakes the others.
    pub(crate) fn shard_done(&self) {
        if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_all();
        }
    }

    /// Whether no shard has anything left to do.
    pub(crate) fn all_done(&self) -> bool {
        self.working.load(Ordering::Acquire) == 0
    }

    /// Whether the shard sleeps.
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
            && let Some(ring) = &self.wake_handle
        {
            ring();
        }
    }

    /// How many messages the shard has not taken.
    pub(crate) fn messages_count(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing has arrived that the shard has not taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.complete.is_empty()
    }
}

/// Wakes one shard of an exchange.
#[derive(Debug)]
pub(crate) struct ShardWaker {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) shard: ShardId,
}

impl ShardWaker {
    /// Makes the shard look at its lists soon.
    pub(crate) fn ring(&self) {
        self.exchange.wake(self.shard);
    }
}

/// One shard's side of the exchange.
#[derive(Debug)]
pub struct MailboxEndpoint {
    me: ShardId,
    exchange: Arc<Exchange>,
    /// By destination: what did not fit, in order.
    overflow: Box<[VecDeque<MailboxMessage>]>,
    /// By destination: whether something was put in since the last wake.
    touched: Box<[bool]>,
    overflowing: usize,
}

impl MailboxEndpoint {
    /// The side of `me`, with nothing sent.
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

    /// Sends a message, or keeps it until there is room.
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

    /// Moves what has waited into mailboxes that have room again, and wakes whoever got something.
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

    /// Takes the next message for this shard.
    pub fn receive(&self) -> Option<MailboxMessage> {
        let inbox = self.exchange.inbox(self.me);
        let message = inbox.messages.pop()?;
        if inbox.messages.is_half_empty() {
            // Pairs with the fence of `flush_overflow`: room is seen, or the flag is.
            fence(Ordering::SeqCst);
            for (index, blocked) in inbox.blocked.iter().enumerate() {
                if blocked.load(Ordering::Relaxed) && blocked.swap(false, Ordering::AcqRel) {
                    self.exchange.wake(ShardId::new(index));
                }
            }
        }
        Some(message)
    }

    /// Whether messages wait for room somewhere: no new work may be taken on.
    pub(crate) fn is_blocked(&self) -> bool {
        self.overflowing > 0
    }

    /// Whether messages that wait may find room now.
    pub(crate) fn can_unblock(&self) -> bool {
        self.overflowing > 0
            && self.overflow.iter().enumerate().any(|(index, waiting)| {
                let inbox = self.exchange.inbox(ShardId::new(index));
                let first = waiting.front();
                first.is_some_and(|message| inbox.messages.has_room_for(message))
            })
    }

    /// Begins a question that every other shard will answer.
    pub(crate) fn ask(&self, index: u32) -> CountRequestId {
        let pending = &self.exchange.inbox(self.me).pending_counts[index as usize];
        assert_eq!(
            pending.remaining.load(Ordering::Relaxed),
            0,
            "its last answers are in"
        );
        let others = u32::try_from(self.exchange.shards() - 1).expect("a few shards");
        pending.total.store(0, Ordering::Relaxed);
        pending.remaining.store(others, Ordering::Release);
        CountRequestId {
            asker: self.me,
            index,
        }
    }

    /// A question that everybody has answered, and the sum of the answers.
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
        // Said before trying, so that room made in between is either found or announced.
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
