//! Sockets whose reads and writes time out, and addresses that nobody listens on.

use crate::PATIENCE;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A connection.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the gateway listens");
    socket.set_nodelay(true).expect("a TCP socket");
    patient(socket)
}

/// A connection with the smallest of receive buffers.
#[track_caller]
pub fn connect_slowly(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    socket.connect(&address.into()).expect("it listens");
    patient(TcpStream::from(socket))
}

/// Gives a socket its time-outs.
pub(crate) fn patient(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket.set_write_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

/// A loopback address that nobody listens on.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
