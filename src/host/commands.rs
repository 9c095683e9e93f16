//! The commands of handles, run by the host in the order in which they were issued.

use super::Host;
use super::pushes::{TotalReceiver, TotalSum};
use crate::handler::{
    ClientAction, Command, HandleError, NameCounts, NamesOf, Pass, ReplyTo, SessionInfo,
    SessionResponse, SessionsOf, ShardCommands, SharedValue,
};
use crate::shard::message::DropTarget;
use crate::shard::{JoinResult, Location, OwnedPublish};
use crate::vocabulary::content::{Message, Reply};
use crate::vocabulary::id::{ConnectionId, SessionId, ShardId};
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::OwnedAudience;
use std::any::TypeId;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::rc::Rc;

impl ShardCommands for Host {
    fn locate(&self, session: PublicId) -> Option<(SessionId, Location)> {
        self.shard.locate_public(session)
    }

    fn forward(&mut self, to: ShardId, command: Command) {
        self.pass_on(to, command);
    }

    fn handle_sent_before(&mut self) {
        self.handle_messages_so_far();
    }

    fn respond_here(&mut self, session: SessionId, response: SessionResponse, pass: Pass) {
        self.respond(session, response, pass);
        self.resume_session(session);
    }

    fn end_action(&mut self, session: SessionId, action: ClientAction, pass: Pass) {
        self.end_client_action(session, action, pass);
    }

    fn publish(&mut self, audience: &OwnedAudience, message: &Message, reply: ReplyTo<u64>) {
        let mut is_counted_here = !reply.is_awaited();
        if let OwnedAudience::Session(session) = audience {
            is_counted_here = true;
            let id = self.shard.find_session(*session);
            let route = id.and_then(|id| self.shard.route_of(id));
            let route = route.map(|route| &self.settings.routes[usize::from(route)]);
            let checked = route.map_or(Ok(()), |route| route.dialect.check_event(&message.event));
            if let Err(why) = checked {
                reply.send(Err(HandleError::BadEvent(why)));
                return;
            }
        }
        if is_counted_here {
            let reached = self
                .shard
                .publish(audience.borrow(), &message.borrow(), None);
            self.process_ended_sessions();
            reply.send(Ok(u64::from(reached)));
            return;
        }
        self.await_total(TotalReceiver::Handle(reply), |host, count_request| {
            host.shard
                .publish(audience.borrow(), &message.borrow(), Some(count_request))
        });
    }

    fn join(&mut self, session: SessionId, channel: &str) -> JoinResult {
        match self.shard.find_session(session) {
            Some(id) => self.shard.join(id, channel),
            None => JoinResult::Invalid,
        }
    }

    fn leave(&mut self, session: SessionId, channel: &str) -> bool {
        let id = self.shard.find_session(session);
        id.is_some_and(|id| self.shard.leave_channel(id, channel))
    }

    fn close(&mut self, session: SessionId, code: u16, reason: &str) {
        if let Some(id) = self.shard.find_session(session) {
            self.shard.close_session_with(id, code, reason);
        }
        self.process_ended_sessions();
    }

    fn session_info(&self, session: SessionId) -> Option<SessionInfo> {
        self.info_of(self.shard.find_session(session)?)
    }

    fn shared_values(&self, route: u16, of_type: TypeId) -> Vec<(PublicId, SharedValue)> {
        let all = self.sessions.iter().flatten();
        all.filter(|state| state.route.index() == usize::from(route))
            .filter_map(|state| Some((state.public_id, state.values.shared_by_type(of_type)?)))
            .collect()
    }

    fn shard_id(&self) -> ShardId {
        self.id
    }

