//! The sockets of a shard: their descriptors, and the number of operations on each.
//!
//! ```text
//!   accepted --> receiving, sending --> closing: cancel --> no operations: close --> closed: free
//! ```
//!
//! A descriptor is closed when no operation names it, and none names it after that
//! (docs/design/io.md 3): a new connection with the same descriptor number never gets bytes of the
//! old one. Each operation is submitted with a token that only this table makes.

#![expect(
    unsafe_code,
    reason = "descriptors that the ring owns are numbers here"
)]

use super::ring::Operation;
use crate::vocabulary::id::ConnectionId;
use rustix::ioctl::{Getter, Opcode};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A receive that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct ReceiveToken(OpenDescriptor);

/// A send that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct SendToken(OpenDescriptor);

/// A cancellation of a connection's receive or send that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct CancelToken(Operation, ConnectionId);

/// A close that is not yet submitted. No operation names the descriptor.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct CloseToken(OpenDescriptor);

/// A descriptor, open until its close is submitted, and its connection.
#[derive(Debug)]
struct OpenDescriptor {
    descriptor: RawFd,
    id: ConnectionId,
}

impl ReceiveToken {
    pub(in crate::driver) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

impl SendToken {
    pub(in crate::driver) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

impl CancelToken {
    pub(in crate::driver) fn into_parts(self) -> (Operation, ConnectionId) {
        (self.0, self.1)
    }
}

impl CloseToken {
    pub(in crate::driver) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

/// The table of a shard's sockets, with one entry for each slot ever used.
#[derive(Debug, Default)]
pub(in crate::driver) struct Sockets {
    slots: Vec<Socket>,
}

#[derive(Clone, Copy, Debug)]
struct Socket {
    descriptor: RawFd,
    generation: u32,
    /// Operations submitted and not completed, without the close.
    operations: u16,
    receiving: bool,
    sending: bool,
    cancelling: bool,
    /// The host reads the peer's input now.
    wants_input: bool,
    closing: bool,
    /// The close was submitted.
    closed: bool,
}

impl Sockets {
    /// Inserts a descriptor. The table owns it until its close completes.
    ///
    /// # Panics
    ///
    /// If the slot is taken.
    pub(in crate::driver) fn insert(&mut self, id: ConnectionId, descriptor: RawFd) {
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
            wants_input: true,
            ..Socket::FREE
        };
    }

    /// Frees the slot of a connection whose close has completed.
    pub(in crate::driver) fn remove(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.closed && socket.operations == 0);
        *socket = Socket::FREE;
    }

    /// Returns whether the connection still has its slot.
    pub(in crate::driver) fn is_current(&self, id: ConnectionId) -> bool {
        self.slots
            .get(id.index())
            .is_some_and(|socket| socket.generation == id.generation())
    }

    pub(in crate::driver) fn is_closing(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].closing
    }

    /// Returns the descriptor, for use before its close is queued.
    ///
    /// # Panics
    ///
    /// If its close was queued.
    pub(in crate::driver) fn descriptor(&self, id: ConnectionId) -> RawFd {
        let socket = &self.slots[id.index()];
        assert!(socket.generation == id.generation() && !socket.closed);
        socket.descriptor
    }

    /// Counts a receive; `None` if input is not wanted, the connection is closing, or one is armed.
    pub(in crate::driver) fn begin_receive(&mut self, id: ConnectionId) -> Option<ReceiveToken> {
        let socket = self.socket(id);
        if socket.receiving || socket.closing || !socket.wants_input {
            return None;
        }
        socket.receiving = true;
        socket.operations += 1;
        Some(ReceiveToken(socket.open_descriptor(id)))
    }

