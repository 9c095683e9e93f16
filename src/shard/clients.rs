//! Joins, leaves and publications in a client's name.
//!
//! Each has one function here, [`Shard::leave_channel`] for leaves. A client's intents end in it,
//! and so do the operations of handlers in the client's name. Where only the host can decide, it is
//! called again with the decision.

use super::connection::ConnectionFlags;
use super::core::Shard;
use super::host_request::{HostRequest, HostRequestKind, OwnedPublish};
use super::settings::AccessDecision;
use crate::dialect::{Publish, Request};
use crate::vocabulary::content::{Content, Correlation, Denial, Failure, Message, Outcome, Reply};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::RejectionKind;
use crate::vocabulary::publication::Audience;

/// The reason that a client's join or publication has not been done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientError {
    /// The host has to decide.
    AskHost,
    /// The session is not open. This is not counted.
    NotOpen,
    /// A rule or limit denies it.
    Denied(Denial),
    /// A dialect of the namespace cannot encode the event. The text is the reason.
    BadEvent(&'static str),
}

impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::AskHost => unreachable!("there is no outcome before the decision"),
            ClientError::NotOpen => unreachable!("only open sessions have intents"),
            ClientError::Denied(denial) => Self::Denied(denial),
            ClientError::BadEvent(why) => Self::Failed(Failure::error(why)),
        }
    }
}

impl Shard {
    /// Joins a session to a channel for its client. Denials are counted.
    ///
    /// Checks that the channel exists, then that the client may join it, then that it has not
    /// joined already (docs/dialects/easyws.md, "Commands and errors"). `allowed` is the decision
    /// of the host; `None` if it was not asked.
    ///
    /// # Errors
    ///
    /// [`ClientError::AskHost`] if `allowed` is needed, [`ClientError::NotOpen`], or the denial.
    pub fn join_as_client(
        &mut self,
        id: ConnectionId,
        channel: &str,
        allowed: Option<bool>,
    ) -> Result<(), ClientError> {
        if !self.is_open(id) {
            return Err(ClientError::NotOpen);
        }
        let decision = match (allowed, self.connections.get(id)) {
            (None, Some(connection)) => {
                let route = &self.settings.routes[usize::from(connection.route)];
                self.settings.may_join(route, channel)
            }
            (Some(true), _) => AccessDecision::Allowed,
            (Some(false) | None, _) => AccessDecision::Denied(Denial::NotAuthorized),
        };
        let denial = match decision {
            AccessDecision::AskHost => return Err(ClientError::AskHost),
            AccessDecision::Denied(denial) => Some(denial),
            AccessDecision::Allowed => self.join(id, channel).denial(),
        };
        self.deny(id, RejectionKind::Join, denial)
    }

    /// Publishes to a channel for its client. Denials are counted. If the content has no sender, it
    /// is the session's name. `to_others` excludes the session; `allowed` is the decision of the
    /// host, `None` if it was not asked.
    ///
    /// The session may have left the channel or closed while the host decided, so everything is
    /// checked again then.
    ///
    /// # Errors
    ///
    /// [`ClientError::AskHost`] if `allowed` is needed, [`ClientError::NotOpen`], the denial, or
    /// [`ClientError::BadEvent`].
    ///
    /// # Panics
    ///
    /// If there is no such session.
    pub fn publish_as_client(
        &mut self,
        id: ConnectionId,
        channel: &str,
        content: &Content<'_>,
        to_others: bool,
        allowed: Option<bool>,
    ) -> Result<(), ClientError> {
        if !self.is_open(id) {
            return Err(ClientError::NotOpen);
        }
        let namespace = self.namespace_of(id);
        let settings = &self.settings;
        let decision = if channel.is_empty() || channel.len() > settings.name_bytes_max {
            AccessDecision::Denied(Denial::NoChannelNamed)
        } else if let Err(why) = settings.check_event(namespace, content.event) {
            return Err(ClientError::BadEvent(why));
        } else if !self.is_on_channel(id, channel) {
            AccessDecision::Denied(Denial::NotJoined)
        } else {
            match allowed {
                None => settings.may_publish(namespace, channel),
                Some(true) => AccessDecision::Allowed,
                Some(false) => AccessDecision::Denied(Denial::NotAuthorized),
            }
        };
        let denial = match decision {
            AccessDecision::AskHost => return Err(ClientError::AskHost),
            AccessDecision::Denied(denial) => Some(denial),
            AccessDecision::Allowed => None,
        };
        self.deny(id, RejectionKind::Publish, denial)?;
        let name = if content.from.is_empty() {
            self.name_of(id)
        } else {
            None
        };
        let content = Content {
            from: name.as_deref().unwrap_or(content.from),
            ..*content
        };
        let except = [self.session_id(id)];
        let audience = Audience::Channel {
            namespace,
            name: channel.as_bytes(),
            except: if to_others { &except } else { &[] },
        };
        self.publish(audience, &content, None);
        Ok(())
    }

