//! What requests ask of the shard, and how their answers are put together.

use super::{Host, PendingPush};
use crate::dialect::wserver;
use crate::http::{Asked, HttpAsk, Refused, Replied, Reply, RequestBody};
use crate::shard::publication::{Audience, Ticket};
use std::rc::Rc;

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
        if self.is_blocked() || self.pushes.len() >= self.limits.pushes_in_flight_max {
            reply.set(Replied::Refused(Refused::Busy));
            return;
        }
        let ticket = self.next_ticket();
        let here = match ask {
            HttpAsk::Push { namespace, body } => self.push(namespace, &body, ticket),
            HttpAsk::Drop(target) => Some(self.shard.drop_user(target, ticket)),
        };
        match here {
            None => reply.set(Replied::Refused(Refused::Illegal)),
            Some(here) if self.is_alone() => reply.set(Replied::Total(u64::from(here))),
            Some(here) => {
                assert_eq!(self.post.ask(ticket.index), ticket);
                let deadline = self.now.after(self.limits.push_timeout);
                let pending = PendingPush {
                    reply: Some(reply),
                    here,
                    deadline,
                };
                let index = self.pushes.insert(pending);
                assert_eq!(index, ticket.index as usize);
                self.pushes_order.push_back((deadline, ticket.index));
            }
        }
    }

    /// Publishes what a request's body asks for; `None` if it is not a push.
    fn push(&mut self, namespace: u16, body: &RequestBody, ticket: Ticket) -> Option<u32> {
        let push = wserver::read_push(body.as_slice(), &mut self.scratch)?;
        let audience = Audience::User {
            namespace,
            name: push.user.as_bytes(),
            event: push.event.as_bytes(),
        };
        Some(
            self.shard
                .publish(audience, push.message.as_bytes(), ticket),
        )
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
            reply.set(Replied::Total(u64::from(pending.here) + total));
        }
    }

    /// Answers requests whose time is up. What other shards still answer is awaited all the same,
    /// so that no answer is ever taken for that of a later question.
    pub(super) fn time_out_pushes(&mut self) {
        while let Some(&(deadline, index)) = self.pushes_order.front() {
            if deadline > self.now {
                break;
            }
            self.pushes_order.pop_front();
            let pending = self.pushes.get_mut(index as usize);
            let is_same = |pending: &&mut PendingPush| pending.deadline == deadline;
            if let Some(reply) = pending.filter(is_same).and_then(|it| it.reply.take()) {
                reply.set(Replied::Refused(Refused::TimedOut));
            }
        }
    }

    /// Drops the deadlines of questions that have been answered, as far as they come first.
    fn forget_completed(&mut self) {
        while let Some(&(deadline, index)) = self.pushes_order.front() {
            let pending = self.pushes.get(index as usize);
            if pending.is_some_and(|pending| pending.deadline == deadline) {
                break;
            }
            self.pushes_order.pop_front();
        }
    }
}
