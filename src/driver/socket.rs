//! The sockets of one shard: their descriptors, and how many operations name each.
//!
//! ```text
//!   accepted --> receiving, sending --> closing: cancel --> quiet: close --> closed: slot is free
//! ```
//!
//! A descriptor is closed when no operation names it, and no operation names it from then on
//! (io.md 3): a new connection that is given the same number never gets the old one's bytes.

#![expect(
    unsafe_code,
    reason = "descriptors that the ring owns are numbers here"
)]

use crate::id::ConnectionId;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One entry for each slot ever used.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Socket>,
}

#[derive(Clone, Copy, Debug)]
struct Socket {
    descriptor: RawFd,
    generation: u32,
    /// Operations submitted and not completed, the close not counted.
    operations: u16,
    receiving: bool,
    sending: bool,
    cancelling: bool,
    /// Whether what the peer sends is wanted now.
    wanted: bool,
    closing: bool,
    closed: bool,
}

impl Sockets {
    /// Files a descriptor, which is owned from here until its close completes.
    pub(super) fn insert(&mut self, id: ConnectionId, descriptor: RawFd) {
        if self.slots.len() <= id.index() {
            self.slots.resize(id.index() + 1, Socket::FREE);
        }
        let socket = &mut self.slots[id.index()];
        assert!(
            socket.generation == 0,
            "a slot is free before it is used again"
        );
        *socket = Socket {
            descriptor,
            generation: id.generation(),
            wanted: true,
            ..Socket::FREE
        };
    }

    /// Frees a slot: its close has completed.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.closed && socket.operations == 0);
        *socket = Socket::FREE;
    }

    /// Whether this connection still has its slot.
    pub(super) fn is_current(&self, id: ConnectionId) -> bool {
        self.slots
            .get(id.index())
            .is_some_and(|socket| socket.generation == id.generation())
    }

    pub(super) fn is_closing(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].closing
    }

    /// The descriptor, to be used before its close is queued.
    pub(super) fn descriptor(&self, id: ConnectionId) -> RawFd {
        let socket = &self.slots[id.index()];
        assert!(socket.generation == id.generation() && !socket.closed);
        socket.descriptor
    }

    /// Counts a receive, if one is wanted and none is armed: the caller is to arm it.
    pub(super) fn begin_receive(&mut self, id: ConnectionId) -> Option<RawFd> {
        let socket = self.socket(id);
        if socket.receiving || socket.closing || !socket.wanted {
            return None;
        }
        socket.receiving = true;
        socket.operations += 1;
        Some(socket.descriptor)
    }

    pub(super) fn receive_ended(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.receiving);
        socket.receiving = false;
        socket.cancelling = false;
        socket.operations -= 1;
    }

    /// Counts a send.
    pub(super) fn begin_send(&mut self, id: ConnectionId) -> RawFd {
        let socket = self.socket(id);
        assert!(!socket.sending, "one send at a time");
        assert!(!socket.closed, "no operation names a closed descriptor");
        socket.sending = true;
        socket.operations += 1;
        socket.descriptor
    }

    /// A send is over; returns whether the connection is closing.
    pub(super) fn send_ended(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        assert!(socket.sending);
        socket.sending = false;
        socket.operations -= 1;
        socket.closing
    }

    /// A cancellation has completed.
    pub(super) fn operation_ended(&mut self, id: ConnectionId) {
        self.socket(id).operations -= 1;
    }

    pub(super) fn set_wanted(&mut self, id: ConnectionId, wanted: bool) {
        self.socket(id).wanted = wanted;
    }

    pub(super) fn set_closing(&mut self, id: ConnectionId) {
        self.socket(id).closing = true;
    }

    /// Counts the cancellation of a receive, if one is armed: the caller is to submit it.
    pub(super) fn begin_cancel_receive(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        let begins = socket.receiving && !socket.cancelling;
        if begins {
            socket.cancelling = true;
            socket.operations += 1;
        }
        begins
    }

    /// Counts the cancellation of a send, if one is under way: the caller is to submit it.
    pub(super) fn begin_cancel_send(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        if socket.sending {
            socket.operations += 1;
        }
        socket.sending
    }

    /// Gives up the descriptor of a closing connection that no operation names any more: the caller
    /// is to close it.
    pub(super) fn begin_close(&mut self, id: ConnectionId) -> Option<RawFd> {
        let socket = self.socket(id);
        if !socket.closing || socket.closed || socket.operations > 0 {
            return None;
        }
        socket.closed = true;
        Some(socket.descriptor)
    }

    fn socket(&mut self, id: ConnectionId) -> &mut Socket {
        let socket = &mut self.slots[id.index()];
        assert!(
            socket.generation == id.generation(),
            "a slot outlives its operations"
        );
        socket
    }
}

impl Socket {
    const FREE: Self = Self {
        descriptor: -1,
        generation: 0,
        operations: 0,
        receiving: false,
        sending: false,
        cancelling: false,
        wanted: false,
        closing: false,
        closed: false,
    };
}

/// Shuts the sending side. The peer may be gone, which is as good.
pub(super) fn shut_sending(descriptor: RawFd) {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Write) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Closes a descriptor that was just accepted and that no operation names.
pub(super) fn close_now(descriptor: RawFd) {
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}