    /// Carries out a client's intent to join.
    pub(super) fn request_join(&mut self, id: ConnectionId, request: &Request<'_>) {
        let correlation = request.correlation();
        match self.join_as_client(id, request.channel, None) {
            Err(ClientError::AskHost) => self.ask_host(id, HostRequestKind::Join { correlation }),
            joined => self.finish_join(id, &correlation, joined, Reply::default()),
        }
    }

    /// Carries out a client's intent to leave.
    pub(super) fn request_leave(&mut self, id: ConnectionId, request: &Request<'_>) {
        let outcome = if self.leave_channel(id, request.channel) {
            Outcome::Left
        } else {
            self.reject(id, RejectionKind::Command, Denial::NotJoined.label());
            Outcome::Denied(Denial::NotJoined)
        };
        self.enqueue_outcome(id, &request.correlation(), &outcome);
    }

    /// Carries out a client's intent to publish.
    pub(super) fn request_publish(&mut self, id: ConnectionId, publish: &Publish<'_>) {
        let Publish {
            request,
            event,
            data,
            to_others,
        } = *publish;
        let correlation = request.correlation();
        let content = Content {
            event,
            data,
            ..Content::default()
        };
        match self.publish_as_client(id, request.channel, &content, to_others, None) {
            Err(ClientError::AskHost) => {
                let message = Message::copy(&content);
                let publish = Box::new(OwnedPublish { message, to_others });
                self.ask_host(
                    id,
                    HostRequestKind::Publish {
                        publish,
                        correlation,
                    },
                );
            }
            published => self.finish_publish(id, &correlation, published),
        }
    }

    /// Joins a session if the host allows it. `allowed` is the reply of its validator; `None` if
    /// the session may not join.
    pub(super) fn apply_join(
        &mut self,
        id: ConnectionId,
        allowed: Option<&Reply>,
        correlation: &Correlation,
    ) {
        let joined = self.join_as_client(id, &correlation.channel, Some(allowed.is_some()));
        let reply = allowed.cloned().unwrap_or_default();
        self.finish_join(id, correlation, joined, reply);
    }

    /// Publishes for a session if the host allows it.
    pub(super) fn apply_publish(
        &mut self,
        id: ConnectionId,
        allowed: bool,
        publish: &OwnedPublish,
        correlation: &Correlation,
    ) {
        let OwnedPublish { message, to_others } = publish;
        let (channel, content) = (&correlation.channel, message.borrow());
        let published = self.publish_as_client(id, channel, &content, *to_others, Some(allowed));
        self.finish_publish(id, correlation, published);
    }

    fn finish_join(
        &mut self,
        id: ConnectionId,
        correlation: &Correlation,
        joined: Result<(), ClientError>,
        reply: Reply,
    ) {
        let outcome = joined.map_or_else(Outcome::from, |()| Outcome::Joined(reply));
        self.enqueue_outcome(id, correlation, &outcome);
    }

    fn finish_publish(
        &mut self,
        id: ConnectionId,
        correlation: &Correlation,
        published: Result<(), ClientError>,
    ) {
        let outcome = published.map_or_else(Outcome::from, |()| Outcome::Published);
        self.enqueue_outcome(id, correlation, &outcome);
    }

    /// Counts a denial and returns it as an error; `Ok` if there is none.
    fn deny(
        &mut self,
        id: ConnectionId,
        what: RejectionKind,
        denial: Option<Denial>,
    ) -> Result<(), ClientError> {
        let Some(denial) = denial else {
            return Ok(());
        };
        self.reject(id, what, denial.label());
        Err(ClientError::Denied(denial))
    }

    /// Enqueues a request to the host. The session's input waits for the response.
    pub(super) fn ask_host(&mut self, id: ConnectionId, kind: HostRequestKind) {
        let session = self.session_id(id);
        let connection = self.connections.get_mut(id).expect("just seen");
        connection.flags.set(ConnectionFlags::WAITING, true);
        self.host_requests.push_back(HostRequest {
            session,
            route: connection.route,
            kind,
        });
    }
}
