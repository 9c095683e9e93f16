//! What happens to newcomers for whom there is no descriptor or no session left.
//!
//! Without a descriptor a connection cannot even be accepted, and would wait in the listener's
//! queue until its client gives up. So each shard keeps a descriptor to spare: it is closed, the
//! newcomer takes its number, is answered with 503 and closed, and the number is taken again.
//! Connections that are there already notice nothing. Each state is logged when it begins and when
//! it ends.

use super::errno::{EMFILE, ENFILE};
use super::run::Loop;
use crate::http::OVERLOADED;
use rustix::event::EventfdFlags;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A descriptor to spare, and whether the shard lacks others.
#[derive(Debug)]
pub(super) struct Spare {
    /// `None` while another shard has been quicker to take its number.
    descriptor: Option<OwnedFd>,
    /// When a connection could not be accepted last, until some time after that.
    failed_at: Option<Instant>,
    rejected: u64,
}

impl Spare {
    /// Takes a descriptor, while there are some.
    pub(super) fn new() -> Self {
        Self {
            descriptor: open_spare(),
            failed_at: None,
            rejected: 0,
        }
    }

    /// Notes that a connection could not be accepted. Those that wait are answered with 503 if it
    /// is for want of a descriptor; the listener is not being accepted from.
    pub(super) fn after_failure(&mut self, errno: i32, listener: Option<&OwnedFd>, shard: usize) {
        if self.failed_at.replace(now()).is_none() {
            let error = io::Error::from_raw_os_error(errno);
            tracing::warn!(
                shard,
                %error,
                "cannot accept connections; without a descriptor new ones are answered with 503"
            );
        }
        if let (EMFILE | ENFILE, Some(listener)) = (errno, listener) {
            self.reject_waiting(listener);
        }
    }

    /// Notes that a connection was accepted.
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

    /// Takes a descriptor to spare if there is none and one is free.
    fn restore(&mut self) {
        if self.descriptor.is_none() {
            self.descriptor = open_spare();
        }
    }

    /// Answers those who wait to be accepted, as many as are worth the time now.
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
        // The ring waits only on a listener that blocks.
        let blocking = rustix::io::ioctl_fionbio(listener, false);
        blocking.expect("it could be set a moment ago");
    }
}

impl Loop {
    /// Takes the number of connections of the process, which has just changed.
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
                "the limit of sessions is reached; upgrades are answered with 503"
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

/// Tells a client that it cannot be served now. Nothing of it is kept, so nothing waits for it.
fn reject(socket: &OwnedFd) {
    // A close with unread input is a reset, which could overtake the answer.
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

/// Newcomers answered before the shard looks after its connections.
const REJECTED_PER_TURN_MAX: usize = 256;
/// Requests of up to 64 KiB are read before they are answered.
const DISCARDED_READS_MAX: usize = 16;
/// For so long all connections must have been accepted.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_answered_through_the_spare_descriptor() {
        use std::io::{Read as _, Write as _};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut clients: Vec<std::net::TcpStream> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).expect("it listens"))
            .collect();
        let sent = clients[0].write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sent.expect("it reads");
        let mut spare = Spare::new();
        spare.after_failure(EMFILE, Some(&OwnedFd::from(listener)), 0);
        assert!(spare.descriptor.is_some(), "there is one again");
        assert_eq!(spare.rejected, 3);
        for client in &mut clients {
            let mut told = Vec::new();
            client
                .read_to_end(&mut told)
                .expect("it is told and closed");
            assert_eq!(told, OVERLOADED);
        }
    }
}
