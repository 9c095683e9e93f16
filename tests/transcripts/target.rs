//! Where a transcript happens: something that clients can connect to.

use campanile_tests::net::connect;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Moves octets between the clients of a transcript and a gateway.
pub(crate) trait World {
    /// Sends octets; connects before if this client has not.
    fn send(&mut self, client: usize, bytes: &[u8]);

    /// Sends nothing more.
    fn end(&mut self, client: usize);

    /// Waits for what comes and appends it. `Ok(false)`: nothing more will come.
    fn receive(&mut self, client: usize, into: &mut Vec<u8>) -> Result<bool, String>;

    /// Lets time pass, in milliseconds; an error where nobody can.
    fn pass(&mut self, ms: u32) -> Result<(), String>;
}

/// A gateway that runs, over TCP.
pub(crate) struct RealWorld {
    address: SocketAddr,
    sockets: Vec<Option<TcpStream>>,
}

impl RealWorld {
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

impl World for RealWorld {
    fn send(&mut self, client: usize, bytes: &[u8]) {
        // The gateway may have closed already; what it said then is what counts.
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
