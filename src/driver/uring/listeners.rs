//! A shard's listening sockets, and the spare descriptor for rejecting connections.
//!
//! Without a free descriptor a connection cannot be accepted, and would wait in the listener's
//! queue until its client gives up. So each shard keeps a spare descriptor: it is closed, the new
//! connection gets its number, is sent a response and closed, and the spare is opened again.
//! Existing connections are not affected.

use rustix::event::EventfdFlags;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};

/// The listening sockets of a shard, by index.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// `None` once it is closed.
    sockets: Vec<Option<OwnedFd>>,
    /// `None` while another thread has taken the freed number.
    spare: Option<OwnedFd>,
}

impl Listeners {
    /// Takes the sockets and opens the spare descriptor.
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Self {
        Self {
            sockets: sockets.into_iter().map(Some).collect(),
            spare: open_spare(),
        }
    }

    /// Returns a listening socket.
    ///
    /// # Panics
    ///
    /// If it is closed.
    pub(super) fn socket(&self, index: usize) -> BorrowedFd<'_> {
        self.sockets[index].as_ref().expect("it is open").as_fd()
    }

    /// Closes a listener after accepting the connections in its queue; returns their descriptors.
    ///
    /// # Errors
    ///
    /// Fails if the listener cannot be read without waiting.
    pub(super) fn close(&mut self, index: usize) -> io::Result<Vec<RawFd>> {
        let listener = self.sockets[index].take().expect("it is open");
        rustix::io::ioctl_fionbio(&listener, true)?;
        let mut accepted = Vec::new();
        while let Ok(socket) = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            accepted.push(socket.into_raw_fd());
        }
        Ok(accepted)
    }

    /// Rejects up to [`REJECTED_PER_TURN_MAX`] connections of a listener's queue; returns their
    /// number.
    pub(super) fn reject_waiting(&mut self, index: usize, response: &[u8]) -> u64 {
        let Some(listener) = &self.sockets[index] else {
            return 0;
        };
        if rustix::io::ioctl_fionbio(listener, true).is_err() {
            return 0;
        }
        let mut rejected = 0;
        while rejected < REJECTED_PER_TURN_MAX {
            restore(&mut self.spare);
            if self.spare.take().is_none() {
                break;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = rustix::net::accept_with(listener, flags) else {
                break;
            };
            reject(&socket, response);
            rejected += 1;
        }
        restore(&mut self.spare);
        // An accept of the ring waits only on a blocking listener.
        let blocking = rustix::io::ioctl_fionbio(listener, false);
        blocking.expect("it could be set a moment ago");
        rejected
    }

    /// Opens the spare descriptor if there is none and one is free.
    pub(super) fn keep_spare(&mut self) {
        restore(&mut self.spare);
    }
}

fn restore(spare: &mut Option<OwnedFd>) {
    if spare.is_none() {
        *spare = open_spare();
    }
}

/// Sends a response to a client and ends its connection, without waiting or keeping any state.
fn reject(socket: &OwnedFd, response: &[u8]) {
    // Closing a socket with unread input resets it, and the reset could overtake the response.
    discard_input(socket);
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::send(socket, response, flags).map(drop);
    let ended = sent.and_then(|()| rustix::net::shutdown(socket, Shutdown::Write));
    if let Err(error) = ended {
        tracing::trace!(%error, "the peer was gone already");
    }
    discard_input(socket);
}

fn discard_input(socket: &OwnedFd) {
    let mut bytes = [0; 4096];
    for _ in 0..DISCARDED_READS_MAX {
        let received = rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT);
        if !received.is_ok_and(|(count, _)| count > 0) {
            return;
        }
    }
}

fn open_spare() -> Option<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok()
}

/// Connections rejected before the shard continues with its other work.
const REJECTED_PER_TURN_MAX: u64 = 256;
/// Reads of 4 KiB, so that requests of up to 64 KiB are discarded.
const DISCARDED_READS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_connections_are_rejected_through_the_spare_descriptor() {
        use std::io::{Read as _, Write as _};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut clients: Vec<std::net::TcpStream> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).expect("it listens"))
            .collect();
        let sent = clients[0].write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sent.expect("it reads");
        let mut listeners = Listeners::new(vec![OwnedFd::from(listener)]);
        assert_eq!(listeners.reject_waiting(0, b"full"), 3);
        assert!(listeners.spare.is_some(), "there is one again");
        for client in &mut clients {
            let mut response = Vec::new();
            client
                .read_to_end(&mut response)
                .expect("it is sent a response and closed");
            assert_eq!(response, b"full");
        }
    }
}
