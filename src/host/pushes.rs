//! Commands of HTTP requests, and totals of session counts over all shards.

use super::{Host, PendingPush};
use crate::handler::{HandleError, ReplyTo};
use crate::http::{
    CommandError, CommandResult, HttpCommand, QueuedCommand, RequestBody, ResultSlot,
};
use crate::shard::message::CountRequestId;
use crate::shard::settings::RouteSettings;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::publication::Audience;
use crate::vocabulary::time::Tick;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The receiver of a total.
#[derive(Debug)]
pub(super) enum TotalReceiver {
    Http(Rc<ResultSlot>),
    Handle(ReplyTo<u64>),
    /// One of several totals that are added up.
    TotalSum(Rc<TotalSum>),
}

/// The sum of several totals, with its receiver.
#[derive(Debug)]
pub(super) struct TotalSum {
    left: Cell<usize>,
    total: Cell<u64>,
    /// `None` once sent, with the last total or the first failure.
    reply: RefCell<Option<ReplyTo<u64>>>,
}

impl TotalSum {
    /// Creates the sum of `count` totals.
    pub(super) fn new(count: usize, reply: ReplyTo<u64>) -> Self {
        Self {
            left: Cell::new(count),
            total: Cell::new(0),
            reply: RefCell::new(Some(reply)),
        }
    }

    fn add(&self, total: Result<u64, CommandError>) {
        let sum = total.map(|total| self.total.get() + total);
        self.total.set(sum.unwrap_or(0));
        self.left.set(self.left.get() - 1);
        if (self.left.get() == 0 || sum.is_err())
            && let Some(reply) = self.reply.take()
        {
            TotalReceiver::Handle(reply).send(sum);
        }
    }
}

impl TotalReceiver {
    fn send(self, total: Result<u64, CommandError>) {
        match self {
            Self::Http(reply) => {
                reply.set(total.map_or_else(CommandResult::Failed, CommandResult::Total));
            }
            Self::Handle(reply) => reply.send(total.map_err(|error| match error {
                CommandError::TimedOut => HandleError::TimedOut,
                CommandError::Stopping => HandleError::Stopping,
                CommandError::Busy | CommandError::Illegal => HandleError::Busy,
            })),
            Self::TotalSum(sum) => sum.add(total),
        }
    }
}

impl Host {
    /// Runs the queued commands of HTTP requests; returns whether there were any.
    pub(super) fn run_http_commands(&mut self) -> bool {
        let mut worked = false;
        loop {
            let queued = self.context.http_commands.borrow_mut().pop_front();
            let Some(QueuedCommand { command, reply }) = queued else {
                return worked;
            };
            self.run_http_command(command, reply);
            worked = true;
        }
    }

    fn run_http_command(&mut self, command: HttpCommand, reply: Rc<ResultSlot>) {
        match command {
            HttpCommand::Push { .. } | HttpCommand::Drop(_) if self.is_stopping => {
                reply.set(CommandResult::Failed(CommandError::Stopping));
            }
            HttpCommand::Push { route, body } => {
                self.await_push(route, &body, TotalReceiver::Http(reply));
            }
            HttpCommand::Drop(target) => {
                self.await_total(TotalReceiver::Http(reply), |host, count_request| {
                    host.shard.drop_user(target, Some(count_request))
                });
            }
            HttpCommand::Claim(claim) => self.claim(claim, &reply),
            HttpCommand::Run(label, future, handshake) => {
                if let Some(id) = handshake {
                    self.wait_for_upgrade(id, &reply);
                }
                self.run(label, future, move |host, result| {
                    if handshake.is_none_or(|id| host.cancel_wait(id, &reply)) {
                        reply.set(CommandResult::Ran(result.is_ok()));
                    }
                });
            }
        }
    }

    /// Publishes the push in a request's body and sends its total.
    fn await_push(&mut self, route: u16, body: &RequestBody, to: TotalReceiver) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let RouteSettings {
            dialect, namespace, ..
        } = self.settings.routes[usize::from(route)];
        match dialect.read_push(body.as_slice(), &mut scratch) {
            None => to.send(Err(CommandError::Illegal)),
            Some(push) => {
                let audience = Audience::User {
                    namespace,
                    name: push.user.as_bytes(),
                    event: Some(push.event.as_bytes()),
                };
                let content = Content {
                    event: push.event,
                    data: Data::Text(push.message),
                    ..Content::default()
                };
                self.await_total(to, |host, count_request| {
                    host.shard.publish(audience, &content, Some(count_request))
                });
            }
        }
        self.scratch = scratch;
    }

    /// Runs `act`, which counts here and sends to the other shards, and sends the total to `to`
    /// when all have responded. Fails with `Busy` if there is no room for another total.
    pub(super) fn await_total(
        &mut self,
        to: TotalReceiver,
        act: impl FnOnce(&mut Self, CountRequestId) -> u32,
    ) {
        if !self.has_room_for_totals(1) {
            to.send(Err(CommandError::Busy));
            return;
        }
        let count_request = self.next_count_request();
        let here = act(self, count_request);
        self.process_ended_sessions();
        if self.is_alone() {
            to.send(Ok(u64::from(here)));
            return;
        }
        assert_eq!(
            self.mailbox.open_count_request(count_request.index),
            count_request
        );
        let since = self.now;
        let pending = PendingPush {
            reply: Some(to),
            here,
            since,
        };
        let index = self.pushes.insert(pending);
        assert_eq!(index, count_request.index as usize);
        self.pushes_order.push_back((since, count_request.index));
    }

    /// Returns whether `count` more totals can be pending.
    pub(super) fn has_room_for_totals(&self, count: usize) -> bool {
        !self.is_blocked() && self.pushes.len() + count <= self.limits.pushes_in_flight_max
    }

    /// The ticket that the next question of this shard will have.
    fn next_count_request(&self) -> CountRequestId {
        let index = u32::try_from(self.pushes.vacant_key()).expect("bounded by a u32");
        CountRequestId {
            requester: self.id,
            index,
        }
    }

    fn is_alone(&self) -> bool {
        self.mailbox.exchange().shards() == 1
    }

    pub(super) fn complete_push(&mut self, index: u32, total: u64) {
        let pending = self.pushes.remove(index as usize);
        self.remove_completed();
        if let Some(reply) = pending.reply {
            reply.send(Ok(u64::from(pending.here) + total));
        }
    }

    /// Fails totals that are due. The counts of other shards are awaited all the same, so that none
    /// is taken for that of a later request with the same index.
    pub(super) fn time_out_pushes(&mut self, until: Tick) {
        while let Some(&(since, index)) = self.pushes_order.front() {
            if self.push_due(since) > until {
                break;
            }
            self.pushes_order.pop_front();
            let pending = self.pushes.get_mut(index as usize);
            let is_same = |pending: &&mut PendingPush| pending.since == since;
            if let Some(reply) = pending.filter(is_same).and_then(|it| it.reply.take()) {
                reply.send(Err(CommandError::TimedOut));
            }
        }
    }

    /// Returns when a total that is pending `since` then times out. A pause of the process extends
    /// it.
    pub(super) fn push_due(&self, since: Tick) -> Tick {
        since.max(self.resumed_at).after(self.limits.push_timeout)
    }

    /// Drops the deadlines of completed totals at the front of the queue.
    fn remove_completed(&mut self) {
        while let Some(&(since, index)) = self.pushes_order.front() {
            let pending = self.pushes.get(index as usize);
            if pending.is_some_and(|pending| pending.since == since) {
                break;
            }
            self.pushes_order.pop_front();
        }
    }
}
