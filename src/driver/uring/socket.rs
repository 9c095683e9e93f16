//! The sockets of one shard: their descriptors, and how many operations name each.
//!
//! ```text
//!   accepted --> receiving, sending --> closing: cancel --> quiet: close --> closed: slot is free
//! ```
//!
//! A descriptor is closed when no operation names it, and no operation names it from then on
//! (io.md 3): a new connection that is given the same number never gets the old one's bytes. What
//! the ring submits it takes from a token that only this table makes, one for each operation.

#![expect(
    unsafe_code,
    reason = "descriptors that the ring owns are numbers here"
)]

use super::ring::Operation;
use crate::vocabulary::id::ConnectionId;
use rustix::ioctl::{Getter, Opcode};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A receive to be submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct ReceiveToken(Named);

/// A send to be submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct SendToken(Named);

/// A cancellation of what is under way, of one kind, to be submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct CancelToken(Operation, ConnectionId);

/// A close to be submitted: nothing names the descriptor any more.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(in crate::driver) struct CloseToken(Named);

/// A descriptor that is open until its close is submitted, and whose it is.
#[derive(Debug)]
struct Named {
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

/// One entry for each slot ever used.
#[derive(Debug, Default)]
pub(in crate::driver) struct Sockets {
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
            wanted: true,
            ..Socket::FREE
        };
    }

    /// Frees a slot: its close has completed.
    pub(in crate::driver) fn remove(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.closed && socket.operations == 0);
        *socket = Socket::FREE;
    }

    /// Whether this connection still has its slot.
    pub(in crate::driver) fn is_current(&self, id: ConnectionId) -> bool {
        self.slots
            .get(id.index())
            .is_some_and(|socket| socket.generation == id.generation())
    }

    pub(in crate::driver) fn is_closing(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].closing
    }

    /// The descriptor, to be used before its close is queued.
    pub(in crate::driver) fn descriptor(&self, id: ConnectionId) -> RawFd {
        let socket = &self.slots[id.index()];
        assert!(socket.generation == id.generation() && !socket.closed);
        socket.descriptor
    }

    /// Counts a receive, if one is wanted and none is armed.
    pub(in crate::driver) fn begin_receive(&mut self, id: ConnectionId) -> Option<ReceiveToken> {
        let socket = self.socket(id);
        if socket.receiving || socket.closing || !socket.wanted {
            return None;
        }
        socket.receiving = true;
        socket.operations += 1;
        Some(ReceiveToken(socket.named(id)))
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
        SendToken(socket.named(id))
    }

    /// A send is over; returns whether the connection is closing.
    pub(in crate::driver) fn send_ended(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        assert!(socket.sending);
        socket.sending = false;
        socket.operations -= 1;
        socket.closing
    }

    /// A cancellation has completed.
    pub(in crate::driver) fn operation_ended(&mut self, id: ConnectionId) {
        self.socket(id).operations -= 1;
    }

    pub(in crate::driver) fn set_wanted(&mut self, id: ConnectionId, wanted: bool) {
        self.socket(id).wanted = wanted;
    }

    pub(in crate::driver) fn set_closing(&mut self, id: ConnectionId) {
        self.socket(id).closing = true;
    }

    /// Counts the cancellation of a receive, if one is armed and not being cancelled.
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

    /// Counts the cancellation of a send, if one is under way.
    pub(in crate::driver) fn begin_cancel_send(&mut self, id: ConnectionId) -> Option<CancelToken> {
        let socket = self.socket(id);
        if !socket.sending {
            return None;
        }
        socket.operations += 1;
        Some(CancelToken(Operation::Send, id))
    }

    /// Counts a second cancellation of what a closing connection still has under way, long after
    /// the first. Nothing if it has been closed since.
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

    /// Whether a connection waits for the end of its operations, to be closed then.
    pub(in crate::driver) fn is_waiting_to_close(&self, id: ConnectionId) -> bool {
        self.is_current(id) && self.is_closing(id) && !self.slots[id.index()].closed
    }

    /// Gives up the descriptor of a closing connection that no operation names any more: the caller
    /// is to close it.
    pub(in crate::driver) fn begin_close(&mut self, id: ConnectionId) -> Option<CloseToken> {
        let socket = self.socket(id);
        if !socket.closing || socket.closed || socket.operations > 0 {
            return None;
        }
        socket.closed = true;
        Some(CloseToken(socket.named(id)))
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
    fn named(&self, id: ConnectionId) -> Named {
        Named {
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
        wanted: false,
        closing: false,
        closed: false,
    };
}

/// Shuts the sending side. The peer may be gone, which is as good.
pub(in crate::driver) fn shut_sending(descriptor: RawFd) {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Write) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Has the close of a socket reset the connection: what the kernel has not sent, and the memory
/// that it takes, is not kept for a peer that does not read.
pub(in crate::driver) fn reset_on_close(descriptor: RawFd) {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let at_once = Some(std::time::Duration::ZERO);
    if let Err(error) = rustix::net::sockopt::set_socket_linger(socket, at_once) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Returns how many bytes the kernel holds for the peer that it has not acknowledged, sent or not.
/// None of a connection that is broken.
pub(in crate::driver) fn unacknowledged_bytes(descriptor: RawFd) -> u32 {
    // SAFETY: open until its close is queued, which `Sockets::descriptor` has checked.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // SAFETY: SIOCOUTQ writes one int (tcp(7)), which is what the getter has room for.
    let getter = unsafe { Getter::<SIOCOUTQ, i32>::new() };
    // SAFETY: the getter's memory is its own, and as large as what is written.
    let held = unsafe { rustix::ioctl::ioctl(socket, getter) };
    held.map_or(0, |bytes| u32::try_from(bytes).unwrap_or(0))
}

/// The address of a socket's peer; `None` if it is gone already.
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

const SIOCOUTQ: Opcode = 0x5411;
