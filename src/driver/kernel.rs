//! What the loop needs of a kernel, in the shape of completions.
//!
//! ```text
//!   loop:    accept, receive, send, cancel, close     queued
//!   loop:    enter                                    submits them, makes completions visible
//!   kernel:  next_completion                          one for each, several for accept and receive
//! ```
//!
//! Nothing completes inside the call that starts it: the loop takes completions where it handles
//! events, and nowhere else. `uring/` implements the trait with `io_uring`, the tests of this
//! folder with a machine of their own that fails in every allowed way, on a seed.

#![expect(unsafe_code, reason = "a send lends memory to the kernel")]

use super::sockets::{CancelToken, CloseToken, OpenSocket, ReceiveToken, SendToken};
use crate::vocabulary::id::ConnectionId;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// A shard's listeners, sockets and receive buffers in the kernel.
///
/// An operation that names a socket takes a token of the socket table, which counts it until its
/// last completion. Dropping a kernel ends all operations; lent memory is not read after that.
pub(super) trait Kernel {
    /// Accepts connections on the listener with this index until cancelled.
    ///
    /// # Errors
    ///
    /// As [`Kernel::enter`], like the other operations.
    fn accept(&mut self, listener: usize) -> io::Result<()>;

    /// Cancels the accept on a listener. Both operations complete.
    ///
    /// # Errors
    ///
    /// As [`Kernel::accept`].
    fn cancel_accept(&mut self, listener: usize) -> io::Result<()>;

    /// Receives from a socket until its input ends or the operation is cancelled. Its completions
    /// are in the order of the bytes.
    ///
    /// # Errors
    ///
    /// As [`Kernel::accept`].
    fn receive(&mut self, token: ReceiveToken) -> io::Result<()>;

    /// Sends bytes, perhaps not all of them.
    ///
    /// # Errors
    ///
    /// As [`Kernel::accept`].
    ///
    /// # Safety
    ///
    /// The bytes stay where they are, unchanged, until the completion of this send has been taken
    /// from [`Kernel::next_completion`], or the kernel is dropped.
    unsafe fn send(&mut self, token: SendToken, bytes: LentBytes) -> io::Result<()>;

    /// Cancels an operation of a connection. Both operations complete, in any order, and the
    /// cancelled one may have succeeded.
    ///
    /// # Errors
    ///
    /// As [`Kernel::accept`].
    fn cancel(&mut self, token: CancelToken) -> io::Result<()>;

    /// Closes a socket that no other operation names.
    ///
    /// # Errors
    ///
    /// As [`Kernel::accept`].
    fn close(&mut self, token: CloseToken) -> io::Result<()>;

    /// Returns whether the kernel must be entered: to submit operations, or for completions that
    /// are not visible yet.
    fn wants_enter(&mut self) -> bool;

    /// Submits queued operations and makes completions visible.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be entered. An interrupted or busy kernel is no error.
    fn enter(&mut self) -> io::Result<()>;

    /// Returns whether completions are visible.
    fn has_completions(&mut self) -> bool;

    /// Takes the next visible completion; `None` if there is none.
    fn next_completion(&mut self) -> Option<Completion>;

    /// Returns how many sends may be submitted before completions are taken.
    fn room_to_send(&self) -> u32;

    /// Takes a buffer from the kernel and returns its `len` received bytes.
    fn filled(&mut self, buffer: u16, len: usize) -> &mut [u8];

    /// Gives a buffer back to the kernel.
    fn return_buffer(&mut self, buffer: u16);

    /// Returns whether enough was received that [`Kernel::release_memory`] pays.
    fn is_worth_releasing(&self) -> bool;

    /// Returns the receive buffers' memory to the system. All buffers must have been given back.
    fn release_memory(&mut self);

    /// Enables or disables the wake-up by completions. Other shards wake this one at any time.
    fn set_wake_up_enabled(&mut self, on: bool);

    /// Waits until a completion, or another shard, wakes this one. It may return without a reason.
    ///
    /// # Errors
    ///
    /// Fails if the wake-up cannot be watched.
    async fn woken(&mut self) -> io::Result<()>;

    /// Accepts the connections in a listener's queue, and closes the listener, on which no accept
    /// may be armed. Returns their descriptors.
    ///
    /// # Errors
    ///
    /// Fails if the listener cannot be read without waiting.
    fn close_listener(&mut self, listener: usize) -> io::Result<Vec<RawFd>>;

    /// Rejects connections in a listener's queue, for which there are no descriptors, with a
    /// response; returns their number. No accept may be armed on the listener.
    fn reject_waiting(&mut self, listener: usize, response: &[u8]) -> u64;

    /// Prepares for [`Kernel::reject_waiting`] while descriptors are free.
    fn keep_spare(&mut self);

    /// Closes a descriptor that was just accepted and that no operation names.
    fn close_accepted(&mut self, descriptor: RawFd);

    /// Returns the address of a socket's peer; `None` if the peer is gone.
    fn peer_address(&mut self, socket: OpenSocket<'_>) -> Option<SocketAddr>;

    /// Shuts the write side of a socket. A peer that is gone is no error.
    fn shutdown_write(&mut self, socket: OpenSocket<'_>);

    /// Makes the later close of a socket reset the connection, so that the kernel frees unsent
    /// bytes at once instead of keeping them for a peer that does not read.
    fn reset_on_close(&mut self, socket: OpenSocket<'_>);

    /// Returns the number of bytes, sent or not, that the peer has not acknowledged; 0 if the
    /// connection is broken.
    fn unacknowledged_bytes(&mut self, socket: OpenSocket<'_>) -> u32;
}

/// The operation that a completion ends or continues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept = 1,
    Receive,
    Send,
    Cancel,
    CancelAccept,
    Close,
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) operation: Operation,
    /// The connection; `None` for [`Operation::Accept`] and its cancellation.
    pub(super) id: Option<ConnectionId>,
    /// The listener's index, for [`Operation::Accept`] and its cancellation.
    pub(super) listener: u8,
    /// A number of bytes or a descriptor; if negative, an error number.
    pub(super) result: i32,
    /// The receive buffer with the bytes.
    pub(super) buffer: Option<u16>,
    /// The operation continues: further completions follow.
    pub(super) more: bool,
}

impl Completion {
    /// Returns the connection.
    ///
    /// # Panics
    ///
    /// If the operation is one of a listener.
    pub(super) fn connection(&self) -> ConnectionId {
        self.id.expect("of a connection")
    }
}

/// Bytes lent to the kernel: address and length.
#[derive(Clone, Copy, Debug)]
pub(super) struct LentBytes {
    pub(super) start: *const u8,
    pub(super) len: u32,
}

impl From<&[u8]> for LentBytes {
    fn from(bytes: &[u8]) -> Self {
        // A send may take fewer bytes anyway; the rest is lent again.
        let len = u32::try_from(bytes.len().min(SEND_BYTES_MAX)).expect("bounded");
        Self {
            start: bytes.as_ptr(),
            len,
        }
    }
}

impl LentBytes {
    /// Returns the bytes.
    ///
    /// # Safety
    ///
    /// They are still where they were when they were lent.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: they were a slice of this length, and the caller says that they still are.
        unsafe { std::slice::from_raw_parts(self.start, self.len as usize) }
    }
}

const SEND_BYTES_MAX: usize = 1 << 30;
