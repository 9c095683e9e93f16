//! What a page of a list takes from one shard: in order, and no more than the page has room for.

use super::Host;
use super::embedding::ReplyTo;
use super::pushes::{Sum, TotalTo};
use crate::handler::{HandleError, SessionInfo};
use crate::shard::message::DropTarget;
use crate::vocabulary::content::Message;
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::publication::OwnedAudience;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::rc::Rc;

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

impl Host {
    pub(crate) fn shard_id(&self) -> ShardId {
        self.id
    }

    /// Shows the sessions of a list in this slot and the later ones, in slot order, until enough
    /// were shown, which is after `count` at the latest.
    pub(crate) fn each_session(
        &self,
        of: &SessionsOf,
        slot: u32,
        count: usize,
        mut show: impl FnMut(SessionInfo) -> ControlFlow<()>,
    ) {
        let mut show_all = |ids: &mut dyn Iterator<Item = ConnectionId>| {
            let mut infos = ids.filter_map(|id| self.info_of(id)).take(count);
            infos.try_for_each(&mut show)
        };
        let shown = match of {
            SessionsOf::Routes(routes) => {
                let is_of = |&id: &ConnectionId| {
                    let route = self.shard.route_of(id);
                    route.is_some_and(|route| routes.contains(&route))
                };
                show_all(&mut self.shard.sessions_from(slot).filter(is_of))
            }
            SessionsOf::Channel(namespaces, name) => {
                let members = namespaces
                    .iter()
                    .flat_map(|&namespace| self.shard.members(namespace, name.as_bytes()));
                let later = members.filter(|id| id.slot() >= slot);
                // Names that compare as their slots do, since no two of them are in one slot.
                let later = later.map(|id| (id.slot(), id));
                show_all(&mut smallest(later, count).into_iter().map(|(_, id)| id))
            }
        };
        match shown {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => {}
        }
    }

    /// Shows every name of a list in one namespace, with how many sessions of this shard are there.
    pub(crate) fn each_name(
        &self,
        of: NamesOf,
        namespace: u16,
        mut show: impl FnMut(&[u8], usize),
    ) {
        match of {
            NamesOf::Channels => {
                let all = self.shard.channels(namespace);
                all.for_each(|(name, count)| show(name, count));
            }
            NamesOf::Users => {
                let all = self.shard.users(namespace);
                all.for_each(|(name, count)| show(name, count));
            }
        }
    }

    /// Publishes to each of these audiences, and tells the total of all; or to none of them.
    pub(crate) fn publish_to_each(
        &mut self,
        audiences: &[OwnedAudience],
        message: &Message,
        reply: ReplyTo<u64>,
    ) {
        let Some(sum) = self.begin_sum(audiences.len(), reply) else {
            return;
        };
        for audience in audiences {
            self.await_total(TotalTo::Sum(Rc::clone(&sum)), |host, ticket| {
                host.shard
                    .publish(audience.borrow(), &message.borrow(), Some(ticket))
            });
        }
    }

    /// Ends the sessions of each of these users, and tells the total of all; or of none of them.
    pub(crate) fn drop_each(&mut self, targets: Vec<DropTarget>, reply: ReplyTo<u64>) {
        let Some(sum) = self.begin_sum(targets.len(), reply) else {
            return;
        };
        for target in targets {
            self.await_total(TotalTo::Sum(Rc::clone(&sum)), |host, ticket| {
                host.shard.drop_user(target, Some(ticket))
            });
        }
    }

    /// A sum of so many totals; `None`, and whoever waits hears so, if there is no room for them.
    fn begin_sum(&self, count: usize, reply: ReplyTo<u64>) -> Option<Rc<Sum>> {
        if count == 0 {
            reply.answer(Ok(0));
            None
        } else if self.has_room_for_totals(count) {
            Some(Rc::new(Sum::new(count, reply)))
        } else {
            reply.answer(Err(HandleError::Busy));
            None
        }
    }
}

/// The `count` smallest of these, in order; never holds more than one more.
fn smallest<T: Ord>(all: impl Iterator<Item = T>, count: usize) -> Vec<T> {
    let mut kept: BinaryHeap<T> = BinaryHeap::new();
    for one in all {
        if kept.len() < count {
            kept.push(one);
        } else if let Some(mut largest) = kept.peek_mut()
            && one < *largest
        {
            *largest = one;
        }
    }
    kept.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;

    #[test]
    fn the_smallest_are_those_that_sorting_puts_first() {
        let mut prng = Prng::from_seed(1);
        for _ in 0..100 {
            let all: Vec<u32> = (0..prng.below(50)).map(|_| prng.range(0, 40)).collect();
            let count = prng.range(0, 60) as usize;
            let mut sorted = all.clone();
            sorted.sort_unstable();
            sorted.truncate(count);
            assert_eq!(smallest(all.into_iter(), count), sorted);
        }
    }
}
