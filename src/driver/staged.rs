//! The loop's side of connections with stages.

use super::clock::Clock;
use super::errno::ECANCELED;
use super::kernel::{Completion, Kernel, LentBytes};
use super::run::Loop;
use super::stage::{HELD_BYTES_MAX, NextSend, StageError, Stages};
use super::turn::TurnSteps as _;
use crate::host::{Host, Moment};
use crate::vocabulary::id::ConnectionId;
use std::io;

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Starts the sends of connections with stages, while there is room, and shuts write sides.
    pub(super) fn flush_stages(&mut self) -> io::Result<()> {
        while self.state.stages.has_work() && self.kernel.room_to_send() > 0 {
            let Some(id) = self.state.stages.next() else {
                break;
            };
            let is_sending = self.state.stages.of(id).is_sending;
            if is_sending || self.state.sockets.is_closing(id) {
                continue;
            }
            match self.state.stages.next_send(id) {
                NextSend::Bytes(bytes) => self.send_staged(id, bytes)?,
                NextSend::Shutdown => {
                    let socket = self.state.sockets.open_socket(id);
                    self.kernel.shutdown_write(socket);
                }
                NextSend::Nothing => {}
            }
        }
        Ok(())
    }

    /// Handles the end of the peer's bytes of a connection with a stage.
    #[cold]
    pub(super) fn on_staged_end(&mut self, now: &Moment, id: ConnectionId) {
        let ended = self.state.stages.of(id).stage.receive_end();
        if let Err(StageError(reason)) = ended {
            tracing::debug!(connection = %id, reason, "the end of input was not announced");
        }
        self.host.handle_hangup(now, id, ended.is_err());
    }

    /// Handles the completion of a send of a connection with a stage.
    #[cold]
    pub(super) fn on_staged_sent(&mut self, now: &Moment, id: ConnectionId, sent: Completion) {
        if let Ok(taken) = usize::try_from(sent.result) {
            if let Some(sent) = self.state.stages.sent(id, taken) {
                self.host.handle_sent(now, id, sent);
            }
        } else {
            self.abandon_staged(now, id);
            if sent.result != -ECANCELED {
                self.host.handle_hangup(now, id, true);
            }
        }
        if self.state.sockets.is_closing(id) {
            self.abandon_staged(now, id);
        }
    }

    /// Discards what a closing connection has not begun to send, if it has a stage.
    #[cold]
    pub(super) fn close_stage(&mut self, id: ConnectionId) {
        if !self.state.stages.of(id).is_sending {
            let now = self.read_clock();
            self.abandon_staged(&now, id);
        }
    }

    fn abandon_staged(&mut self, now: &Moment, id: ConnectionId) {
        if self.state.stages.abandon(id) {
            self.host.handle_sent(now, id, 0);
        }
    }
}

/// Passes the plain bytes among received ones to the host.
#[cold]
pub(super) fn receive(
    stages: &mut Stages,
    host: &mut Host,
    now: &Moment,
    id: ConnectionId,
    bytes: &mut [u8],
) {
    let staged = stages.of(id);
    if staged.has_failed {
        return;
    }
    let stage = &mut staged.stage;
    let mut received = stage.receive(bytes, &mut |plain| host.handle_received(now, id, plain));
    if received.is_ok() && stage.held_bytes() > HELD_BYTES_MAX {
        received = Err(StageError("too many bytes without a whole record"));
    }
    if let Err(StageError(reason)) = received {
        tracing::debug!(connection = %id, reason, "the bytes of a client are invalid");
        staged.has_failed = true;
        host.handle_hangup(now, id, true);
    }
    stages.queue(id);
}

/// Gives bytes that the host lends to the connection's stage, which sends them in the same flush.
#[cold]
pub(super) fn lend(stages: &mut Stages, id: ConnectionId, bytes: LentBytes) {
    stages.lend(id, bytes);
}
