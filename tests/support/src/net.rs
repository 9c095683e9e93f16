//! Sockets with timeouts, and free addresses.

use crate::PATIENCE;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Connects.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the gateway listens");
    socket.set_nodelay(true).expect("a TCP socket");
    with_timeouts(socket)
}

/// Connects with the smallest receive buffer.
#[track_caller]
pub fn connect_slowly(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    socket.connect(&address.into()).expect("it listens");
    with_timeouts(TcpStream::from(socket))
}

/// Sets the timeouts of a socket.
pub(crate) fn with_timeouts(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket.set_write_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

/// Returns a free loopback address.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
