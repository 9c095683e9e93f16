//! What requests ask of the shard, and how their answers are put together.

use super::{Host, PendingPush};
use crate::handler::{HandleError, ReplyTo};
use crate::http::{Asked, HttpAsk, Refused, Replied, Reply, RequestBody};
use crate::shard::message::Ticket;
use crate::shard::settings::RouteSettings;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::publication::Audience;
use crate::vocabulary::time::Tick;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Whoever waits for a total.
#[derive(Debug)]
pub(super) enum TotalTo {
    Http(Rc<Reply>),
    Handle(ReplyTo<u64>),
    /// Somebody who waits for the sum of several.
    Sum(Rc<Sum>),
}

/// Totals that are added up, and whoever waits for the sum.
#[derive(Debug)]
pub(super) struct Sum {
    left: Cell<usize>,
    total: Cell<u64>,
    /// `None` once it was answered, by the last total or the first failure.
    reply: RefCell<Option<ReplyTo<u64>>>,
}

impl Sum {
    /// The sum of `count` totals.
    pub(super) fn new(count: usize, reply: ReplyTo<u64>) -> Self {
        Self {
            left: Cell::new(count),
            total: Cell::new(0),
            reply: RefCell::new(Some(reply)),
        }
    }

    fn add(&self, total: Result<u64, Refused>) {
        let sum = total.map(|total| self.total.get() + total);
        self.total.set(sum.unwrap_or(0));
        self.left.set(self.left.get() - 1);
        if (self.left.get() == 0 || sum.is_err())
            && let Some(reply) = self.reply.take()
        {
            TotalTo::Handle(reply).answer(sum);
        }
    }
}

impl TotalTo {
    fn answer(self, total: Result<u64, Refused>) {
        match self {
            Self::Http(reply) => reply.set(total.map_or_else(Replied::Refused, Replied::Total)),
            Self::Handle(reply) => reply.answer(total.map_err(|refused| match refused {
                Refused::TimedOut => HandleError::TimedOut,
                Refused::Stopping => HandleError::Stopping,
                Refused::Busy | Refused::Illegal => HandleError::Busy,
            })),
            Self::Sum(sum) => sum.add(total),
        }
    }
}

impl Host {
    /// Carries out what requests have asked; returns whether there was anything.
    pub(super) fn carry_out_asks(&mut self) -> bool {
        let mut worked = false;
        loop {
            let asked = self.context.asks.borrow_mut().pop_front();
            let Some(Asked { ask, reply }) = asked else {
                return worked;
            };
            self.carry_out(ask, reply);
            worked = true;
        }
    }

    fn carry_out(&mut self, ask: HttpAsk, reply: Rc<Reply>) {
        match ask {
            HttpAsk::Push { .. } | HttpAsk::Drop(_) if self.is_stopping => {
                reply.set(Replied::Refused(Refused::Stopping));
            }
            HttpAsk::Push { route, body } => {
                self.await_push(route, &body, TotalTo::Http(reply));
            }
            HttpAsk::Drop(target) => {
                self.await_total(TotalTo::Http(reply), |host, ticket| {
                    host.shard.drop_user(target, Some(ticket))
                });
            }
            HttpAsk::Claim(claim) => self.claim(claim, &reply),
            HttpAsk::Run(label, future, handshake) => {
                if let Some(id) = handshake {
                    self.wait_for_upgrade(id, &reply);
                }
                self.run(label, future, move |host, result| {
                    if handshake.is_none_or(|id| host.stop_waiting(id, &reply)) {
                        reply.set(Replied::Ran(result.is_ok()));
                    }
                });
            }
        }
    }

    /// Publishes what a request's body asks for, and tells it the total.
    fn await_push(&mut self, route: u16, body: &RequestBody, to: TotalTo) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let RouteSettings {
            dialect, namespace, ..
        } = self.settings.routes[usize::from(route)];
        match dialect.read_push(body.as_slice(), &mut scratch) {
            None => to.answer(Err(Refused::Illegal)),
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
                self.await_total(to, |host, ticket| {
                    host.shard.publish(audience, &content, Some(ticket))
                });
            }
        }
        self.scratch = scratch;
    }

    /// Has every shard do something, and tells somebody the total.
    pub(super) fn await_total(&mut self, to: TotalTo, act: impl FnOnce(&mut Self, Ticket) -> u32) {
        if !self.has_room_for_totals(1) {
            to.answer(Err(Refused::Busy));
            return;
        }
        let ticket = self.next_ticket();
        let here = act(self, ticket);
        self.notice_ends();
        if self.is_alone() {
            to.answer(Ok(u64::from(here)));
            return;
        }
        assert_eq!(self.post.ask(ticket.index), ticket);
        let since = self.now;
        let pending = PendingPush {
            reply: Some(to),
            here,
            since,
        };
        let index = self.pushes.insert(pending);
        assert_eq!(index, ticket.index as usize);
        self.pushes_order.push_back((since, ticket.index));
    }

    /// Whether so many totals more can be waited for.
    pub(super) fn has_room_for_totals(&self, count: usize) -> bool {
        !self.is_blocked() && self.pushes.len() + count <= self.limits.pushes_in_flight_max
    }

    /// The ticket that the next question of this shard will have.
    fn next_ticket(&self) -> Ticket {
        let index = u32::try_from(self.pushes.vacant_key()).expect("bounded by a u32");
        Ticket {
            asker: self.id,
            index,
        }
    }

    fn is_alone(&self) -> bool {
        self.post.exchange().shards() == 1
    }

    pub(super) fn complete_push(&mut self, index: u32, total: u64) {
        let pending = self.pushes.remove(index as usize);
        self.forget_completed();
        if let Some(reply) = pending.reply {
            reply.answer(Ok(u64::from(pending.here) + total));
        }
    }

    /// Answers requests whose time is up. What other shards still answer is awaited all the same,
    /// so that no answer is ever taken for that of a later question.
    pub(super) fn time_out_pushes(&mut self, until: Tick) {
        while let Some(&(since, index)) = self.pushes_order.front() {
            if self.push_due(since) > until {
                break;
            }
            self.pushes_order.pop_front();
            let pending = self.pushes.get_mut(index as usize);
            let is_same = |pending: &&mut PendingPush| pending.since == since;
            if let Some(reply) = pending.filter(is_same).and_then(|it| it.reply.take()) {
                reply.answer(Err(Refused::TimedOut));
            }
        }
    }

    /// When a request that was asked `since` then is not waited for any longer.
    pub(super) fn push_due(&self, since: Tick) -> Tick {
        since.max(self.resumed_at).after(self.limits.push_timeout)
    }

    /// Drops the deadlines of questions that have been answered, as far as they come first.
    fn forget_completed(&mut self) {
        while let Some(&(since, index)) = self.pushes_order.front() {
            let pending = self.pushes.get(index as usize);
            if pending.is_some_and(|pending| pending.since == since) {
                break;
            }
            self.pushes_order.pop_front();
        }
    }
}
