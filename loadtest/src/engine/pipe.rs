//! A non-blocking TCP connection with a write buffer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::failure::{Attempt as _, Outcome};

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndCause {
    /// The server sent a close frame with this code; `None` if the frame has no code.
    Closed(Option<u16>),
    /// End of stream without a close frame.
    Eof,
    /// A read failed, as after a TCP reset.
    Reset,
    /// The TCP connection or the upgrade failed.
    ConnectFailed,
}

/// A non-blocking TCP connection.
#[derive(Debug)]
pub(super) struct Pipe {
    stream: TcpStream,
    unwritten: Vec<u8>,
    is_connected: bool,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The number of bytes read, and `true` if they filled the buffer: more may be available.
    Bytes(usize, bool),
    /// Nothing is available now.
    Nothing,
    /// The connection has ended.
    Ended(EndCause),
}

impl Pipe {
    /// Begins to connect to `address`, from the local address `source` if given.
    ///
    /// `receive_buffer` sets `SO_RCVBUF` in bytes.
    ///
    /// # Errors
    ///
    /// A system call failed; errors of the handshake come from [`Pipe::finish_connecting`].
    pub(super) fn connect(
        address: SocketAddr,
        source: Option<Ipv4Addr>,
        receive_buffer: Option<usize>,
    ) -> Outcome<Self> {
        let what = format!("connect to {address}");
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        let socket = socket.attempt("create a socket")?;
        if let Some(bytes) = receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes).attempt("set SO_RCVBUF")?;
        }
        if let Some(source) = source {
            let from = SocketAddrV4::new(source, 0);
            rustix::net::bind(&socket, &from).attempt(&format!("connect from {source}"))?;
        }
        sockopt::set_tcp_nodelay(&socket, true).attempt("set TCP_NODELAY")?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error).attempt(&what),
        }
        Ok(Self {
            stream: TcpStream::from(socket),
            unwritten: Vec::new(),
            is_connected: false,
        })
    }

    /// Returns the socket.
    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns `true` after the TCP handshake.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Returns the write buffer. [`Pipe::flush`] writes it.
    pub(super) const fn unwritten(&mut self) -> &mut Vec<u8> {
        &mut self.unwritten
    }

    /// Checks the TCP handshake. `None` while it is in progress, `Err` if it failed.
    pub(super) fn finish_connecting(&mut self) -> Option<Result<(), EndCause>> {
        if self.is_connected {
            return Some(Ok(()));
        }
        match sockopt::socket_error(&self.stream) {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Some(Err(EndCause::ConnectFailed)),
        }
        if self.stream.peer_addr().is_err() {
            return None;
        }
        self.is_connected = true;
        Some(Ok(()))
    }

    /// Writes as much as the socket accepts; the rest waits for the next event.
    ///
    /// A write error discards the buffer and is not reported: the next read returns the end.
    pub(super) fn flush(&mut self) {
        if !self.is_connected {
            return;
        }
        let mut written = 0;
        while written < self.unwritten.len() {
            match self.stream.write(&self.unwritten[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    written = self.unwritten.len();
                }
            }
        }
        self.unwritten.drain(..written);
    }

    /// Reads once into `scratch`.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Read {
        loop {
            return match self.stream.read(scratch) {
                Ok(0) => Read::Ended(EndCause::Eof),
                Ok(bytes) => Read::Bytes(bytes, bytes == scratch.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
                Err(_) => Read::Ended(EndCause::Reset),
            };
        }
    }

    /// Has the kernel acknowledge received segments at once (`TCP_QUICKACK`).
    ///
    /// By default Linux does so for a client that has only upgraded, but delays acknowledgements,
    /// to every second segment, for one that has also sent a message. Some protocols need a message
    /// to join, others do not. Delayed acknowledgements make the server's kernel keep sent data
    /// longer, which costs up to 10 % more CPU per delivery. Without this option the load test
    /// would measure that difference between protocols.
    ///
    /// # Errors
    ///
    /// `setsockopt` failed.
    pub(super) fn acknowledge_at_once(&self) -> Outcome<()> {
        sockopt::set_tcp_quickack(&self.stream, true).attempt("set TCP_QUICKACK")
    }

    /// Shuts down the write side. Data from the server can still be read.
    pub(super) fn shut_down(&self) {
        // It fails only if the connection has ended already.
        let _shut = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl std::fmt::Display for EndCause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Some(code)) => write!(formatter, "closed with {code}"),
            Self::Closed(None) => formatter.write_str("closed without a code"),
            Self::Eof => formatter.write_str("aborted without a close frame"),
            Self::Reset => formatter.write_str("reset"),
            Self::ConnectFailed => formatter.write_str("refused"),
        }
    }
}