    fn each_session(
        &self,
        of: &SessionsOf,
        slot: u32,
        count: usize,
        show: &mut dyn FnMut(SessionInfo) -> ControlFlow<()>,
    ) {
        let mut show_all = |ids: &mut dyn Iterator<Item = ConnectionId>| {
            let mut infos = ids.filter_map(|id| self.info_of(id)).take(count);
            infos.try_for_each(&mut *show)
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
                // Pairs that compare as their slots: no two sessions share a slot.
                let mut later = later.map(|id| (id.slot(), id));
                if count == usize::MAX {
                    show_all(&mut later.map(|(_, id)| id))
                } else {
                    show_all(&mut smallest(&mut later, count).into_iter().map(|(_, id)| id))
                }
            }
        };
        match shown {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => {}
        }
    }

    fn each_name(&self, of: NamesOf, namespace: u16, show: &mut dyn FnMut(&[u8], NameCounts)) {
        match of {
            NamesOf::Channels => self.shard.channels(namespace).for_each(|channel| {
                let counts = NameCounts {
                    sessions: channel.members,
                    dropped: channel.dropped.into(),
                };
                show(channel.name, counts);
            }),
            NamesOf::Users => self.shard.users(namespace).for_each(|(name, sessions)| {
                let counts = NameCounts {
                    sessions,
                    dropped: 0,
                };
                show(name, counts);
            }),
        }
    }

    fn publish_to_each(
        &mut self,
        audiences: &[OwnedAudience],
        message: &Message,
        reply: ReplyTo<u64>,
    ) {
        let Some(sum) = self.begin_sum(audiences.len(), reply) else {
            return;
        };
        for audience in audiences {
            self.await_total(
                TotalReceiver::TotalSum(Rc::clone(&sum)),
                |host, count_request| {
                    host.shard
                        .publish(audience.borrow(), &message.borrow(), Some(count_request))
                },
            );
        }
    }

    fn drop_each(&mut self, targets: Vec<DropTarget>, reply: ReplyTo<u64>) {
        let Some(sum) = self.begin_sum(targets.len(), reply) else {
            return;
        };
        for target in targets {
            self.await_total(
                TotalReceiver::TotalSum(Rc::clone(&sum)),
                |host, count_request| host.shard.drop_user(target, Some(count_request)),
            );
        }
    }

    fn rejects_commands(&self) -> bool {
        self.is_stopping && self.commands_before_stop == 0
    }

    fn run_next_completion(&mut self) {
        self.tasks_count -= 1;
        let then = self.done.borrow_mut().pop_front();
        then.expect("one for each command")(self);
    }

    fn all_counters(&self) -> Counters {
        self.all_counters()
    }

    fn sessions_count(&self) -> usize {
        self.sessions_count()
    }

    fn join_as_client(&mut self, session: SessionId, channel: Box<str>, reply: ReplyTo<Reply>) {
        match self.state_of(session) {
            Some(state) => self.join_client(&state, channel, reply),
            None => reply.send(Err(HandleError::NoSession)),
        }
    }

    fn publish_as_client(
        &mut self,
        session: SessionId,
        channel: Box<str>,
        message: Message,
        to_others: bool,
        reply: ReplyTo<()>,
    ) {
        match self.state_of(session) {
            Some(state) => {
                let publish = Box::new(OwnedPublish { message, to_others });
                self.publish_for_client(&state, channel, publish, reply);
            }
            None => reply.send(Err(HandleError::NoSession)),
        }
    }
}

impl Host {
    /// Runs queued commands while other shards' mailboxes have room; returns the number of
    /// commands, at most [`COMMANDS_PER_PASS_MAX`].
    pub(super) fn do_commands(&mut self) -> usize {
        let mut count = 0;
        while count < COMMANDS_PER_PASS_MAX && !self.is_blocked() {
            let Some(command) = self.handle.commands().take(self.id) else {
                break;
            };
            command(self);
            self.commands_before_stop = self.commands_before_stop.saturating_sub(1);
            self.post_messages();
            self.tasks_ready = true;
            count += 1;
        }
        count
    }

    /// Returns what handles report about a session; `None` if it is not a session.
    pub(super) fn info_of(&self, id: ConnectionId) -> Option<SessionInfo> {
        let route = usize::from(self.shard.route_of(id)?);
        let route = self.handle.routes().get(route)?;
        let statistics = self.shard.statistics(id)?;
        let opened_ms = statistics.opened.begins_at_ms();
        let state = self.state_of(self.shard.session_id(id));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(SessionInfo {
            id: self.shard.public_id(id)?,
            path: route.path.clone(),
            number: state.as_ref().map_or(0, |state| state.number),
            users: self
                .shard
                .users_of(id)
                .map(|(user, _)| text(user))
                .collect(),
            name: state.map_or_else(String::new, |state| state.profile.name.clone()),
            channels: self.shard.channels_of(id).map(text).collect(),
            dropped: self
                .shard
                .dropped_of(id)
                .map(|(channel, count)| (text(channel), count))
                .collect(),
            statistics,
            opened_unix_ms: self.settings.started_unix_ms + opened_ms,
        })
    }

    /// Creates a sum of `count` totals. Returns `None` after replying: 0 if `count` is 0,
    /// [`HandleError::Busy`] if there is no room for them.
    fn begin_sum(&self, count: usize, reply: ReplyTo<u64>) -> Option<Rc<TotalSum>> {
        if count == 0 {
            reply.send(Ok(0));
            None
        } else if self.has_room_for_totals(count) {
            Some(Rc::new(TotalSum::new(count, reply)))
        } else {
            reply.send(Err(HandleError::Busy));
            None
        }
    }
}

/// Commands run before the kernel is entered again.
const COMMANDS_PER_PASS_MAX: usize = 1024;

/// Returns the `count` smallest items in order. Holds at most `count` items at a time.
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
    use campanile_tests::prng::Prng;

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
