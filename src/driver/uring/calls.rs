//! System calls on a socket besides the operations of the ring.

#![expect(
    unsafe_code,
    reason = "descriptors that the socket table owns are numbers"
)]

use crate::driver::sockets::OpenSocket;
use rustix::ioctl::{Getter, Opcode};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Borrows the descriptor of an open socket.
fn borrow(socket: OpenSocket<'_>) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open until its close is queued, which the table lends no value for
    // and for which it must be borrowed anew.
    unsafe { BorrowedFd::borrow_raw(socket.descriptor()) }
}

/// Shuts the write side of a socket. A peer that is gone is no error.
pub(super) fn shutdown_write(socket: OpenSocket<'_>) {
    if let Err(error) = rustix::net::shutdown(borrow(socket), rustix::net::Shutdown::Write) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Makes the later close of a socket reset the connection, so that the kernel frees unsent bytes at
/// once instead of keeping them for a peer that does not read.
pub(super) fn reset_on_close(socket: OpenSocket<'_>) {
    let at_once = Some(std::time::Duration::ZERO);
    if let Err(error) = rustix::net::sockopt::set_socket_linger(borrow(socket), at_once) {
        tracing::trace!(%error, "the peer was gone already");
    }
}

/// Returns the number of bytes, sent or not, that the peer has not acknowledged; 0 if the
/// connection is broken.
pub(super) fn unacknowledged_bytes(socket: OpenSocket<'_>) -> u32 {
    // SAFETY: SIOCOUTQ writes one int (tcp(7)), which is what the getter has room for.
    let getter = unsafe { Getter::<SIOCOUTQ, i32>::new() };
    // SAFETY: the getter's memory is its own, and as large as what is written.
    let held = unsafe { rustix::ioctl::ioctl(borrow(socket), getter) };
    held.map_or(0, |bytes| u32::try_from(bytes).unwrap_or(0))
}

/// Returns the address of a socket's peer; `None` if the peer is gone.
pub(super) fn peer_address(socket: OpenSocket<'_>) -> Option<SocketAddr> {
    let address = rustix::net::getpeername(borrow(socket)).ok().flatten()?;
    SocketAddr::try_from(address).ok()
}

/// Closes a descriptor that was just accepted and that no operation names.
pub(super) fn close_now(descriptor: RawFd) {
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

/// The ioctl for the size of a TCP send queue, see `tcp(7)`.
const SIOCOUTQ: Opcode = 0x5411;
