//! What a session's client may do with channels by itself, as the channels' rules say.
//!
//! A handler that asks for it does so in the client's name; what it does in its own is not asked
//! about (`commands`).

use super::Host;
use crate::handler::{HandleError, Permission, ReplyTo};
use crate::shard::Joined;
use crate::vocabulary::content::{Denial, Message};
use crate::vocabulary::id::SessionId;
use crate::vocabulary::metrics::Rejected;
use crate::vocabulary::publication::Audience;
use std::rc::Rc;

impl Host {
    /// Puts a session on a channel if the channel's rule lets its client.
    pub(crate) fn join_as_client(
        &mut self,
        session: SessionId,
        channel: Box<str>,
        reply: ReplyTo<()>,
    ) {
        let Some(state) = self.state_of(session) else {
            reply.answer(Err(HandleError::NoSession));
            return;
        };
        let route = &self.settings.routes[state.route.index()];
        let program = Rc::clone(&self.program);
        let joined = match program.may_join(&self.settings, route, &channel) {
            Permission::Granted => self.join_client(session, &channel),
            Permission::Denied(denial) => Err(HandleError::Denied(denial)),
            Permission::Judged(validator) => {
                self.judge(&state, validator, channel, move |host, allowed, channel| {
                    let joined = if allowed {
                        host.join_client(session, &channel)
                    } else {
                        Err(HandleError::Denied(Denial::NotAuthorized))
                    };
                    reply.answer(host.noted(session, Rejected::Join, joined));
                });
                return;
            }
        };
        reply.answer(self.noted(session, Rejected::Join, joined));
    }

    /// Counts what the gateway's rules were against.
    fn noted(
        &mut self,
        session: SessionId,
        rejected: Rejected,
        result: Result<(), HandleError>,
    ) -> Result<(), HandleError> {
        if let Err(HandleError::Denied(denial)) = result {
            self.reject(session, rejected, denial.label());
            if let Some(state) = self.state_of(session) {
                state.denials.set(state.denials.get() + 1);
            }
        }
        result
    }

    fn join_client(&mut self, session: SessionId, channel: &str) -> Result<(), HandleError> {
        match self.shard.join(session.connection(), channel) {
            Joined::Now => Ok(()),
            Joined::Before => Err(HandleError::Denied(Denial::AlreadyJoined)),
            Joined::TooManyChannels => Err(HandleError::Denied(Denial::TooManyChannels)),
            Joined::NoRoom(no_room) => Err(HandleError::Denied(no_room.denial())),
            Joined::Refused => Err(HandleError::NoSession),
        }
    }

    /// Publishes to a channel that a session is on, if the channel's rule lets its client.
    pub(crate) fn publish_as_client(
        &mut self,
        session: SessionId,
        channel: Box<str>,
        mut message: Message,
        to_others: bool,
        reply: ReplyTo<()>,
    ) {
        let Some(state) = self.state_of(session) else {
            reply.answer(Err(HandleError::NoSession));
            return;
        };
        let id = session.connection();
        let route = &self.settings.routes[state.route.index()];
        let namespace = route.namespace;
        if let Err(why) = state.route.check_event(&message.event) {
            let refused = Err(HandleError::BadEvent(why));
            reply.answer(self.noted(session, Rejected::Publish, refused));
            return;
        }
        if message.from.is_empty() {
            message.from = self.shard.name_of(id).unwrap_or_default().into();
        }
        let publish = move |host: &mut Self, channel: &str| {
            // It may have left, or ended, while it was judged.
            if !host.shard.is_on_channel(id, channel) {
                return Err(HandleError::Denied(Denial::NotJoined));
            }
            let except = [session];
            let audience = Audience::Channel {
                namespace,
                name: channel.as_bytes(),
                except: if to_others { &except } else { &[] },
            };
            host.shard.publish(audience, &message.borrow(), None);
            host.notice_ends();
            Ok(())
        };
        let permission = if self.shard.is_on_channel(id, &channel) {
            self.program.may_publish(namespace, &channel)
        } else {
            Permission::Denied(Denial::NotJoined)
        };
        let published = match permission {
            Permission::Granted => publish(self, &channel),
            Permission::Denied(denial) => Err(HandleError::Denied(denial)),
            Permission::Judged(validator) => {
                self.judge(&state, validator, channel, move |host, allowed, channel| {
                    let published = if allowed {
                        publish(host, &channel)
                    } else {
                        Err(HandleError::Denied(Denial::NotAuthorized))
                    };
                    reply.answer(host.noted(session, Rejected::Publish, published));
                });
                return;
            }
        };
        reply.answer(self.noted(session, Rejected::Publish, published));
    }
}
