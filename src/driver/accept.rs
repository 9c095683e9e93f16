//! A shard's listeners: accepting connections, and backing off when that fails.

use super::errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
use super::run::Loop;
use super::turn::TurnSteps;
use super::uring::ring::Completion;
use super::uring::socket::peer_address;
use crate::host::Moment;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A shard's listening socket for one address.
#[derive(Debug)]
pub(super) struct Listener {
    /// `None` once it is closed.
    socket: Option<OwnedFd>,
    /// A multishot accept on the socket is armed.
    is_accepting: bool,
}

impl From<OwnedFd> for Listener {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket: Some(socket),
            is_accepting: false,
        }
    }
}

impl Loop {
    /// Arms an accept on every open listener that has none.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be entered.
    pub(super) fn start_accepting(&mut self) -> io::Result<()> {
        (0..self.listeners.len()).try_for_each(|index| self.start_accepting_from(index))
    }

    fn start_accepting_from(&mut self, index: usize) -> io::Result<()> {
        let listener = &mut self.listeners[index];
        if let (Some(socket), false) = (&listener.socket, listener.is_accepting) {
            self.ring.accept(index, socket.as_fd())?;
            listener.is_accepting = true;
        }
        Ok(())
    }

    pub(super) fn on_accept(&mut self, now: &Moment, completion: Completion) -> io::Result<()> {
        let index = usize::from(completion.listener);
        if !completion.more {
            self.listeners[index].is_accepting = false;
        }
        match u32::try_from(completion.result) {
            Ok(_) => {
                self.state.spare.after_success(self.id.index());
                self.insert_accepted(now, completion.result)?;
            }
            Err(_) if self.state.stopping.closes_listeners() => {}
            Err(_) => self.on_accept_failure(index, -completion.result),
        }
        if self.listeners[index].is_accepting {
            return Ok(());
        }
        if self.state.stopping.closes_listeners() {
            self.accept_queued_and_close(index)?;
        } else if self.state.accept_again_at.is_none() {
            self.start_accepting_from(index)?;
        }
        Ok(())
    }

    /// Handles an accept that failed for want of descriptors or memory: rejects waiting clients and
    /// pauses accepting for [`ACCEPT_BACKOFF`]. Other errors concern one connection and are
    /// ignored.
    fn on_accept_failure(&mut self, index: usize, errno: i32) {
        if !matches!(errno, EMFILE | ENFILE | ENOBUFS | ENOMEM) {
            return;
        }
        let (listener, shard) = (self.listeners[index].socket.as_ref(), self.id.index());
        self.state.spare.after_failure(errno, listener, shard);
        self.state.accept_again_at = Some(self.state.now + ACCEPT_BACKOFF);
    }

    /// Registers an accepted socket with the host and arms its receive. Closes the socket if the
    /// host has no slot.
    fn insert_accepted(&mut self, now: &Moment, descriptor: i32) -> io::Result<()> {
        let Some(id) = self.host.handle_accepted(now) else {
            super::uring::socket::close_now(descriptor);
            return Ok(());
        };
        let count = self.exchange.connection_opened();
        self.note_connections(count);
        self.state.sockets.insert(id, descriptor);
        if self.host.wants_peers()
            && let Some(address) = peer_address(self.state.sockets.descriptor(id))
        {
            self.host.set_peer(id, address);
        }
        self.receive_again(id)
    }

    /// Closes every listener. One with an accept armed is closed when its cancellation has
    /// completed.
    pub(super) fn close_listeners(&mut self) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_accepting {
                self.ring.cancel_accept(index)?;
            } else {
                self.accept_queued_and_close(index)?;
            }
        }
        Ok(())
    }

    /// Returns whether every listener is closed.
    pub(super) fn has_closed_listeners(&self) -> bool {
        self.listeners
            .iter()
            .all(|listener| listener.socket.is_none())
    }

    /// Closes a listener after accepting the connections in its queue: their clients believe that
    /// they are connected.
    fn accept_queued_and_close(&mut self, index: usize) -> io::Result<()> {
        let Some(listener) = self.listeners[index].socket.take() else {
            return Ok(());
        };
        rustix::io::ioctl_fionbio(&listener, true)?;
        while let Ok(socket) =
            rustix::net::accept_with(listener.as_fd(), rustix::net::SocketFlags::CLOEXEC)
        {
            let now = self.read_clock();
            self.insert_accepted(&now, std::os::fd::IntoRawFd::into_raw_fd(socket))?;
        }
        Ok(())
    }
}

/// Pause before the next accept after one failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
