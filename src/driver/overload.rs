//! Rejection of new connections when descriptors or sessions run out.
//!
//! Without a free descriptor a connection cannot be accepted, and would wait in the listener's
//! queue until its client gives up. So each shard keeps a spare descriptor: it is closed, the new
//! connection gets its number, is sent a 503 and closed, and the spare is opened again. Existing
//! connections are not affected. The start and the end of each state are logged.

use super::errno::{EMFILE, ENFILE};
use super::run::Loop;
use crate::http::OVERLOADED;
use rustix::event::EventfdFlags;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A spare descriptor, and the state of failing accepts.
#[derive(Debug)]
pub(super) struct SpareDescriptor {
    /// `None` while another thread has taken the freed number.
    descriptor: Option<OwnedFd>,
    /// Time of the last failed accept; `None` after [`RECOVERED_AFTER`] without one.
    failed_at: Option<Instant>,
    /// Connections rejected since accepting began to fail.
    rejected: u64,
}

impl SpareDescriptor {
    /// Opens the spare descriptor.
    pub(super) fn new() -> Self {
        Self {
            descriptor: open_spare(),
            failed_at: None,
            rejected: 0,
        }
    }

    /// Records a failed accept. If descriptors ran out, rejects the waiting connections with a 503.
    /// No accept may be armed on the listener.
    pub(super) fn after_failure(&mut self, errno: i32, listener: Option<&OwnedFd>, shard: usize) {
        if self.failed_at.replace(now()).is_none() {
            let error = io::Error::from_raw_os_error(errno);
            tracing::warn!(
                shard,
                %error,
                "cannot accept connections; if descriptors ran out, new ones are rejected with \
                 503: raise the limit of open files (`ulimit -Hn`, LimitNOFILE= in systemd)"
            );
        }
        if let (EMFILE | ENFILE, Some(listener)) = (errno, listener) {
            self.reject_waiting(listener);
        }
    }

    /// Records a successful accept.
    pub(super) fn after_success(&mut self, shard: usize) {
        self.restore();
        let Some(failed_at) = self.failed_at else {
            return;
        };
        if now().duration_since(failed_at) >= RECOVERED_AFTER {
            self.failed_at = None;
            let rejected = std::mem::take(&mut self.rejected);
            tracing::warn!(shard, rejected, "connections can be accepted again");
        }
    }

    /// Opens the spare descriptor if there is none and one is free.
    fn restore(&mut self) {
        if self.descriptor.is_none() {
            self.descriptor = open_spare();
        }
    }

    /// Rejects up to [`REJECTED_PER_TURN_MAX`] connections of the listener's queue.
    fn reject_waiting(&mut self, listener: &OwnedFd) {
        if rustix::io::ioctl_fionbio(listener, true).is_err() {
            return;
        }
        for _ in 0..REJECTED_PER_TURN_MAX {
            self.restore();
            if self.descriptor.take().is_none() {
                break;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = rustix::net::accept_with(listener.as_fd(), flags) else {
                break;
            };
            reject(&socket);
            self.rejected += 1;
        }
        self.restore();
        // An accept of the ring waits only on a blocking listener.
        let blocking = rustix::io::ioctl_fionbio(listener, false);
        blocking.expect("it could be set a moment ago");
    }
}

impl Loop {
    /// Sets the number of connections of the process; logs when it passes the limit of sessions.
    pub(super) fn note_connections(&mut self, connections: usize) {
        let sessions_max = self.limits.sessions_max;
        self.host.set_full(connections > sessions_max);
        match self
            .exchange
            .sessions_limit()
            .note(connections, sessions_max)
        {
            Some(true) => tracing::warn!(
                connections,
                sessions_max,
                "the limit of sessions is reached; upgrades are rejected with 503"
            ),
            Some(false) => tracing::warn!(
                connections,
                sessions_max,
                "below the limit of sessions again"
            ),
            None => {}
        }
    }
}

/// Sends a 503 to a client and ends its connection, without waiting or keeping any state.
fn reject(socket: &OwnedFd) {
    // Closing a socket with unread input resets it, and the reset could overtake the response.
    discard_input(socket);
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::send(socket, OVERLOADED, flags).map(drop);
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

#[expect(
    clippy::disallowed_methods,
    reason = "the driver is where time comes from"
)]
fn now() -> Instant {
    Instant::now()
}

fn open_spare() -> Option<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok()
}

/// Connections rejected before the shard continues with its other work.
const REJECTED_PER_TURN_MAX: usize = 256;
/// Reads of 4 KiB, so that requests of up to 64 KiB are discarded.
const DISCARDED_READS_MAX: usize = 16;
/// Time without a failed accept after which the failure is over.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

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
        let mut spare = SpareDescriptor::new();
        spare.after_failure(EMFILE, Some(&OwnedFd::from(listener)), 0);
        assert!(spare.descriptor.is_some(), "there is one again");
        assert_eq!(spare.rejected, 3);
        for client in &mut clients {
            let mut response = Vec::new();
            client
                .read_to_end(&mut response)
                .expect("it is sent a response and closed");
            assert_eq!(response, OVERLOADED);
        }
    }
}
