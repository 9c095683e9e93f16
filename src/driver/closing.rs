//! Closing sockets: cancel the operations, wait for their completions, close.

use super::clock::Clock;
use super::kernel::Kernel;
use super::run::Loop;
use crate::runtime::fault::Fault;
use crate::vocabulary::id::ConnectionId;
use std::io;

impl<K: Kernel, C: Clock> Loop<K, C> {
    /// Cancels a socket's operations. The socket is closed when all of them have completed.
    pub(super) fn begin_close(&mut self, id: ConnectionId) -> io::Result<()> {
        self.state.sockets.set_closing(id);
        if self.state.sockets.is_staged(id) {
            self.close_stage(id);
        }
        if self.fault != Some(Fault::Cancel) {
            let receive = self.state.sockets.begin_cancel_receive(id);
            let send = self.state.sockets.begin_cancel_send(id);
            for token in receive.into_iter().chain(send) {
                self.kernel.cancel(token)?;
            }
        }
        self.close_if_unused(id)?;
        if self.state.sockets.is_waiting_to_close(id) {
            self.state.cancelled.push_back((self.state.now, id));
        }
        Ok(())
    }

    /// Cancels again what has not completed within the cancel timeout; counts and logs each
    /// connection. The slot stays taken until the operations complete, since the kernel may still
    /// use the memory and the descriptor that they name.
    pub(super) fn retry_late_cancels(&mut self) -> io::Result<()> {
        let now = self.state.now;
        while let Some(&(since, id)) = self.state.cancelled.front()
            && now.duration_since(since) >= self.limits.cancel_timeout
        {
            self.state.cancelled.pop_front();
            if !self.state.sockets.is_waiting_to_close(id) {
                continue;
            }
            self.host.count_late_cancel();
            tracing::warn!(
                shard = self.id.index(),
                connection = %id,
                "a cancelled operation has not completed; cancelling it again"
            );
            for token in self.state.sockets.cancel_again(id) {
                self.kernel.cancel(token)?;
            }
            self.state.cancelled.push_back((now, id));
        }
        Ok(())
    }

    /// Submits the close of a closing socket if no operation names it.
    pub(super) fn close_if_unused(&mut self, id: ConnectionId) -> io::Result<()> {
        if let Some(token) = self.state.sockets.begin_close(id) {
            self.kernel.close(token)?;
        }
        Ok(())
    }
}
