//! How a client's wish about a channel comes to something: granted, denied or judged, and counted.
//!
//! A handler that asks for it (`commands`) does so in the client's name; what it does in its own is
//! not asked about.

use super::Host;
use crate::handler::{HandleError, Permission, ReplyTo, SessionState};
use crate::shard::Joined;
use crate::vocabulary::content::Denial;
use crate::vocabulary::id::SessionId;
use crate::vocabulary::metrics::Rejected;
use std::rc::Rc;

impl Host {
    /// Does something to a channel in a client's name if the client has the permission, or once a
    /// validator gives it; counts what the gateway's rules were against.
    pub(super) fn act_if_permitted(
        &mut self,
        state: &Rc<SessionState>,
        permission: Permission,
        channel: Box<str>,
        (what, reply): (Rejected, ReplyTo<()>),
        act: impl FnOnce(&mut Self, &str) -> Result<(), HandleError> + 'static,
    ) {
        let session = state.session;
        let result = match permission {
            Permission::Granted => act(self, &channel),
            Permission::Denied(denial) => Err(HandleError::Denied(denial)),
            Permission::Judged(validator) => {
                self.judge(state, validator, channel, move |host, allowed, channel| {
                    let result = if allowed {
                        act(host, &channel)
                    } else {
                        Err(HandleError::Denied(Denial::NotAuthorized))
                    };
                    reply.answer(host.noted(session, what, result));
                });
                return;
            }
        };
        reply.answer(self.noted(session, what, result));
    }

    /// Counts what the gateway's rules were against.
    pub(super) fn noted(
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

    pub(super) fn join_client(
        &mut self,
        session: SessionId,
        channel: &str,
    ) -> Result<(), HandleError> {
        match self.shard.join(session.connection(), channel) {
            Joined::Now => Ok(()),
            Joined::Before => Err(HandleError::Denied(Denial::AlreadyJoined)),
            Joined::TooManyChannels => Err(HandleError::Denied(Denial::TooManyChannels)),
            Joined::NoRoom(no_room) => Err(HandleError::Denied(no_room.denial())),
            Joined::Refused => Err(HandleError::NoSession),
        }
    }
}
