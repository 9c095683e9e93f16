//! How the loop closes sockets: cancel, wait for what is under way, close.

use super::run::Loop;
use crate::runtime::fault::Fault;
use crate::vocabulary::id::ConnectionId;
use std::io;

impl Loop {
    /// Cancels what is under way; the close follows when nothing is.
    pub(super) fn begin_close(&mut self, id: ConnectionId) -> io::Result<()> {
        self.state.sockets.set_closing(id);
        if self.fault != Some(Fault::Cancel) {
            let receive = self.state.sockets.begin_cancel_receive(id);
            let send = self.state.sockets.begin_cancel_send(id);
            for token in receive.into_iter().chain(send) {
                self.ring.cancel(token)?;
            }
        }
        self.close_if_quiet(id)?;
        if self.state.sockets.is_waiting_to_close(id) {
            self.state.cancelled.push_back((self.state.now, id));
        }
        Ok(())
    }

    /// Looks after connections whose cancelled operations should have ended long ago: counts each,
    /// says so, and cancels again. The slot stays taken until the operations end, since the kernel
    /// may still use what they name.
    pub(super) fn look_after_cancels(&mut self) -> io::Result<()> {
        let now = self.state.now;
        while let Some(&(since, id)) = self.state.cancelled.front()
            && now.duration_since(since) >= self.limits.cancel_patience
        {
            self.state.cancelled.pop_front();
            if !self.state.sockets.is_waiting_to_close(id) {
                continue;
            }
            self.host.count_late_cancel();
            tracing::warn!(
                shard = self.id.index(),
                connection = %id,
                "an operation that was cancelled has not ended; cancelling it again"
            );
            for token in self.state.sockets.cancel_again(id) {
                self.ring.cancel(token)?;
            }
            self.state.cancelled.push_back((now, id));
        }
        Ok(())
    }

    /// Closes a socket that is to be closed, once no operation names it.
    pub(super) fn close_if_quiet(&mut self, id: ConnectionId) -> io::Result<()> {
        if let Some(token) = self.state.sockets.begin_close(id) {
            self.ring.close(token)?;
        }
        Ok(())
    }
}
