//! Targets of transcripts: gateways that clients can connect to.

use campanile_tests::net::connect;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A gateway as the clients of a transcript see it.
pub(crate) trait Target {
    /// Sends octets. Connects the client first if necessary.
    fn send(&mut self, client: usize, bytes: &[u8]);

    /// Shuts down the client's write side.
    fn end(&mut self, client: usize);

    /// Waits for octets and appends them. `Ok(false)` at the end of the stream.
    ///
    /// # Errors
    ///
    /// Nothing arrives.
    fn receive(&mut self, client: usize, into: &mut Vec<u8>) -> Result<bool, String>;

    /// Advances the clock by `ms` milliseconds.
    ///
    /// # Errors
    ///
    /// The target has no simulated clock.
    fn pass(&mut self, ms: u32) -> Result<(), String>;
}

/// A running gateway, over TCP.
pub(crate) struct RealTarget {
    address: SocketAddr,
    sockets: Vec<Option<TcpStream>>,
}

impl RealTarget {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            sockets: Vec::new(),
        }
    }

    fn socket(&mut self, client: usize) -> &mut TcpStream {
        if self.sockets.len() <= client {
            self.sockets.resize_with(client + 1, || None);
        }
        let address = self.address;
        self.sockets[client].get_or_insert_with(|| connect(address))
    }
}

impl Target for RealTarget {
    fn send(&mut self, client: usize, bytes: &[u8]) {
        // The gateway may have closed already; its last bytes are compared.
        drop(self.socket(client).write_all(bytes));
    }

    fn end(&mut self, client: usize) {
        drop(self.socket(client).shutdown(Shutdown::Write));
    }

    fn receive(&mut self, client: usize, into: &mut Vec<u8>) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        match self.socket(client).read(&mut buffer) {
            Ok(len) => {
                into.extend(&buffer[..len]);
                Ok(len > 0)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err("nothing comes".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn pass(&mut self, _: u32) -> Result<(), String> {
        Err("time passes by itself here".to_owned())
    }
}
