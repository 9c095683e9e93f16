//! A non-blocking TCP connection with what is still to be written to it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::failure::{Attempt as _, Outcome};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// With a close frame of this code; `None` for one without.
    Closed(Option<u16>),
    /// Without a close frame.
    Cut,
    /// By a reset.
    Reset,
    /// It was never made.
    Refused,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Pipe {
    stream: TcpStream,
    unwritten: Vec<u8>,
    is_connected: bool,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes; whether the buffer was filled, so that there may be more.
    Bytes(usize, bool),
    /// Nothing for now.
    Nothing,
    /// The end.
    Ended(End),
}

impl Pipe {
    /// Begins to connect to `address`, from `source` if there is one.
    ///
    /// # Errors
    ///
    /// The kernel refuses at once.
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
        let socket = socket.attempt("make a socket")?;
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

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// What is to be written; [`Pipe::flush`] writes it.
    pub(super) const fn unwritten(&mut self) -> &mut Vec<u8> {
        &mut self.unwritten
    }

    /// Finds out what became of connecting; `None` while it is under way.
    pub(super) fn finish_connecting(&mut self) -> Option<Result<(), End>> {
        if self.is_connected {
            return Some(Ok(()));
        }
        match sockopt::socket_error(&self.stream) {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Some(Err(End::Refused)),
        }
        if self.stream.peer_addr().is_err() {
            return None;
        }
        self.is_connected = true;
        Some(Ok(()))
    }

    /// Writes what the socket takes; the rest waits for the next event.
    ///
    /// An error is left for reading to find, which tells how the connection ended.
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

    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Read {
        loop {
            return match self.stream.read(scratch) {
                Ok(0) => Read::Ended(End::Cut),
                Ok(bytes) => Read::Bytes(bytes, bytes == scratch.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
                Err(_) => Read::Ended(End::Reset),
            };
        }
    }

    /// Has the kernel acknowledge what is read, each time it is.
    ///
    /// Left alone it does so where a client has only upgraded, and acknowledges every second
    /// packet where it has also said a word, which joining takes in some protocols and not in
    /// others. The server's kernel then keeps what it sent for longer, which costs it up to a tenth
    /// more per delivery: a difference between protocols, not between servers.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn acknowledge_at_once(&self) -> Outcome<()> {
        sockopt::set_tcp_quickack(&self.stream, true).attempt("set TCP_QUICKACK")
    }

    /// Ends the connection both ways; what the server still says can be read.
    pub(super) fn shut_down(&self) {
        // It fails only where it has ended already.
        let _shut = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Some(code)) => write!(formatter, "closed with {code}"),
            Self::Closed(None) => formatter.write_str("closed without a code"),
            Self::Cut => formatter.write_str("cut without a close frame"),
            Self::Reset => formatter.write_str("reset"),
            Self::Refused => formatter.write_str("refused"),
        }
    }
}
