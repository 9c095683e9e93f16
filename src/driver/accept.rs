//! What a shard accepts connections from, and what it does when it cannot.

use super::errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
use super::run::Loop;
use super::turn::Steps;
use super::uring::ring::Completion;
use super::uring::socket::peer_address;
use crate::host::Moment;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// One address of a shard's.
#[derive(Debug)]
pub(super) struct Listener {
    /// `None` once it is closed.
    socket: Option<OwnedFd>,
    /// Whether the ring accepts from it.
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
    /// Has the ring accept from every listener that it does not accept from already.
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
                self.adopt(now, completion.result)?;
            }
            Err(_) if self.state.stopping.closes_listeners() => {}
            Err(_) => self.on_accept_failure(index, -completion.result),
        }
        if self.listeners[index].is_accepting {
            return Ok(());
        }
        if self.state.stopping.closes_listeners() {
            self.accept_the_queued(index)?;
        } else if self.state.accept_again_at.is_none() {
            self.start_accepting_from(index)?;
        }
        Ok(())
    }

    /// Out of descriptors or memory: says so to newcomers, backs off, and goes on serving.
    fn on_accept_failure(&mut self, index: usize, errno: i32) {
        if !matches!(errno, EMFILE | ENFILE | ENOBUFS | ENOMEM) {
            return;
        }
        let (listener, shard) = (self.listeners[index].socket.as_ref(), self.id.index());
        self.state.spare.after_failure(errno, listener, shard);
        self.state.accept_again_at = Some(self.state.now + ACCEPT_BACKOFF);
    }

    /// Makes a connection of a descriptor that was accepted.
    fn adopt(&mut self, now: &Moment, descriptor: i32) -> io::Result<()> {
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

    /// Closes every listener, once the ring does not accept from it any more.
    pub(super) fn close_listeners(&mut self) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_accepting {
                self.ring.cancel_accept(index)?;
            } else {
                self.accept_the_queued(index)?;
            }
        }
        Ok(())
    }

    /// Whether every listener is closed.
    pub(super) fn has_closed_listeners(&self) -> bool {
        self.listeners
            .iter()
            .all(|listener| listener.socket.is_none())
    }

    /// A listener is about to close: whoever has connected already is still let in.
    fn accept_the_queued(&mut self, index: usize) -> io::Result<()> {
        let Some(listener) = self.listeners[index].socket.take() else {
            return Ok(());
        };
        rustix::io::ioctl_fionbio(&listener, true)?;
        while let Ok(socket) =
            rustix::net::accept_with(listener.as_fd(), rustix::net::SocketFlags::CLOEXEC)
        {
            let now = self.read_clock();
            self.adopt(&now, std::os::fd::IntoRawFd::into_raw_fd(socket))?;
        }
        Ok(())
    }
}

const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
