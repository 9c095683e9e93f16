//! Joins and publishes in a client's name: permission, action and counting of denials.
//!
//! A handler's commands in a client's name need that client's permission; its own do not.

use super::Host;
use crate::handler::{HandleError, Permission, ReplyTo, SessionState};
use crate::shard::JoinResult;
use crate::vocabulary::content::Denial;
use crate::vocabulary::id::SessionId;
use crate::vocabulary::metrics::RejectionKind;
use std::rc::Rc;

impl Host {
    /// Runs `act` on a channel if the client is permitted to, or once a validator permits it.
    /// Counts denials.
    pub(super) fn act_if_permitted(
        &mut self,
        state: &Rc<SessionState>,
        permission: Permission,
        channel: Box<str>,
        (what, reply): (RejectionKind, ReplyTo<()>),
        act: impl FnOnce(&mut Self, &str) -> Result<(), HandleError> + 'static,
    ) {
        let session = state.session;
        let result = match permission {
            Permission::Granted => act(self, &channel),
            Permission::Denied(denial) => Err(HandleError::Denied(denial)),
            Permission::Validate(validator) => {
                self.authorize(state, validator, channel, move |host, allowed, channel| {
                    let result = if allowed {
                        act(host, &channel)
                    } else {
                        Err(HandleError::Denied(Denial::NotAuthorized))
                    };
                    reply.send(host.note_denial(session, what, result));
                });
                return;
            }
        };
        reply.send(self.note_denial(session, what, result));
    }

    /// Counts a result that is a denial, and returns the result.
    pub(super) fn note_denial(
        &mut self,
        session: SessionId,
        rejected: RejectionKind,
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

    /// Joins a session to a channel.
    ///
    /// # Errors
    ///
    /// [`HandleError::Denied`] if the session is on the channel or a limit is reached;
    /// [`HandleError::NoSession`] if it is not open or the name is invalid.
    pub(super) fn join_client(
        &mut self,
        session: SessionId,
        channel: &str,
    ) -> Result<(), HandleError> {
        match self.shard.join(session.connection(), channel) {
            JoinResult::Joined => Ok(()),
            JoinResult::AlreadyJoined => Err(HandleError::Denied(Denial::AlreadyJoined)),
            JoinResult::TooManyChannels => Err(HandleError::Denied(Denial::TooManyChannels)),
            JoinResult::NamesLimit(limit) => Err(HandleError::Denied(limit.denial())),
            JoinResult::Invalid => Err(HandleError::NoSession),
        }
    }
}