    pub(in crate::driver) fn receive_ended(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.receiving);
        socket.receiving = false;
        socket.cancelling = false;
        socket.operations -= 1;
    }

    /// Counts a send.
    pub(in crate::driver) fn begin_send(&mut self, id: ConnectionId) -> SendToken {
        let socket = self.socket(id);
        assert!(!socket.sending, "one send at a time");
        assert!(!socket.closed, "no operation names a closed descriptor");
        socket.sending = true;
        socket.operations += 1;
        SendToken(socket.open_descriptor(id))
    }

    /// Ends a send; returns whether the connection is closing.
    pub(in crate::driver) fn send_ended(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        assert!(socket.sending);
        socket.sending = false;
        socket.operations -= 1;
        socket.closing
    }

    /// Ends a cancellation.
    pub(in crate::driver) fn cancel_ended(&mut self, id: ConnectionId) {
        self.socket(id).operations -= 1;
    }

    pub(in crate::driver) fn set_wants_input(&mut self, id: ConnectionId, wants_input: bool) {
        self.socket(id).wants_input = wants_input;
    }

    pub(in crate::driver) fn set_closing(&mut self, id: ConnectionId) {
        self.socket(id).closing = true;
    }

    /// Counts the cancellation of a receive; `None` if none is armed or it is being cancelled.
    pub(in crate::driver) fn begin_cancel_receive(
        &mut self,
        id: ConnectionId,
    ) -> Option<CancelToken> {
        let socket = self.socket(id);
        if !socket.receiving || socket.cancelling {
            return None;
        }
        socket.cancelling = true;
        socket.operations += 1;
        Some(CancelToken(Operation::Receive, id))
    }

    /// Counts the cancellation of a send; `None` if none is pending.
    pub(in crate::driver) fn begin_cancel_send(&mut self, id: ConnectionId) -> Option<CancelToken> {
        let socket = self.socket(id);
        if !socket.sending {
            return None;
        }
        socket.operations += 1;
        Some(CancelToken(Operation::Send, id))
    }

    /// Counts another cancellation of a closing connection's receive and send. Empty if the
    /// connection was closed since.
    pub(in crate::driver) fn cancel_again(&mut self, id: ConnectionId) -> Vec<CancelToken> {
        if !self.is_current(id) || self.socket(id).closed {
            return Vec::new();
        }
        self.socket(id).cancelling = false;
        let receive = self.begin_cancel_receive(id);
        receive
            .into_iter()
            .chain(self.begin_cancel_send(id))
            .collect()
    }

    /// Returns whether a closing connection waits for the completion of its operations.
    pub(in crate::driver) fn is_waiting_to_close(&self, id: ConnectionId) -> bool {
        self.is_current(id) && self.is_closing(id) && !self.slots[id.index()].closed
    }

    /// Gives up the descriptor of a closing connection, for the caller to close; `None` while an
    /// operation names it, or if it was closed.
    pub(in crate::driver) fn begin_close(&mut self, id: ConnectionId) -> Option<CloseToken> {
        let socket = self.socket(id);
        if !socket.closing || socket.closed || socket.operations > 0 {
            return None;
        }
        socket.closed = true;
        Some(CloseToken(socket.open_descriptor(id)))
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
    fn open_descriptor(&self, id: ConnectionId) -> OpenDescriptor {
        OpenDescriptor {
            descriptor: self.descriptor,
            id,
        }
    }

    const FREE: Self = Self {
        descriptor: -1,
        generation: 0,
        operations: 0,
        receiving: false,
        sending: false,
        cancelling: false,
        wants_input: false,
        closing: false,
        closed: false,
    };
}

/// Shuts the write side of a socket. A peer that is gone is no error.
pub(in crate::driver) fn shutdown_write(descriptor: RawFd) {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Write) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Makes the later close of a socket reset the connection, so that the kernel frees unsent bytes at
/// once instead of keeping them for a peer that does not read.
pub(in crate::driver) fn reset_on_close(descriptor: RawFd) {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let at_once = Some(std::time::Duration::ZERO);
    if let Err(error) = rustix::net::sockopt::set_socket_linger(socket, at_once) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Returns the number of bytes, sent or not, that the peer has not acknowledged; 0 if the
/// connection is broken.
pub(in crate::driver) fn unacknowledged_bytes(descriptor: RawFd) -> u32 {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // SAFETY: SIOCOUTQ writes one int (tcp(7)), which is what the getter has room for.
    let getter = unsafe { Getter::<SIOCOUTQ, i32>::new() };
    // SAFETY: the getter's memory is its own, and as large as what is written.
    let held = unsafe { rustix::ioctl::ioctl(socket, getter) };
    held.map_or(0, |bytes| u32::try_from(bytes).unwrap_or(0))
}

/// Returns the address of a socket's peer; `None` if the peer is gone.
pub(in crate::driver) fn peer_address(descriptor: RawFd) -> Option<SocketAddr> {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let address = rustix::net::getpeername(socket).ok().flatten()?;
    SocketAddr::try_from(address).ok()
}

/// Closes a descriptor that was just accepted and that no operation names.
pub(in crate::driver) fn close_now(descriptor: RawFd) {
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

/// The ioctl for the size of a TCP send queue, see `tcp(7)`.
const SIOCOUTQ: Opcode = 0x5411;
