//! Joins and publications in a client's name: by handlers, and by intents whose channel has a
//! validator.
//!
//! A handler's operations in a client's name need that client's permission; its own do not.

use super::Host;
use crate::handler::{HandleError, ReplyTo, SessionState};
use crate::shard::{ClientError, HostResponse, OwnedPublish};
use crate::vocabulary::content::{Correlation, Reply};
use crate::vocabulary::id::SessionId;
use std::rc::Rc;

impl Host {
    /// Asks the validator of a channel whether a session may join, and responds to the shard.
    pub(super) fn authorize_join(
        &mut self,
        session: SessionId,
        namespace: u16,
        correlation: Correlation,
    ) {
        let validator = self
            .registry
            .join_validator(namespace, &correlation.channel);
        let (Some(validator), Some(state)) = (validator, self.state_of(session)) else {
            let response = HostResponse::Join {
                allowed: None,
                correlation,
            };
            self.shard.handle_host_response(session, &response);
            return;
        };
        let subject = (correlation.channel.clone(), correlation.id.len());
        self.authorize(&state, validator, subject, move |host, allowed| {
            let response = HostResponse::Join {
                allowed,
                correlation,
            };
            host.respond(session, &response);
        });
    }

    /// Asks the validator of a channel whether a session may publish, and responds to the shard.
    pub(super) fn authorize_publish(
        &mut self,
        session: SessionId,
        namespace: u16,
        publish: Box<OwnedPublish>,
        correlation: Correlation,
    ) {
        let channel = &correlation.channel;
        let validator = self.registry.publish_validator(namespace, channel);
        let (Some(validator), Some(state)) = (validator, self.state_of(session)) else {
            let response = HostResponse::Publish {
                allowed: false,
                publish,
                correlation,
            };
            self.shard.handle_host_response(session, &response);
            return;
        };
        let message = &publish.message;
        let bytes = correlation.id.len() + message.event.len() + message.data.bytes_count();
        let subject = (channel.clone(), bytes);
        self.authorize(&state, validator, subject, move |host, allowed| {
            let response = HostResponse::Publish {
                allowed: allowed.is_some(),
                publish,
                correlation,
            };
            host.respond(session, &response);
            host.process_ended_sessions();
        });
    }

    /// Joins a session to a channel for a handler, at once or when the channel's validator allows
    /// it.
    pub(super) fn join_client(
        &mut self,
        state: &Rc<SessionState>,
        channel: Box<str>,
        reply: ReplyTo<Reply>,
    ) {
        let id = state.session.connection();
        let joined = self.shard.join_as_client(id, &channel, None);
        if joined != Err(ClientError::AskHost) {
            let result = self.client_result(state.session, joined);
            reply.send(result.map(|()| Reply::default()));
            return;
        }
        let namespace = self.settings.routes[state.route.index()].namespace;
        let validator = self.registry.join_validator(namespace, &channel);
        let session = state.session;
        let finish = move |host: &mut Self, allowed: Option<Reply>, channel: &str| {
            let is_allowed = allowed.is_some();
            let joined = host.shard.join_as_client(id, channel, Some(is_allowed));
            let result = host.client_result(session, joined);
            reply.send(result.map(|()| allowed.unwrap_or_default()));
        };
        match validator {
            Some(validator) => {
                let subject = (channel.clone(), 0);
                self.authorize(state, validator, subject, move |host, allowed| {
                    finish(host, allowed, &channel);
                });
            }
            None => finish(self, None, &channel),
        }
    }

    /// Publishes to a channel for a session's client and a handler, at once or when the channel's
    /// validator allows it.
    pub(super) fn publish_for_client(
        &mut self,
        state: &Rc<SessionState>,
        channel: Box<str>,
        publish: Box<OwnedPublish>,
        reply: ReplyTo<()>,
    ) {
        let session = state.session;
        let published = self.try_publish(session, &channel, &publish, None);
        if published != Err(ClientError::AskHost) {
            reply.send(self.client_result(session, published));
            return;
        }
        let namespace = self.settings.routes[state.route.index()].namespace;
        let validator = self.registry.publish_validator(namespace, &channel);
        let finish = move |host: &mut Self, is_allowed: bool, channel: &str| {
            let published = host.try_publish(session, channel, &publish, Some(is_allowed));
            reply.send(host.client_result(session, published));
        };
        match validator {
            Some(validator) => {
                let subject = (channel.clone(), 0);
                self.authorize(state, validator, subject, move |host, allowed| {
                    finish(host, allowed.is_some(), &channel);
                });
            }
            None => finish(self, false, &channel),
        }
    }

    fn try_publish(
        &mut self,
        session: SessionId,
        channel: &str,
        publish: &OwnedPublish,
        allowed: Option<bool>,
    ) -> Result<(), ClientError> {
        let (id, content) = (session.connection(), publish.message.borrow());
        let to_others = publish.to_others;
        let published = self
            .shard
            .publish_as_client(id, channel, &content, to_others, allowed);
        self.process_ended_sessions();
        published
    }

    /// Returns the result of an operation for its handler. A denial was counted, so the outcome of
    /// the handler's call is not counted again.
    fn client_result(
        &self,
        session: SessionId,
        result: Result<(), ClientError>,
    ) -> Result<(), HandleError> {
        match result {
            Ok(()) => Ok(()),
            Err(ClientError::BadEvent(why)) => Err(HandleError::BadEvent(why)),
            Err(ClientError::Denied(_)) if !self.shard.is_open(session.connection()) => {
                Err(HandleError::NoSession)
            }
            Err(ClientError::Denied(denial)) => {
                if let Some(state) = self.state_of(session) {
                    state.denials.set(state.denials.get() + 1);
                }
                Err(HandleError::Denied(denial))
            }
            Err(ClientError::AskHost) => unreachable!("the host has decided"),
        }
    }
}
