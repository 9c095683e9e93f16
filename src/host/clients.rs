//! Joins and publications in a client's name: by handlers, and by intents whose channel has a
//! validator.
//!
//! A handler's operations in a client's name need that client's permission; its own do not.

use super::Host;
use crate::handler::{ClientAction, HandleError, Pass, ReplyTo, SessionState};
use crate::shard::{ClientError, HostResponse, Location, OwnedPublish};
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
        let subject = (correlation.channel.clone(), correlation.bytes_count());
        self.authorize(&state, validator, subject, move |host, allowed| {
            let response = HostResponse::Join {
                allowed,
                correlation,
            };
            host.finish(session, response);
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
        let bytes = correlation.bytes_count() + publish.bytes_count();
        let subject = (channel.clone(), bytes);
        self.authorize(&state, validator, subject, move |host, allowed| {
            let response = HostResponse::Publish {
                allowed: allowed.is_some(),
                publish,
                correlation,
            };
            host.finish(session, response);
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
        let session = state.session;
        let joined = self.try_join(session, &channel, None);
        if joined != Err(ClientError::AskHost) {
            let result = self.client_result(session, joined);
            reply.send(result.map(|()| Reply::default()));
            return;
        }
        let namespace = self.settings.routes[state.route.index()].namespace;
        let validator = self.registry.join_validator(namespace, &channel);
        let action = move |allowed, channel| ClientAction::Join {
            channel,
            allowed,
            reply,
        };
        match validator {
            Some(validator) => {
                let subject = (channel.clone(), 0);
                self.authorize(state, validator, subject, move |host, allowed| {
                    host.end_client_action(session, action(allowed, channel), Pass::First);
                });
            }
            None => self.end_client_action(session, action(None, channel), Pass::First),
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
        let bytes = publish.bytes_count();
        let action = move |is_allowed, channel| ClientAction::Publish {
            channel,
            publish,
            is_allowed,
            reply,
        };
        match validator {
            Some(validator) => {
                let subject = (channel.clone(), bytes);
                self.authorize(state, validator, subject, move |host, allowed| {
                    let action = action(allowed.is_some(), channel);
                    host.end_client_action(session, action, Pass::First);
                });
            }
            None => self.end_client_action(session, action(false, channel), Pass::First),
        }
    }

    /// Ends an action on which its channel's rule has decided, on the shard of its session.
    pub(super) fn end_client_action(
        &mut self,
        session: SessionId,
        action: ClientAction,
        pass: Pass,
    ) {
        if let Some(Location::There(to)) = self.shard.locate(session)
            && pass == Pass::First
        {
            let pass = Pass::by(self.id, session);
            self.pass_on(
                to,
                Box::new(move |shard| shard.end_action(session, action, pass)),
            );
            return;
        }
        match action {
            ClientAction::Join {
                channel,
                allowed,
                reply,
            } => {
                let joined = self.try_join(session, &channel, Some(allowed.is_some()));
                let result = self.client_result(session, joined);
                reply.send(result.map(|()| allowed.unwrap_or_default()));
            }
            ClientAction::Publish {
                channel,
                publish,
                is_allowed,
                reply,
            } => {
                let published = self.try_publish(session, &channel, &publish, Some(is_allowed));
                reply.send(self.client_result(session, published));
            }
        }
    }

    fn try_join(
        &mut self,
        session: SessionId,
        channel: &str,
        allowed: Option<bool>,
    ) -> Result<(), ClientError> {
        match self.shard.find_session(session) {
            Some(id) => self.shard.join_as_client(id, channel, allowed),
            None => Err(ClientError::NotOpen),
        }
    }

    fn try_publish(
        &mut self,
        session: SessionId,
        channel: &str,
        publish: &OwnedPublish,
        allowed: Option<bool>,
    ) -> Result<(), ClientError> {
        let Some(id) = self.shard.find_session(session) else {
            return Err(ClientError::NotOpen);
        };
        let (content, to_others) = (publish.message.borrow(), publish.to_others);
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
            Err(ClientError::NotOpen) => Err(HandleError::NoSession),
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
