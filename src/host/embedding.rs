//! What handles have a host do, in the order in which they asked.

use super::pushes::TotalTo;
use super::{Host, WaitingUpgrade};
use crate::handler::{HandleError, MemberCount, SessionInfo};
use crate::http::{Refused, Replied, Reply};
use crate::shard::message::{DropTarget, Ticket};
use crate::shard::{Joined, Verdict};
use crate::vocabulary::content::Message;
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::public_id::PublicId;
use crate::vocabulary::publication::OwnedAudience;
use crate::vocabulary::time::Tick;
use std::any::{Any, TypeId};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Whoever waits for what comes of a command, if they still do.
#[derive(Debug)]
pub(crate) struct ReplyTo<T>(pub(crate) oneshot::Sender<Result<T, HandleError>>);

impl<T> ReplyTo<T> {
    pub(crate) fn answer(self, result: Result<T, HandleError>) {
        drop(self.0.send(result)); // nobody need wait for it
    }

    fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

impl Host {
    /// Does what handles want, as long as there is room for what comes of it; returns how much it
    /// was.
    pub(super) fn do_commands(&mut self) -> usize {
        let mut count = 0;
        while count < COMMANDS_PER_LOOK_MAX && !self.is_blocked() {
            let Some(command) = self.post.exchange().next_command(self.id) else {
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

    pub(crate) fn find(&self, session: PublicId) -> Option<SessionId> {
        let id = self.shard.find(session)?;
        Some(SessionId::new(self.id, id))
    }

    pub(crate) fn publish(
        &mut self,
        audience: &OwnedAudience,
        message: &Message,
        reply: ReplyTo<u64>,
    ) {
        let mut is_answered_here = !reply.is_awaited();
        if let OwnedAudience::Session(session) = audience {
            is_answered_here = true;
            let route = self.shard.route_of(session.connection());
            let route = route.map(|route| &self.settings.routes[usize::from(route)]);
            let said = route.map_or(Ok(()), |route| route.dialect.check_event(&message.event));
            if let Err(why) = said {
                reply.answer(Err(HandleError::BadEvent(why)));
                return;
            }
        }
        if is_answered_here {
            let reached = self
                .shard
                .publish(audience.borrow(), &message.borrow(), None);
            self.notice_ends();
            reply.answer(Ok(u64::from(reached)));
            return;
        }
        self.await_total(TotalTo::Handle(reply), |host, ticket| {
            host.shard
                .publish(audience.borrow(), &message.borrow(), Some(ticket))
        });
    }

    pub(crate) fn drop_user(&mut self, target: DropTarget, reply: ReplyTo<u64>) {
        self.await_total(TotalTo::Handle(reply), |host, ticket: Ticket| {
            host.shard.drop_user(target, Some(ticket))
        });
    }

    pub(crate) fn join(&mut self, session: SessionId, channel: &str) -> Joined {
        self.shard.join(session.connection(), channel)
    }

    pub(crate) fn leave(&mut self, session: SessionId, channel: &str) -> bool {
        self.shard.leave_channel(session.connection(), channel)
    }

    pub(crate) fn close(&mut self, session: SessionId, code: u16, reason: &str) {
        self.shard.close_session(session.connection(), code, reason);
        self.notice_ends();
    }

    /// A session of a route of the config; `None` if it is gone, or shown the traffic of others.
    pub(crate) fn session_info(&self, session: SessionId) -> Option<SessionInfo> {
        self.info_of(session.connection())
    }

    pub(crate) fn sessions_of_route(&self, route: u16) -> Vec<SessionInfo> {
        let all = self.shard.sessions_of_route(route);
        all.filter_map(|id| self.info_of(id)).collect()
    }

    pub(crate) fn members(&self, namespace: u16, channel: &str) -> Vec<SessionInfo> {
        let all = self.shard.members(namespace, channel.as_bytes());
        all.filter_map(|id| self.info_of(id)).collect()
    }

    pub(crate) fn channels(&self, namespace: u16) -> Vec<MemberCount> {
        let all = self.shard.channels(namespace);
        all.map(|(name, count)| MemberCount::new(name, count))
            .collect()
    }

    pub(crate) fn users(&self, namespace: u16) -> Vec<MemberCount> {
        let all = self.shard.users(namespace);
        all.map(|(name, count)| MemberCount::new(name, count))
            .collect()
    }

    /// The values of this type that sessions of a route share.
    pub(crate) fn shared_values(
        &self,
        route: u16,
        of_type: TypeId,
    ) -> Vec<(PublicId, Arc<dyn Any + Send + Sync>)> {
        let all = self.sessions.iter().flatten();
        all.filter(|state| state.route.index() == usize::from(route))
            .filter_map(|state| Some((state.public_id, state.values.shared_by_type(of_type)?)))
            .collect()
    }

    pub(super) fn info_of(&self, id: ConnectionId) -> Option<SessionInfo> {
        let route = usize::from(self.shard.route_of(id)?);
        let route = self.handle.routes().get(route)?;
        let statistics = self.shard.statistics(id)?;
        let opened_ms = statistics.opened.begins_at_ms();
        let state = self.state_of(SessionId::new(self.id, id));
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
            statistics,
            opened_unix_ms: self.settings.started_unix_ms + opened_ms,
        })
    }

    /// A request wants its connection to be an exclusive user's session.
    pub(super) fn claim(&mut self, claim: Claim, reply: &Rc<Reply>) {
        let Claim {
            id,
            namespace,
            user,
            yields,
        } = claim;
        self.wait_for_upgrade(id, reply);
        // The user's session may have ended on another shard, as the client knows already: where
        // this is the home, that is heard first.
        self.handle_messages();
        self.shard.claim(id, namespace, &user, yields);
        self.hear_verdicts();
        self.notice_ends();
    }

    /// A request waits for something that decides about its upgrade, for as long as a handshake
    /// may take.
    pub(super) fn wait_for_upgrade(&mut self, id: ConnectionId, reply: &Rc<Reply>) {
        let waiting = WaitingUpgrade {
            id,
            reply: Rc::clone(reply),
            since: self.now,
        };
        let before = self.upgrades.insert(id.slot(), waiting);
        assert!(before.is_none(), "a request waits for one thing at a time");
    }

    /// A request need not wait any more; `false` if it has stopped before.
    pub(super) fn stop_waiting(&mut self, id: ConnectionId, reply: &Rc<Reply>) -> bool {
        let waiting = self.upgrades.get(&id.slot());
        let waits = waiting.is_some_and(|waiting| Rc::ptr_eq(&waiting.reply, reply));
        waits && self.upgrades.remove(&id.slot()).is_some()
    }

    /// Tells requests what was decided about them.
    pub(super) fn hear_verdicts(&mut self) {
        while let Some(Verdict { connection, ruling }) = self.shard.poll_verdict() {
            let slot = connection.slot();
            let waiting = self.upgrades.get(&slot).map(|waiting| waiting.id);
            // The connection may have closed since, and another may wait in its slot.
            if waiting == Some(connection)
                && let Some(waiting) = self.upgrades.remove(&slot)
            {
                waiting.reply.set(Replied::Ruling(ruling));
            }
        }
    }

    /// Answers requests that have waited for too long.
    pub(super) fn time_out_upgrades(&mut self, until: Tick) {
        loop {
            let is_due = |it: &&WaitingUpgrade| self.upgrade_due(it.since) <= until;
            let Some(id) = self.upgrades.values().find(is_due).map(|it| it.id) else {
                return;
            };
            let waiting = self.upgrades.remove(&id.slot()).expect("just seen");
            self.shard.give_up_claim(id);
            waiting.reply.set(Replied::Refused(Refused::TimedOut));
        }
    }

    /// When a request that has waited `since` then is not waited for any longer.
    pub(super) fn upgrade_due(&self, since: Tick) -> Tick {
        since
            .max(self.resumed_at)
            .after(self.settings.handshake_timeout)
    }
}

/// A wish to be an exclusive user's session.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: ConnectionId,
    pub(crate) namespace: u16,
    pub(crate) user: Box<str>,
    pub(crate) yields: bool,
}

/// Commands done before the kernel is looked at again.
const COMMANDS_PER_LOOK_MAX: usize = 1024;
