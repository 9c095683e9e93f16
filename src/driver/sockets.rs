//! The sockets of a shard: their descriptors, and the number of operations on each.
//!
//! ```text
//!   accepted --> receiving, sending --> closing: cancel --> no operations: close --> closed: free
//! ```
//!
//! A descriptor is closed when no operation names it, and none names it after that
//! (docs/design/io.md 3): a new connection with the same descriptor number never gets bytes of the
//! old one. Each operation is submitted with a token that only this table makes.

use super::kernel::Operation;
use crate::vocabulary::id::ConnectionId;
use std::marker::PhantomData;
use std::os::fd::RawFd;

/// A receive that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(super) struct ReceiveToken(OpenDescriptor);

/// A send that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(super) struct SendToken(OpenDescriptor);

/// A cancellation of a connection's receive or send that is counted and not yet submitted.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(super) struct CancelToken(Operation, ConnectionId);

/// A close that is not yet submitted. No operation names the descriptor.
#[derive(Debug)]
#[must_use = "the table has counted it"]
pub(super) struct CloseToken(OpenDescriptor);

/// A socket whose close is not queued and cannot be queued while this value exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSocket<'t> {
    descriptor: RawFd,
    table: PhantomData<&'t Sockets>,
}

impl OpenSocket<'_> {
    pub(super) fn descriptor(self) -> RawFd {
        self.descriptor
    }
}

/// A descriptor, open until its close is submitted, and its connection.
#[derive(Debug)]
struct OpenDescriptor {
    descriptor: RawFd,
    id: ConnectionId,
}

impl ReceiveToken {
    pub(super) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

impl SendToken {
    pub(super) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

impl CancelToken {
    pub(super) fn into_parts(self) -> (Operation, ConnectionId) {
        (self.0, self.1)
    }
}

impl CloseToken {
    pub(super) fn into_parts(self) -> (RawFd, ConnectionId) {
        (self.0.descriptor, self.0.id)
    }
}

/// The table of a shard's sockets, with one entry for each slot ever used.
#[derive(Debug, Default)]
pub(super) struct Sockets {
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
    /// A stage is between the socket and the host.
    staged: bool,
    /// The close was submitted.
    closed: bool,
}

impl Sockets {
    /// Inserts a descriptor. The table owns it until its close completes.
    ///
    /// # Panics
    ///
    /// If the slot is taken.
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
            wants_input: true,
            ..Socket::FREE
        };
    }

    /// Frees the slot of a connection whose close has completed.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.closed && socket.operations == 0);
        *socket = Socket::FREE;
    }

    /// Returns whether the connection still has its slot.
    pub(super) fn is_current(&self, id: ConnectionId) -> bool {
        self.slots
            .get(id.index())
            .is_some_and(|socket| socket.generation == id.generation())
    }

    pub(super) fn is_closing(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].closing
    }

    pub(super) fn set_staged(&mut self, id: ConnectionId) {
        self.socket(id).staged = true;
    }

    /// Returns whether the connection has a stage.
    #[inline]
    pub(super) fn is_staged(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].staged
    }

    /// Returns the socket, for use before its close is queued.
    ///
    /// # Panics
    ///
    /// If its close was queued.
    pub(super) fn open_socket(&self, id: ConnectionId) -> OpenSocket<'_> {
        let socket = &self.slots[id.index()];
        assert!(socket.generation == id.generation() && !socket.closed);
        OpenSocket {
            descriptor: socket.descriptor,
            table: PhantomData,
        }
    }

    /// Counts a receive; `None` if input is not wanted, the connection is closing, or one is armed.
    pub(super) fn begin_receive(&mut self, id: ConnectionId) -> Option<ReceiveToken> {
        let socket = self.socket(id);
        if socket.receiving || socket.closing || !socket.wants_input {
            return None;
        }
        socket.receiving = true;
        socket.operations += 1;
        Some(ReceiveToken(socket.open_descriptor(id)))
    }

    pub(super) fn receive_ended(&mut self, id: ConnectionId) {
        let socket = self.socket(id);
        assert!(socket.receiving);
        socket.receiving = false;
        socket.cancelling = false;
        socket.operations -= 1;
    }

    /// Counts a send.
    pub(super) fn begin_send(&mut self, id: ConnectionId) -> SendToken {
        let socket = self.socket(id);
        assert!(!socket.sending, "one send at a time");
        assert!(!socket.closed, "no operation names a closed descriptor");
        socket.sending = true;
        socket.operations += 1;
        SendToken(socket.open_descriptor(id))
    }

    /// Ends a send; returns whether the connection is closing.
    pub(super) fn send_ended(&mut self, id: ConnectionId) -> bool {
        let socket = self.socket(id);
        assert!(socket.sending);
        socket.sending = false;
        socket.operations -= 1;
        socket.closing
    }

    /// Ends a cancellation.
    pub(super) fn cancel_ended(&mut self, id: ConnectionId) {
        self.socket(id).operations -= 1;
    }

    pub(super) fn set_wants_input(&mut self, id: ConnectionId, wants_input: bool) {
        self.socket(id).wants_input = wants_input;
    }

    pub(super) fn set_closing(&mut self, id: ConnectionId) {
        self.socket(id).closing = true;
    }

    /// Counts the cancellation of a receive; `None` if none is armed or it is being cancelled.
    pub(super) fn begin_cancel_receive(&mut self, id: ConnectionId) -> Option<CancelToken> {
        let socket = self.socket(id);
        if !socket.receiving || socket.cancelling {
            return None;
        }
        socket.cancelling = true;
        socket.operations += 1;
        Some(CancelToken(Operation::Receive, id))
    }

    /// Counts the cancellation of a send; `None` if none is pending.
    pub(super) fn begin_cancel_send(&mut self, id: ConnectionId) -> Option<CancelToken> {
        let socket = self.socket(id);
        if !socket.sending {
            return None;
        }
        socket.operations += 1;
        Some(CancelToken(Operation::Send, id))
    }

    /// Counts another cancellation of a closing connection's receive and send. Empty if the
    /// connection was closed since.
    pub(super) fn cancel_again(&mut self, id: ConnectionId) -> Vec<CancelToken> {
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
    pub(super) fn is_waiting_to_close(&self, id: ConnectionId) -> bool {
        self.is_current(id) && self.is_closing(id) && !self.slots[id.index()].closed
    }

    /// Gives up the descriptor of a closing connection, for the caller to close; `None` while an
    /// operation names it, or if it was closed.
    pub(super) fn begin_close(&mut self, id: ConnectionId) -> Option<CloseToken> {
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
        staged: false,
        closed: false,
    };
}
